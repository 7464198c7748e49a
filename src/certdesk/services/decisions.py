"""Deciding about a request that waits for a person: approve, reject; and judging a stored one anew.

Nothing is signed or sent in here; an approved request is handed to `services.issuance`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.csr import read_csr
from certdesk.domain.errors import InvalidInput, NotAuthorized, PolicyRefused, StateConflict
from certdesk.domain.policy import NOT_VALIDATED, Decision, Facts, domains_to_validate
from certdesk.domain.profiles import profile
from certdesk.domain.requests import Event, State
from certdesk.services.caa import CaaSeen, caa_of_request, look_at_caa, record_caa
from certdesk.services.entitlements import AWAITS_CLIENT, judged_entitlement
from certdesk.services.organisations import Evidence, record_validation
from certdesk.services.preflight import Subject, judged
from certdesk.services.requests import UNCLAIMED, refusal_text
from certdesk.services.sealing import csr_from_store
from certdesk.services.texts import storable
from certdesk.store.db import write_transaction
from certdesk.store.models import Approval, Organisation, Request
from certdesk.store.selectors.facts import Asked, lock_organisation, organisation_row
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.transitions import Step, advance


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What policy says now of a request that waits, and what an approving officer may or must prove.

    `csr_codes` are the codes of the checks that come from the CSR itself, `domains` those without a current
    proof with the names below each (R31), `required` those that nobody but an officer can validate (R30).
    """

    decision: Decision
    csr_codes: frozenset[str]
    domains: Mapping[str, tuple[str, ...]]
    required: frozenset[str]


def approve_request(
    *,
    actor: Actor,
    number: int,
    evidence: Sequence[Evidence] = (),
    note: str = "",
    seen_version: int | None = None,
    now: datetime,
) -> None:
    """Approves exactly what the officer saw; the request goes on towards the CA (R31 to R33).

    For every domain that nothing proves yet, `evidence` says how ownership was checked. One under a
    trusted suffix may go without: its own people then confirm by e-mail before anything is signed.
    Raises InvalidInput naming the domains without evidence, NotAuthorized for an own request,
    StateConflict when somebody was faster, before anything else is judged.
    """
    shown = _may_decide(actor, number)
    note = storable(note, field="note")
    seen = shown.version if seen_version is None else seen_version
    caa = _look_again(shown, now=now)
    with write_transaction():
        lock_organisation(shown.organisation_id)
        request = Request.objects.get(id=shown.number)
        if request.version != seen or request.state != State.WAITING_FOR_APPROVAL:
            raise StateConflict("Somebody else has decided about this request already. Look at it again.")
        row = organisation_row(shown.organisation_id)
        facts, decision = facts_of(request, row, caa=caa, now=now)
        if decision.refusals:
            raise PolicyRefused(refusal_text(decision), checks=decision.checks)
        waived = sorted({check.code for check in decision.manual_reasons})
        proofs = _complete(evidence, facts, decision, now=now)
        # The claim comes first: whoever loses the race writes no evidence at all.
        advance(
            request_id=shown.number,
            event=Event.APPROVE,
            actor=actor,
            now=now,
            seen_version=seen,
            step=Step(
                detail="Approved; about to be handed to the CA." if request.csr_sha256 else AWAITS_CLIENT,
                note=note,
                next_attempt_at=now + UNCLAIMED if request.csr_sha256 else None,
                data={"waived": waived, "domains": [p.domain for p in proofs]},
            ),
        )
        record_caa(caa, organisation_id=row.pk, request_id=request.pk)
        for proof in proofs:
            record_validation(actor=actor, organisation=row, evidence=proof, request_id=shown.number, now=now)
        Approval.objects.create(
            request_id=shown.number,
            verdict="approve",
            by=actor.label,
            user_id=actor.user_id,
            content_digest=decision.content_digest,
            policy_digest=decision.policy_digest,
            waived=waived,
            note=note,
            at=now,
        )
        Organisation.objects.filter(id=row.pk, first_approved_at__isnull=True).update(first_approved_at=now)
        Organisation.objects.filter(id=row.pk, vetted_at__isnull=True).update(vetted_at=now)


