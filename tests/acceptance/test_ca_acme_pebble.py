"""A real ACME CA (Pebble) through its whole life: issue, wait, refuse, lose answers, restart, revoke.

Names are validated by DNS updates at bind, which a resolver shows to the CA. Where an answer has to be lost
or spoilt, a proxy stands in front of the CA; the CA itself always is the real one.
"""

import json
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.conformance import settled
from certdesk.backends.registry import load_backends
from certdesk.domain.errors import BackendError, BackendRefused, Misconfigured, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import (
    Absent,
    Accepted,
    Intent,
    Issued,
    Refused,
    compare,
)
from tests.harness.acme_ca import DELEGATED, ZONE, AcmeCa, acme_ca, csr_intent
from tests.harness.acme_proxy import (
    AcmeProxy,
    Answer,
    Meddle,
    acme_proxy,
    empty_object,
    endless,
    garbage,
    lost,
    problem,
    server_error,
)
from tests.harness.pebble import pebble_ca
from tests.harness.updated_zones import UpdatedZones, updated_zones

pytestmark = pytest.mark.slow
WWW = f"www.{ZONE}"
#: Where Pebble is asked for what.
ORDERS, ORDER, FINALIZE, CERTIFICATE = "/order-plz", "/my-order/", "/finalize-order/", "/certZ/"
REGISTER, CHALLENGE, AUTHORIZATION, REVOKE = "/sign-me-up", "/chalZ/", "/authZ/", "/revoke-cert"

Open = Callable[..., AcmeBackend]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with acme_ca(tmp_path_factory.mktemp("ca"), eab=True, alternates=1) as running:
        yield running


@pytest.fixture
def proxy(ca: AcmeCa, tmp_path: Path) -> Iterator[AcmeProxy]:
    with acme_proxy(ca.pebble.port, tmp_path / "proxy") as running:
        yield running


@pytest.fixture
def open_backend(ca: AcmeCa, proxy: AcmeProxy, tmp_path: Path) -> Open:
    """The back end, as after a restart at each call, with the proxy between it and the CA."""

    def opened(**changes: Any) -> AcmeBackend:
        told = {
            "directory_url": proxy.directory,
            "ca_file": str(proxy.ca),
            "folder": str(tmp_path / "account"),
        }
        return ca.backend(**{**told, **changes})

    return opened


def issued(backend: AcmeBackend, intent: Intent) -> Issued:
    outcome = settled(backend, intent)
    assert isinstance(outcome, Issued), outcome
    return outcome


def is_right(outcome: Issued, intent: Intent) -> bool:
    """Whether it is what was intended. (Pebble 2.4 adds the usage for clients, whatever one asks for.)"""
    wrong = {check.code for check in compare(outcome, intent) if check.verdict is Verdict.REFUSE}
    return wrong <= {"issuance.mismatch.eku"}


def codes(backend: AcmeBackend) -> dict[str, tuple[Verdict, str, str]]:
    return {check.code: (check.verdict, check.message, check.seen) for check in backend.check()}


# Issuing


def test_names_are_validated_where_their_records_belong(ca: AcmeCa, open_backend: Open) -> None:
    names = (f"all.{ZONE}", f"*.all.{ZONE}", f"moved.{ZONE}", f"own.{ZONE}")
    backend, intent = open_backend(), csr_intent(*names)
    assert is_right(issued(backend, intent), intent)
    for name in (*(f"_acme-challenge.{name}" for name in names), f"moved.{DELEGATED}"):
        assert ca.zones.texts(name.replace("*.", "")) == set(), f"{name}: a record of ours is left"


def test_a_record_of_somebody_else_stays(ca: AcmeCa, open_backend: Open) -> None:
    backend, intent = open_backend(), csr_intent(f"shared.{ZONE}")
    at = backend._config.dcv.lookup.target(f"_acme-challenge.shared.{ZONE}")  # type: ignore[union-attr]  # it is set
    backend._config.dcv.driver.add(at, "somebody else's")  # type: ignore[union-attr]  # as above
    assert isinstance(settled(backend, intent), Issued)
    assert ca.zones.texts(f"_acme-challenge.shared.{ZONE}") == {"somebody else's"}


