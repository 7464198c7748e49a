"""A permission that was withdrawn stops everything: each act, at each moment, by each channel."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.utils import timezone

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.actors import SYSTEM, Actor
from certdesk.domain.errors import BackendRefused, OutcomeUnknown, Unavailable
from certdesk.domain.issuing.certificates import Absent, Accepted, Intent, Issued
from certdesk.domain.issuing.states import IssuanceId, RequestId, Status, Work
from certdesk.services.issuance.engine import drive
from certdesk.services.people.organisations import (
    disable_organisation,
    enable_organisation,
    rename_organisation,
)
from certdesk.services.requests.asking import end_request, withdraw_request
from certdesk.services.requests.confirm import submit_another
from certdesk.services.requests.decisions import reject_request
from certdesk.services.revocation.blocked_keys import block_key
from certdesk.services.validation.ended import end_validation
from certdesk.store.models import (
    AcmeAccount,
    AcmeOrder,
    AuditEvent,
    Certificate,
    Issuance,
    KeyProof,
    Request,
    Revocation,
    ValidationRecord,
)
from certdesk.store.selectors.certificates import Filters, list_certificates
from tests.harness.acme_client import make_csr
from tests.integration.acme_support import AcmeWorld, acme_world
from tests.integration.support import (
    NOW,
    Clock,
    FindingCa,
    ScriptedCa,
    approve,
    audit_problems,
    backend,
    csr,
    events_of,
    issuance_of,
    signed,
    state_of,
    submit,
)
from tests.integration.support import drive as drive_newest
from tests.integration.test_acme_withdrawn import ended, expired, narrowed, revoked

pytestmark = pytest.mark.django_db(transaction=True)
NAME, WHY = "www.example.ac.uk", "Ticket 5."
#: ACME has the real clock, which leaves NOW behind in a long run.
LATER = NOW + timedelta(hours=1)
WAITS = Status.WAITING_FOR_APPROVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How far it had come when the permission was withdrawn, and what the CA says when asked afterwards."""

    ca: Callable[[], ScriptedCa]
    state: Work
    certifies: bool = False


MOMENTS = {
    "the CA was out of reach": Moment(
        ca=lambda: ScriptedCa([Unavailable("Nobody there."), signed], inline=True), state=Work.WAITING
    ),
    "the CA has nothing of it": Moment(
        ca=lambda: FindingCa([OutcomeUnknown("Cut off."), signed], inline=True, found=[Absent()]),
        state=Work.CLAIMED,
    ),
    "the CA had issued it": Moment(
        ca=lambda: FindingCa([OutcomeUnknown("Cut off.")], inline=True, found=[signed]),
        state=Work.CLAIMED,
        certifies=True,
    ),
    "the CA was at work": Moment(
        ca=lambda: ScriptedCa([Accepted(handle="17")], polls=[signed], inline=True),
        state=Work.SUBMITTED,
        certifies=True,
    ),
}


def _portal(here: AcmeWorld) -> None:
    submit(here.world.alice, NAME)


def _another(here: AcmeWorld) -> None:
    submit_another(
        actor=here.world.bob,
        number=Request.objects.get().pk,
        upload=csr(NAME),
        channel="portal",
        clock=Clock(),
    )


def _acme(here: AcmeWorld) -> None:
    one = here.registered()
    one.finalize(one.order(NAME).json, make_csr(NAME))


CHANNELS = {"portal": _portal, "another": _another, "acme": _acme}


def _rejected(here: AcmeWorld, issuance: Issuance) -> None:
    version = Request.objects.get().version
    reject_request(
        actor=here.world.olga, number=issuance.request_id, details=WHY, seen_version=version, now=NOW
    )


def _renamed(here: AcmeWorld, _issuance: Issuance) -> None:
    rename_organisation(
        actor=here.world.olga,
        organisation_id=here.world.university,
        legal_name="Example Polytechnic",
        country="GB",
        locality="",
        evidence=WHY,
        now=NOW,
    )


def _blocked(key: str, by: Actor) -> None:
    block_key(key, proof=KeyProof.OFFICER, reason=WHY, actor=by, now=NOW)


def _validation_ended(here: AcmeWorld, _issuance: Issuance) -> None:
    row = ValidationRecord.objects.get()
    end_validation(actor=here.meg, domain_id=row.domain_id, record_id=row.pk, reason=WHY, now=NOW)


def _stopped_elsewhere(here: AcmeWorld, _issuance: Issuance) -> None:
    """The RA ends what another request allows for the same name."""
    with backend(ScriptedCa([signed], inline=True)):
        number = submit(here.world.bob, NAME).number
    end_request(actor=here.world.olga, number=number, reason=WHY, now=timezone.now())


Act = Callable[[AcmeWorld, Issuance], object]


def _of_acme(act: Callable[[AcmeWorld], None]) -> Act:
    return lambda here, _issuance: act(here)