def reject_request(
    *, actor: Actor, number: int, details: str, seen_version: int | None = None, now: datetime
) -> None:
    """Rejects with details, which the applicant reads and is sent (R29). Raises InvalidInput without any.

    An accepted request is stopped only by somebody who has seen it accepted: without `seen_version`
    a yes and a no at the same time would both win.
    """
    shown = _may_decide(actor, number)
    details = storable(details, field="details")
    if not details:
        raise InvalidInput(
            "Say why the request is rejected: the applicant is told.", fields={"details": "Give the details."}
        )
    if seen_version is None and shown.state is State.ACCEPTED:
        raise StateConflict("Somebody else has accepted this request already. Look at it again.")
    with write_transaction():
        advance(
            request_id=shown.number,
            event=Event.REJECT,
            actor=actor,
            now=now,
            seen_version=shown.version if seen_version is None else seen_version,
            step=Step(detail=details, note=details),
        )
        content, policy = Request.objects.values_list("content_digest", "policy_digest").get(id=shown.number)
        Approval.objects.create(
            request_id=shown.number,
            verdict="reject",
            by=actor.label,
            user_id=actor.user_id,
            content_digest=content,
            policy_digest=policy,
            note=details,
            at=now,
        )


def facts_of(
    request: Request, organisation: Organisation, *, caa: CaaSeen, lint: bool = False, now: datetime
) -> tuple[Facts, Decision]:
    """The facts of a stored request as they are now, and what policy says about them now.

    `caa` was looked up before, outside the caller's transaction. `lint` is for whoever looks at the list:
    what goes on to the CA is linted there anyway.
    """
    if not request.csr_sha256:
        return judged_entitlement(request, organisation, now=now)
    kind = profile(request.profile_id)
    subject = Subject(
        csr=read_csr(csr_from_store(bytes(request.csr_der)), ip_addresses=kind.ip_addresses),
        organisation=organisation,
        profile=kind,
        request=request,
        caa=caa.answers,
    )
    asked = Asked(duration_years=request.duration_years, server_software=request.server_software)
    return judged(subject, asked=asked, lint=lint, now=now)


def judge_now(*, actor: Actor, number: int, now: datetime) -> Judgement:
    """Judges a stored request as things stand now. Raises NotFound for a foreign or missing one."""
    shown = get_request(actor=actor, number=number)
    request = Request.objects.get(id=shown.number)
    row = organisation_row(shown.organisation_id)
    # Whoever looks changes nothing: what is looked up for the page is not kept.
    caa = caa_of_request(request=request, organisation=row, now=now)
    facts, decision = facts_of(request, row, caa=caa, lint=True, now=now)
    domains = domains_to_validate(facts, now=now)
    return Judgement(
        decision=decision,
        csr_codes=frozenset(check.code for check in facts.csr_findings),
        domains={domain: tuple(names) for domain, names in domains.items()},
        required=_required(decision),
    )


def _required(decision: Decision) -> frozenset[str]:
    return frozenset(check.seen for check in decision.manual_reasons if check.code == NOT_VALIDATED)


def _look_again(shown: RequestDetail, *, now: datetime) -> CaaSeen:
    """CAA as it is now, for what waits: an officer decides on what is true today."""
    return look_at_caa(
        organisation_id=shown.organisation_id,
        profile_id=shown.profile_id,
        names=shown.names if shown.csr_sha256 else (),
        now=now,
    )


def _may_decide(actor: Actor, number: int) -> RequestDetail:
    request = get_request(actor=actor, number=number)
    if not can(actor, Action.REQUEST_DECIDE):
        raise NotAuthorized("Only an RA officer decides about requests.")
    if request.requester_id == actor.user_id:
        raise NotAuthorized("You asked for this yourself, so another officer has to decide (W3).")
    return request


def _complete(
    evidence: Sequence[Evidence], facts: Facts, decision: Decision, *, now: datetime
) -> list[Evidence]:
    needed = domains_to_validate(facts, now=now)
    given = {item.domain: item for item in evidence if item.details.strip()}
    if strange := set(given) - set(needed):
        raise InvalidInput(
            f"No evidence is needed for {', '.join(sorted(strange))}.", fields={"evidence": "Leave it out."}
        )
    if missing := sorted(_required(decision) - set(given)):
        raise InvalidInput(
            f"Say how ownership was checked for {', '.join(missing)}.",
            fields={f"evidence.{domain}": "Say what was checked, and where." for domain in missing},
        )
    return [given[domain] for domain in needed if domain in given]
