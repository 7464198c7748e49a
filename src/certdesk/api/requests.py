"""Requests over REST: preview, create, list, show, withdraw, approve, reject."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router

from certdesk.api import inputs, render
from certdesk.api.auth import actor_of
from certdesk.api.domain_schemas import CaaAnswersOut
from certdesk.api.openapi import IDEMPOTENCY_KEY, IF_MATCH, describe
from certdesk.api.schemas import (
    ApproveIn,
    CsrIn,
    CsrUploadIn,
    DecisionOut,
    EndIn,
    FurtherOut,
    PreviewOut,
    RejectIn,
    RequestOut,
    RequestsOut,
    RequestsQuery,
    RetryIn,
    SubmissionIn,
    UploadIn,
    WithdrawIn,
)
from certdesk.domain.actors import Actor
from certdesk.services.confirm import approve_and_issue, submit_another, submit_request
from certdesk.services.decisions import Shown, judge_for_decision, reject_request
from certdesk.services.organisations import Evidence
from certdesk.services.recovery import poll_now, retry_request
from certdesk.services.requests import end_request, preview_request, withdraw_request
from certdesk.store.selectors.caa import caa_of_request
from certdesk.store.selectors.certificates import get_certificate
from certdesk.store.selectors.requests import Filters, get_request, list_requests

router = Router(tags=["requests"])

CHANNEL = "api"


@router.post(
    "/requests/preview",
    operation_id="previewRequest",
    summary="Say what a CSR holds and what would become of it",
    response={200: PreviewOut},
    openapi_extra=describe(403, 404, body=SubmissionIn, form=UploadIn),
)
def preview(request: HttpRequest) -> HttpResponse:
    """Every attribute, name and check with its verdict; nothing is stored or sent (R15, R16)."""
    actor = actor_of(request)
    asked, upload = inputs.read_submission(request)
    submission = inputs.submission_for(actor, asked, upload)
    foreseen = preview_request(actor=actor, submission=submission, now=timezone.now())
    slug = inputs.slug_of(actor, foreseen.organisation_id)
    return render.answer(render.preview_json(foreseen, actor=actor, slug=slug))


@router.post(
    "/requests",
    operation_id="createRequest",
    summary="Ask for a certificate",
    response={201: RequestOut},
    openapi_extra=describe(403, 404, 503, body=SubmissionIn, form=UploadIn, headers=[IDEMPOTENCY_KEY]),
)
def create(request: HttpRequest) -> HttpResponse:
    """Creates a request; 422 with every check if policy refuses it (R17 to R19).

    With a CA that answers at once the certificate is there already. `Idempotent-Replayed: true` says that an
    earlier call had made the request.
    """
    actor = actor_of(request)
    key = inputs.idempotency_key(request)
    asked, upload = inputs.read_submission(request)
    submission = inputs.submission_for(actor, asked, upload)
    created = submit_request(
        actor=actor, submission=submission, channel=CHANNEL, idempotency_key=key, clock=timezone.now
    )
    headers = {"Location": f"{render.ROOT}/requests/{created.number}"}
    if created.replayed:
        headers["Idempotent-Replayed"] = "true"
    return _show(actor, created.number, status=201, headers=headers)


@router.get(
    "/requests",
    operation_id="listRequests",
    summary="List requests",
    response={200: RequestsOut},
    openapi_extra=describe(404, 422),
)
def index(request: HttpRequest, query: Query[RequestsQuery]) -> HttpResponse:
    """All requests of the caller's organisation, whoever made them (R20); for RA staff, of all."""
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
    asked = {
        "q": query.q,
        "status": query.status,
        "action": query.action,
        "organisation": query.organisation,
        "sort": query.sort.value,
        "limit": str(query.limit),
    }
    items = [render.row_json(row, now=timezone.now()) for row in found.rows]
    return render.page(items, path="/requests", query=asked, next_cursor=found.next_cursor)