def test_submit_makes_an_order_and_finalizes_nothing(proxy: AcmeProxy, open_backend: Open) -> None:
    backend, intent = open_backend(), csr_intent(WWW)
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    assert ORDER in accepted.handle
    assert proxy.seen[-1].startswith(ORDERS)
    assert backend.submit(intent) == accepted == backend.find(intent)
    assert proxy.seen[-1].startswith(ORDERS), "the same intent asks for no second order"
    assert backend.find(csr_intent(WWW)) == Absent()


def test_the_csr_decides_the_names(proxy: AcmeProxy, open_backend: Open) -> None:
    for csr_names, told in (
        ((WWW, ZONE), f"not requested: {ZONE}"),
        ((ZONE,), "not requested"),
        ((WWW,), ""),
    ):
        intent = csr_intent(WWW, csr_names=csr_names)
        if told:
            with pytest.raises(BackendRefused, match=told):
                open_backend().submit(intent)
            assert proxy.seen == []
        else:
            assert isinstance(open_backend().submit(intent), Accepted)
    with pytest.raises(BackendRefused, match=f"lacks names that are requested: {ZONE}"):
        open_backend().submit(csr_intent(WWW, ZONE, csr_names=(WWW,)))
    with pytest.raises(BackendRefused, match="can't be read"):
        open_backend().submit(replace(csr_intent(WWW), csr_der=b""))


def test_the_preferred_root_chooses_the_chain(ca: AcmeCa, open_backend: Open) -> None:
    roots = [ca.pebble.root(number) for number in (0, 1)]
    ways = {
        "": roots[0],
        _common_name(roots[1]): roots[1],
        _common_name(roots[0]): roots[0],
        "No such root": roots[0],
    }
    backend = open_backend()
    for preferred, root in ways.items():
        backend = open_backend(preferred_root=preferred)
        chain = [x509.load_der_x509_certificate(one) for one in issued(backend, csr_intent(WWW)).chain]
        chain[0].verify_directly_issued_by(chain[1])
        assert chain[-1].issuer == root.subject, preferred
        assert [one.subject for one in chain[1:]] == [
            x509.load_der_x509_certificate(one).subject for one in backend.chain()
        ]
        fallen_back = preferred == "No such root"
        assert ("backend.preferred_root" in codes(backend)) is fallen_back
    last = x509.load_der_x509_certificate(backend.chain()[0])
    intermediate = last.fingerprint(hashes.SHA256()).hex(":").upper()
    again = issued(open_backend(preferred_root=intermediate), csr_intent(WWW))
    assert again.chain[1:] == backend.chain()


def test_an_order_may_say_when_the_certificate_ends(open_backend: Open) -> None:
    intent = csr_intent(WWW)
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    intent = replace(intent, not_after=ends)
    told = issued(open_backend(send_not_after=True), intent)
    assert x509.load_der_x509_certificate(told.chain[0]).not_valid_after_utc == ends
    assert is_right(told, intent)
    intent = replace(csr_intent(WWW), not_after=ends)
    assert not is_right(issued(open_backend(), intent), intent), "90 days are more than 3"


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


# Waiting


@pytest.fixture
def lagging(tmp_path: Path) -> Iterator[UpdatedZones]:
    """A second server of the zone that does not hear of updates by itself."""
    with updated_zones("knot", tmp_path / "lagging", {ZONE: ""}) as running:
        yield running


def test_the_ca_is_not_asked_before_all_servers_show_the_record(
    ca: AcmeCa, proxy: AcmeProxy, open_backend: Open, lagging: UpdatedZones
) -> None:
    both = ca.dcv(servers=[ca.zones.address, lagging.address])
    backend, intent = open_backend(dcv=both), csr_intent(f"late.{ZONE}")
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    for _ in range(3):
        assert backend.poll(intent, accepted.handle) == accepted
        assert not any(path.startswith(CHALLENGE) for path in proxy.seen)
    verdict, told, _seen = codes(backend)["backend.order_waits"]
    assert verdict is Verdict.WARN
    assert f"late.{ZONE}: 127.0.0.1 port {lagging.port} doesn't show the record yet." in told

    (value,) = ca.zones.texts(f"_acme-challenge.late.{ZONE}")
    driver = ca.backend(dcv=ca.dcv(server=lagging.address, zone=ZONE))._config.dcv.driver  # type: ignore[union-attr]  # it is set
    driver.add(backend._config.dcv.lookup.target(f"_acme-challenge.late.{ZONE}"), value)  # type: ignore[union-attr]  # as above
    assert isinstance(settled(backend, intent), Issued)
    assert "backend.order_waits" not in codes(backend)


