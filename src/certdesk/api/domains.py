"""Domains over REST: list, add, ask a mailbox to confirm, ask again, take back; proofs and deadlines.

The code itself is in the mail and nowhere else: the person who asks never sees it.
"""

from dataclasses import asdict
from datetime import datetime
from typing import Literal

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema, Status
from pydantic import Field

from certdesk.api import publications
from certdesk.api.auth import actor_of
from certdesk.api.inputs import Body, ShortText, Slug, organisation_filter, organisation_of
from certdesk.api.organisations import DomainOut, domain_out
from certdesk.api.publications import PublicationOut, Published
from certdesk.api.schemas import ROOT, Moment, Page, ProblemOut, Row
from certdesk.dcv.email_challenge import mailboxes
from certdesk.domain.actors import Actor
from certdesk.domain.errors import existing
from certdesk.domain.validation.deadlines import Deadline
from certdesk.services.validation.by_email import add_domain, ask_by_email, cancel_challenge
from certdesk.services.validation.ended import end_validation
from certdesk.store.selectors.caa import CaaRow, caa_of_domain
from certdesk.store.selectors.domains import Standing
from certdesk.store.selectors.organisations import DomainRow, ValidationRow, list_domains, list_organisations
from certdesk.store.selectors.proofs import OpenChallenge
from certdesk.store.selectors.validation import DomainDetail, get_domain

router = Router(tags=["domains"])
_DOMAIN = "/domains/{int:domain_id}"


class AddDomainIn(Body):
    """A domain to be listed for an organisation."""

    domain: ShortText = Field(min_length=1, description="Such as `example.ac.uk`.")
    organisation: Slug = Field(default="", description="Slug; only people of exactly one need none.")


class ValidateIn(Body):
    """How a domain is to be proven: by mail to one of its mailboxes, or by something published."""

    method: Literal["email"] | Published = "email"
    mailbox: ShortText = Field(default="", description="For `email`: one of the domain's `mailboxes`.")
    wildcard: bool = Field(default=True, description="For `dns_persist`: also for all names below.")


class EndValidationIn(Body):
    """Why a proof no longer counts; everyone who sees the domain sees it."""

    reason: ShortText


class DomainsQuery(Schema):
    """How the list of domains is narrowed."""

    organisation: Slug = ""


class ChallengeOut(Schema):
    """A confirmation that was asked for, without its code. `sent_at` is null if the mail wasn't sent."""

    id: int
    domain_id: int
    domain: str = Field(validation_alias="adn")
    mailbox: str
    asked_by: str
    created_at: Moment
    sent_at: Moment | None
    expires_at: Moment
    links: dict[str, str]

    @staticmethod
    def resolve_links(told: dict[str, object]) -> dict[str, str]:
        domain = f"{ROOT}/domains/{told['domain_id']}"
        here = f"{domain}/challenges/{told['id']}"
        return {"self": here, "domain": domain, "resend": f"{here}/resend"}


class DomainDetailOut(DomainOut):
    """A domain with whom one could ask, and who has been asked."""

    organisation: str
    mailboxes: list[str]
    challenges: list[ChallengeOut]


class ValidationOut(Row):
    """One proof of control of a domain."""

    id: int
    method: str
    source: str
    evidence: dict[str, object]
    validated_by: str
    validated_at: Moment
    expires_at: Moment = Field(description="When it lapses, lapsed, or was ended.")
    ended_by: str = Field(description="Who ended it; empty where nobody did.")
    end_reason: str


class CaaAnswerOut(Row):
    """What the CAA records of a name said when they were last looked up (RFC 8659, 8657); evidence."""

    name: str
    allowed: bool
    code: str = Field(description="Stable: why it is permitted or forbidden, or why there is no answer.")
    detail: str
    found_at: str = Field(description="The name whose records decided; empty where there are none.")
    records: list[str]
    to_add: str = Field(description="A zone file's line that would permit it; empty where none is needed.")
    issuers: list[str] = Field(description="The issuer domain names that would permit us.")
    servers: list[str] = Field(description="Who answered, along the climb.")
    authenticated: bool = Field(description="Whether DNSSEC vouches for every answer.")
    request: int | None = Field(description="The request that it was looked up for; null: an ACME order.")
    at: Moment


class DeadlineOut(Schema):
    """Until when a proof counts: `today` if the rules stayed, `until` under those that are known to come."""

    today: Moment
    until: Moment
    because: str | None = Field(description="The source of the coming rule that ends it sooner.")

    @staticmethod
    def resolve_because(one: Deadline) -> str | None:
        """Null where no rule does."""
        return one.because.source if one.because else None


