"""Proving a domain over REST by something published: begin, what to publish, look now, give up; deadlines.

A publication is named by its method: there is at most one under way of each for a domain.
"""

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router

from certdesk.api import render
from certdesk.api.auth import actor_of
from certdesk.api.domain_schemas import DeadlinesOut, LookOut, PublicationsOut
from certdesk.api.openapi import describe
from certdesk.domain.actors import Actor
from certdesk.domain.deadlines import Deadline
from certdesk.domain.errors import NotFound
from certdesk.domain.evidence import Method
from certdesk.services.persistent import check_record_now, record_of, stop_watching, watch_record
from certdesk.services.publications import DnsRecord, Publication
from certdesk.services.validation_methods import (
    Found,
    Looked,
    Open,
    cancel_method_challenge,
    check_now,
    open_challenges_of,
    own_domain,
    start_challenge,
)
from certdesk.store.selectors.domains import ListedDomain
from certdesk.store.selectors.validation import get_domain

router = Router(tags=["domains"])
PERSIST = "dns_persist"


def begin(actor: Actor, domain_id: int, *, method: str, wildcard: bool) -> HttpResponse:
    """Answers with what to publish; we look by ourselves, and at once where asked to."""
    now = timezone.now()
    get_domain(actor=actor, domain_id=domain_id, now=now)
    if method == PERSIST:
        watch_record(actor=actor, domain_id=domain_id, wildcard=wildcard, now=now)
    else:
        start_challenge(actor=actor, domain_id=domain_id, method=Method(method), now=now)
    made = next(one for one in _publications(actor, domain_id) if one["method"] == method)
    return render.answer(made, status=201, headers={"Location": _path(domain_id)})


@router.get(
    "/domains/{int:domain_id}/publications",
    operation_id="listPublications",
    summary="List what is to be published for a domain",
    response={200: PublicationsOut},
    openapi_extra=describe(403, 404),
)
def publications(request: HttpRequest, domain_id: int) -> HttpResponse:
    """For the people of the organisation and RA officers: whoever could publish it."""
    items = _publications(actor_of(request), domain_id)
    return render.answer({"items": items, "next_cursor": None})


@router.post(
    "/domains/{int:domain_id}/publications/{slug:method}/check",
    operation_id="checkPublication",
    summary="Look at once whether it is published",
    response={200: LookOut},
    openapi_extra=describe(400, 403, 404, 409, 415, 422, 429),
)
def check(request: HttpRequest, domain_id: int, method: str) -> HttpResponse:
    """Takes as long as the name or web server does. What was seen is kept as evidence."""
    actor = actor_of(request)
    if method == PERSIST:
        _watched(actor, domain_id)
        looked = check_record_now(actor=actor, domain_id=domain_id, clock=timezone.now)
    else:
        one = _open(actor, domain_id, method)
        looked = check_now(actor=actor, challenge_id=one.challenge_id, clock=timezone.now)
    return render.answer(_look_json(looked))


@router.delete(
    "/domains/{int:domain_id}/publications/{slug:method}",
    operation_id="cancelPublication",
    summary="Give a way of proving up",
    response={204: None},
    openapi_extra=describe(403, 404, 409),
)
def cancel(request: HttpRequest, domain_id: int, method: str) -> HttpResponse:
    """What was published proves nothing any more; what it has proven runs out by itself."""
    actor, now = actor_of(request), timezone.now()
    if method == PERSIST:
        _watched(actor, domain_id)
        stop_watching(actor=actor, domain_id=domain_id, now=now)
    else:
        one = _open(actor, domain_id, method)
        cancel_method_challenge(actor=actor, challenge_id=one.challenge_id, now=now)
    return HttpResponse(status=204)