def test_a_server_that_is_silent_is_waited_for(ca: AcmeCa, open_backend: Open, proxy: AcmeProxy) -> None:
    silent = ca.dcv(servers=[ca.zones.address, "127.0.0.1:9"], timeout=0.2)
    backend, intent = open_backend(dcv=silent), csr_intent(f"silent.{ZONE}")
    assert isinstance(settled_for(backend, intent, polls=2), Accepted)
    assert "does not answer" in codes(backend)["backend.order_waits"][1]
    assert isinstance(settled(open_backend(), intent), Issued)  # the operator names the servers that count


def settled_for(backend: AcmeBackend, intent: Intent, *, polls: int) -> object:
    outcome = backend.submit(intent)
    for _ in range(polls):
        assert isinstance(outcome, Accepted)
        outcome = backend.poll(intent, outcome.handle)
    return outcome


def test_the_ca_is_not_asked_again_before_it_wants_to_be(
    ca: AcmeCa, proxy: AcmeProxy, open_backend: Open
) -> None:
    now = datetime.now(UTC)
    backend, intent = open_backend(clock=lambda: now), csr_intent(WWW)
    proxy.meddle(ORDER, processing)
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    assert backend.poll(intent, accepted.handle) == accepted
    asked = len(proxy.seen)
    assert backend.poll(intent, accepted.handle) == accepted
    assert len(proxy.seen) == asked
    now += timedelta(seconds=301)
    assert isinstance(settled(backend, intent), Issued)


def processing(answer: Answer) -> Answer:
    """The order, as a CA shows it that takes five minutes."""
    order = {**json.loads(answer.body), "status": "processing"}
    return replace(answer, body=json.dumps(order).encode(), headers={**answer.headers, "Retry-After": "300"})


# Refusals


def test_a_name_that_the_ca_can_not_validate_is_refused_in_plain_words(
    ca: AcmeCa, open_backend: Open, lagging: UpdatedZones
) -> None:
    # The record goes to a server that the CA does not ask.
    elsewhere = ca.dcv(server=lagging.address, servers=[lagging.address], zone=ZONE)
    backend, intent = open_backend(dcv=elsewhere), csr_intent(f"wrong.{ZONE}")
    outcome = settled(backend, intent)
    assert isinstance(outcome, Refused)
    assert outcome.reason.startswith(f"The CA could not validate wrong.{ZONE}. Error retrieving TXT records")
    assert outcome.reason.count("Error") == 1
    assert lagging.texts(f"_acme-challenge.wrong.{ZONE}") == set()


def test_what_the_ca_refuses_when_asked_is_refused(proxy: AcmeProxy, open_backend: Open) -> None:
    told = "policy forbids it"
    for kind in ("rejectedIdentifier", "caa", "unsupportedIdentifier"):
        proxy.instead(ORDERS, problem(kind, told, status=403))
        with pytest.raises(BackendRefused, match=r"\. It says: policy forbids it\.$"):
            open_backend().submit(csr_intent(WWW))
    backend, intent = open_backend(), csr_intent(WWW)
    proxy.instead(FINALIZE, problem("badCSR", "the key is weak"))
    outcome = settled(backend, intent)
    assert outcome == Refused(reason="The CA doesn't accept the CSR. It says: the key is weak.")
    with pytest.raises(BackendRefused, match=r"validate 127\.0\.0\.1 by DNS"):
        settled(open_backend(), csr_intent("127.0.0.1"))