class FlagOut(Row):
    """What a coming rule does to the proofs that are relied on, from when, and what to do."""

    code: str
    on: Moment
    message: str
    to_do: str
    rule: str


class CaStateOut(Row):
    """What a public CA said last of its own validation; null: not validated there."""

    ca: str
    valid_until: Moment | None
    heard_from: str
    heard_at: Moment


class DeadlinesOut(Schema):
    """How long a domain is proven: our evidence for private CAs, a gate before public ones, their word."""

    domain: str = Field(validation_alias="domain.adn")
    standing: Standing = Field(validation_alias="domain.standing")
    covered_by: str | None
    private: DeadlineOut | None = Field(validation_alias="domain.deadlines.private")
    public: DeadlineOut | None = Field(validation_alias="domain.deadlines.public")
    flags: list[FlagOut] = Field(validation_alias="domain.deadlines.flags")
    ca_states: list[CaStateOut]
    valid_certificates: int = Field(validation_alias="domain.relying.certificates")
    requests_under_way: int = Field(validation_alias="domain.relying.requests")
    persistent_missing_since: Moment | None

    @staticmethod
    def resolve_covered_by(detail: DomainDetail) -> str | None:
        """Null where it stands alone."""
        return detail.domain.covered_by or None

    @staticmethod
    def resolve_persistent_missing_since(detail: DomainDetail) -> datetime | None:
        """Null where the record is there, or none is watched."""
        return detail.domain.watch.missing_since if detail.domain.watch else None


@router.get("/domains", operation_id="listDomains", summary="List domains", response={200: Page[DomainOut]})
def index(request: HttpRequest, query: Query[DomainsQuery]) -> object:
    """The domains of the caller's organisation, or for RA staff of all; and whether each is validated now."""
    actor, now = actor_of(request), timezone.now()
    found = list_domains(actor=actor, organisation_id=organisation_filter(actor, query.organisation))
    slugs = {row.id: row.slug for row in list_organisations(actor=actor, limit=100_000)}
    return {"items": [domain_out(row, slug=slugs[row.organisation_id], now=now) for row in found]}


@router.post(
    "/domains",
    operation_id="addDomain",
    summary="List a domain for an organisation",
    response={201: DomainDetailOut, 404: ProblemOut},
)
def add(request: HttpRequest, response: HttpResponse, body: AddDomainIn) -> Status[object]:
    """Nothing is proven by it yet; the same domain again is the same one."""
    actor, now = actor_of(request), timezone.now()
    owner = organisation_of(actor, body.organisation)
    domain_id = add_domain(actor=actor, organisation_id=owner, name=body.domain, now=now)
    response["Location"] = f"{ROOT}/domains/{domain_id}"
    return Status(201, _detail(actor, domain_id))


@router.get(_DOMAIN, operation_id="showDomain", summary="Show a domain", response={200: DomainDetailOut})
def show(request: HttpRequest, domain_id: int) -> object:
    """Whether it is validated, which mailboxes could be asked, and which have been."""
    return _detail(actor_of(request), domain_id)


@router.get(
    f"{_DOMAIN}/validations",
    operation_id="listValidations",
    summary="List the proofs of control of a domain",
    response={200: Page[ValidationOut]},
)
def validations(request: HttpRequest, domain_id: int) -> object:
    """Every proof, newest first: method, evidence, by whom, until when."""
    return {"items": _row(actor_of(request), domain_id).validations}


@router.post(
    f"{_DOMAIN}/validations",
    operation_id="askForValidation",
    summary="Prove a domain: ask a mailbox of it to confirm, or publish something",
    response={201: ChallengeOut | PublicationOut, 503: ProblemOut},
)
def ask(request: HttpRequest, response: HttpResponse, domain_id: int, body: ValidateIn) -> Status[object]:
    """With `email`, mails a fresh code; an earlier one to the same mailbox ends. The proof comes with the
    confirmation. A mailbox at a domain above asks about that domain, which then covers this one too.

    With another method, answers with the DNS record or file to publish.
    """
    actor = actor_of(request)
    if body.method == "email":
        return _ask(actor, _one(actor, domain_id), body.mailbox)
    made = publications.begin(actor, domain_id, method=body.method, wildcard=body.wildcard)
    response["Location"] = f"{ROOT}/domains/{domain_id}/publications"
    return Status(201, made)


