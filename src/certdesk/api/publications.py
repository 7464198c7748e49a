"""Proving a domain over REST by something published: begin, what to publish, look now, give up.

A publication is named by its method: there is at most one under way of each for a domain.
"""

from datetime import datetime
from typing import Literal

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from certdesk.api.auth import actor_of
from certdesk.api.schemas import ROOT, Moment, Page, ProblemOut, Row
from certdesk.domain.actors import Actor
from certdesk.domain.errors import existing
from certdesk.domain.validation.evidence import Method
from certdesk.services.validation.by_publication import (
    Checked,
    Found,
    Open,
    cancel_method_challenge,
    check_now,
    open_challenges_of,
    own_domain,
    start_challenge,
)
from certdesk.services.validation.persistent import check_record_now, record_of, stop_watching, watch_record
from certdesk.services.validation.publications import DnsRecord, Publication
from certdesk.store.selectors.validation import get_domain

router = Router(tags=["domains"])
_ONE = "/domains/{int:domain_id}/publications/{slug:method}"

Published = Literal[Method.DNS_TXT, Method.DNS_CNAME, Method.HTTP_FILE, Method.DNS_PERSIST]


class PublicationOut(Row):
    """What to publish, and how long it is looked for; `line` is a DNS record as in a zone file."""

    method: Published
    domain: str
    name: str = Field(description="The DNS name, or the address of the file.")
    type: str = Field(description="TXT, CNAME or FILE.")
    value: str = Field(description="The record's value, or the file's content.")
    line: str
    expires_at: Moment | None
    next_look_at: Moment | None
    last_problem: str
    links: dict[str, str]


class LookProblemOut(Row):
    """Why nothing was found: a stable code and what to do. `retry`: it may be found later."""

    code: str
    detail: str
    retry: bool


class LookOut(Schema):
    """What a look brought: the proof is recorded, or why there is none."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    found: bool
    domain: str = Field(validation_alias="adn")
    problem: LookProblemOut | None = None
    next_look_at: Moment | None = None

    @staticmethod
    def resolve_found(looked: Checked) -> bool:
        return isinstance(looked, Found)


def begin(actor: Actor, domain_id: int, *, method: Method, wildcard: bool) -> dict[str, object]:
    """Begins to look for it; returns what to publish."""
    now = timezone.now()
    get_domain(actor=actor, domain_id=domain_id, now=now)
    if method is Method.DNS_PERSIST:
        watch_record(actor=actor, domain_id=domain_id, wildcard=wildcard, now=now)
    else:
        start_challenge(actor=actor, domain_id=domain_id, method=method, now=now)
    return next(one for one in _publications(actor, domain_id) if one["method"] == method)


@router.get(
    "/domains/{int:domain_id}/publications",
    operation_id="listPublications",
    summary="List what is to be published for a domain",
    response={200: Page[PublicationOut]},
)
def index(request: HttpRequest, domain_id: int) -> object:
    """For the people of the organisation, who could publish it, and RA officers."""
    return {"items": _publications(actor_of(request), domain_id)}


@router.post(
    f"{_ONE}/check",
    operation_id="checkPublication",
    summary="Look at once whether it is published",
    response={200: LookOut, 409: ProblemOut},
)
def check(request: HttpRequest, domain_id: int, method: str) -> Checked:
    """Takes as long as the name or web server does. What was seen is kept as evidence."""
    actor = actor_of(request)
    one = _open(actor, domain_id, method)
    if one is None:
        return check_record_now(actor=actor, domain_id=domain_id, clock=timezone.now)
    return check_now(actor=actor, challenge_id=one.challenge_id, clock=timezone.now)


@router.delete(
    _ONE,
    operation_id="cancelPublication",
    summary="Give a way of proving up",
    response={204: None, 409: ProblemOut},
)
def cancel(request: HttpRequest, domain_id: int, method: str) -> Status[None]:
    """What was published proves nothing any longer; what it has proven runs out in time."""
    actor, now = actor_of(request), timezone.now()
    one = _open(actor, domain_id, method)
    if one is None:
        stop_watching(actor=actor, domain_id=domain_id, now=now)
    else:
        cancel_method_challenge(actor=actor, challenge_id=one.challenge_id, now=now)
    return Status(204, None)


def _open(actor: Actor, domain_id: int, method: str) -> Open | None:
    """The challenge under way by this method; None for the persistent record, which has none."""
    own_domain(actor, domain_id)
    if method == Method.DNS_PERSIST and record_of(domain_id) is not None:
        return None
    running = open_challenges_of(actor=actor, domain_id=domain_id, now=timezone.now())
    found = (one for one in running if one.method == method)
    return existing(next(found, None), "Nothing is to be published for this domain in this way.")


def _publications(actor: Actor, domain_id: int) -> list[dict[str, object]]:
    now = timezone.now()
    own_domain(actor, domain_id)
    row = get_domain(actor=actor, domain_id=domain_id, now=now).domain
    found: list[tuple[Method, Publication, datetime | None, datetime | None, str]] = [
        (one.method, one.publication, one.expires_at, one.next_look_at, one.last_problem)
        for one in open_challenges_of(actor=actor, domain_id=domain_id, now=now)
    ]
    record = record_of(domain_id)
    if row.watch is not None and record is not None:
        found.append((Method.DNS_PERSIST, record, None, row.watch.next_look_at, ""))
    return [
        {
            "method": method,
            "domain": row.adn,
            **_what(published),
            "expires_at": expires_at,
            "next_look_at": next_look_at,
            "last_problem": last_problem,
            "links": {"check": f"{ROOT}/domains/{domain_id}/publications/{method}/check"},
        }
        for method, published, expires_at, next_look_at, last_problem in found
    ]


def _what(published: Publication) -> dict[str, str]:
    if isinstance(published, DnsRecord):
        return {
            "name": published.name,
            "type": published.kind,
            "value": published.value,
            "line": published.line,
        }
    return {"name": published.url, "type": "FILE", "value": published.content, "line": ""}