def test_sub_problems_name_their_names(proxy: AcmeProxy, open_backend: Open) -> None:
    body = {
        "type": "urn:ietf:params:acme:error:malformed",
        "detail": "Some of the identifiers were rejected",
        "subproblems": [
            {
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "on the list",
                "identifier": {"type": "dns", "value": WWW},
            }
        ],
    }
    said = Answer(status=400, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    proxy.instead(ORDERS, lambda _answer: said)
    with pytest.raises(BackendRefused) as refused:
        open_backend().submit(csr_intent(WWW))
    assert refused.value.detail == (
        f"Some of the identifiers were rejected. {WWW}: The CA doesn't issue for this name. "
        "It says: on the list."
    )


@pytest.mark.parametrize(
    "said, error, told",
    [
        (problem("rateLimited", "too many", status=429, Retry_After="3600"), Unavailable, "for 3600 seconds"),
        (
            Answer(status=503, headers={"Retry-After": "Fri, 27 Nov 2026 19:00:00 GMT"}),
            Unavailable,
            "until Fri",
        ),
        (problem("serverInternal", "oops", status=500), Unavailable, "an error of its own"),
        (problem("userActionRequired", "new terms", status=403), Misconfigured, "new terms"),
        (problem("unauthorized", "deactivated", status=403), Misconfigured, "deactivated"),
        (problem("accountDoesNotExist", "who?"), Misconfigured, "who?"),
        (problem("invalidProfile", "no such profile"), Misconfigured, "no such profile"),
    ],
)
def test_an_error_says_whether_to_wait_or_to_act(
    proxy: AcmeProxy, open_backend: Open, said: Meddle | Answer, error: type[BackendError], told: str
) -> None:
    proxy.instead(ORDERS, said if callable(said) else lambda _answer: said)
    with pytest.raises(error, match=told):
        open_backend().submit(csr_intent(WWW))


def test_the_ca_gets_no_order_before_it_wants_one(proxy: AcmeProxy, open_backend: Open) -> None:
    now = datetime.now(UTC)
    limited = problem("rateLimited", "too many certificates", status=429, Retry_After="7200")
    proxy.instead(ORDERS, limited)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"for 7200 seconds|no order for these names before \d"):
            open_backend(clock=lambda: now).submit(csr_intent(WWW, ZONE))
    orders = [path for path in proxy.seen if path.startswith(ORDERS)]
    with pytest.raises(Unavailable, match="no order for these names"):
        open_backend(clock=lambda: now).submit(csr_intent(ZONE, WWW))
    assert [path for path in proxy.seen if path.startswith(ORDERS)] == orders
    assert isinstance(open_backend(clock=lambda: now).submit(csr_intent(WWW)), Accepted), "other names may"
    now += timedelta(hours=2)
    assert isinstance(open_backend(clock=lambda: now).submit(csr_intent(WWW, ZONE)), Accepted)


def test_a_ca_that_takes_no_nonce_is_unavailable(tmp_path: Path, ca: AcmeCa) -> None:
    with pebble_ca(tmp_path / "pebble", refused_nonces=100) as pebble:
        backend = ca.backend(
            folder=str(tmp_path / "account"), directory_url=pebble.directory, ca_file=str(pebble.ca)
        )
        with pytest.raises(Unavailable, match="nonces"):
            backend.submit(csr_intent(WWW))


def test_a_ca_that_is_down_is_unavailable(tmp_path: Path, ca: AcmeCa) -> None:
    gone = {"folder": str(tmp_path / "account"), "directory_url": "https://127.0.0.1:9/dir"}
    backend = ca.backend(**gone)  # type: ignore[arg-type]  # settings
    with pytest.raises(Unavailable, match="can't be reached"):
        backend.submit(csr_intent(WWW))
    verdict, told, _seen = codes(backend)["backend.unreachable"]
    assert (verdict, "can't be reached" in told) == (Verdict.REFUSE, True)
    with pytest.raises(Unavailable, match="can't be reached"):  # a server that we must not trust
        ca.backend(folder=str(tmp_path / "other"), ca_file=None).submit(csr_intent(WWW))


# Lost answers, and restarts in between


def untouched(answer: Answer) -> Answer:
    return answer


FAULTS = (lost, garbage, empty_object, server_error, endless)


