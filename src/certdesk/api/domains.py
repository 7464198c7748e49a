"""Domains over REST: list, add, ask a mailbox to confirm, ask again, take back; proofs (R4, R31 to R34).

The code itself is in the mail and nowhere else: whoever asks never sees it (V1).
"""

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router

from certdesk.api import domain_methods, inputs, render
from certdesk.api.auth import actor_of
from certdesk.api.domain_schemas import (
    AddDomainIn,
    CaaAnswersOut,
    ChallengeOut,
    ChallengesOut,
    DomainDetailOut,
    DomainsOut,
    DomainsQuery,
    EndValidationIn,
    PublicationOut,
    ValidateIn,
    ValidationOut,
    ValidationsOut,
)
from certdesk.api.openapi import describe
from certdesk.dcv.email_challenge import mailboxes
from certdesk.domain.actors import Actor
from certdesk.domain.errors import NotFound
from certdesk.services.ended_validations import end_validation
from certdesk.services.validation import Asked, add_domain, ask_by_email, cancel_challenge
from certdesk.store.selectors.caa import caa_of_domain
from certdesk.store.selectors.organisations import DomainRow, list_domains, list_organisations
from certdesk.store.selectors.proofs import OpenChallenge
from certdesk.store.selectors.validation import DomainDetail, get_domain

router = Router(tags=["domains"])


@router.get(
    "/domains",
    operation_id="listDomains",
    summary="List domains",
    response={200: DomainsOut},
    openapi_extra=describe(404, 422),
)
def index(request: HttpRequest, query: Query[DomainsQuery]) -> HttpResponse:
    """The domains of the caller's organisation, or for RA staff of all; and whether each is validated now."""
    actor = actor_of(request)
    wanted = inputs.organisation_filter(actor, query.organisation)
    slugs = {row.id: row.slug for row in list_organisations(actor=actor, limit=100_000)}
    now = timezone.now()
    found = list_domains(actor=actor, organisation_id=wanted)
    return _all([render.domain_json(row, slug=slugs[row.organisation_id], now=now) for row in found])


@router.post(
    "/domains",
    operation_id="addDomain",
    summary="List a domain for an organisation",
    response={201: DomainDetailOut},
    openapi_extra=describe(403, 404, body=AddDomainIn),
)
def add(request: HttpRequest) -> HttpResponse:
    """Nothing is proven by it yet; the same domain again is the same one."""
    actor, now = actor_of(request), timezone.now()
    body = inputs.read_body(request, AddDomainIn)
    organisation_id = inputs.organisation_named(actor, body.organisation)
    domain_id = add_domain(actor=actor, organisation_id=organisation_id, name=body.domain, now=now)
    headers = {"Location": f"{render.ROOT}/domains/{domain_id}"}
    return render.answer(_detail(actor, domain_id, now=now), status=201, headers=headers)


