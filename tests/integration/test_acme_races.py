"""ACME at the same moment, and after a crash: one certificate, nothing lost, nothing signed unrecorded."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import OperationalError, connection

from certdesk.acme.orders import _look  # the look as the background takes it
from certdesk.backends.base import Backend
from certdesk.dcv.base import Problem
from certdesk.domain.acme.orders import CHALLENGE_TYPES
from certdesk.domain.actors import RaRole
from certdesk.domain.csr.csr import read_csr
from certdesk.domain.issuing.certificates import Accepted, Intent, Refused
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.validation.evidence import Method
from certdesk.jobs.worker import Worker
from certdesk.services.acme import challenges as acme_validation
from certdesk.services.acme import finalize as acme_finalize
from certdesk.services.acme.accounts import account_by_id
from certdesk.services.acme.credentials import reveal_key
from certdesk.services.acme.nonces import clear_nonces
from certdesk.services.acme.orders import clear_orders
from certdesk.services.issuance.intents import prepared
from certdesk.services.revocation.blocked_keys import block_key
from certdesk.services.system.runtime import AcmeSettings
from certdesk.services.validation.ended import end_validation
from certdesk.store.db import write_transaction
from certdesk.store.models import (
    AcmeAccount,
    AcmeAuthorization,
    AcmeOrder,
    AuditEvent,
    Certificate,
    Issuance,
    KeyProof,
    Organisation,
    Request,
    UsedNonce,
    ValidationRecord,
)
from certdesk.store.selectors.facts import lock_organisation
from tests.harness.acme_client import AcmeClient, Reply, make_csr, names_in, new_key
from tests.integration.acme_support import AcmeWorld, Scripts, client, client_of
from tests.integration.support import (
    NOW,
    ScriptedCa,
    actor,
    audit_problems,
    backend,
    configured,
    organisation,
    signed,
    submit,
    together,
    validated,
)

NAME = "www.example.ac.uk"
NO_ANSWER = Problem(code="dcv.dns.timeout", detail="No answer.", acme_type="dns", retry=True)


def _twin(one: AcmeClient) -> AcmeClient:
    """The same account once more, with a nonce of its own."""
    return AcmeClient(send=one.send, directory=one.directory, key=one.key, kid=one.kid, known=one.at)


def _later(minutes: float) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def _tick(minutes: float) -> None:
    """One round of a worker, so many minutes from now."""
    at = _later(minutes)
    Worker(clock=lambda: at).tick(now=at)


def _at_once(calls: Sequence[Callable[[], Reply]]) -> list[Reply]:
    """What each was answered."""
    results = together(calls)
    broken = [result for result in results if isinstance(result, Exception)]
    assert not broken, broken
    return [result for result in results if isinstance(result, Reply)]


def test_fifty_finalizes_at_once_make_one_certificate(one: AcmeClient) -> None:
    order, csr = one.order(NAME).json, make_csr(NAME)
    replies = _at_once([partial(_twin(one).finalize, order, csr) for _ in range(50)])
    assert {(r.status, r.json["status"]) for r in replies} <= {(200, "valid"), (200, "processing")}
    assert Certificate.objects.count() == 1
    assert Issuance.objects.count() == 1
    assert Request.objects.filter(channel="acme").count() == 1
    assert audit_problems() == []


def test_finalizes_with_different_csrs_at_once_make_one_certificate(one: AcmeClient) -> None:
    order = one.order(NAME).json
    replies = _at_once([partial(_twin(one).finalize, order, make_csr(NAME)) for _ in range(10)])
    assert sum(reply.status == 200 for reply in replies) == 1
    assert {reply.problem for reply in replies if reply.status != 200} == {"orderNotReady"}
    assert Certificate.objects.count() == 1


def test_one_nonce_at_once_is_one_nonce(one: AcmeClient) -> None:
    nonce = one.fresh_nonce()
    replies = _at_once([partial(_twin(one).post, one.kid, nonce=nonce) for _ in range(10)])
    assert sorted(reply.status for reply in replies) == [200, *[400] * 9]


def test_registering_at_once_makes_one_account(here: AcmeWorld) -> None:
    one, eab = client(), here.credential
    replies = _at_once([partial(_twin(one).register, eab.kid, eab.hmac_key) for _ in range(8)])
    assert sorted(reply.status for reply in replies) == [*[200] * 7, 201]
    assert len({reply.headers["Location"] for reply in replies}) == 1
    assert AcmeAccount.objects.filter(thumbprint=one.key.thumbprint()).count() == 1


def test_one_key_wanted_by_several_accounts_at_once_becomes_the_key_of_one(here: AcmeWorld) -> None:
    """RFC 8555 7.3.5: the others hear 409, and whose key it is. Each is of another organisation."""
    others = [client_of(organisation(f"College {number}")) for number in range(4)]
    for _round in range(6):
        key = new_key()
        late = client(key=key)
        changes = [partial(one.change_key, key) for one in others]
        registers = partial(late.register, here.credential.kid, here.credential.hmac_key)
        replies = _at_once([*changes, registers])
        number = AcmeAccount.objects.get(thumbprint=key.thumbprint()).pk
        holder = late.at["newAccount"].replace("new-account", f"acct/{number}")
        assert {reply.headers["Location"] for reply in replies if reply.status != 200} <= {holder}
        *changed, registered = [reply.status for reply in replies]
        assert sorted([*changed, 200 if registered == 201 else 409]) == [200, *[409] * 4]
        assert registered in (200, 201)
        for one, status in zip(others, changed, strict=True):
            one.key = key if status == 200 else one.key


def test_orders_of_one_entitlement_at_once_are_all_issued(one: AcmeClient) -> None:
    """Several servers renew one name in the same minute."""
    one.issue(NAME)
    orders = [one.order(NAME).json for _ in range(5)]
    replies = _at_once([partial(_twin(one).finalize, order, make_csr(NAME)) for order in orders])
    assert {reply.json["status"] for reply in replies} == {"valid"}
    assert Certificate.objects.count() == 6
    assert Request.objects.filter(channel="acme").count() == 1


def test_the_first_certificates_of_all_at_once_are_all_issued(here: AcmeWorld) -> None:
    """None has been issued before: each finds no chain of its CA, no request and no account that is known."""
    clients = [here.registered() for _ in range(8)]
    made = together([partial(one.issue, f"n{n}.example.ac.uk") for n, one in enumerate(clients)])
    assert all(isinstance(chain, bytes) for chain in made), made
    assert Certificate.objects.count() == Request.objects.count() == 8
    assert audit_problems() == []


def test_orders_at_once_for_a_name_that_a_human_decides_make_one_request(one: AcmeClient) -> None:
    replies = _at_once([partial(_twin(one).order, "www.nowhere.example") for _ in range(8)])
    assert {reply.refusal for reply in replies} == {(403, "rejectedIdentifier")}
    assert len({reply.json["request"] for reply in replies}) == 1
    assert Request.objects.count() == 1


def test_the_first_orders_of_an_hour_at_once_are_all_counted_and_made(one: AcmeClient) -> None:
    one.order(NAME)
    AcmeAccount.objects.update(window_started_at=_later(-90))
    replies = _at_once([partial(_twin(one).order, NAME) for _ in range(8)])
    assert [reply.status for reply in replies] == [201] * 8
    assert AcmeAccount.objects.values_list("window_orders", flat=True).get() == 8


def test_orders_at_once_are_no_more_than_may_be_unfinished(one: AcmeClient) -> None:
    with configured(acme=AcmeSettings(pending_orders=3)):
        replies = _at_once([partial(_twin(one).order, NAME) for _ in range(8)])
    assert sorted(reply.status for reply in replies) == [*[201] * 3, *[429] * 5]
    assert AcmeOrder.objects.count() == 3


def test_nobody_waits_for_another_of_the_same_organisation(one: AcmeClient, here: AcmeWorld) -> None:
    """While one transaction of an organisation stands open, the others are issued; what takes away waits."""
    if connection.vendor == "sqlite":
        return  # one writer, and no locks
    with write_transaction():
        lock_organisation(here.world.university, "request 0", shared=True)
        (chain,) = together([partial(one.issue, NAME)])
        assert Certificate.objects.count() == 1, chain
        (made,) = together([partial(submit, here.world.alice, "portal.example.ac.uk")])
        assert Certificate.objects.count() == 2, made
        (stopped,) = together([partial(_impatient, here.world.university)])
        assert isinstance(stopped, OperationalError)
    with write_transaction():
        lock_organisation(here.world.university)
        (stopped,) = together([partial(_impatient, here.world.university, shared=True)])
        assert isinstance(stopped, OperationalError)


def _impatient(home: OrganisationId, *, shared: bool = False) -> None:
    """Locks an organisation, or gives up after a moment."""
    with write_transaction():
        connection.cursor().execute("SET LOCAL lock_timeout = '100ms'")
        lock_organisation(home, shared=shared)


def test_an_order_at_a_slow_ca_is_processing_until_it_is_issued(one: AcmeClient) -> None:
    with backend(ScriptedCa(answers=[Accepted(handle="77")], polls=[signed])):
        first = one.finalize(one.order(NAME).json, make_csr(NAME))
        url = first.headers["Location"]
        assert (first.status, first.json["status"]) == (200, "processing")
        assert one.post(url).headers["Retry-After"]
        _tick(1)
        done = one.post(url).json
    assert done["status"] == "valid"
    assert names_in(one.post(done["certificate"]).body) == [NAME]


def test_a_ca_that_refuses_ends_the_order_and_not_the_entitlement(one: AcmeClient) -> None:
    with backend(ScriptedCa(answers=[Refused(reason="Not on a Tuesday.")])):
        done = one.finalize(one.order(NAME).json, make_csr(NAME))
        assert done.json["status"] == "invalid"
        assert "Not on a Tuesday." in done.json["error"]["detail"]
    one.issue(NAME)
    assert Request.objects.filter(channel="acme").count() == 1


def test_a_challenge_that_may_come_right_is_looked_at_again(one: AcmeClient, network: Scripts) -> None:
    script = network[Method.ACME_DNS]
    script.faults = [NO_ANSWER, RuntimeError("broken")]
    url = one.order("www.another.ac.uk").json["authorizations"][0]
    reply = one.answer(url, "dns-01", script.proofs.add)
    assert (reply.json["status"], reply.json["error"]["detail"]) == ("processing", "No answer.")
    assert reply.headers["Retry-After"]
    assert one.post(url).json["status"] == "pending"
    for seconds in (3, 8):
        _tick(seconds / 60)
    assert one.post(url).json["status"] == "valid"


@pytest.mark.parametrize(
    "kind, look_seconds, looks", [("http-01", 0, 4), ("dns-01", 9, 2), ("tls-alpn-01", 20, 1)]
)
def test_a_look_that_never_succeeds_is_final_after_about_twenty_seconds(
    one: AcmeClient, network: Scripts, kind: str, look_seconds: int, looks: int
) -> None:
    """Clients give up soon: they have to learn why before (RFC 8555 8.2), however long each look takes."""
    script = network[CHALLENGE_TYPES[kind].method]
    script.faults = [NO_ANSWER] * 100
    order = one.order("www.another.ac.uk")
    url = order.json["authorizations"][0]
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        began = datetime.now(UTC)
        script.takes = lambda: clock.shift(look_seconds)
        reply = one.answer(url, kind, lambda _proof: None)
        while reply.json["status"] == "processing":
            assert 1 <= int(reply.headers["Retry-After"]) <= 5
            assert reply.json["error"]["detail"] == "No answer."
            clock.shift(0.5)
            Worker().tick(now=datetime.now(UTC))
            reply = one.post(reply.json["url"])
        took = (datetime.now(UTC) - began).total_seconds()
    assert 10 <= took <= 30
    assert reply.json["error"]["detail"] == "No answer."
    assert one.post(order.headers["Location"]).json["status"] == "invalid"
    assert len(script.seen) == looks


def test_a_retry_that_comes_too_late_is_not_made(one: AcmeClient, network: Scripts) -> None:
    """However many slow looks a worker has before it: the client is told what was found last."""
    script = network[Method.ACME_HTTP]
    script.faults = [NO_ANSWER]
    url = one.order("www.another.ac.uk").json["authorizations"][0]
    reply = one.answer(url, "http-01", script.proofs.add)
    assert reply.json["status"] == "processing"
    _tick(0.5)
    found = one.post(reply.json["url"]).json
    assert (found["status"], found["error"]["detail"], len(script.seen)) == ("invalid", "No answer.", 1)


def test_a_crash_during_a_look_is_taken_over(one: AcmeClient, network: Scripts) -> None:
    url = one.order("www.another.ac.uk").json["authorizations"][0]
    account, number = account_by_id(AcmeAccount.objects.get().pk), AcmeAuthorization.objects.get().pk
    answered = acme_validation.answer_challenge(
        account=account, authorization_id=number, type_name="http-01", now=datetime.now(UTC)
    )
    assert answered.look is not None
    network[Method.ACME_HTTP].proofs.add(f"{answered.view.token}.{one.key.thumbprint()}")
    assert acme_validation.due_looks(now=datetime.now(UTC)) == []
    _tick(2)
    assert one.post(url).json["status"] == "valid"
    _look(answered.look)  # the one that was thought dead comes back: harmless
    assert one.post(url).json["status"] == "valid"


def test_housekeeping_deletes_what_can_matter_no_more(one: AcmeClient) -> None:
    one.order(NAME)
    one.issue(NAME)
    assert UsedNonce.objects.exists()
    clear_nonces(now=_later(1))
    assert UsedNonce.objects.exists()
    clear_nonces(now=_later(90))
    assert not UsedNonce.objects.exists()
    clear_orders(now=_later(60 * 24 * 8))
    assert AcmeOrder.objects.count() == 2
    clear_orders(now=_later(60 * 24 * 60))
    assert AcmeOrder.objects.get().certificate_id is not None


def _give_up(_here: AcmeWorld, one: AcmeClient, order: Mapping[str, Any]) -> None:
    (authorization,) = order["authorizations"]
    assert _twin(one).post(authorization, {"status": "deactivated"}).status == 200


def _end_proof_but_for_one_by_hands_on(here: AcmeWorld, _one: AcmeClient, _order: Mapping[str, Any]) -> None:
    """What is left is by an officer who has seen the credential's key."""
    w, record = here.world, ValidationRecord.objects.get(domain__adn="example.ac.uk")
    reveal_key(actor=w.olga, credential_id=here.credential.credential_id, now=NOW)
    validated("example.ac.uk", of=w.university, by=w.olga)
    end_validation(
        actor=w.otto, domain_id=record.domain_id, record_id=record.pk, reason="Wrong.", now=datetime.now(UTC)
    )


