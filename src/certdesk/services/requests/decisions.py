"""Deciding about a request that waits for an officer: what is shown, approving just that, rejecting.

Nothing is signed or sent in here; what is approved is handed to `services.issuance.engine`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.csr.csr import Csr
from certdesk.domain.errors import InvalidInput, NotAuthorized, PolicyRefused, StateConflict
from certdesk.domain.issuing.profiles import validity
from certdesk.domain.issuing.states import Event, IssuanceId, State, Work
from certdesk.domain.policy.decide import NOT_VALIDATED, Decision, Facts, domains_to_validate, waiver_of
from certdesk.services.issuance.caa import CaaSeen, known_caa, look_at_caa, record_caa
from certdesk.services.issuance.engine import cancel_waiting
from certdesk.services.issuance.intents import kept_csr
from certdesk.services.people.organisations import Evidence, record_validation, record_vetting
from certdesk.services.people.permissions import acting
from certdesk.services.requests.asking import UNCLAIMED, refusal_text, stop_names
from certdesk.services.requests.entitlements import AWAITS_CLIENT, approve
from certdesk.services.requests.preflight import ACME, Subject, judged, subject_of
from certdesk.services.system.text_input import storable
from certdesk.store.models import Approval, Issuance, Organisation, Request, StoppedName
from certdesk.store.selectors.acme import hands_on
from certdesk.store.selectors.facts import organisation_row
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.transitions import CHANGED, Step, advance


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What an officer was shown, as page and API carry it there and back: a yes is to this and nothing else.

    `content` and `policy` are digests, `csr` the CSR's; `reasons` are (code, what was seen) of each reason.
    """

    version: int
    content: str
    policy: str
    csr: str
    reasons: tuple[tuple[str, str], ...]

    def token(self) -> str:
        """As text for a form field or a body."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def read(cls, token: str) -> "Shown":
        """What a token says. Raises InvalidInput for one that is damaged."""
        try:
            told = json.loads(base64.urlsafe_b64decode(token.encode()))
            reasons = tuple((str(code), str(seen)) for code, seen in told.pop("reasons"))
            return cls(
                version=int(told["version"]),
                content=str(told["content"]),
                policy=str(told["policy"]),
                csr=str(told["csr"]),
                reasons=reasons,
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise InvalidInput(
                "What was shown to you is missing or damaged. Open the request again.",
                {"shown": "Send back what the request's decision shows."},
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What policy says now of a request that waits, and what an approving officer may or must prove.

    `csr_codes` are the codes of the checks that come from the CSR itself, `domains` those without a current
    proof with the names below each, `required` those that nobody but an officer can validate. An organisation
    that is not `vetted` is vetted with the approval.
    """

    decision: Decision
    shown: Shown
    csr_codes: frozenset[str]
    vetted: bool
    domains: Mapping[str, tuple[str, ...]]
    required: frozenset[str]


def judge_now(*, actor: Actor, number: int, now: datetime) -> Judgement:
    """Judges a stored request as things stand now. Raises NotFound for a foreign or missing one."""
    detail = get_request(actor=actor, number=number)
    request = Request.objects.get(id=detail.number)
    row = organisation_row(detail.organisation_id)
    # A look changes nothing: what is looked up for the page is not kept.
    caa = known_caa(
        request_id=request.pk,
        organisation=row,
        profile_id=request.profile_id,
        names=request.names if detail.csr_sha256 else (),
        now=now,
    )
    subject = _subject(request, row, caa)
    facts, decision = judged(subject, lint=True, now=now)
    domains = domains_to_validate(facts, now=now)
    return Judgement(
        decision=decision,
        shown=_shown(request, subject, decision),
        csr_codes=frozenset(check.code for check in facts.csr_findings),
        vetted=facts.organisation.vetted,
        domains={domain: tuple(names) for domain, names in domains.items()},
        required=_required(decision),
    )


def judge_for_decision(*, actor: Actor, number: int, now: datetime) -> Judgement:
    """The same for an officer who may decide about it. Raises NotAuthorized, StateConflict."""
    detail = _may_decide(actor, number)
    if detail.state is not State.WAITING_FOR_APPROVAL:
        raise StateConflict("No decision is needed about this request.")
    return judge_now(actor=actor, number=number, now=now)


