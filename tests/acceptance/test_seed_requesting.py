"""From the form to one order at the CA, over HTTP."""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.seed_support import (
    AVAILABLE,
    INTENDED,
    WAITING,
    Portal,
    Staff,
    make_csr,
    new_name,
    rows_of,
    run,
)
from tests.harness.fixtures import DemoWith
from tests.harness.server import DemoServer

#: The operator's list; “Other” is left out on purpose.
SOFTWARE = ("Apache httpd", "nginx", "Microsoft IIS", "Webster 7")
#: What a request leaves behind, wherever it stands.
TRACES = (
    *("store_request", "store_requestevent", "store_approval", "store_issuance", "store_certificate"),
    *("store_auditevent", "store_domain", "store_validationrecord", "django_tasks_database_dbtaskresult"),
)


@pytest.fixture(scope="module")
def server(demo_with: DemoWith) -> Iterator[DemoServer]:
    """A demo with a list of server software of its own."""
    listed = "[" + ", ".join(f'"{name}"' for name in SOFTWARE) + "]"
    with demo_with(CERTDESK_SERVER_SOFTWARE=listed) as running:
        yield running


def traces(server: DemoServer) -> dict[str, int]:
    """How many rows each table has that a request writes to."""
    return {table: rows_of(server, f"SELECT count(*) FROM {table}")[0][0] for table in TRACES}  # noqa: S608 - ours


def attempts(server: DemoServer, number: int) -> int:
    """How many orders were intended for a request; nothing reaches a CA without such a row."""
    return len(rows_of(server, INTENDED, number))


@pytest.mark.parametrize("years", [1, 2, 3])
def test_r13_the_duration_is_the_term_and_both_times_are_stated(
    staff: Staff, tmp_path: Path, years: int
) -> None:
    alice = staff("alice")
    form = alice.get("/requests/new/")
    assert re.findall(r'name="duration_years" value="(\d)"', form.html) == ["1", "2", "3"]
    text = "1 year" if years == 1 else f"{years} years"
    seen = alice.preview(make_csr(tmp_path, new_name()), years=years)
    today = datetime.now(UTC).date()
    days = (
        today.replace(year=today.year + years, day=min(today.day, 28)) - today.replace(day=min(today.day, 28))
    ).days
    assert f"Duration {text}" in seen.text
    term = re.search(r"Term, if accepted now (.+?) Each certificate (.+?) Server software", seen.text)
    assert term, seen.text
    assert str(today.year + years) in term[1], "the term"
    lasts = re.search(r"(\d+) days", term[2])
    assert lasts, "how long each certificate lasts"
    assert abs(int(lasts[1]) - days) <= 1, "the demo's private CA fills the term with one certificate"

    number = alice.confirm(seen).number
    told = staff.told("alice", number)
    assert told["duration_years"] == told["term"]["duration_years"] == years
    page = alice.request(number)
    assert f"Duration {text}" in page.text
    assert f"({lasts[1]} days)" in page.text


def test_r14_server_software_is_a_required_choice_from_an_editable_list(staff: Staff, tmp_path: Path) -> None:
    alice, csr = staff("alice"), make_csr(tmp_path, new_name())
    form = alice.get("/requests/new/").html
    offered = re.findall(r'<option value="([^"]+)"', form)
    assert offered == [*SOFTWARE, "Other"], "the operator's list, and Other whatever the list says"
    for missing in ("", "Apache Tomcat", "<b>"):
        page = alice.preview(csr, software=missing)
        assert page.status == 422
        assert "server software" in page.text
    body = {"csr": csr.pem, "duration_years": 1, "server_software": "Apache Tomcat"}
    assert staff.rest("alice", "POST", "/requests", body).status_code == 422


