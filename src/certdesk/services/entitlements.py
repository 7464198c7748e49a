"""Entitlements: what was decided once and may be issued many times, by whichever channel (ADR 11).

A request without a CSR is an entitlement and nothing else: names, organisation, profile and term. Its keys
arrive with each certificate. Here it is asked what a set of names may have, a request is made where a human
has to decide, and one is recorded where policy decides by itself. Nothing is signed here.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import QuerySet

from certdesk.domain.actors import Actor
from certdesk.domain.audit import digest
from certdesk.domain.certificates import general_name
from certdesk.domain.csr_names import read_names
from certdesk.domain.evidence import Validation
from certdesk.domain.findings import Check, Verdict, as_record
from certdesk.domain.identifiers import DnsName
from certdesk.domain.policy import (
    NEVER_WAIVED,
    NOT_VALIDATED,
    Decision,
    Facts,
    OrganisationFacts,
    Outcome,
    content_digest,
    decide,
)
from certdesk.domain.policy_rules import Rules
from certdesk.domain.profiles import Profile, profile, validity
from certdesk.domain.requests import Event, RequestId, State, UserId
from certdesk.domain.settings import OTHER
from certdesk.services import runtime
from certdesk.services.preflight import requests_before
from certdesk.store.models import Approval, Certificate, Organisation, Request
from certdesk.store.prepared import Prepared, insert
from certdesk.store.selectors.facts import organisation_facts
from certdesk.store.transitions import Change, Step, write_history

CHANNEL = "acme"
AWAITS_CLIENT = "Approved; certificates are issued when an ACME client asks."
#: How many of the newest requests that might cover some names are looked at.
LOOKED_AT = 20
#: A human's no stands for so long: a client that asks each night does not ask the officers each night.
REJECTION_STANDS = timedelta(days=30)
_APPROVAL = Prepared(
    lambda request: Approval.objects.filter(request_id=request, verdict="approve").order_by("-id")[:1], int
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for, for whom, and in whose name a request would be made."""

    organisation: Organisation
    names: tuple[DnsName, ...]
    profile_id: str
    owner_id: UserId
    account_id: int
    asked_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitled:
    """The names may be certified. `request` is None where policy agrees and no request exists yet.

    `ends_at` is the end of the term. `validations` are the organisation's current proofs.
    """

    request: Request | None
    waived: tuple[str, ...]
    ends_at: datetime
    validations: tuple[Validation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsApproval:
    """A human decides: the request that waits for it, or that was rejected (`said` is the reason)."""

    number: RequestId
    state: State
    reasons: tuple[str, ...]
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEntitled:
    """Policy refuses, whoever asks."""

    checks: tuple[Check, ...]


Answer = Entitled | NeedsApproval | NotEntitled


def entitlement_for(wanted: Wanted, *, actor: Actor, now: datetime) -> Answer:
    """What the organisation may have for these names, in the caller's transaction under its lock.

    Where a human has to decide, a request is made unless one like it waits already: the answer names it.
    """
    rules = rules_for_names(wanted.organisation, wanted.profile_id)
    facts = facts_for(wanted, rules=rules, now=now)
    decision = decide(facts, rules, now=now)
    if decision.refusals:
        return NotEntitled(checks=decision.refusals)
    # A renewal is no new request, so that no cap on requests stands in its way.
    renewed = decide(replace(facts, requests_last_day=0), rules, now=now) if rules.daily_cap else decision
    found = _covering(wanted, facts.organisation, renewed, now=now)
    lasting = found is not None and found.ends_at > now + lifetime()
    if found is not None and (lasting or decision.outcome is not Outcome.AUTO):
        return found
    if decision.outcome is Outcome.AUTO:
        ends_at = validity(profile(wanted.profile_id), duration_years=term_years(), now=now)[1]
        return Entitled(request=None, waived=(), ends_at=ends_at, validations=facts.organisation.validations)
    return _needs_approval(wanted, decision, actor=actor, now=now)


def facts_for(wanted: Wanted, *, rules: Rules, now: datetime) -> Facts:
    """The facts about names, before any CSR has come."""
    kind = profile(wanted.profile_id)
    return Facts(
        csr_sha256="",
        csr_findings=name_findings(wanted.names, kind),
        names=wanted.names,
        subject_organisations=(),
        organisation=organisation_facts(wanted.organisation, names=wanted.names, now=now),
        profile_id=kind.id,
        profile_version=kind.version,
        duration_years=term_years(),
        server_software=OTHER,
        requests_last_day=requests_before(wanted.organisation.pk, rules, at=now, before=None),
    )


def judged_entitlement(
    request: Request, organisation: Organisation, *, now: datetime
) -> tuple[Facts, Decision]:
    """The facts of a stored request that has no CSR, as they are now, and what policy says about them."""
    kind = profile(request.profile_id)
    rules = rules_for_names(organisation, kind.id)
    names = tuple(DnsName(name) for name in request.names)
    facts = Facts(
        csr_sha256="",
        csr_findings=name_findings(names, kind),
        names=names,
        subject_organisations=(),
        organisation=organisation_facts(organisation, names=names, now=now),
        profile_id=kind.id,
        profile_version=kind.version,
        duration_years=request.duration_years,
        server_software=request.server_software,
        requests_last_day=requests_before(organisation.pk, rules, at=request.created_at, before=request.pk),
    )
    return facts, decide(facts, rules, now=now)


def rules_for_names(organisation: Organisation, profile_id: str) -> Rules:
    """The rules in force, but for those about keys and CAA: both are judged with each certificate, when its
    CSR comes and its names are looked up.
    """
    rules = runtime.current().rules_for(organisation=organisation.slug, profile=profile_id)
    seed = Rules()
    return replace(
        rules,
        key_types=seed.key_types,
        rsa_min_bits=seed.rsa_min_bits,
        rsa_max_bits=seed.rsa_max_bits,
        caa=seed.caa,
    )


def still_approved(request: Request, organisation: OrganisationFacts, approved_digest: str) -> bool:
    """Whether the request is about what was approved: nobody renamed the organisation or changed it (W2)."""
    kind = profile(request.profile_id)
    facts = Facts(
        csr_sha256=request.csr_sha256,
        csr_findings=(),
        names=tuple(DnsName(name) for name in request.names),
        subject_organisations=(),
        organisation=organisation,
        profile_id=kind.id,
        profile_version=kind.version,
        duration_years=request.duration_years,
        server_software=request.server_software,
    )
    return content_digest(facts) == approved_digest


def obstacles_to(decision: Decision, *, waived: Iterable[str], is_signing: bool) -> tuple[Check, ...]:
    """What stands against certificates for these names under an approval that waived some reasons.

    Before signing, a name that is not validated is no obstacle: a challenge can prove it. An officer's
    approval of names outside the trusted suffixes is what lets a challenge do so (R30).
    """
    accepted = set(waived) - NEVER_WAIVED
    if not is_signing:
        accepted.add(NOT_VALIDATED)
    standing = tuple(check for check in decision.manual_reasons if check.code not in accepted)
    return decision.refusals + standing + (decision.pending if is_signing else ())


def record_entitlement(
    wanted: Wanted, decision: Decision, *, content: str, actor: Actor, state: State, now: datetime
) -> Request:
    """A request without a CSR, with its history and audit rows, in the caller's transaction.

    `decision` is about these names, `content` the digest of exactly what is approved. Policy's own approval
    is recorded where the state is accepted.
    """
    kind, years = profile(wanted.profile_id), term_years()
    is_accepted = state is State.ACCEPTED
    reasons = [check.message for check in decision.manual_reasons]
    detail = "" if is_accepted else " ".join(reasons)
    if is_accepted:
        detail = "Passed every check; certificates are issued when an ACME client asks."
    request = Request(
        organisation_id=wanted.organisation.pk,
        requester_id=wanted.owner_id,
        acme_account_id=wanted.account_id,
        channel=CHANNEL,
        profile_id=kind.id,
        profile_version=kind.version,
        csr_der=b"",
        csr_sha256="",
        spki_sha256="",
        names=list(wanted.names),
        common_names=wanted.names[0],
        subject=[],
        key="chosen with each certificate",
        duration_years=years,
        server_software=OTHER,
        checks=[as_record(check) for check in decision.checks],
        policy_digest=decision.policy_digest,
        content_digest=content,
        idempotency_key=f"acme-{secrets.token_hex(16)}",
        submission_digest=same_digest(wanted),
        state=state,
        detail=detail,
        created_at=now,
        changed_at=now,
        search_text=" ".join([*wanted.names, wanted.asked_by, wanted.organisation.legal_name]).lower(),
    )
    insert(request)
    if is_accepted:
        approved = Approval(
            request=request,
            verdict="approve",
            by="policy",
            content_digest=content,
            policy_digest=decision.policy_digest,
            at=now,
        )
        insert(approved)
    _write_created(request, decision, note="\n".join(reasons) or detail, actor=actor, now=now)
    return request


def same_digest(wanted: Wanted) -> str:
    """What two asks for the same entitlement have in common."""
    return digest(
        {
            "entitlement": sorted(wanted.names),
            "organisation": wanted.organisation.pk,
            "profile": wanted.profile_id,
        }
    )


def term_years() -> int:
    """How long an entitlement runs that no person chose a term for: the shortest on offer (R13)."""
    return min(runtime.current().rules.durations)


def lifetime() -> timedelta:
    """How long a certificate lasts that an ACME client renews by itself; never beyond its term."""
    return timedelta(days=runtime.current().acme.certificate_days)


def entitled_until(request: Request | None, kind: Profile, *, now: datetime) -> datetime:
    """The end of a request's term, counted from its approval; of a new one's where there is none yet."""
    if request is None:
        return validity(kind, duration_years=term_years(), now=now)[1]
    approval = _APPROVAL.first(request.pk)
    return (
        now if approval is None else validity(kind, duration_years=request.duration_years, now=approval.at)[1]
    )


def certificate_validity(kind: Profile, *, ends_at: datetime, now: datetime) -> tuple[datetime, datetime]:
    """From when until when a certificate under an entitlement runs: aware UTC, whole seconds."""
    not_before, _whole_term = validity(kind, duration_years=min(kind.term_years), now=now)
    return not_before, min(not_before + lifetime() - timedelta(seconds=1), ends_at)


def name_findings(names: Sequence[str], kind: Profile) -> tuple[Check, ...]:
    """The checks of names that stand in no CSR yet."""
    later = Check(
        code="csr.with_each_certificate",
        verdict=Verdict.PASS,
        message="Each certificate is made for a CSR of its own, which is checked when it is sent.",
        rule="S1 to S11",
        changed_by="applicant",
    )
    alt_names = tuple(map(general_name, names))
    read = read_names(common_names=(), alt_names=alt_names, ip_addresses=kind.ip_addresses)
    return (later, *read.findings)


def _covering(
    wanted: Wanted, organisation: OrganisationFacts, decision: Decision, *, now: datetime
) -> Entitled | None:
    """The approved request for at least these names whose term ends last, if nothing stands against it."""
    found = [
        entitled
        for request in _candidates(wanted)
        if set(wanted.names) <= set(request.names)
        and (entitled := under_request(request, organisation, now=now)) is not None
        and not obstacles_to(decision, waived=entitled.waived, is_signing=False)
    ]
    return max(found, key=lambda one: one.ends_at, default=None)


def is_open(state: State, csr_sha256: str) -> bool:
    """Whether certificates may follow: one is there, or the request is a mere entitlement, without a CSR."""
    return state is State.ISSUED or (state is State.ACCEPTED and not csr_sha256)


def under_request(request: Request, organisation: OrganisationFacts, *, now: datetime) -> Entitled | None:
    """What a request entitles to now; None without an approval of just this, or after its term."""
    approval = _APPROVAL.first(request.pk)
    is_live = is_open(State(request.state), request.csr_sha256)
    if not is_live or approval is None or not still_approved(request, organisation, approval.content_digest):
        return None
    kind = profile(request.profile_id)
    ends_at = validity(kind, duration_years=request.duration_years, now=approval.at)[1]
    if ends_at <= now:
        return None
    return Entitled(
        request=request,
        waived=tuple(approval.waived),
        ends_at=ends_at,
        validations=organisation.validations,
    )


def _candidates(wanted: Wanted) -> list[Request]:
    """Requests that may cover the names: with a certificate for the first of them, or still without any."""
    whose = wanted.organisation.pk, wanted.profile_id
    return [*_ISSUED.all(*whose, wanted.names[0]), *_FRESH.all(*whose)]


def _of(organisation: int, profile_id: str) -> QuerySet[Request]:
    return Request.objects.filter(organisation_id=organisation, profile_id=profile_id).order_by("-id")


_ISSUED = Prepared(
    lambda organisation, profile_id, name: _of(organisation, profile_id).filter(
        id__in=Certificate.objects.filter(names__name=name).values("request_id"), state=State.ISSUED
    )[:LOOKED_AT],
    int,
    str,
    str,
)
_FRESH = Prepared(
    lambda organisation, profile_id: _of(organisation, profile_id).filter(
        state=State.ACCEPTED, csr_sha256=""
    )[: LOOKED_AT * 5],
    int,
    str,
)


def _needs_approval(wanted: Wanted, decision: Decision, *, actor: Actor, now: datetime) -> NeedsApproval:
    reasons = tuple(check.message for check in decision.manual_reasons)
    same = Request.objects.filter(
        organisation_id=wanted.organisation.pk, channel=CHANNEL, submission_digest=same_digest(wanted)
    ).order_by("-id")
    waiting = same.filter(state=State.WAITING_FOR_APPROVAL).first()
    ended = same.filter(
        state__in=(State.REJECTED_BY_RA, State.WITHDRAWN), changed_at__gt=now - REJECTION_STANDS
    ).first()
    if waiting is None and ended is not None:
        return NeedsApproval(
            number=RequestId(ended.pk), state=State(ended.state), reasons=reasons, said=ended.detail
        )
    if waiting is None:
        waiting = record_entitlement(
            wanted,
            decision,
            content=decision.content_digest,
            actor=actor,
            state=State.WAITING_FOR_APPROVAL,
            now=now,
        )
    return NeedsApproval(number=RequestId(waiting.pk), state=State.WAITING_FOR_APPROVAL, reasons=reasons)


def _write_created(request: Request, decision: Decision, *, note: str, actor: Actor, now: datetime) -> None:
    step = Step(
        note=note,
        data={
            "content_digest": request.content_digest,
            "policy_digest": decision.policy_digest,
            "outcome": decision.outcome.value,
            "names": request.names,
            "manual": sorted({check.code for check in decision.manual_reasons}),
        },
    )
    change = Change(
        request_id=RequestId(request.pk),
        organisation_id=request.organisation_id,
        event=Event.CREATE,
        old=None,
        new=State(request.state),
        step=step,
    )
    is_waiting = request.state == State.WAITING_FOR_APPROVAL
    write_history(changes=[change], actor=actor, now=now, notify=is_waiting)