def _change_key(*_here: object) -> None:
    AcmeAccount.objects.update(thumbprint="t" * 43, spki_sha256="0" * 64)


def _rename(*_here: object) -> None:
    Organisation.objects.update(legal_name="Renamed University")


@pytest.mark.parametrize(
    "meanwhile, refusal",
    [
        (_give_up, (403, "orderNotReady")),
        (_end_proof_but_for_one_by_hands_on, (403, "orderNotReady")),
        (_change_key, (401, "unauthorized")),
        (_rename, (503, "serverInternal")),  # the old name is not signed
    ],
)
def test_what_was_found_before_the_lock_is_compared_under_it(
    here: AcmeWorld,
    one: AcmeClient,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[..., None],
    refusal: tuple[int, str],
) -> None:
    """What changes between the look and the claim counts, though other proofs of the name are there."""
    order = one.order(NAME).json

    def changed(ca: Backend, intent: Intent) -> Intent:
        made = prepared(ca, intent)
        meanwhile(here, one, order)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(acme_finalize, "prepared", changed)
        assert one.finalize(order, make_csr(NAME)).refusal == refusal
    assert not Issuance.objects.exists()
    assert not Certificate.objects.exists()
    if meanwhile is _rename:
        assert one.finalize(order, make_csr(NAME)).json["status"] == "valid"
        assert b"Renamed University" in bytes(Certificate.objects.get().der)