@pytest.mark.parametrize(
    "software,directive,form",
    [
        ("nginx", "ssl_certificate", "fullchain"),
        ("Apache httpd", "SSLCertificateFile", "fullchain"),
        ("Microsoft IIS", "certreq", "p7b"),
        ("Webster 7", "Install it on Webster 7", ""),
        ("Other", "Install it on your server", ""),
    ],
)
def test_r14_it_drives_install_instructions_and_download_form(
    staff: Staff, tmp_path: Path, software: str, directive: str, form: str
) -> None:
    alice = staff("alice")
    number = alice.ask(make_csr(tmp_path, new_name()), software=software)
    page = alice.request(number)
    assert staff.told("alice", number)["server_software"] == software
    assert "Install it on" in page.text
    assert directive.lower() in page.text.lower()
    forms = re.findall(rf"/requests/{number}/certificate/(\w+)/", page.html)
    every = {"fullchain", "pem", "chain", "der", "p7b", "truststore"}
    assert set(forms) == every | ({"server"} if software != "Other" else set())
    hint = re.search(r"For (.+?), take “(.+?)” below", page.text)
    if form:
        assert forms[0] == form
        assert hint
        assert hint[1] == software
    else:
        assert hint is None, "the .zip suits a server that nobody knows"


def test_r15_the_preview_shows_everything(staff: Staff, tmp_path: Path) -> None:
    names = [new_name(), new_name("outside.org"), "*." + new_name()]
    subject = {"C": "GB", "ST": "Exampleshire", "L": "Exampleton", "O": "Example University", "OU": "IT"}
    given = "".join(f"/{k}={v}" for k, v in subject.items()) + f"/CN={names[0]}"
    csr = make_csr(tmp_path, *names, subject=given)
    page = staff("alice").preview(csr)
    for attribute, value in subject.items():
        assert f"({attribute}) {value}" in page.text, attribute
    assert f"Common name (CN) {names[0]}" in page.text
    for name in names:
        assert f'<span class="mono">{name}</span>' in page.html
    assert "Public key EC P-256" in page.text, "type and size"
    assert colons(hashlib.sha256(csr.der).hexdigest()) in page.text, "the CSR's fingerprint"
    run("openssl", "req", "-in", str(csr.path), "-pubkey", "-noout", "-out", str(tmp_path / "pub.pem"))
    public = ("openssl", "pkey", "-pubin", "-in", str(tmp_path / "pub.pem"), "-outform", "DER")
    run(*public, "-out", str(tmp_path / "pub.der"))
    assert colons(hashlib.sha256((tmp_path / "pub.der").read_bytes()).hexdigest()) in page.text
    assert re.search(r"Signature [^.]*verified", page.text)

    body = {"csr": csr.pem, "duration_years": 1, "server_software": "nginx"}
    checks = staff.rest("alice", "POST", "/requests/preview", body).json()["checks"]
    shown = re.findall(r'<li class="check \w+" data-code="([^"]+)"', page.html)
    assert sorted(shown) == sorted(check["code"] for check in checks), "every check"
    assert len(checks) > 5
    assert all(word in page.text for word in ("Passed.", "Needs review.")), "with its verdict"
    for check in checks:
        assert " ".join(check["message"].split()) in page.text


def colons(hexadecimal: str) -> str:
    """A fingerprint as people compare it."""
    return ":".join(re.findall("..", hexadecimal.upper()))


def test_r15_a_name_that_has_to_be_confirmed_by_mail_is_shown_as_such(staff: Staff, tmp_path: Path) -> None:
    name = new_name("elsewhere.ac.uk")
    page = staff("alice").preview(make_csr(tmp_path, name))
    assert page.status == 200
    assert "confirms by e-mail" in page.text


def test_r16_a_preview_has_no_side_effects(staff: Staff, server: DemoServer, tmp_path: Path) -> None:
    inside, outside = new_name(), new_name("outside.org")
    alice = staff("alice")
    before, listed = traces(server), alice.listed()
    for name in (inside, outside):
        csr = make_csr(tmp_path, name)
        assert alice.preview(csr).status == 200
        body = {"csr": csr.pem, "duration_years": 1, "server_software": "nginx"}
        assert staff.rest("bob", "POST", "/requests/preview", body).status_code == 200
    assert traces(server) == before, "no row, no attempt at the CA, no audit, no job"
    assert alice.listed() == listed
    assert alice.listed(inside) == staff("olga").listed(outside) == []