@router.get(
    "/requests/{int:number}",
    operation_id="showRequest",
    summary="Show a request",
    response={200: RequestOut},
    openapi_extra=describe(404),
)
def show(request: HttpRequest, number: int) -> HttpResponse:
    """A request with its checks, history, decisions and certificates. The ETag is its version."""
    actor = actor_of(request)
    detail = get_request(actor=actor, number=number)
    body = render.request_json(detail, now=timezone.now())
    headers = {"ETag": render.etag(detail.version, body), "Cache-Control": "private, no-cache"}
    if inputs.is_fresh(request, tag=headers["ETag"]):
        return HttpResponse(status=304, headers=headers)
    return render.answer(body, headers=headers)


@router.get(
    "/requests/{int:number}/caa",
    operation_id="listCaaOfRequest",
    summary="List what CAA records say of the names of a request",
    response={200: CaaAnswersOut},
    openapi_extra=describe(404),
)
def caa(request: HttpRequest, number: int) -> HttpResponse:
    """The newest answer about each of its names; empty where the policy asks for none (V6)."""
    found = caa_of_request(actor=actor_of(request), number=number)
    return render.answer({"items": [render.caa_json(row) for row in found], "next_cursor": None})


@router.post(
    "/requests/{int:number}/certificates",
    operation_id="issueFurtherCertificate",
    summary="Ask for another certificate under a request",
    response={201: FurtherOut, 202: FurtherOut},
    openapi_extra=describe(403, 404, 409, 502, 503, body=CsrIn, form=CsrUploadIn, headers=[IDEMPOTENCY_KEY]),
)
def issue_further(request: HttpRequest, number: int) -> HttpResponse:
    """For a new key, and for the request's names or some of them, until its term ends; nobody decides again.

    Everything is checked anew: 422 with what stands against it, 409 with the code `request.not_entitled`
    where the request allows no more. 202 says that the CA is at work; the same call tells what became of it.
    """
    actor = actor_of(request)
    key = inputs.idempotency_key(request)
    upload = inputs.read_csr_alone(request)
    made, certificate_id = submit_another(
        actor=actor, number=number, upload=upload, channel=CHANNEL, idempotency_key=key, clock=timezone.now
    )
    headers = {"Idempotent-Replayed": "true"} if made.replayed else {}
    if certificate_id is None:
        return render.answer(render.further_json(number, None), status=202, headers=headers)
    row = get_certificate(actor=actor, certificate_id=certificate_id, now=timezone.now())
    headers["Location"] = f"{render.ROOT}/certificates/{row.id}"
    return render.answer(render.further_json(number, row), status=201, headers=headers)


@router.post(
    "/requests/{int:number}/withdraw",
    operation_id="withdrawRequest",
    summary="Withdraw a request",
    response={200: RequestOut},
    openapi_extra=describe(403, 404, 409, 412, body=WithdrawIn, body_required=False, headers=[IF_MATCH]),
)
def withdraw(request: HttpRequest, number: int) -> HttpResponse:
    """Ends a request before issuance; its requester or a manager may."""
    actor = actor_of(request)
    body = inputs.read_body(request, WithdrawIn, optional=True)
    withdraw_request(
        actor=actor,
        number=number,
        seen_version=_seen(request, actor, number, given=body.version),
        now=timezone.now(),
    )
    return _show(actor, number)


@router.post(
    "/requests/{int:number}/end",
    operation_id="endRequest",
    summary="End what a request allows",
    response={200: RequestOut},
    openapi_extra=describe(403, 404, 409, 412, body=EndIn, headers=[IF_MATCH]),
)
def end(request: HttpRequest, number: int) -> HttpResponse:
    """No certificate follows under it; those that are there stay valid. Officers and managers may."""
    actor = actor_of(request)
    body = inputs.read_body(request, EndIn)
    end_request(
        actor=actor,
        number=number,
        reason=body.reason,
        seen_version=_seen(request, actor, number, given=body.version),
        now=timezone.now(),
    )
    return _show(actor, number)