def test_one_key_is_not_certified_for_two_organisations_at_once(here: AcmeWorld, one: AcmeClient) -> None:
    college = organisation("Other College")
    validated("other.ac.uk", of=college, by=here.world.olga, at=datetime.now(UTC))
    other = client_of(college)
    for n in range(8):
        key = ec.generate_private_key(ec.SECP256R1())
        names = f"h{n}.example.ac.uk", f"h{n}.other.ac.uk"
        orders = [who.order(name).json for who, name in zip((one, other), names, strict=True)]
        calls = [
            partial(who.finalize, order, make_csr(name, key=key))
            for who, order, name in zip((one, other), orders, names, strict=True)
        ]
        assert sorted(answer.status for answer in _at_once(calls)) == [200, 400]


def test_no_certificate_is_recorded_once_its_key_is_blocked(here: AcmeWorld) -> None:
    """What is decided about a key comes one by one, whoever decides it."""
    one, olga = here.registered(), actor("olga", ra=RaRole.OFFICER)
    for n in range(8):
        csr, order = make_csr(f"h{n}.example.ac.uk"), one.order(f"h{n}.example.ac.uk").json
        spki = read_csr(csr).key.spki_sha256
        block = partial(
            block_key, spki, proof=KeyProof.OFFICER, reason="lost", actor=olga, now=datetime.now(UTC)
        )
        both: list[Callable[[], object]] = [partial(one.finalize, order, csr), block]
        together(both)
        blocked = AuditEvent.objects.get(action="key.block", object_id=spki).seq
        issued = AuditEvent.objects.filter(action="request.issue").order_by("-seq").first()
        assert issued is None or issued.seq < blocked


def test_what_was_prepared_before_the_lock_is_compared_under_it(
    one: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The organisation is renamed between the look and the claim: the old name is not signed."""
    order = one.order(NAME).json

    def renamed(ca: Backend, intent: Intent) -> Intent:
        made = prepared(ca, intent)
        Organisation.objects.update(legal_name="Renamed University")
        return made

    with monkeypatch.context() as patch:
        patch.setattr(acme_finalize, "prepared", renamed)
        refused = one.finalize(order, make_csr(NAME))
    assert refused.refusal == (503, "serverInternal")
    assert not Certificate.objects.exists()
    assert not Issuance.objects.exists()
    assert one.finalize(order, make_csr(NAME)).json["status"] == "valid"
    assert b"Renamed University" in bytes(Certificate.objects.get().der)