#: What nobody can do any more once there is a certificate.
BEFORE_A_CERTIFICATE = ("request rejected", "request withdrawn")
ACTS: dict[str, Act] = {
    "request ended": lambda here, one: end_request(
        actor=here.meg, number=one.request_id, reason=WHY, now=NOW
    ),
    "request rejected": _rejected,
    "request withdrawn": lambda here, one: withdraw_request(actor=here.meg, number=one.request_id, now=NOW),
    "organisation disabled": lambda here, _: disable_organisation(
        actor=here.world.olga, organisation_id=here.world.university, reason=WHY, now=NOW
    ),
    "legal name changed": _renamed,
    "key blocked": lambda here, one: _blocked(one.spki_sha256, here.world.olga),
    "validation ended": _validation_ended,
    "validation lapsed": lambda _here, _: ValidationRecord.objects.update(expires_at=NOW),
    "name stopped elsewhere": _stopped_elsewhere,
}
#: How a request without a certificate ends; after any other act it waits.
ENDS = {
    "request ended": Status.WITHDRAWN,
    "request rejected": Status.REJECTED_BY_RA,
    "request withdrawn": Status.WITHDRAWN,
}
ACME_ACTS: dict[str, Act] = {
    "account deactivated": _of_acme(ended),
    "account's key blocked": lambda here, _: _blocked(AcmeAccount.objects.get().spki_sha256, here.world.olga),
    "credential revoked": _of_acme(revoked),
    "credential expired": _of_acme(expired),
    "credential narrowed to other names": _of_acme(narrowed(Limits(suffixes=("lab.example.ac.uk",)))),
    "credential narrowed to another profile": _of_acme(narrowed(Limits(profile_id="tls-server-ip"))),
}
AT_ONCE = [
    pytest.param(channel, act, id=f"{channel}, {act}")
    for channel in CHANNELS
    for act in (*ACTS, *(ACME_ACTS if channel == "acme" else ()))
    if channel != "another" or act not in BEFORE_A_CERTIFICATE
]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("channel, act", AT_ONCE)
def test_what_was_withdrawn_gives_no_certificate(channel: str, act: str, moment: str) -> None:
    here, at = acme_world(), MOMENTS[moment]
    if channel == "another":
        _portal(here)
    before, clock, ca = Certificate.objects.count(), Clock(LATER), at.ca()
    with backend(ca):
        CHANNELS[channel](here)
        issuance = Issuance.objects.latest("id")
        number = RequestId(issuance.request_id)
        assert issuance.state == at.state
        sent = len(ca.submitted)
        {**ACTS, **ACME_ACTS}[act](here, issuance)
        before += Certificate.objects.exclude(request_id=number).count()
        shown = len(list_certificates(actor=SYSTEM, filters=Filters(), now=NOW))
        for _ in range(3):
            drive(issuance_id=IssuanceId(issuance.pk), clock=clock)
            clock.forward(timedelta(hours=1))

    # Nothing is sent after the act; what comes all the same is withheld, and on its way to revocation.
    assert len(ca.submitted) == sent
    assert len(list_certificates(actor=SYSTEM, filters=Filters(), now=NOW)) == shown
    assert Certificate.objects.count() == before + at.certifies
    if at.certifies:
        withheld = Certificate.objects.get(issuance=issuance)
        assert withheld.withheld
        assert Revocation.objects.get(certificate=withheld).next_attempt_at is not None
    issuance.refresh_from_db()
    waits = channel == "portal" and not at.certifies and issuance.state == Work.WAITING
    assert waits or issuance.state == Work.CANCELLED

    # Whoever looks is told.
    assert waits or issuance.detail
    if channel == "acme":
        order = AcmeOrder.objects.get()
        assert order.certificate_id is None
        assert (order.problem or {})["detail"] == issuance.detail
        assert AuditEvent.objects.filter(action="acme_order.fail").exists()
    history = events_of(number)
    if channel == "portal" and act.startswith("validation") and waits:
        assert state_of(number) is Status.ACCEPTED, "it waits for a new proof"
    else:
        assert {"end", "reject", "withdraw", "refer", "cancel"} & set(history)
        assert channel != "portal" or state_of(number) is ENDS.get(act, WAITS)
    assert history.count("issue") == (channel == "another")
    assert audit_problems() == []


@pytest.mark.parametrize("channel, act", AT_ONCE)
def test_what_was_withdrawn_while_a_quick_ca_signed_gives_no_certificate(channel: str, act: str) -> None:
    """Judged a moment ago, and yet not as it is now."""
    here = acme_world()
    if channel == "another":
        _portal(here)

    def meanwhile(intent: Intent) -> Issued:
        {**ACTS, **ACME_ACTS}[act](here, Issuance.objects.latest("id"))
        return signed(intent)

    ca = ScriptedCa([meanwhile], inline=True)
    with backend(ca), suppress(BackendRefused):  # as who asked for another hears at once
        CHANNELS[channel](here)
    (intent,) = ca.submitted
    withheld = Certificate.objects.get(issuance__intent_key=intent.idempotency_key)
    assert withheld.withheld
    assert audit_problems() == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("channel", CHANNELS)
def test_where_nothing_was_withdrawn_it_goes_on(channel: str, moment: str) -> None:
    here, ca = acme_world(), MOMENTS[moment].ca()
    if channel == "another":
        _portal(here)
    with backend(ca):
        CHANNELS[channel](here)
        issuance = Issuance.objects.latest("id")
        drive(issuance_id=IssuanceId(issuance.pk), clock=Clock(LATER))
    assert not Certificate.objects.get(issuance=issuance).withheld


def test_after_a_withheld_one_an_officer_may_have_the_same_csr_sent_again() -> None:
    here, ca = acme_world(), MOMENTS["the CA had issued it"].ca()
    olga, university = here.world.olga, here.world.university
    with backend(ca):
        _portal(here)
        number = issuance_of(Request.objects.get().pk).request_id
        ACTS["organisation disabled"](here, issuance_of(number))
        assert drive_newest(number, clock=Clock(LATER)) is WAITS
        enable_organisation(actor=olga, organisation_id=university, reason=WHY, now=NOW)
        ca.answers = [signed]
        approve(olga, number)
        assert state_of(number) is Status.ISSUED
    assert list(Certificate.objects.order_by("id").values_list("withheld", flat=True)) == [True, False]