@router.post(
    f"{_DOMAIN}/validations/{{int:validation_id}}/end",
    operation_id="endValidation",
    summary="End a proof of control of a domain",
    response={200: ValidationOut, 409: ProblemOut},
)
def end(request: HttpRequest, domain_id: int, validation_id: int, body: EndValidationIn) -> ValidationRow:
    """For managers of the organisation and RA officers. From now on it proves nothing; certificates that were
    issued go on working.
    """
    actor = actor_of(request)
    end_validation(
        actor=actor, domain_id=domain_id, record_id=validation_id, reason=body.reason, now=timezone.now()
    )
    return next(one for one in _row(actor, domain_id).validations if one.id == validation_id)


@router.get(
    f"{_DOMAIN}/caa",
    operation_id="listCaaOfDomain",
    summary="List what CAA records say of the names of a domain",
    response={200: Page[CaaAnswerOut]},
)
def caa(request: HttpRequest, domain_id: int) -> dict[str, list[CaaRow]]:
    """The newest answer about each name at or below it: from whom, when, and what it meant."""
    return {"items": caa_of_domain(actor=actor_of(request), domain_id=domain_id)}


@router.get(
    f"{_DOMAIN}/deadlines",
    operation_id="showDeadlines",
    summary="Show until when a domain is proven, and for which CAs",
    response={200: DeadlinesOut},
)
def deadlines(request: HttpRequest, domain_id: int) -> DomainDetail:
    """Under today's rules and tomorrow's; our evidence for private CAs, a gate before public ones."""
    return _one(actor_of(request), domain_id)


@router.get(
    f"{_DOMAIN}/challenges",
    operation_id="listChallenges",
    summary="List the confirmations that were asked for and have not come",
    response={200: Page[ChallengeOut]},
)
def challenges(request: HttpRequest, domain_id: int) -> object:
    """Newest first; those whose code has expired as well, until they are asked for again or taken back."""
    return {"items": _challenges(_one(actor_of(request), domain_id))}


@router.post(
    f"{_DOMAIN}/challenges/{{int:challenge_id}}/resend",
    operation_id="resendChallenge",
    summary="Send a confirmation's mail again",
    response={201: ChallengeOut, 503: ProblemOut},
)
def resend(request: HttpRequest, domain_id: int, challenge_id: int) -> Status[object]:
    """A new code to the same mailbox, as a new challenge; the old one no longer works."""
    actor = actor_of(request)
    detail = _one(actor, domain_id)
    return _ask(actor, detail, _challenge(detail, challenge_id).mailbox)


@router.delete(
    f"{_DOMAIN}/challenges/{{int:challenge_id}}",
    operation_id="cancelChallenge",
    summary="Take a confirmation back",
    response={204: None, 409: ProblemOut},
)
def cancel(request: HttpRequest, domain_id: int, challenge_id: int) -> Status[None]:
    """Its code no longer works."""
    actor = actor_of(request)
    _challenge(_one(actor, domain_id), challenge_id)
    cancel_challenge(actor=actor, challenge_id=challenge_id, now=timezone.now())
    return Status(204, None)


def _ask(actor: Actor, detail: DomainDetail, mailbox: str) -> Status[object]:
    row = detail.domain
    asked = ask_by_email(
        actor=actor,
        organisation_id=row.organisation_id,
        name=row.adn,
        mailbox=mailbox.strip().lower(),
        now=timezone.now(),
    )
    made = _challenge(_one(actor, asked.domain_id), asked.challenge_id)
    return Status(201, {**asdict(made), "domain_id": asked.domain_id})


def _challenge(detail: DomainDetail, challenge_id: int) -> OpenChallenge:
    found = (one for one in detail.domain.awaited if one.id == challenge_id)
    return existing(next(found, None), "There is no such confirmation.")


def _challenges(detail: DomainDetail) -> list[dict[str, object]]:
    return [{**asdict(one), "domain_id": detail.domain.id} for one in detail.domain.awaited]


def _detail(actor: Actor, domain_id: int) -> dict[str, object]:
    detail = _one(actor, domain_id)
    row = detail.domain
    return {
        "id": row.id,
        "domain": row.adn,
        "organisation": row.organisation,
        "organisation_slug": detail.organisation_slug,
        "is_validated": row.standing is Standing.VALIDATED,
        "expires_at": row.proof.expires_at if row.proof else None,
        "mailboxes": list(mailboxes(row.adn)),
        "challenges": _challenges(detail),
    }


def _one(actor: Actor, domain_id: int) -> DomainDetail:
    return get_domain(actor=actor, domain_id=domain_id, now=timezone.now())


def _row(actor: Actor, domain_id: int) -> DomainRow:
    found = (row for row in list_domains(actor=actor) if row.id == domain_id)
    return existing(next(found, None), "There is no such domain.")