@pytest.mark.parametrize(
    "where, meddles",
    [
        # Each answer is asked for again, and meets the next fault …
        *((where, FAULTS) for where in ("/dir", REGISTER, ORDERS, ORDER, AUTHORIZATION, CERTIFICATE)),
        (REGISTER, (untouched, *FAULTS)),  # the first only asks whether there is an account
        # … but for those that are asked for once.
        *((where, (meddle,)) for where in (CHALLENGE, FINALIZE) for meddle in FAULTS),
    ],
)
def test_a_lost_or_spoilt_answer_costs_no_second_certificate(
    ca: AcmeCa, proxy: AcmeProxy, open_backend: Open, where: str, meddles: tuple[Meddle, ...]
) -> None:
    proxy.meddle(where, *meddles)
    before = ca.pebble.issued
    intent, outcome, errors = csr_intent(f"once.{ZONE}"), None, []
    for _ in range(30):  # as the engine does, with a restart after every step
        try:
            asked = open_backend()
            found = asked.find(intent)
            outcome = asked.submit(intent) if found == Absent() else asked.poll(intent, found.handle)  # type: ignore[union-attr]  # it never issues
        except (Unavailable, OutcomeUnknown) as error:
            errors.append(error)
            continue
        if not isinstance(outcome, Accepted):
            break
    assert isinstance(outcome, Issued), (outcome, errors)
    assert is_right(outcome, intent)
    kind = OutcomeUnknown if where in (FINALIZE, CERTIFICATE) else Unavailable  # once the CA has acted
    assert {type(error) for error in errors} <= {kind}, errors
    # Nothing is lost with what a challenge's answer says, nor with more than the account's address.
    assert len(errors) == len(meddles) or where in (CHALLENGE, REGISTER)
    assert ca.pebble.issued == before + 1
    assert issued(open_backend(), intent).chain[0] == outcome.chain[0]


def test_a_time_out_after_finalize_is_looked_up(ca: AcmeCa, proxy: AcmeProxy, open_backend: Open) -> None:
    before = ca.pebble.issued
    over = threading.Event()

    def silent(answer: Answer) -> Answer:
        over.wait(timeout=20)
        return answer

    backend, intent = open_backend(timeout=0.5), csr_intent(WWW)
    proxy.meddle(FINALIZE, silent)
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    with pytest.raises(OutcomeUnknown, match="has not answered"):
        _polled(backend, intent, accepted)
    over.set()
    assert isinstance(settled(open_backend(), intent), Issued)
    assert ca.pebble.issued == before + 1


def _polled(backend: AcmeBackend, intent: Intent, outcome: object) -> object:
    for _ in range(50):
        if not isinstance(outcome, Accepted):
            break
        outcome = backend.poll(intent, outcome.handle)
    return outcome


def test_an_order_survives_the_loss_of_the_journal(ca: AcmeCa, open_backend: Open, tmp_path: Path) -> None:
    before = ca.pebble.issued
    intent = csr_intent(WWW)
    accepted = open_backend().submit(intent)
    assert isinstance(accepted, Accepted)
    (tmp_path / "account" / "orders.sqlite3").unlink()
    assert open_backend().find(intent) == Absent()  # and yet the engine has the handle:
    assert isinstance(_polled(open_backend(), intent, accepted), Issued)
    assert ca.pebble.issued == before + 1


def test_an_order_that_the_ca_has_forgotten(open_backend: Open, proxy: AcmeProxy) -> None:
    backend, intent, late = open_backend(), csr_intent(WWW), csr_intent(WWW)
    gone = problem("malformed", "No order for ID", status=404)
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    proxy.instead(ORDER, gone)
    outcome = backend.poll(intent, accepted.handle)
    assert isinstance(outcome, Refused)  # it was never finalized, so nothing was issued
    assert "open for too long" in outcome.reason
    proxy.meddle(FINALIZE, lost)
    with pytest.raises(OutcomeUnknown):
        settled(backend, late)
    proxy.instead(ORDER, gone)
    with pytest.raises(OutcomeUnknown, match="doesn't show it"):
        backend.poll(late, "unused")


def test_another_request_for_the_same_names_waits_for_the_first(proxy: AcmeProxy, open_backend: Open) -> None:
    # Let's Encrypt hands out an order again while it is open; it could be finalized with the wrong CSR.
    now = datetime.now(UTC)
    backend, first, second = open_backend(clock=lambda: now), csr_intent(WWW), csr_intent(WWW)
    kept: list[Answer] = []

    def keeping(answer: Answer) -> Answer:
        kept.append(answer)
        return answer

    proxy.meddle(ORDERS, keeping)
    accepted = backend.submit(first)
    proxy.meddle(ORDERS, *[lambda answer: replace(kept[0], headers=_with_nonce(kept[0], answer))] * 2)
    with pytest.raises(Unavailable, match="same names"):
        backend.submit(second)
    # The CA is too busy to finalize the first, which is then never asked about again, as when its permission
    # has ended: its order changes hands.
    proxy.instead(FINALIZE, problem("serverInternal", "busy", status=503))
    with pytest.raises(Unavailable, match="busy"):
        _polled(backend, first, accepted)
    now += timedelta(hours=2)
    assert backend.submit(second) == accepted
    assert is_right(issued(backend, second), second)
    # And if it is asked about after all, it gets an order of its own.
    assert isinstance(accepted, Accepted)
    outcome = _polled(backend, first, accepted)
    assert isinstance(outcome, Issued)
    assert is_right(outcome, first)


