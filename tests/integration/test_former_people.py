"""A person whose account, role or token was taken away while a call was under way does nothing by it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from allauth.mfa.models import Authenticator
from django.db.models import Model
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.actors import Actor, OrgRole, RaRole, Scope, Side, Token
from certdesk.domain.errors import NotAuthorized, NotFound
from certdesk.domain.issuing.certificates import Refused
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.validation.evidence import Method
from certdesk.services.acme import credentials as acme_credentials
from certdesk.services.people import membership, organisations
from certdesk.services.people.accounts import (
    disable_account,
    enable_account,
    issue_new_password,
    reset_second_factor,
)
from certdesk.services.people.organisations import Evidence
from certdesk.services.people.tokens import create_token, revoke_token
from certdesk.services.requests.asking import end_request, withdraw_request
from certdesk.services.requests.confirm import submit_another
from certdesk.services.requests.decisions import reject_request
from certdesk.services.requests.recovery import poll_now, retry_request
from certdesk.services.revocation.blocked_keys import block_by_hand, unblock_key
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.services.system.operations import retry_job
from certdesk.services.system.settings import change_settings
from certdesk.services.validation.by_email import add_domain, ask_by_email, cancel_challenge
from certdesk.services.validation.by_publication import cancel_method_challenge, start_challenge
from certdesk.services.validation.ended import end_validation
from certdesk.services.validation.persistent import stop_watching, watch_record
from certdesk.store.models import (
    AcmeAccount,
    ApiToken,
    AuditEvent,
    BlockedKey,
    Certificate,
    Domain,
    EabCredential,
    EmailChallenge,
    Issuance,
    Membership,
    MethodChallenge,
    Organisation,
    Request,
    User,
    ValidationRecord,
)
from tests.integration.acme_support import AcmeWorld, acme_world, credential
from tests.integration.proving import Outside
from tests.integration.support import (
    NOW,
    Clock,
    ScriptedCa,
    actor,
    approve,
    backend,
    csr,
    organisation,
    outcomes,
    signed,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)
NAME, WHY, ADN = "www.example.ac.uk", "Ticket 5.", "new.ac.uk"
DAY = timedelta(days=1)


def _id(username: str) -> int:
    return User.objects.values_list("id", flat=True).get(username=username)


def _number(status: str) -> int:
    return Request.objects.filter(status=status).latest("id").pk


def _only(model: type[Model], **filters: object) -> Callable[[], object]:
    return lambda: model._default_manager.get(**filters).pk


def _revokes(reason: RevocationReason, *, end: bool = False) -> Callable[..., object]:
    def revoke(*, actor: Actor, **_now: object) -> object:
        number = Certificate.objects.latest("id").pk
        return revoke_certificate(
            actor=actor, certificate_id=number, reason=reason, end_request=end, clock=Clock()
        )

    return revoke


def _approves(*, actor: Actor, number: int, now: datetime) -> None:
    approve(actor, number, evidence=[replace(EVIDENCE, domain="elsewhere.org")], clock=lambda: now)


def _rejects(*, actor: Actor, number: int, now: datetime) -> None:
    version = Request.objects.get(id=number).version
    reject_request(actor=actor, number=number, details=WHY, seen_version=version, now=now)


def _ends_validation(*, actor: Actor, now: datetime) -> None:
    row = ValidationRecord.objects.get()
    end_validation(actor=actor, domain_id=row.domain_id, record_id=row.pk, reason=WHY, now=now)


def _asks(*, actor: Actor, **_now: object) -> None:
    submit(actor, "more.example.ac.uk")


def _asks_for_another(*, actor: Actor, number: int, **_now: object) -> None:
    submit_another(actor=actor, number=number, upload=csr(NAME), channel="portal", clock=Clock())


ISSUED, WAITING = partial(_number, "issued"), partial(_number, "waiting_for_approval")
BOB = {"user_id": partial(_id, "bob")}
UNI = {"organisation_id": _only(Organisation, legal_name="Example University")}
COLLEGE = {"organisation_id": _only(Organisation, legal_name="Other College")}
CREDENTIAL, NEW = {"credential_id": _only(EabCredential)}, {"name": "x", "limits": Limits()}
IDENTITY = {"legal_name": "Example Polytechnic", "country": "GB", "locality": "", "evidence": WHY}
EVIDENCE = Evidence(domain=ADN, how="registry", details=WHY)
PERSON = {"username": "zoe", "name": "Zoe", "email": "zoe@example.ac.uk", "role": OrgRole.APPLICANT}

#: Who does it, what, and with what; a function stands for what it returns then.
ACTS: dict[str, tuple[str, Callable[..., object], Mapping[str, object]]] = {
    "asks": ("alice", _asks, {}),
    "asks for another": ("bob", _asks_for_another, {"number": ISSUED}),
    "withdraws": ("alice", withdraw_request, {"number": WAITING}),
    "ends": ("meg", end_request, {"number": ISSUED, "reason": WHY}),
    "approves": ("olga", _approves, {"number": WAITING}),
    "rejects": ("olga", _rejects, {"number": WAITING}),
    "has it sent again": ("olga", retry_request, {"number": partial(_number, "rejected_by_ca")}),
    "has the CA asked": ("olga", poll_now, {"number": partial(_number, "accepted")}),
    "revokes an own one": ("alice", _revokes(RevocationReason.SUPERSEDED), {}),
    "reports an own key": ("alice", _revokes(RevocationReason.KEY_COMPROMISE), {}),
    "revokes as manager": ("meg", _revokes(RevocationReason.CESSATION_OF_OPERATION, end=True), {}),
    "revokes for the RA": ("olga", _revokes(RevocationReason.PRIVILEGE_WITHDRAWN), {}),
    "reports a key for the RA": ("olga", _revokes(RevocationReason.KEY_COMPROMISE), {}),
    "blocks a key": ("olga", block_by_hand, {"evidence": partial(csr, NAME), "reason": WHY}),
    "unblocks a key": ("olga", unblock_key, {"blocked_id": _only(BlockedKey), "reason": WHY}),
    "makes a credential": ("meg", acme_credentials.create_credential, {**UNI, **NEW}),
    "makes one for the RA": ("olga", acme_credentials.create_credential, {**UNI, **NEW}),
    "narrows a credential": ("meg", acme_credentials.change_credential, {**CREDENTIAL, **NEW}),
    "rotates a credential": ("meg", acme_credentials.rotate_credential, CREDENTIAL),
    "reveals a credential": ("meg", acme_credentials.reveal_key, CREDENTIAL),
    "revokes a credential": ("meg", acme_credentials.revoke_credential, CREDENTIAL),
    "ends an account": ("meg", acme_credentials.end_account, {"account_id": _only(AcmeAccount)}),
    "makes a token": ("alice", create_token, {"name": "script", "expires_at": NOW + DAY}),
    "ends a token": ("alice", revoke_token, {"token_id": _only(ApiToken, name="old")}),
    "adds a person": ("meg", membership.add_member, {**UNI, **PERSON}),
    "adds one who is there": (
        "olga",
        membership.add_existing_member,
        {**UNI, "username": "carl", "role": OrgRole.APPLICANT},
    ),
    "changes a role": ("meg", membership.change_role, {**UNI, **BOB, "role": OrgRole.MANAGER}),
    "disables a member": ("meg", membership.disable_member, {**UNI, **BOB}),
    "enables a member": ("meg", membership.enable_member, {**UNI, "user_id": partial(_id, "dan")}),
    "hands over": (
        "meg",
        membership.hand_over,
        {**UNI, "leaver_id": partial(_id, "alice"), "successor_id": partial(_id, "bob")},
    ),
    "issues a password": ("meg", issue_new_password, BOB),
    "disables an account": ("meg", disable_account, BOB),
    "disables an officer": ("op", disable_account, {"user_id": partial(_id, "otto")}),
    "enables an account": ("olga", enable_account, {"user_id": partial(_id, "eve")}),
    "resets a second factor": ("meg", reset_second_factor, BOB),
    "registers an organisation": ("olga", organisations.create_organisation, {"legal_name": "Third"}),
    "renames an organisation": ("olga", organisations.rename_organisation, {**UNI, **IDENTITY}),
    "disables an organisation": ("olga", organisations.disable_organisation, {**UNI, "reason": WHY}),
    "enables an organisation": ("olga", organisations.enable_organisation, {**COLLEGE, "reason": WHY}),
    "vets an organisation": ("olga", organisations.vet_organisation, {**COLLEGE, "evidence": WHY}),
    "validates by hand": ("olga", organisations.validate_domain, {**UNI, "evidence": EVIDENCE}),
    "ends a validation": ("meg", _ends_validation, {}),
    "lists a domain": ("alice", add_domain, {**UNI, "name": "third.ac.uk"}),
    "asks a mailbox": ("alice", ask_by_email, {**UNI, "name": ADN, "mailbox": f"admin@{ADN}"}),
    "cancels the asking": ("alice", cancel_challenge, {"challenge_id": _only(EmailChallenge)}),
    "begins a validation": (
        "alice",
        start_challenge,
        {"domain_id": _only(Domain, adn=ADN), "method": Method.DNS_CNAME},
    ),
    "cancels a validation": ("alice", cancel_method_challenge, {"challenge_id": _only(MethodChallenge)}),
    "has a record watched": (
        "alice",
        watch_record,
        {"domain_id": _only(Domain, adn="example.ac.uk"), "wildcard": True},
    ),
    "ends the watching": ("alice", stop_watching, {"domain_id": _only(Domain, adn=ADN)}),
    "changes settings": ("op", change_settings, {"values": {"service_name": "Other"}, "seen_version": None}),
    "runs a job again": ("op", retry_job, {"job_id": _only(DBTaskResult, status=TaskResultStatus.FAILED)}),
}


def _do(act: str, who: Actor) -> None:
    _name, service, arguments = ACTS[act]
    now = {name: value() if callable(value) else value for name, value in arguments.items()}
    service(actor=who, now=NOW, **now)


@pytest.fixture
def here(net: Outside) -> AcmeWorld:
    """Something of everything to act on; `olga` decides, and no key of hers has asked for it."""
    made = acme_world()
    w, uni = made.world, made.world.university
    made.registered()
    actor("op", ra=RaRole.OPERATOR)
    college = organisation("Other College", vetted=False)
    actor("carl", organisation=college)
    Organisation.objects.filter(id=college).update(is_active=False)
    for name in ("dan", "eve"):
        actor(name, organisation=uni)
    Membership.objects.filter(user__username="dan").update(is_active=False, disabled_by=Side.ORGANISATION)
    User.objects.filter(username="eve").update(is_active=False, disabled_by=Side.RA)
    Authenticator.objects.create(user_id=_id("bob"), type=Authenticator.Type.TOTP, data={})
    with backend(ScriptedCa([Refused(reason="No.")], inline=True)):
        submit(w.alice, "refused.example.ac.uk")
    submit(w.alice, "www.elsewhere.org")
    number = submit(w.alice, "slow.example.ac.uk").number
    Request.objects.filter(id=number).update(status="accepted")
    with backend(ScriptedCa([signed], inline=True)):
        submit(w.alice, NAME)
    block_by_hand(actor=w.olga, evidence=csr("old.example.ac.uk"), reason=WHY, now=NOW)
    create_token(actor=w.alice, name="old", expires_at=NOW + DAY, now=NOW)
    domain = add_domain(actor=w.alice, organisation_id=uni, name=ADN, now=NOW)
    ask_by_email(actor=w.alice, organisation_id=uni, name=ADN, mailbox=f"webmaster@{ADN}", now=NOW)
    start_challenge(actor=w.alice, domain_id=domain, method=Method.DNS_TXT, now=NOW)
    watch_record(actor=w.alice, domain_id=domain, wildcard=False, now=NOW)
    job = DBTaskResult.objects.all()[0]
    DBTaskResult.objects.filter(id=job.id).update(status=TaskResultStatus.FAILED)
    net.gate.set()
    return made


def _disabled(who: Actor) -> None:
    User.objects.filter(id=who.user_id or 0).update(is_active=False)


def _without_role(who: Actor) -> None:
    User.objects.filter(id=who.user_id or 0).update(ra_role=RaRole.NONE)
    Membership.objects.filter(user_id=who.user_id or 0).update(is_active=False)


def _token_ended(who: Actor) -> None:
    ApiToken.objects.filter(user_id=who.user_id or 0).update(revoked_at=timezone.now())


WITHDRAWN = {"disabled": _disabled, "without the role": _without_role, "token ended": _token_ended}
#: What anybody does with an account alone.
OWN = {"makes a token", "ends a token"}


def _actor(act: str, *, by_token: bool) -> Actor:
    person = actor(ACTS[act][0])
    if not by_token:
        return person
    row = ApiToken.objects.create(
        user_id=person.user_id or 0, name="t", digest=act, scopes="", created_at=NOW
    )
    token = Token(id=row.pk, scopes=frozenset(Scope), created_at=NOW, expires_at=NOW + DAY)
    return replace(person, token=token)


def _state() -> tuple[object, ...]:
    rows = Request.objects.order_by("id").values_list("id", "state", "version")
    return AuditEvent.objects.count(), Issuance.objects.count(), list(rows)


@pytest.mark.parametrize("what", WITHDRAWN)
@pytest.mark.parametrize("name", sorted({name for name, _service, _arguments in ACTS.values()}))
def test_what_was_taken_away_meanwhile_counts(
    here: AcmeWorld, name: str, what: str, subtests: pytest.Subtests
) -> None:
    """The actor was read when the call began; under the lock the right is gone. A refusal changes nothing."""
    del here
    mine = [act for act in ACTS if ACTS[act][0] == name and (act not in OWN or what != "without the role")]
    actors = {act: _actor(act, by_token=what == "token ended") for act in mine}
    WITHDRAWN[what](actor(name))
    before = _state()
    for act, who in actors.items():
        with subtests.test(act), backend(ScriptedCa([signed], inline=True)):
            with pytest.raises((NotAuthorized, NotFound)):
                _do(act, who)
            assert _state() == before


@pytest.mark.parametrize("act", ACTS)
def test_where_nothing_was_taken_away_it_is_done(here: AcmeWorld, act: str) -> None:
    """By a token; what people who are signed in may do is for the other tests of each service."""
    del here
    before = _state()
    with backend(ScriptedCa([signed], inline=True)):
        _do(act, _actor(act, by_token=True))
    assert _state() != before


def test_a_manager_who_was_made_an_applicant_meanwhile_acts_as_one(here: AcmeWorld) -> None:
    """What an applicant may do to an own request is not what a manager may do to everybody's."""
    Membership.objects.filter(user_id=here.meg.user_id or 0).update(role=OrgRole.APPLICANT)
    before = _state()
    for act in ("withdraws", "revokes as manager"):
        with pytest.raises(NotAuthorized):
            _do(act, here.meg)
    assert _state() == before


def test_nothing_is_made_behind_the_back_of_what_ends_it() -> None:
    """A credential belongs to nobody who is disabled; no token outlives the reset of a second factor."""
    made = acme_world()
    w, uni = made.world, made.world.university
    for number in range(8):
        mia = actor(f"mia{number}", organisation=uni, role=OrgRole.MANAGER)
        assert mia.user_id is not None
        Authenticator.objects.create(user_id=mia.user_id, type=Authenticator.Type.TOTP, data={})
        makes_token = partial(create_token, actor=mia, name="x", expires_at=NOW + DAY, now=NOW)
        outcomes(
            together([makes_token, partial(reset_second_factor, actor=w.olga, user_id=mia.user_id, now=NOW)])
        )
        reset = AuditEvent.objects.get(action="second_factor.reset", object_id=str(mia.user_id)).seq
        for token in ApiToken.objects.filter(user_id=mia.user_id, revoked_at__isnull=True):
            assert AuditEvent.objects.get(action="token.create", object_id=str(token.pk)).seq > reset

        makes = partial(credential, mia, uni)
        outcomes(together([makes, partial(disable_account, actor=w.olga, user_id=mia.user_id, now=NOW)]))
    assert not EabCredential.objects.filter(owner__is_active=False).exists()
