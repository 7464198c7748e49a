"""The thin clients when their CAs refuse, hang up, err, wait for people, or certify something else."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from certdesk.backends.base import Backend, Finds
from certdesk.backends.conformance import issued
from certdesk.domain.errors import BackendError, BackendRefused, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import Absent, Accepted, Intent, Issued, Refused, compare
from tests.harness.vendors.stand_in import Fault
from tests.integration.vendors_support import FINDING, KINDS, ORDERS, Vendor, find, intent_for, vendor

#: What each vendor calls a request that an administrator has turned down.
TURNED_DOWN = {"digicert": "rejected", "sectigo": "Declined", "harica": "Cancelled", "adcs": "denied"}
FETCHES = {"digicert": "/format/", "sectigo": "/collect", "harica": "GetCertificate", "adcs": "certnew"}


@pytest.fixture(params=KINDS)
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vendor]:
    with vendor(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=FINDING)
def finding(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vendor]:
    """A CA that can be asked what it has, and revokes."""
    with vendor(request.param, tmp_path) as made:
        yield made


def new_intent(kind: str, *names: str) -> Intent:
    """Claimed long ago, where the CA can be asked what it has of it; else just now."""
    return intent_for(*names, age=timedelta(minutes=3 if kind in FINDING else 0))


def found_again(backend: Backend, intent: Intent) -> Issued | None:
    """What is found of a lost answer; None for a CA that can't be asked, whose answer stays unknown."""
    if not isinstance(backend, Finds):
        with pytest.raises(OutcomeUnknown, match="officer"):
            backend.submit(intent)
        return None
    found = backend.find(intent)
    assert isinstance(found, Issued)
    return found


def test_credentials_that_are_not_taken_are_waited_for_and_never_told(one: Vendor) -> None:
    """They may be mended: nothing was ordered. A file that is corrected is read at once."""
    key = next(setting for setting in one.settings if setting in ("api_key_file", "password_file"))
    path = Path(str(one.settings[key]))
    right, wrong = path.read_text(encoding="utf-8"), "not-the-right-one"
    path.write_text(wrong, encoding="utf-8")
    backend, intent = one.backend(), new_intent(one.kind)
    for _again in range(3):
        with pytest.raises(Unavailable, match=r"(?i)credentials|sign-in") as refused:
            backend.submit(intent)
        assert wrong not in refused.value.detail
    (check,) = backend.check()
    assert (check.code, check.verdict) == ("backend.misconfigured", Verdict.REFUSE)
    assert wrong not in check.message
    assert getattr(one.server, "sign_ins", 1) == 1, "an account is locked after too many tries"
    assert not one.server.orders
    path.write_text(right, encoding="utf-8")
    assert isinstance(backend.submit(new_intent(one.kind)), Accepted)


def test_a_file_that_everybody_can_read_is_warned_of(one: Vendor) -> None:
    key = next(setting for setting in one.settings if setting in ("api_key_file", "password_file"))
    Path(str(one.settings[key])).chmod(0o644)
    codes = {check.code: check for check in one.backend().check()}
    assert codes["backend.credentials_open"].verdict is Verdict.WARN
    assert worst(tuple(codes.values())) is Verdict.WARN


def test_a_refusal_is_told_in_the_cas_words(one: Vendor) -> None:
    one.server.faults[ORDERS[one.kind]].append(Fault.REFUSED)
    with pytest.raises(BackendRefused, match=r"The CA refused: .*(validated|policy)"):
        one.backend().submit(new_intent(one.kind))
    assert not one.server.orders


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAILED, Fault.GARBAGE])
def test_an_answer_that_is_lost_leads_to_no_second_certificate(one: Vendor, fault: Fault) -> None:
    one.server.faults[ORDERS[one.kind]].append(fault)
    backend, intent = one.backend(), new_intent(one.kind)
    with pytest.raises(OutcomeUnknown):
        backend.submit(intent)
    first = found_again(one.backend() if one.kind in FINDING else backend, intent)
    if first is not None:
        assert issued(backend, intent) == first
    assert len(one.server.orders) == 1