def approve_request(
    *,
    actor: Actor,
    number: int,
    shown: Shown,
    evidence: Sequence[Evidence] = (),
    vetting: str = "",
    note: str = "",
    message: str = "",
    now: datetime,
) -> IssuanceId | None:
    """Approves exactly what the officer was shown; returns the issuance that may be taken up now, if any.

    `evidence` says, for every domain that nothing proves yet, how ownership was checked. One under a trusted
    suffix may go without: its own people then confirm by e-mail before anything is signed. `vetting` says how
    an organisation that is not vetted yet was vetted. `note` is for officers and auditors, `message` for the
    applicant. Raises InvalidInput naming the domains without evidence, NotAuthorized for an own request,
    StateConflict with what has changed since it was shown.
    """
    detail = _may_decide(actor, number)
    note, message = storable(note, field="note"), storable(message, field="message")
    caa = look_at_caa(  # an officer decides on what is true today
        organisation_id=detail.organisation_id,
        profile_id=detail.profile_id,
        names=detail.names if detail.csr_sha256 else (),
        now=now,
    )
    with acting(actor, Action.REQUEST_DECIDE, detail.organisation_id):
        request = Request.objects.get(id=detail.number)
        if request.state != State.WAITING_FOR_APPROVAL:
            told = f"Since you opened it, this request was decided or withdrawn: {request.detail}"
            raise StateConflict(told)
        row = organisation_row(detail.organisation_id)
        subject = _subject(request, row, caa)
        facts, decision = judged(subject, now=now)
        if changed := changes(shown, _shown(request, subject, decision), decision):
            raise StateConflict(f"This has changed since you opened the request: {changed} Open it again.")
        if request.version != shown.version:
            raise StateConflict(CHANGED)
        if decision.refusals:
            raise PolicyRefused(refusal_text(decision.checks), checks=decision.checks)
        proofs = _complete(evidence, facts, decision, now=now)
        if facts.organisation.vetted and vetting.strip():
            raise InvalidInput("The organisation is vetted already.", {"vetting": "Leave it out."})
        waived = [waiver_of(check, csr_sha256=subject.csr_sha256) for check in decision.manual_reasons]
        term = validity(subject.profile, duration_years=request.duration_years, now=now)
        # The claim comes first: an officer who loses the race writes no evidence at all.
        advance(
            request_id=detail.number,
            event=Event.APPROVE,
            actor=actor,
            now=now,
            seen_version=shown.version,
            step=Step(
                detail=AWAITS_CLIENT if subject.csr is None else "Approved; about to be handed to the CA.",
                note=message,
                data={
                    "waived": sorted({waiver.code for waiver in waived}),
                    "domains": [proof.domain for proof in proofs],
                    "note": note,
                },
            ),
            written={
                "term_starts_at": term[0],
                "term_ends_at": term[1],
                "content_digest": decision.content_digest,
                "policy_digest": decision.policy_digest,
            },
        )
        if not facts.organisation.vetted:
            record_vetting(
                actor=actor,
                organisation_id=row.pk,
                evidence=vetting,
                field="vetting",
                request=detail.number,
                now=now,
            )
        record_caa(caa, organisation_id=row.pk, request_id=request.pk)
        for proof in proofs:
            record_validation(
                actor=actor, organisation=row, evidence=proof, request_id=detail.number, now=now
            )
        approve(
            request,
            decision,
            by=actor.label,
            user_id=actor.user_id,
            csr_sha256=subject.csr_sha256,
            waived=[asdict(waiver) for waiver in waived],
            note=note,
            message=message,
            now=now,
        )
        Organisation.objects.filter(id=row.pk, first_approved_at__isnull=True).update(first_approved_at=now)
        StoppedName.objects.filter(organisation_id=row.pk, name__in=request.names).delete()
        waiting = Issuance.objects.filter(request_id=request.pk, state=Work.WAITING)
        waiting.update(next_attempt_at=now + UNCLAIMED)
        first = waiting.values_list("id", flat=True).first()
    return None if first is None else IssuanceId(first)