@router.get(
    "/requests/{int:number}/decision",
    operation_id="showDecision",
    summary="Show what an approval would be about (RA officers)",
    response={200: DecisionOut},
    openapi_extra=describe(403, 404, 409),
)
def decision(request: HttpRequest, number: int) -> HttpResponse:
    """Every check as it is now, the domains that need evidence, and `shown`, which an approval sends back."""
    actor = actor_of(request)
    judged = judge_for_decision(actor=actor, number=number, now=timezone.now())
    return render.answer(render.decision_json(judged))


@router.post(
    "/requests/{int:number}/approve",
    operation_id="approveRequest",
    summary="Approve a request (RA officers)",
    response={200: RequestOut},
    openapi_extra=describe(403, 404, 409, 412, 503, body=ApproveIn, headers=[IF_MATCH]),
)
def approve(request: HttpRequest, number: int) -> HttpResponse:
    """Approves what `shown` says that the officer saw, with evidence for each domain that nothing proves yet,
    and with how the organisation was vetted where it has not been.

    409 with what has changed since, if anything has.
    """
    actor = actor_of(request)
    body = inputs.read_body(request, ApproveIn)
    _seen(request, actor, number, given=None)
    approve_and_issue(
        actor=actor,
        number=number,
        shown=Shown.read(body.shown),
        evidence=[
            Evidence(domain=e.domain.strip().lower(), how=e.how, details=e.details, reference=e.reference)
            for e in body.evidence
        ],
        vetting=body.vetting,
        note=body.note,
        message=body.message,
        clock=timezone.now,
    )
    return _show(actor, number)


@router.post(
    "/requests/{int:number}/reject",
    operation_id="rejectRequest",
    summary="Reject a request (RA officers)",
    response={200: RequestOut},
    openapi_extra=describe(403, 404, 409, 412, body=RejectIn, headers=[IF_MATCH]),
)
def reject(request: HttpRequest, number: int) -> HttpResponse:
    """Rejects with details, which the applicant reads (R29)."""
    actor = actor_of(request)
    body = inputs.read_body(request, RejectIn)
    reject_request(
        actor=actor,
        number=number,
        details=body.details,
        seen_version=_seen(request, actor, number, given=body.version),
        now=timezone.now(),
    )
    return _show(actor, number)


@router.post(
    "/requests/{int:number}/retry",
    operation_id="retryRequest",
    summary="Send a request that the CA rejected there again (RA officers)",
    response={200: RequestOut},
    openapi_extra=describe(403, 404, 409, 412, body=RetryIn, body_required=False, headers=[IF_MATCH]),
)
def retry(request: HttpRequest, number: int) -> HttpResponse:
    """Checked anew first, then sent as a new attempt (R28); nobody sends an own request again."""
    actor = actor_of(request)
    body = inputs.read_body(request, RetryIn, optional=True)
    retry_request(
        actor=actor,
        number=number,
        note=body.note,
        seen_version=_seen(request, actor, number, given=body.version),
        now=timezone.now(),
    )
    return _show(actor, number)


@router.post(
    "/requests/{int:number}/poll",
    operation_id="pollRequest",
    summary="Ask the CA about a request at once (RA officers)",
    response={200: RequestOut},
    openapi_extra=describe(400, 403, 404, 409, 415, 422),
)
def poll(request: HttpRequest, number: int) -> HttpResponse:
    """Rather than when the back-off says so; the status changes once the CA answers."""
    actor = actor_of(request)
    poll_now(actor=actor, number=number, now=timezone.now())
    return _show(actor, number)


def _seen(request: HttpRequest, actor: Actor, number: int, *, given: int | None) -> int | None:
    """The version that the caller decided on, if it was told."""
    if given is None and "If-Match" not in request.headers:
        return None
    current = get_request(actor=actor, number=number).version
    return inputs.seen_version(request, current=current, given=given)


def _show(
    actor: Actor, number: int, *, status: int = 200, headers: dict[str, str] | None = None
) -> HttpResponse:
    detail = get_request(actor=actor, number=number)
    body = render.request_json(detail, now=timezone.now())
    tag = render.etag(detail.version, body)
    return render.answer(body, status=status, headers={"ETag": tag, **(headers or {})})