def test_an_order_whose_csr_was_refused_serves_the_next_request(proxy: AcmeProxy, open_backend: Open) -> None:
    # The order stays ready (RFC 8555 7.4), and Let's Encrypt hands it out again.
    backend, first, second = open_backend(), csr_intent(WWW), csr_intent(WWW)
    kept: list[Answer] = []

    def keeping(answer: Answer) -> Answer:
        kept.append(answer)
        return answer

    proxy.meddle(ORDERS, keeping)
    proxy.instead(FINALIZE, problem("badCSR", "the key is weak"))
    assert isinstance(settled(backend, first), Refused)
    proxy.meddle(ORDERS, lambda answer: replace(kept[0], headers=_with_nonce(kept[0], answer)))
    outcome = settled(backend, second)
    assert isinstance(outcome, Issued)
    assert is_right(outcome, second)
    assert len([path for path in proxy.seen if path.startswith(ORDER)]) > 1


def test_an_order_that_changes_hands_at_the_last_moment_is_not_finalized(
    ca: AcmeCa, proxy: AcmeProxy, open_backend: Open
) -> None:
    backend, first, second = open_backend(), csr_intent(WWW), csr_intent(WWW)
    before = ca.pebble.issued
    accepted = backend.submit(first)
    assert isinstance(accepted, Accepted)

    def hijack(answer: Answer) -> Answer:
        if json.loads(answer.body)["status"] != "ready":
            proxy.meddle(ORDER, hijack)
            return answer
        later = datetime.now(UTC) + timedelta(hours=2)
        key = second.idempotency_key
        assert backend._journal.own(key=key, url=accepted.handle, names=second.names, now=later)
        return answer

    proxy.meddle(ORDER, hijack)
    with pytest.raises(Unavailable, match="gone to another request"):
        _polled(backend, first, accepted)
    assert ca.pebble.issued == before
    for intent in (second, first):
        outcome = _polled(backend, intent, accepted)
        assert isinstance(outcome, Issued)
        assert is_right(outcome, intent)
    assert ca.pebble.issued == before + 2


def _with_nonce(kept: Answer, answer: Answer) -> dict[str, str]:
    return {**kept.headers, "Replay-Nonce": answer.headers["Replay-Nonce"]}


def test_two_workers_on_one_order_get_one_certificate(proxy: AcmeProxy, open_backend: Open) -> None:
    intent = csr_intent(WWW)
    accepted = open_backend().submit(intent)
    assert isinstance(accepted, Accepted)
    outcomes: list[object] = []

    def work() -> None:
        try:
            outcomes.append(_polled(open_backend(), intent, accepted))
        except BackendError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chains = {outcome.chain for outcome in outcomes if isinstance(outcome, Issued)}
    assert (len(outcomes), len(chains)) == (4, 1), outcomes
    assert all(isinstance(one, (Issued, OutcomeUnknown, Unavailable)) for one in outcomes), outcomes


def test_a_certificate_with_other_names_is_found_out(proxy: AcmeProxy, open_backend: Open) -> None:
    other = issued(open_backend(), csr_intent(f"other.{ZONE}"))
    pem = b"".join(x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in other.chain)
    proxy.meddle(CERTIFICATE, lambda answer: replace(answer, body=pem))
    intent = csr_intent(WWW)
    outcome = issued(open_backend(), intent)
    wrong = {check.code for check in compare(outcome, intent)}
    assert {"issuance.mismatch.names", "issuance.mismatch.key"} <= wrong


# The account