def reject_request(
    *, actor: Actor, number: int, details: str, seen_version: int | None = None, now: datetime
) -> None:
    """Rejects with details, which the applicant reads and is sent. Raises InvalidInput without any.

    An accepted request is stopped only by somebody who has seen it accepted: without `seen_version`
    a yes and a no at the same time would both win.
    """
    detail = _may_decide(actor, number)
    details = storable(details, field="details")
    if not details:
        told = "Say why the request is rejected: the applicant is told."
        raise InvalidInput(told, {"details": "Give the details."})
    if seen_version is None and detail.state is State.APPROVED:
        raise StateConflict("Someone else has already approved this request. Reload the page.")
    with acting(actor, Action.REQUEST_DECIDE, detail.organisation_id):
        was_approved = Request.objects.filter(id=detail.number, state=State.APPROVED).exists()
        advance(
            request_id=detail.number,
            event=Event.REJECT,
            actor=actor,
            now=now,
            seen_version=detail.version if seen_version is None else seen_version,
            step=Step(detail=details, note=details),
        )
        if was_approved:  # else policy, which agreed, would have the same made again at once
            stop_names(request_id=detail.number, now=now)
        cancel_waiting(request_id=detail.number, actor=actor, reason=details, now=now)
        content, policy = Request.objects.values_list("content_digest", "policy_digest").get(id=detail.number)
        Approval.objects.create(
            request_id=detail.number,
            verdict="reject",
            by=actor.label,
            user_id=actor.user_id,
            content_digest=content,
            policy_digest=policy,
            message=details,
            at=now,
        )


def waiting_csr(request: Request) -> Csr | None:
    """The CSR that waits with a request for its first certificate; None for an entitlement without one."""
    if request.channel == ACME:
        return None
    first = Issuance.objects.filter(request_id=request.pk, order__isnull=True).order_by("-id").first()
    return None if first is None else kept_csr(first)


def _subject(request: Request, organisation: Organisation, caa: CaaSeen) -> Subject:
    before = (
        Issuance.objects.filter(request_id=request.pk).order_by("id").values_list("id", flat=True).first()
    )
    return replace(subject_of(request, organisation, waiting_csr(request)), before=before, caa=caa.answers)


def _shown(request: Request, subject: Subject, decision: Decision) -> Shown:
    return Shown(
        version=request.version,
        content=decision.content_digest,
        policy=decision.policy_digest,
        csr=subject.csr_sha256,
        reasons=tuple(sorted((check.code, check.seen) for check in decision.manual_reasons)),
    )


def changes(shown: Shown, current: Shown, decision: Decision) -> str:
    """What differs from what was shown, in words; empty where nothing does."""
    told = []
    if (shown.content, shown.csr) != (current.content, current.csr):
        told.append("the organisation's data, the names, the CSR or the term.")
    if shown.policy != current.policy:
        told.append("the policy.")
    new = set(current.reasons) - set(shown.reasons)
    gone = set(shown.reasons) - set(current.reasons)
    told += [check.message for check in decision.manual_reasons if (check.code, check.seen) in new]
    told += [f"a reason that no longer holds ({seen or code})." for code, seen in sorted(gone)]
    return " ".join(told)


def _required(decision: Decision) -> frozenset[str]:
    return frozenset(check.seen for check in decision.manual_reasons if check.code == NOT_VALIDATED)


def _may_decide(actor: Actor, number: int) -> RequestDetail:
    request = get_request(actor=actor, number=number)
    require(actor, Action.REQUEST_DECIDE, "Only an RA officer decides about requests.")
    if is_own(actor, request):
        told = "You asked for this, or know the key that asked for it, so another officer has to decide."
        raise NotAuthorized(told)
    return request


def is_own(actor: Actor, request: RequestDetail) -> bool:
    """Whether the actor asked for it: in person, or with hands on the ACME credential that did."""
    hands = hands_on(request_id=request.number) if request.channel == ACME else frozenset()
    return actor.user_id in {request.requester_id, *hands}


def _complete(
    evidence: Sequence[Evidence], facts: Facts, decision: Decision, *, now: datetime
) -> list[Evidence]:
    needed = domains_to_validate(facts, now=now)
    given = {item.domain: item for item in evidence if item.details.strip()}
    if strange := set(given) - set(needed):
        told = f"No evidence is needed for {', '.join(sorted(strange))}."
        raise InvalidInput(told, {"evidence": "Leave it out."})
    if missing := sorted(_required(decision) - set(given)):
        raise InvalidInput(
            f"Say how ownership was checked for {', '.join(missing)}.",
            {f"evidence.{domain}": "Say what was checked, and where." for domain in missing},
        )
    return [given[domain] for domain in needed if domain in given]
