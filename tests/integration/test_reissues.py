"""Another certificate under a request: who may, for which names, judged anew, and whole after any crash."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certdesk.domain.csr.csr import read_csr
from certdesk.domain.errors import (
    BackendRefused,
    IdempotencyMismatch,
    InvalidInput,
    PolicyRefused,
    StateConflict,
)
from certdesk.domain.issuing.certificates import Accepted, Refused, certificate_facts
from certdesk.domain.issuing.states import State, Status
from certdesk.jobs.worker import Worker
from certdesk.services.issuance import engine as issuance
from certdesk.services.issuance.intents import record_again
from certdesk.services.requests.asking import Created
from certdesk.services.requests.confirm import submit_another
from certdesk.store.models import (
    AuditEvent,
    BlockedKey,
    Certificate,
    Issuance,
    Organisation,
    Request,
    ValidationRecord,
)
from tests.integration.acme_support import acme_world
from tests.integration.support import (
    NOW,
    Clock,
    ScriptedCa,
    World,
    audit_problems,
    backend,
    csr,
    events_of,
    outcomes,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ("www.example.ac.uk", "example.ac.uk")
LATER = NOW + timedelta(days=30)


def _issued(w: World) -> int:
    made = submit(w.alice, *NAMES)
    assert made.status is Status.ISSUED
    return made.number


def _again(w: World, number: int, *names: str, **more: object) -> tuple[Created, int | None]:
    asked = {
        "channel": "api",
        "actor": w.alice,
        "number": number,
        "upload": csr(*(names or NAMES)),
        "clock": Clock(LATER),
        **more,
    }
    return submit_another(**asked)  # type: ignore[arg-type]  # arguments of all types


def _certificate(made: tuple[Created, int | None]) -> Certificate:
    assert made[1] is not None
    return Certificate.objects.get(id=made[1])


def _tick(at: Clock) -> None:
    Worker(clock=at).tick(now=at.now)


def test_a_new_key_gets_a_certificate_to_the_end_of_the_same_term(w: World) -> None:
    number = _issued(w)
    key = ec.generate_private_key(ec.SECP256R1())
    made = _again(w, number, upload=csr(*NAMES, key=key))
    first, second = Certificate.objects.filter(request=number).order_by("id")
    assert (made[1], made[0].replayed) == (second.pk, False)
    assert second.spki_sha256 == read_csr(csr(*NAMES, key=key)).key.spki_sha256
    facts = certificate_facts(bytes(second.der))
    assert sorted(facts.names) == sorted(NAMES)
    assert facts.not_before > first.not_before + timedelta(days=29)
    assert facts.not_after == first.not_after
    assert Request.objects.count() == 1
    assert events_of(number) == ["create", "claim", "ca_accept", "issue", "issue"]
    told = AuditEvent.objects.filter(object_type="issuance").values_list("action", "actor")
    assert list(told) == [("issuance.create", "alice")]
    assert issuance.due_issuances(now=LATER + timedelta(days=9)) == []
    assert audit_problems() == []


def test_colleagues_may_and_fewer_names_do(w: World) -> None:
    made = _again(w, _issued(w), "example.ac.uk", actor=w.bob)
    certificate = _certificate(made)
    assert certificate_facts(bytes(certificate.der)).names == ("example.ac.uk",)


def test_other_names_are_another_request(w: World) -> None:
    number = _issued(w)
    for names in (("mail.example.ac.uk",), (*NAMES, "mail.example.ac.uk"), ("*.example.ac.uk",)):
        with pytest.raises(InvalidInput):
            _again(w, number, *names)


def test_a_key_that_may_not_be_certified_is_refused(w: World) -> None:
    number = _issued(w)
    upload = csr(*NAMES)
    BlockedKey.objects.create(spki_sha256=read_csr(upload).key.spki_sha256, reason="Known.", at=NOW)
    with pytest.raises(PolicyRefused):
        _again(w, number, upload=upload)


@pytest.mark.parametrize(
    "change",
    [
        lambda: ValidationRecord.objects.all().delete(),
        lambda: Organisation.objects.update(is_active=False),
        lambda: Organisation.objects.update(vetted_at=None),
    ],
)
def test_what_has_changed_since_the_approval_stands_against_it(
    w: World, change: Callable[[], object]
) -> None:
    number = _issued(w)
    change()
    with pytest.raises(PolicyRefused) as refused:
        _again(w, number)
    assert refused.value.checks
    assert Certificate.objects.count() == 1


def test_only_what_was_approved_and_only_in_its_term(w: World) -> None:
    number = _issued(w)
    with pytest.raises(StateConflict) as over:
        _again(w, number, clock=Clock(NOW + timedelta(days=366)))
    assert over.value.code == "request.not_entitled"
    Request.objects.filter(id=number).update(names=["evil.example.ac.uk"])
    with pytest.raises(StateConflict):
        _again(w, number, "evil.example.ac.uk")
    assert Issuance.objects.count() == 1


def test_without_a_certificate_there_is_nothing_to_follow(w: World) -> None:
    number = _issued(w)
    for state in set(State) - {State.APPROVED}:
        Request.objects.filter(id=number).update(state=state)
        with pytest.raises(StateConflict):
            _again(w, number)
    for status in set(Status) - {Status.ISSUED}:
        Request.objects.filter(id=number).update(state=State.APPROVED, status=status)
        with pytest.raises(StateConflict):
            _again(w, number)


def test_an_entitlement_of_acme_clients_serves_people_too() -> None:
    acme = acme_world()
    acme.registered().issue(NAMES[0])
    request = Request.objects.get()
    made = _again(acme.world, request.pk, NAMES[0], actor=acme.meg, clock=Clock(NOW + timedelta(hours=1)))
    certificate = _certificate(made)
    assert certificate.not_after - certificate.not_before < timedelta(days=91)
    assert events_of(request.pk)[-2:] == ["issue", "issue"]


def test_the_same_key_makes_one_certificate(w: World) -> None:
    number, upload = _issued(w), csr(*NAMES)
    calls: list[Callable[[], tuple[Created, int | None]]] = [
        lambda: _again(w, number, upload=upload, idempotency_key="once") for _ in range(8)
    ]
    done, refused = outcomes(together(calls))
    assert refused == []
    assert Certificate.objects.count() == 2
    assert Issuance.objects.count() == 2
    assert sum(isinstance(one, tuple) and not one[0].replayed for one in done) == 1
    with pytest.raises(IdempotencyMismatch):
        _again(w, number, idempotency_key="once")
    assert _again(w, number, upload=upload)[0].replayed is True  # within ten minutes, without a key


def test_a_caller_s_key_is_never_one_that_the_service_uses_itself(w: World) -> None:
    number = _issued(w)
    for key in (f"request-{number}", f"request-{number}-{Issuance.objects.get().pk}"):
        assert _again(w, number, idempotency_key=key)[0].replayed is False
    record_again(Issuance.objects.latest("id"), now=LATER)
    assert " " in Issuance.objects.latest("id").idempotency_key  # which no caller can send


def test_different_keys_at_once_are_one_after_the_other(w: World) -> None:
    number = _issued(w)
    done, refused = outcomes(together([lambda: _again(w, number) for _ in range(6)]))
    assert all(isinstance(error, StateConflict) for error in refused)
    assert Certificate.objects.count() == 1 + len(done)
    assert audit_problems() == []


def test_another_key_has_to_wait_while_the_ca_is_at_work(w: World) -> None:
    number = _issued(w)
    with backend(ScriptedCa(answers=[Accepted(handle="17")], inline=True)):
        assert _again(w, number)[1] is None
        with pytest.raises(StateConflict):
            _again(w, number)


def test_the_cas_no_leaves_the_request_as_it_was(w: World) -> None:
    number, upload = _issued(w), csr(*NAMES)
    refusing = ScriptedCa(answers=[Refused(reason="Not today.")], inline=True)
    with backend(refusing), pytest.raises(BackendRefused):
        _again(w, number, upload=upload)
    assert _again(w, number, upload=upload)[0].replayed is False
