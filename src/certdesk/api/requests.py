"""Requests over REST: preview, create, list, show, withdraw, approve, reject."""

import json
from zlib import crc32

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Status

from certdesk.api import inputs
from certdesk.api.auth import actor_of
from certdesk.api.domains import CaaAnswerOut
from certdesk.api.inputs import IdempotencyKey, IfMatch
from certdesk.api.request_schemas import (
    ApproveIn,
    CsrIn,
    DecisionOut,
    EndIn,
    FurtherOut,
    PreviewOut,
    RejectIn,
    RequestOut,
    RequestRowOut,
    RequestsQuery,
    RetryIn,
    SubmissionIn,
    WithdrawIn,
    row_json,
    term_json,
)
from certdesk.api.schemas import ROOT, Page, ProblemOut, page
from certdesk.domain.actors import Actor
from certdesk.domain.csr.keys import describe_key
from certdesk.domain.errors import InvalidInput, NotAuthorized
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.policy.decide import Outcome
from certdesk.services.issuance.intents import CLIENT
from certdesk.services.requests.asking import Submission, end_request, preview_request, withdraw_request
from certdesk.services.requests.confirm import approve_and_issue, submit_another, submit_request
from certdesk.services.requests.decisions import Judgement, Shown, judge_for_decision, reject_request
from certdesk.services.requests.recovery import poll_now, retry_request
from certdesk.services.system import runtime
from certdesk.store.selectors.caa import CaaRow, caa_of_request
from certdesk.store.selectors.certificates import get_certificate
from certdesk.store.selectors.organisations import get_organisation, list_organisations
from certdesk.store.selectors.requests import Filters, get_request, list_requests

router = Router(tags=["requests"])

CHANNEL = "api"
_FORESEEN = {
    Outcome.AUTO: "Would be accepted for automatic processing.",
    Outcome.MANUAL: "Would wait for manual approval.",
    Outcome.REFUSE: "Would be refused: put right what the checks say, then preview again.",
}


@router.post(
    "/requests/preview",
    operation_id="previewRequest",
    summary="Say what a CSR holds and what would become of it",
    response={200: PreviewOut, 404: ProblemOut},
)
def preview(request: HttpRequest, body: SubmissionIn) -> dict[str, object]:
    """Every attribute, name and check with its verdict; nothing is stored or sent."""
    actor = actor_of(request)
    told = preview_request(actor=actor, submission=_submission(actor, body), now=timezone.now())
    own = list_organisations(actor=actor)
    return {
        "decision": told.decision.outcome,
        "detail": _FORESEEN[told.decision.outcome],
        "organisation": told.organisation,
        "organisation_slug": next((row.slug for row in own if row.id == told.organisation_id), ""),
        "requester": actor.label,
        "names": told.csr.names,
        "subject": told.csr.subject,
        "key": describe_key(told.csr.key),
        "csr_sha256": told.csr.sha256,
        "profile_id": told.profile_id,
        "duration_years": told.duration_years,
        "server_software": told.server_software,
        "term": term_json(told.duration_years, (told.not_before, told.not_after), told.term),
        "checks": told.decision.checks,
    }


@router.post(
    "/requests",
    operation_id="createRequest",
    summary="Ask for a certificate",
    response={201: RequestOut, (404, 503): ProblemOut},
)
def create(
    request: HttpRequest, response: HttpResponse, body: SubmissionIn, key: IdempotencyKey = ""
) -> HttpResponse:
    """Creates a request; 422 with every check if policy refuses it.

    With a CA that answers at once the certificate is there already. `Idempotent-Replayed: true` says that an
    earlier call had made the request.
    """
    actor = actor_of(request)
    created = submit_request(
        actor=actor,
        submission=_submission(actor, body),
        channel=CHANNEL,
        idempotency_key=key,
        clock=timezone.now,
    )
    response["Location"] = f"{ROOT}/requests/{created.number}"
    if created.replayed:
        response["Idempotent-Replayed"] = "true"
    return _show(response, actor, created.number, status=201)


