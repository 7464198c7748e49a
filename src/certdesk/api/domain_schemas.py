"""Bodies and answers about domains and how they are proven (OpenAPI)."""

from datetime import datetime
from typing import Literal, get_args

from ninja import Schema
from pydantic import Field

from certdesk.api.schemas import Body, ShortText, Slug
from certdesk.services.validation_methods import PUBLISHED

PublishedMethod = Literal["dns_txt", "dns_cname", "http_file", "dns_persist"]
METHODS_TO_PUBLISH = get_args(PublishedMethod)
if set(METHODS_TO_PUBLISH) != {*PUBLISHED, "dns_persist"}:
    raise TypeError("the methods in the OpenAPI document are not those of the services")


class ValidateIn(Body):
    """How a domain is to be proven: by mail to one of its mailboxes, or by something published."""

    method: Literal["email"] | PublishedMethod = "email"
    mailbox: ShortText = Field(default="", description="For `email`: one of the domain's `mailboxes`.")
    wildcard: bool = Field(default=True, description="For `dns_persist`: also for all names below.")


class PublicationOut(Schema):
    """What to publish, and how long it is looked for; `line` is a DNS record as in a zone file."""

    method: PublishedMethod
    domain: str
    name: str = Field(description="The DNS name, or the address of the file.")
    type: str = Field(description="TXT, CNAME or FILE.")
    value: str = Field(description="The record's value, or the file's content.")
    line: str
    expires_at: datetime | None
    next_look_at: datetime | None
    last_problem: str
    links: dict[str, str]


class PublicationsOut(Schema):
    """Everything that is to be published for a domain."""

    items: list[PublicationOut]
    next_cursor: str | None


class LookProblemOut(Schema):
    """Why nothing was found: a stable code and what to do. `retry`: it may be found later by itself."""

    code: str
    detail: str
    retry: bool


class LookOut(Schema):
    """What a look brought: the proof is recorded, or why there is none."""

    found: bool
    domain: str
    problem: LookProblemOut | None
    next_look_at: datetime | None


class CaaAnswerOut(Schema):
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
    at: datetime


class CaaAnswersOut(Schema):
    """The newest answer about each name, newest first."""

    items: list[CaaAnswerOut]
    next_cursor: str | None


class DeadlineOut(Schema):
    """Until when a proof counts: `today` if the rules stayed, `until` under those that are known to come."""

    today: datetime
    until: datetime
    because: str | None = Field(description="The source of the coming rule that ends it sooner.")


class FlagOut(Schema):
    """What a coming rule does to the proofs that are relied on, from when, and what to do."""

    code: str
    on: datetime
    message: str
    to_do: str
    rule: str


class CaStateOut(Schema):
    """What a public CA said last of its own validation; null: not validated there."""

    ca: str
    valid_until: datetime | None
    heard_from: str
    heard_at: datetime


class DeadlinesOut(Schema):
    """How long a domain is proven: our evidence for private CAs, a gate before public ones, their word."""

    domain: str
    standing: Literal["validated", "covered", "lapsed", "never"]
    covered_by: str | None
    private: DeadlineOut | None
    public: DeadlineOut | None
    flags: list[FlagOut]
    ca_states: list[CaStateOut]
    valid_certificates: int
    requests_under_way: int
    persistent_missing_since: datetime | None


class AddDomainIn(Body):
    """A domain to be listed for an organisation."""

    domain: ShortText = Field(min_length=1, description="Such as `example.ac.uk`.")
    organisation: Slug = Field(default="", description="Slug; only people of exactly one need none.")


class DomainsQuery(Schema):
    """How the list of domains is narrowed."""

    organisation: Slug = ""


class DomainOut(Schema):
    """A domain of an organisation."""

    id: int
    domain: str
    organisation_slug: str
    is_validated: bool
    expires_at: datetime | None
    links: dict[str, str]


class ChallengeOut(Schema):
    """A confirmation that was asked for. `sent_at` is null when the mail could not be sent."""

    id: int
    domain_id: int
    domain: str
    mailbox: str
    asked_by: str
    created_at: datetime
    sent_at: datetime | None
    expires_at: datetime
    links: dict[str, str]


class ChallengesOut(Schema):
    """The open confirmations of a domain."""

    items: list[ChallengeOut]
    next_cursor: str | None


class DomainDetailOut(DomainOut):
    """A domain with whom one could ask, and who has been asked."""

    organisation: str
    mailboxes: list[str]
    challenges: list[ChallengeOut]


class DomainsOut(Schema):
    """All domains that the caller may see."""

    items: list[DomainOut]
    next_cursor: str | None


class ValidationOut(Schema):
    """One proof of control of a domain."""

    id: int
    method: str
    source: str
    evidence: dict[str, object]
    validated_by: str
    validated_at: datetime
    expires_at: datetime = Field(description="When it lapses, lapsed, or was ended.")
    ended_by: str = Field(description="Who ended it; empty where nobody did.")
    end_reason: str


class EndValidationIn(Schema):
    """Why a proof no longer counts; everyone who sees the domain sees it."""

    reason: ShortText


class ValidationsOut(Schema):
    """All proofs of a domain, newest first."""

    items: list[ValidationOut]
    next_cursor: str | None