def test_the_account_is_registered_once_and_bound(
    ca: AcmeCa, proxy: AcmeProxy, open_backend: Open, tmp_path: Path
) -> None:
    backend = open_backend()
    assert codes(backend)["backend.account"][0] is Verdict.WARN  # the credential is there, the account is not
    account = backend.register()
    verdict, told, seen = codes(backend)["backend.account"]
    assert (verdict, told, seen) == (Verdict.PASS, "Our account is registered.", account.url)
    for name in ("account.key", "account.json", "orders.sqlite3"):
        assert stat.S_IMODE((tmp_path / "account" / name).stat().st_mode) == 0o600
    # The credential is used up: nobody needs it any longer.
    unbound = open_backend(eab_kid=None, eab_hmac_file=None)
    assert unbound.register() == account
    assert isinstance(settled(unbound, csr_intent(WWW)), Issued)


def test_the_ca_is_asked_about_our_account_once_an_hour(proxy: AcmeProxy, open_backend: Open) -> None:
    now = datetime.now(UTC)
    backend = open_backend(clock=lambda: now)
    account = backend.register()
    path = account.url.partition(f":{proxy.server_address[1]}")[2]
    for minutes, asked in ((0, 1), (1, 1), (59, 1), (61, 2)):
        now += timedelta(minutes=minutes)
        assert codes(backend)["backend.account"][0] is Verdict.PASS
        assert proxy.seen.count(path) == asked, minutes
        now -= timedelta(minutes=minutes)


def test_many_at_once_register_one_account(proxy: AcmeProxy, open_backend: Open) -> None:
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(open_backend().register().url)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(urls), len(set(urls))) == (5, 1)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"eab_kid": "kid-unknown"}, "doesn't"),
        ({"eab_kid": None, "eab_hmac_file": None}, "external account binding"),
        ({"terms_agreed": False}, "terms of service"),
    ],
)
def test_an_account_that_is_not_to_be_had(open_backend: Open, changes: dict[str, object], told: str) -> None:
    backend = open_backend(**changes)
    with pytest.raises(Misconfigured, match=told):
        backend.submit(csr_intent(WWW))
    assert "backend.account" in codes(backend)
    assert isinstance(open_backend().submit(csr_intent(WWW)), Accepted)  # once it is put right


def test_a_wrong_key_for_the_binding(open_backend: Open, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.hmac"
    for text, told in (("d3Jvbmc", "doesn't"), ("", "is empty"), ("ü", "can't be read")):
        wrong.write_text(text, encoding="utf-8")
        with pytest.raises(Misconfigured, match=told):
            open_backend(eab_hmac_file=str(wrong)).submit(csr_intent(WWW))


def test_a_lost_account_is_found_again_without_its_credential(
    proxy: AcmeProxy, open_backend: Open, tmp_path: Path
) -> None:
    account = open_backend().register()
    (tmp_path / "account" / "account.json").unlink()
    assert open_backend(eab_kid=None, eab_hmac_file=None).register() == account


def test_an_account_belongs_to_one_ca(ca: AcmeCa, open_backend: Open, tmp_path: Path) -> None:
    open_backend().register()
    with pytest.raises(Misconfigured, match="folder of its own"):
        open_backend(directory_url=ca.pebble.directory, ca_file=str(ca.pebble.ca)).submit(csr_intent(WWW))
    key = tmp_path / "account" / "account.key"
    other = ec.generate_private_key(ec.SECP384R1())
    key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Misconfigured, match="not one of P-256"):
        open_backend()
    key.unlink()
    with pytest.raises(Misconfigured, match="Restore it"):
        open_backend()


def test_terms_and_profiles_of_the_directory(proxy: AcmeProxy, open_backend: Open) -> None:
    def directory(answer: Answer) -> Answer:
        told = json.loads(answer.body)
        told["meta"] |= {"termsOfService": "https://ca.example/terms/2", "profiles": {"tlsserver": "x"}}
        return replace(answer, body=json.dumps(told).encode())

    open_backend().register()
    proxy.meddle("/dir", directory)
    found = codes(open_backend(profile="tlsserver"))
    assert found["backend.profile"][0] is Verdict.PASS
    assert found["backend.terms"][2] == "https://ca.example/terms/2"
    unknown = open_backend(profile="shortlived")
    assert codes(unknown)["backend.profile"][0] is Verdict.REFUSE
    with pytest.raises(Misconfigured, match=r"the profile shortlived\. It offers: none"):
        unknown.submit(csr_intent(WWW))