def test_what_may_still_be_at_work_is_not_taken_for_absent(finding: Vendor) -> None:
    finding.server.faults[ORDERS[finding.kind]].append(Fault.DOWN)
    backend, fresh = finding.backend(), intent_for(age=timedelta(0))
    with pytest.raises(OutcomeUnknown):
        backend.submit(fresh)
    with pytest.raises(OutcomeUnknown, match="may still be at work"):
        find(backend, fresh)
    aging = intent_for(age=timedelta(seconds=20))
    with pytest.raises(OutcomeUnknown, match="may still be at work"):
        backend.submit(aging)
    assert find(backend, intent_for()) == Absent()
    assert not finding.server.orders


def test_a_ca_that_takes_no_more_is_left_alone(one: Vendor) -> None:
    one.server.faults[ORDERS[one.kind]].append(Fault.BUSY)
    backend = one.backend()
    with pytest.raises(Unavailable, match="429"):
        backend.submit(new_intent(one.kind))
    asked = len(one.server.seen)
    with pytest.raises(Unavailable, match=r"takes no more for [67] seconds"):
        backend.submit(new_intent(one.kind))
    assert len(one.server.seen) == asked
    assert not one.server.orders


def test_a_redirect_is_not_followed(one: Vendor) -> None:
    one.server.faults[ORDERS[one.kind]].append(Fault.ELSEWHERE)
    backend = one.backend()
    with pytest.raises(Unavailable, match="redirects"):
        backend.submit(new_intent(one.kind))
    assert "/elsewhere" not in [asked.path for asked in one.server.seen]
    assert isinstance(backend.submit(new_intent(one.kind)), Accepted)


def test_nobody_there_is_waited_for(one: Vendor) -> None:
    backend = one.backend(address="http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="can't be reached"):
        backend.submit(new_intent(one.kind))
    assert backend.check()[-1].code == "backend.unreachable"


def test_an_administrator_is_waited_for(one: Vendor) -> None:
    one.server.approves = False
    backend, intent = one.backend(), new_intent(one.kind)
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    assert backend.poll(intent, accepted.handle) == accepted
    one.server.issue(one.server.orders[0])
    for fault in (Fault.GARBAGE, Fault.FAILED):
        one.server.faults[FETCHES[one.kind]].append(fault)
        with pytest.raises(Unavailable):
            backend.poll(intent, accepted.handle)
    certificate = backend.poll(intent, accepted.handle)
    assert isinstance(certificate, Issued)
    assert worst(compare(certificate, intent)) is Verdict.PASS


def test_an_administrator_says_no(one: Vendor) -> None:
    one.server.approves = False
    backend, intent = one.backend(), new_intent(one.kind)
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    one.server.orders[0].status = TURNED_DOWN[one.kind]
    assert isinstance(backend.poll(intent, accepted.handle), Refused)
    if isinstance(backend, Finds):
        assert isinstance(backend.find(intent), Refused)


@pytest.mark.parametrize("certified", [["www.example.org"], []])
def test_other_names_than_were_asked_for_are_found(one: Vendor, certified: list[str]) -> None:
    """None at all stand in what a CA makes of a CSR without the extension."""
    one.server.certifies = certified
    intent = new_intent(one.kind)
    (check,) = compare(issued(one.backend(), intent), intent)
    assert check.code == "issuance.mismatch.names"


def test_a_chain_that_has_ended_is_told(one: Vendor) -> None:
    one.server.grow_old()
    backend = one.backend()
    if one.kind != "adcs":  # its pages show the chain; the others do with a certificate
        issued(backend, new_intent(one.kind))
    assert backend.check()[-1].code == "backend.ca_ended"


def test_what_was_revoked_meanwhile_is_not_handed_out(finding: Vendor) -> None:
    backend, intent = finding.backend(), new_intent(finding.kind)
    leaf = issued(backend, intent).chain[0]
    backend.revoke(certificate_der=leaf, reason="keyCompromise")
    assert isinstance(find(backend, intent), Refused)


def test_a_revocation_whose_answer_is_lost_is_asked_for_again(finding: Vendor) -> None:
    backend = finding.backend()
    leaf = issued(backend, new_intent(finding.kind)).chain[0]
    finding.server.faults["evoke"].append(Fault.LOST)
    with pytest.raises(BackendError) as unknown:
        backend.revoke(certificate_der=leaf, reason="superseded")
    assert not isinstance(unknown.value, BackendRefused)
    backend.revoke(certificate_der=leaf, reason="superseded")
    assert finding.server.orders[0].is_revoked
