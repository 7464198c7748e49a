"""A CA that is slow, silent, refusing or wrong, over HTTP."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.acceptance.seed_support import (
    ACCEPTED,
    AVAILABLE,
    BY_CA,
    REFUSED,
    STATUSES,
    WAITING,
    Staff,
    body,
    make_csr,
    new_name,
    rows_of,
)
from tests.harness.fixtures import DemoWith
from tests.harness.server import DemoServer

KINDS = ("prompt-", "slow-", "refuse-", "down-", "timeout-", "wrong-")
PROMISED = 30  # seconds, R23
REASON = "The name is on this CA's list of risks."


@pytest.fixture(scope="module")
def server(demo_with: DemoWith) -> Iterator[DemoServer]:
    """A demo whose CA behaves as the beginning of a host name says."""
    with demo_with(CERTDESK_DEMO_CA="scripted") as running:
        yield running


@pytest.fixture(scope="module")
def asked(staff: Staff, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Alice's requests, one for each kind of answer, all under way at once."""
    folder = tmp_path_factory.mktemp("csrs")
    return {kind: staff("alice").ask(make_csr(folder, new_name(prefix=kind))) for kind in KINDS}


def seconds_to(staff: Staff, number: int, event: str) -> float:
    """From the request to the first such event."""
    told = staff.told("rick", number)
    at = next(each["at"] for each in told["events"] if each["event"] == event)
    return (datetime.fromisoformat(at) - datetime.fromisoformat(told["created_at"])).total_seconds()


def test_r23_accepted_by_the_ca_within_thirty_seconds_and_no_human(
    staff: Staff, asked: dict[str, int]
) -> None:
    for kind in ("prompt-", "slow-", "down-", "timeout-"):
        status = BY_CA if kind == "slow-" else AVAILABLE
        staff("alice").wait_for(asked[kind], status, seconds=3 * PROMISED)
        assert seconds_to(staff, asked[kind], "ca_accept") <= PROMISED, kind
        actors = {event["actor"] for event in staff.events(asked[kind])}
        assert actors == {"alice", "Certdesk"}, kind
        assert staff.told("rick", asked[kind])["approvals"][0]["by"] == "policy"


def test_r24_elapsed_time_is_shown_while_a_slow_ca_is_polled(staff: Staff, asked: dict[str, int]) -> None:
    """For how long it goes on, the usual time, and the alert after a day: integration/test_slow_ca.py."""
    page = staff("alice").wait_for(asked["slow-"], BY_CA)
    assert "Waiting for" in page.status_box or "has had it for" in page.status_box


def test_r26_accepted_means_that_no_rule_asked_for_a_human_or_that_one_approved(
    staff: Staff, asked: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert staff.events(asked["slow-"])[0]["to_status"] == "accepted", "no rule asked"
    name = new_name("human.org", prefix="slow-")
    number = staff("bob").ask(make_csr(tmp_path_factory.mktemp("r26"), name))
    assert staff("bob").request(number).status_box.startswith(WAITING)
    assert staff.events(number)[-1]["to_status"] == "waiting_for_approval"
    staff("otto").approve(number)
    staff("bob").wait_for(number, BY_CA)
    moves = [(event["event"], event["to_status"]) for event in staff.events(number)]
    assert moves[:2] == [("create", "waiting_for_approval"), ("approve", "accepted")]


def test_r27_accepted_by_ca_only_on_its_acknowledgement_and_the_order_id_is_kept(
    staff: Staff, server: DemoServer, asked: dict[str, int]
) -> None:
    page = staff("alice").wait_for(asked["slow-"], BY_CA)
    query = "SELECT handle FROM store_issuance WHERE request_id = ?"
    (handle,) = rows_of(server, query, asked["slow-"])[0]
    assert handle
    assert handle in page.text
    assert handle in staff.told("alice", asked["slow-"])["detail"]

    staff("alice").wait_for(asked["down-"], AVAILABLE, seconds=3 * PROMISED)
    told = [(event["event"], event["to_status"]) for event in staff.events(asked["down-"])]
    before = told[: told.index(("ca_accept", "submitted"))]
    assert {status for _event, status in before} == {"accepted"}, "nothing else while it can't be reached"
    assert len(before) > 2, "it was tried more than once"


def test_r27_while_the_ca_can_t_be_reached_the_status_stays_accepted(
    staff: Staff, tmp_path_factory: pytest.TempPathFactory
) -> None:
    number = staff("alice").ask(make_csr(tmp_path_factory.mktemp("r27"), new_name(prefix="down-")))
    box = staff("alice").request(number).status_box
    assert [status for status in STATUSES if status in box] == [ACCEPTED]
    assert box != ACCEPTED, "the second line says what is the matter"


def test_r28_rejected_by_ca_keeps_and_shows_the_ca_s_reason(
    staff: Staff, asked: dict[str, int], server: DemoServer
) -> None:
    number = asked["refuse-"]
    page = staff("alice").wait_for(number, REFUSED)
    assert REASON in page.text
    assert REASON in staff.told("bob", number)["detail"]
    assert staff.events(number)[-1]["event"] == "ca_refuse"
    assert REASON in staff.events(number)[-1]["note"]
    mail = staff.wait_for_mail(f"Request {number}", REFUSED)
    assert mail["To"] == "alice@example.ac.uk"
    assert REASON in " ".join(body(mail).split())
    assert staff("alice").get(f"/requests/{number}/bundle.zip").status == 404
    assert rows_of(server, "SELECT id FROM store_certificate WHERE request_id = ?", number) == []


def test_r36_a_certificate_that_is_not_what_was_asked_for_is_never_offered(
    staff: Staff, asked: dict[str, int]
) -> None:
    number = asked["wrong-"]
    page = staff("alice").wait_for(number, REFUSED)
    assert "Download .zip" not in page.text
    for path in ("bundle.zip", "certificate/pem/", "certificate/fullchain/"):
        assert staff("alice").get(f"/requests/{number}/{path}").status == 404
    assert "issued" not in {event["to_status"] for event in staff.events(number)}