def test_names_that_the_ca_has_validated_already_need_no_record(tmp_path: Path, ca: AcmeCa) -> None:
    with pebble_ca(tmp_path / "pebble", reused=100) as pebble:
        told = {
            "folder": str(tmp_path / "account"),
            "directory_url": pebble.directory,
            "ca_file": str(pebble.ca),
            "eab_kid": None,
            "eab_hmac_file": None,
        }
        with_dcv, without = ca.backend(**told), ca.backend(**told, dcv=None)  # type: ignore[arg-type]  # settings
        with pytest.raises(Misconfigured, match=f"wants {WWW} validated"):
            settled(without, csr_intent(WWW))
        assert "no way to do so" in codes(without)["backend.order_waits"][1]
        assert isinstance(settled(with_dcv, csr_intent(WWW)), Issued)
        intent = csr_intent(WWW)
        assert isinstance(settled(without, intent), Issued)


# Revoking


@pytest.mark.parametrize("reason", ["unspecified", "keyCompromise", "superseded", "cessationOfOperation"])
def test_revoking_by_the_account(ca: AcmeCa, open_backend: Open, reason: str) -> None:
    leaf = issued(open_backend(), csr_intent(WWW)).chain[0]
    assert ca.pebble.status(leaf) == "Valid"
    for _ in range(2):
        open_backend().revoke(certificate_der=leaf, reason=reason)
        assert ca.pebble.status(leaf) == "Revoked"


def test_revoking_what_another_account_was_issued(open_backend: Open, tmp_path: Path) -> None:
    leaf = issued(open_backend(folder=str(tmp_path / "another")), csr_intent(WWW)).chain[0]
    with pytest.raises(BackendRefused):
        open_backend().revoke(certificate_der=leaf, reason="superseded")


def test_a_lost_answer_to_a_revocation(ca: AcmeCa, proxy: AcmeProxy, open_backend: Open) -> None:
    leaf = issued(open_backend(), csr_intent(WWW)).chain[0]
    proxy.meddle(REVOKE, lost)
    with pytest.raises(OutcomeUnknown):
        open_backend().revoke(certificate_der=leaf, reason="superseded")
    assert ca.pebble.status(leaf) == "Revoked"
    open_backend().revoke(certificate_der=leaf, reason="superseded")


def test_a_reason_that_the_ca_does_not_take_is_left_out(
    ca: AcmeCa, proxy: AcmeProxy, open_backend: Open
) -> None:
    leaf = issued(open_backend(), csr_intent(WWW)).chain[0]
    proxy.instead(REVOKE, problem("badRevocationReason", "only keyCompromise"))
    open_backend().revoke(certificate_der=leaf, reason="superseded")
    assert ca.pebble.status(leaf) == "Revoked"


# Set-up


def test_it_is_an_installed_kind(ca: AcmeCa) -> None:
    loaded = load_backends({"sectigo": {"kind": "acme", **ca.settings("installed")}})["sectigo"]
    assert (loaded.name, loaded.title, loaded.inline) == ("sectigo", "Pebble", False)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"directory_url": "http://127.0.0.1/dir"}, "begin with https"),
        ({"folder": None}, "set folder"),
        ({"directory": "x"}, "unknown settings directory"),
        ({"eab_hmac_file": None}, "both eab_kid and eab_hmac_file"),
        ({"contact": ["ra@example.org"]}, "mailto:"),
        ({"contact": "mailto:ra@example.org"}, "list of texts"),
        ({"ca_file": "/nowhere.pem"}, "no ca_file"),
        ({"terms_agreed": "yes"}, "true or false"),
        ({"timeout": 0}, "above 0"),
        ({"dcv": "rfc2136"}, "must be a section"),
        ({"dcv": {"driver": "carrier pigeon"}}, "rfc2136, acme-dns, hook"),
        ({"dcv": {"driver": "hook"}}, "set program"),
        ({"dcv": {"driver": "hook", "program": ["x"], "key_name": "y"}}, "unknown settings key_name"),
        ({"dcv": {"driver": "rfc2136", "server": ":53", "key_name": "a", "key_file": "b"}}, "no host"),
    ],
)
def test_settings_that_could_only_fail_later(ca: AcmeCa, changes: dict[str, object], told: str) -> None:
    settings = {key: value for key, value in {**ca.settings(), **changes}.items() if value is not None}
    with pytest.raises(Misconfigured, match=told):
        AcmeBackend.from_settings(name="pebble", settings=settings)