@router.get(
    "/requests",
    operation_id="listRequests",
    summary="List requests",
    response={200: Page[RequestRowOut]},
)
def index(request: HttpRequest, response: HttpResponse, query: Query[RequestsQuery]) -> HttpResponse:
    """All requests of the caller's organisation, made by anyone in it; for RA staff, of all."""
    actor = actor_of(request)
    filters = Filters(
        query=query.q,
        status=query.status,
        action=query.action,
        organisation_id=inputs.organisation_filter(actor, query.organisation),
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    found = list_requests(actor=actor, filters=filters)
    ra, now = runtime.current().rules.ra, timezone.now()
    told = page(request, response, (), found.next_cursor)
    items = (row_json(row, certificate_status=row.certificate_status(now=now), ra=ra) for row in found.rows)
    response.content = f'{{"items":[{",".join(items)}],"next_cursor":{json.dumps(told["next_cursor"])}}}'
    return response


@router.get(
    "/requests/{int:number}",
    operation_id="showRequest",
    summary="Show a request",
    response={200: RequestOut},
)
def show(request: HttpRequest, response: HttpResponse, number: int) -> HttpResponse:
    """A request with its checks, history, decisions and certificates. The ETag is its version."""
    told = _show(response, actor_of(request), number)
    response["Cache-Control"] = "private, no-cache"
    if inputs.is_fresh(request, tag=response["ETag"]):
        return HttpResponse(status=304, headers={name: response[name] for name in ("ETag", "Cache-Control")})
    return told


@router.get(
    "/requests/{int:number}/caa",
    operation_id="listCaaOfRequest",
    summary="List what CAA records say of the names of a request",
    response={200: Page[CaaAnswerOut]},
)
def caa(request: HttpRequest, number: int) -> dict[str, list[CaaRow]]:
    """The newest answer about each of its names; empty where the policy asks for none."""
    return {"items": caa_of_request(get_request(actor=actor_of(request), number=number))}


@router.post(
    "/requests/{int:number}/certificates",
    operation_id="issueFurtherCertificate",
    summary="Ask for another certificate under a request",
    response={201: FurtherOut, 202: FurtherOut, (409, 502, 503): ProblemOut},
)
def issue_further(
    request: HttpRequest, response: HttpResponse, number: int, body: CsrIn, key: IdempotencyKey = ""
) -> Status[dict[str, object]]:
    """For a new key, and for the request's names or some of them, until its term ends; nobody decides again.

    Everything is checked again: 422 with what stands against it, 409 with the code `request.not_entitled`
    where the request allows no more. 202 says that the CA is at work; the same call tells what became of it.
    """
    actor = actor_of(request)
    made, certificate_id = submit_another(
        actor=actor,
        number=number,
        upload=body.csr,
        channel=CLIENT if body.renews_itself else CHANNEL,
        idempotency_key=key,
        clock=timezone.now,
    )
    if made.replayed:
        response["Idempotent-Replayed"] = "true"
    if certificate_id is None:
        return Status(202, {"request": number, "certificate": None})
    row = get_certificate(actor=actor, certificate_id=certificate_id, now=timezone.now())
    response["Location"] = f"{ROOT}/certificates/{row.id}"
    return Status(201, {"request": number, "certificate": row})


@router.post(
    "/requests/{int:number}/withdraw",
    operation_id="withdrawRequest",
    summary="Withdraw a request",
    response={200: RequestOut, (409, 412): ProblemOut},
)
def withdraw(
    request: HttpRequest,
    response: HttpResponse,
    number: int,
    body: WithdrawIn | None = None,
    if_match: IfMatch = "",
) -> HttpResponse:
    """Ends a request before issuance; its requester or a manager may."""
    actor = actor_of(request)
    seen = _seen(actor, number, if_match, given=body.version if body else None)
    withdraw_request(actor=actor, number=number, seen_version=seen, now=timezone.now())
    return _show(response, actor, number)


@router.post(
    "/requests/{int:number}/end",
    operation_id="endRequest",
    summary="End what a request allows",
    response={200: RequestOut, (409, 412): ProblemOut},
)
def end(
    request: HttpRequest, response: HttpResponse, number: int, body: EndIn, if_match: IfMatch = ""
) -> HttpResponse:
    """No certificate follows under it; those that are there stay valid. Officers and managers may."""
    actor = actor_of(request)
    seen = _seen(actor, number, if_match, given=body.version)
    end_request(actor=actor, number=number, reason=body.reason, seen_version=seen, now=timezone.now())
    return _show(response, actor, number)


@router.get(
    "/requests/{int:number}/decision",
    operation_id="showDecision",
    summary="Show what an approval would be about (RA officers)",
    response={200: DecisionOut, 409: ProblemOut},
)
def decision(request: HttpRequest, number: int) -> Judgement:
    """Every check as it is now, the domains that need evidence, and `shown`, which an approval sends back."""
    return judge_for_decision(actor=actor_of(request), number=number, now=timezone.now())


@router.post(
    "/requests/{int:number}/approve",
    operation_id="approveRequest",
    summary="Approve a request (RA officers)",
    response={200: RequestOut, (409, 412, 503): ProblemOut},
)
def approve(
    request: HttpRequest, response: HttpResponse, number: int, body: ApproveIn, if_match: IfMatch = ""
) -> HttpResponse:
    """Approves what `shown` says that the officer saw, with evidence for each domain that nothing proves yet,
    and with how the organisation was vetted where it has not been.

    409 with what has changed since, if anything has.
    """
    actor = actor_of(request)
    _seen(actor, number, if_match, given=None)
    approve_and_issue(
        actor=actor,
        number=number,
        shown=Shown.read(body.shown),
        evidence=[one.evidence() for one in body.evidence],
        vetting=body.vetting,
        note=body.note,
        message=body.message,
        clock=timezone.now,
    )
    return _show(response, actor, number)


@router.post(
    "/requests/{int:number}/reject",
    operation_id="rejectRequest",
    summary="Reject a request (RA officers)",
    response={200: RequestOut, (409, 412): ProblemOut},
)
def reject(
    request: HttpRequest, response: HttpResponse, number: int, body: RejectIn, if_match: IfMatch = ""
) -> HttpResponse:
    """Rejects with details, which the applicant reads."""
    actor = actor_of(request)
    seen = _seen(actor, number, if_match, given=body.version)
    reject_request(actor=actor, number=number, details=body.details, seen_version=seen, now=timezone.now())
    return _show(response, actor, number)


@router.post(
    "/requests/{int:number}/retry",
    operation_id="retryRequest",
    summary="Send a request that the CA rejected there again (RA officers)",
    response={200: RequestOut, (409, 412): ProblemOut},
)
def retry(
    request: HttpRequest,
    response: HttpResponse,
    number: int,
    body: RetryIn | None = None,
    if_match: IfMatch = "",
) -> HttpResponse:
    """Checked again first, then sent as a new attempt; nobody sends an own request again."""
    actor, asked = actor_of(request), body or RetryIn()
    seen = _seen(actor, number, if_match, given=asked.version)
    retry_request(actor=actor, number=number, note=asked.note, seen_version=seen, now=timezone.now())
    return _show(response, actor, number)


@router.post(
    "/requests/{int:number}/poll",
    operation_id="pollRequest",
    summary="Ask the CA about a request at once (RA officers)",
    response={200: RequestOut, 409: ProblemOut},
)
def poll(request: HttpRequest, response: HttpResponse, number: int) -> HttpResponse:
    """Rather than when the back-off says so; the status changes once the CA answers."""
    actor = actor_of(request)
    poll_now(actor=actor, number=number, now=timezone.now())
    return _show(response, actor, number)


def _seen(actor: Actor, number: int, if_match: str, *, given: int | None) -> int | None:
    """The version that the caller decided on, if it was told."""
    if given is None and not if_match:
        return None
    current = get_request(actor=actor, number=number).version
    return inputs.seen_version(if_match, current=current, given=given)


def _show(response: HttpResponse, actor: Actor, number: int, *, status: int = 200) -> HttpResponse:
    """The request, written once; its ETag is its version, and a number for what changes without one."""
    told = RequestOut.from_orm(get_request(actor=actor, number=number))
    response.status_code, response.content = status, told.model_dump_json().encode()
    response["ETag"] = f'"{told.version}.{crc32(response.content)}"'
    return response


def _submission(actor: Actor, body: SubmissionIn) -> Submission:
    return Submission(
        organisation_id=_organisation(actor, body.organisation),
        upload=body.csr,
        duration_years=body.duration_years,
        server_software=body.server_software,
        profile_id=body.profile,
        note=body.note,
        names=None if body.names is None else tuple(body.names),
        renews_itself=body.renews_itself,
    )


def _organisation(actor: Actor, slug: str) -> OrganisationId:
    """The organisation named, or the only one that the actor belongs to: nobody asks for another's."""
    if slug:
        found = get_organisation(actor=actor, slug=slug)
        if found.id not in actor.organisation_ids:
            raise NotAuthorized(f"You don't belong to {found.legal_name}, so you can't request for it.")
        return found.id
    if not actor.organisation_ids:
        raise NotAuthorized(
            "You don't belong to an organisation, so you can't ask for certificates. "
            "RA staff decide about requests; people of an organisation make them."
        )
    if len(actor.organisation_ids) > 1:
        own = (row.slug for row in list_organisations(actor=actor) if row.id in actor.organisation_ids)
        raise InvalidInput(
            "You belong to several organisations. Say for which one you ask.",
            fields={"organisation": f"Choose one of: {', '.join(own)}."},
        )
    (only,) = actor.organisation_ids
    return only