def test_r17_confirming_is_explicit_and_twice_makes_one(
    staff: Staff, server: DemoServer, tmp_path: Path
) -> None:
    alice, name = staff("alice"), new_name()
    csr = make_csr(tmp_path, name)
    seen = alice.preview(csr)
    assert "Confirm request" in seen.text
    assert alice.get("/requests/confirm/").status == 405
    assert alice.listed(name) == []
    token = seen.field("preview")
    others = [Portal(server, "alice") for _ in range(2)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        doubled = [alice, alice, *others]
        answers = list(pool.map(lambda portal: portal.post("/requests/confirm/", preview=token), doubled))
    for portal in others:
        portal.close()
    numbers = {answer.number for answer in answers}
    assert len(numbers) == 1
    assert alice.listed(name) == sorted(numbers)
    (number,) = numbers
    assert attempts(server, number) == 1


def test_r17_what_is_confirmed_is_what_was_previewed(staff: Staff, tmp_path: Path) -> None:
    alice, csr = staff("alice"), make_csr(tmp_path, new_name(), new_name())
    seen = alice.preview(csr, years=2, software="Apache httpd")
    token = seen.field("preview")
    other = "B" if token[20] == "A" else "A"
    for altered in (token[:-1], token[:20] + other + token[21:], ""):
        assert alice.post("/requests/confirm/", preview=altered).status == 422, altered
    assert staff("bob").post("/requests/confirm/", preview=token).status == 422, "somebody else's preview"
    assert staff("charlie").post("/requests/confirm/", preview=token).status == 422
    # Fields beside the token change nothing.
    page = alice.post(
        "/requests/confirm/", preview=token, duration_years=3, server_software="Other", csr_text="x"
    )
    told = staff.told("alice", page.number)
    assert (told["duration_years"], told["server_software"]) == (2, "Apache httpd")
    stored = staff.rest("alice", "GET", f"/requests/{page.number}/csr").content
    (tmp_path / "stored.csr").write_bytes(stored)
    kind = "PEM" if stored.startswith(b"-----") else "DER"
    again = tmp_path / "stored.der"
    source = str(tmp_path / "stored.csr")
    run("openssl", "req", "-inform", kind, "-in", source, "-outform", "DER", "-out", str(again))
    assert again.read_bytes() == csr.der, "byte for byte"
    assert colons(hashlib.sha256(csr.der).hexdigest()) in seen.text


def test_r18_a_request_has_id_requester_organisation_and_time(staff: Staff, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    number = staff("bob").ask(make_csr(tmp_path, new_name()))
    told = staff.told("meg", number)
    assert told["id"] == number
    assert (told["requester"], told["organisation"]) == ("bob", "Example University")
    made = datetime.fromisoformat(told["created_at"])
    assert before - timedelta(seconds=1) <= made <= datetime.now(UTC)
    page = staff("alice").request(number)
    for word in (f"Request {number}", "Organisation Example University", "Requested by bob", "Date "):
        assert word in page.text, word
    first = staff.events(number)[0]
    assert (first["event"], first["actor"]) == ("create", "bob")


def test_r19_nothing_reaches_the_ca_before_an_officer_approves_and_then_one_order(
    staff: Staff, server: DemoServer, tmp_path: Path
) -> None:
    number = staff("alice").ask(make_csr(tmp_path, new_name("approved-once.org")))
    assert staff("alice").request(number).status_box.startswith(WAITING)
    assert attempts(server, number) == 0
    forms = {who: staff(who).get(f"/queue/{number}/") for who in ("olga", "otto")}  # open before they race
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda who: staff(who).approve(number, forms[who]), forms))
    staff("alice").wait_for(number, AVAILABLE)
    assert attempts(server, number) == 1
    approvals = "SELECT count(*) FROM store_approval WHERE request_id = ? AND verdict = 'approve'"
    assert rows_of(server, approvals, number) == [(1,)]