@router.get(
    "/domains/{int:domain_id}/deadlines",
    operation_id="showDeadlines",
    summary="Show until when a domain is proven, and for which CAs",
    response={200: DeadlinesOut},
    openapi_extra=describe(404),
)
def deadlines(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Under today's rules and tomorrow's; our evidence for private CAs, a gate before public ones."""
    detail = get_domain(actor=actor_of(request), domain_id=domain_id, now=timezone.now())
    row = detail.domain
    found = row.deadlines
    return render.answer(
        {
            "domain": row.adn,
            "standing": row.standing.value,
            "covered_by": row.covered_by or None,
            "private": _deadline_json(found.private),
            "public": _deadline_json(found.public),
            "flags": [
                {
                    "code": flag.code,
                    "on": render.moment(flag.on),
                    "message": flag.message,
                    "to_do": flag.to_do,
                    "rule": flag.rule,
                }
                for flag in found.flags
            ],
            "ca_states": [
                {
                    "ca": one.ca,
                    "valid_until": render.moment(one.valid_until),
                    "heard_from": one.heard_from,
                    "heard_at": render.moment(one.heard_at),
                }
                for one in detail.ca_states
            ],
            "valid_certificates": row.relying.certificates,
            "requests_under_way": row.relying.requests,
            "persistent_missing_since": render.moment(row.watch.missing_since if row.watch else None),
        }
    )


def _publications(actor: Actor, domain_id: int) -> list[render.Json]:
    now = timezone.now()
    own_domain(actor, domain_id)
    row = get_domain(actor=actor, domain_id=domain_id, now=now).domain
    found = [
        _publication_json(
            row,
            method=one.method.value,
            published=one.publication,
            expires_at=one.expires_at,
            next_look_at=one.next_look_at,
            last_problem=one.last_problem,
        )
        for one in open_challenges_of(actor=actor, domain_id=domain_id, now=now)
    ]
    record = record_of(domain_id)
    if row.watch is not None and record is not None:
        found.append(
            _publication_json(
                row,
                method=PERSIST,
                published=record,
                expires_at=None,
                next_look_at=row.watch.next_look_at,
                last_problem="",
            )
        )
    return found


def _publication_json(
    row: ListedDomain,
    *,
    method: str,
    published: Publication,
    expires_at: datetime | None,
    next_look_at: datetime | None,
    last_problem: str,
) -> render.Json:
    if isinstance(published, DnsRecord):
        name, kind, value, line = published.name, published.kind, published.value, published.line
    else:
        name, kind, value, line = published.url, "FILE", published.content, ""
    return {
        "method": method,
        "domain": row.adn,
        "name": name,
        "type": kind,
        "value": value,
        "line": line,
        "expires_at": render.moment(expires_at),
        "next_look_at": render.moment(next_look_at),
        "last_problem": last_problem,
        "links": {"check": f"{_path(row.id)}/{method}/check"},
    }


def _look_json(looked: Looked) -> render.Json:
    if isinstance(looked, Found):
        return {"found": True, "domain": looked.adn, "problem": None, "next_look_at": None}
    problem = looked.problem
    return {
        "found": False,
        "domain": looked.adn,
        "problem": {"code": problem.code, "detail": problem.detail, "retry": problem.retry},
        "next_look_at": render.moment(looked.next_look_at),
    }


def _deadline_json(one: Deadline | None) -> render.Json | None:
    if one is None:
        return None
    return {
        "today": render.moment(one.today),
        "until": render.moment(one.until),
        "because": one.because.source if one.because else None,
    }


def _open(actor: Actor, domain_id: int, method: str) -> Open:
    own_domain(actor, domain_id)
    running = open_challenges_of(actor=actor, domain_id=domain_id, now=timezone.now())
    found = next((one for one in running if one.method == method), None)
    if found is None:
        raise NotFound("Nothing is to be published for this domain in this way.")
    return found


def _watched(actor: Actor, domain_id: int) -> None:
    own_domain(actor, domain_id)
    if record_of(domain_id) is None:
        raise NotFound("Nothing is to be published for this domain in this way.")


def _path(domain_id: int) -> str:
    return f"{render.ROOT}/domains/{domain_id}/publications"