@router.get(
    "/domains/{int:domain_id}",
    operation_id="showDomain",
    summary="Show a domain",
    response={200: DomainDetailOut},
    openapi_extra=describe(404),
)
def show(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Whether it is validated, which mailboxes could be asked, and which have been."""
    return render.answer(_detail(actor_of(request), domain_id, now=timezone.now()))


@router.get(
    "/domains/{int:domain_id}/validations",
    operation_id="listValidations",
    summary="List the proofs of control of a domain",
    response={200: ValidationsOut},
    openapi_extra=describe(404),
)
def validations(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Every proof, newest first: method, evidence, by whom, until when (V7)."""
    domain = _domain(actor_of(request), domain_id)
    return _all([render.validation_json(row) for row in domain.validations])


@router.post(
    "/domains/{int:domain_id}/validations",
    operation_id="askForValidation",
    summary="Prove a domain: ask a mailbox of it to confirm, or publish something",
    response={201: ChallengeOut | PublicationOut},
    openapi_extra=describe(403, 404, 503, body=ValidateIn),
)
def ask(request: HttpRequest, domain_id: int) -> HttpResponse:
    """With `email`, mails a fresh code; an earlier one to the same mailbox ends. The proof comes with the
    confirmation. A mailbox at a domain above asks about that domain, which then covers this one too.

    With another method, answers with the DNS record or file to publish.
    """
    actor = actor_of(request)
    body = inputs.read_body(request, ValidateIn)
    if body.method != "email":
        return domain_methods.begin(actor, domain_id, method=body.method, wildcard=body.wildcard)
    return _ask(actor, get_domain(actor=actor, domain_id=domain_id, now=timezone.now()), body.mailbox)


@router.post(
    "/domains/{int:domain_id}/validations/{int:validation_id}/end",
    operation_id="endValidation",
    summary="End a proof of control of a domain",
    response={200: ValidationOut},
    openapi_extra=describe(403, 404, 409, body=EndValidationIn),
)
def end(request: HttpRequest, domain_id: int, validation_id: int) -> HttpResponse:
    """For managers of the organisation and RA officers. From now on it proves nothing; certificates that were
    issued go on working.
    """
    actor = actor_of(request)
    body = inputs.read_body(request, EndValidationIn)
    end_validation(
        actor=actor, domain_id=domain_id, record_id=validation_id, reason=body.reason, now=timezone.now()
    )
    proofs = _domain(actor, domain_id).validations
    return render.answer(render.validation_json(next(one for one in proofs if one.id == validation_id)))


@router.get(
    "/domains/{int:domain_id}/caa",
    operation_id="listCaaOfDomain",
    summary="List what CAA records say of the names of a domain",
    response={200: CaaAnswersOut},
    openapi_extra=describe(404),
)
def caa(request: HttpRequest, domain_id: int) -> HttpResponse:
    """The newest answer about each name at or below it: from whom, when, and what it meant (V6)."""
    found = caa_of_domain(actor=actor_of(request), domain_id=domain_id)
    return _all([render.caa_json(row) for row in found])


@router.get(
    "/domains/{int:domain_id}/challenges",
    operation_id="listChallenges",
    summary="List the confirmations that were asked for and have not come",
    response={200: ChallengesOut},
    openapi_extra=describe(404),
)
def challenges(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Newest first; those whose code has expired as well, until they are asked for anew or taken back."""
    detail = get_domain(actor=actor_of(request), domain_id=domain_id, now=timezone.now())
    return _all([render.challenge_json(one, domain_id=domain_id) for one in detail.domain.awaited])


@router.post(
    "/domains/{int:domain_id}/challenges/{int:challenge_id}/resend",
    operation_id="resendChallenge",
    summary="Send a confirmation's mail anew",
    response={201: ChallengeOut},
    openapi_extra=describe(400, 403, 404, 415, 422, 503),
)
def resend(request: HttpRequest, domain_id: int, challenge_id: int) -> HttpResponse:
    """A new code to the same mailbox, as a new challenge; the old one no longer works."""
    actor = actor_of(request)
    detail = get_domain(actor=actor, domain_id=domain_id, now=timezone.now())
    return _ask(actor, detail, _challenge(detail, challenge_id).mailbox)


@router.delete(
    "/domains/{int:domain_id}/challenges/{int:challenge_id}",
    operation_id="cancelChallenge",
    summary="Take a confirmation back",
    response={204: None},
    openapi_extra=describe(403, 404, 409),
)
def cancel(request: HttpRequest, domain_id: int, challenge_id: int) -> HttpResponse:
    """Its code no longer works."""
    actor, now = actor_of(request), timezone.now()
    _challenge(get_domain(actor=actor, domain_id=domain_id, now=now), challenge_id)
    cancel_challenge(actor=actor, challenge_id=challenge_id, now=now)
    return HttpResponse(status=204)


def _ask(actor: Actor, detail: DomainDetail, mailbox: str) -> HttpResponse:
    row = detail.domain
    asked = ask_by_email(
        actor=actor,
        organisation_id=row.organisation_id,
        name=row.adn,
        mailbox=mailbox.strip().lower(),
        now=timezone.now(),
    )
    made = _asked(actor, asked)
    return render.answer(render.challenge_json(made, domain_id=asked.domain_id), status=201)


def _asked(actor: Actor, asked: Asked) -> OpenChallenge:
    detail = get_domain(actor=actor, domain_id=asked.domain_id, now=timezone.now())
    return _challenge(detail, asked.challenge_id)


def _challenge(detail: DomainDetail, challenge_id: int) -> OpenChallenge:
    found = next((one for one in detail.domain.awaited if one.id == challenge_id), None)
    if found is None:
        raise NotFound("There is no such confirmation.")
    return found


def _detail(actor: Actor, domain_id: int, *, now: datetime) -> render.Json:
    detail = get_domain(actor=actor, domain_id=domain_id, now=now)
    return render.domain_detail_json(detail, mailboxes=list(mailboxes(detail.domain.adn)))


def _domain(actor: Actor, domain_id: int) -> DomainRow:
    for row in list_domains(actor=actor):
        if row.id == domain_id:
            return row
    raise NotFound("There is no such domain.")


def _all(items: list[render.Json]) -> HttpResponse:
    return render.answer({"items": items, "next_cursor": None})
