"""What goes in and out about requests."""

import functools
from datetime import datetime
from typing import Annotated, Literal

from django.utils import timezone
from ninja import Schema
from pydantic import AfterValidator, AliasChoices, BeforeValidator, ConfigDict, Field, StringConstraints

from certdesk.api.inputs import Body, CsrBytes, Limit, SearchText, ShortText, Slug, Text, Version
from certdesk.api.organisations import EvidenceIn
from certdesk.api.schemas import ROOT, CertificateOut, CheckOut, ListedCertificateOut, Moment, Row
from certdesk.domain.findings import Check
from certdesk.domain.issuing.revocation import CertificateStatus
from certdesk.domain.issuing.states import State, Status, status_text
from certdesk.domain.policy.catalogue import stored
from certdesk.domain.policy.decide import Outcome
from certdesk.services.requests.another import open_until
from certdesk.services.requests.decisions import Judgement
from certdesk.services.requests.terms import Term, term_of
from certdesk.services.system import runtime
from certdesk.store.selectors.requests import RequestDetail, RequestRow, Sort

_LISTED = ("", *(status.value for status in Status), State.ENDED.value)


def _listed(value: str) -> str:
    if value not in _LISTED:
        raise ValueError(f"Use one of: {', '.join(_LISTED[1:])}.")
    return value


#: A status, or that a request has ended whatever it had come to.
ListedStatus = Annotated[str, AfterValidator(_listed), Field(json_schema_extra={"enum": list(_LISTED)})]
#: An empty text is none.
StatusOrNone = Annotated[Status | None, BeforeValidator(lambda given: given or None)]


class CsrIn(Body):
    """A CSR for names of a request that was decided already."""

    csr: CsrBytes
    renews_itself: bool = Field(
        default=False, description="Your client renews what comes of it, so that the service does not."
    )


class SubmissionIn(CsrIn):
    """What an applicant sends."""

    duration_years: int = Field(ge=0, le=99, description="The term: 1, 2 or 3 unless set up differently.")
    server_software: ShortText = Field(description="One of the list in the portal; `Other` always is.")
    profile: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "tls-server"
    names: list[ShortText] | None = Field(
        default=None, max_length=1000, description="If given, it must be exactly the names in the CSR."
    )
    note: Text = Field(default="", description="For the RA officer.")
    organisation: Slug = Field(default="", description="Slug; only people of several organisations need it.")


class ApproveIn(Body):
    """An officer's yes, with evidence for every domain that nothing proves yet."""

    shown: str = Field(
        max_length=100_000, description="What you were shown: from `GET /requests/{id}/decision`, unchanged."
    )
    evidence: list[EvidenceIn] = Field(default=[], max_length=100)
    vetting: Text = Field(
        default="", description="How the organisation was vetted: required where it has not been, else empty."
    )
    note: Text = Field(default="", description="For officers and auditors.")
    message: Text = Field(default="", description="For the applicant.")


class EndIn(Body):
    """Why no further certificate is issued under a request."""

    reason: Text = Field(min_length=1, description="The applicant reads this.")
    version: Version = None


class RejectIn(Body):
    """An officer's no, with the details that the applicant reads."""

    details: Text = Field(min_length=1, validation_alias=AliasChoices("details", "note", "reason"))
    version: Version = None


class WithdrawIn(Body):
    """An applicant's change of mind."""

    version: Version = None


class RetryIn(Body):
    """An officer's word that what the CA objected to is settled."""

    note: Text = Field(default="", description="Stays in the history; the applicant reads it.")
    version: Version = None


class RequestsQuery(Schema):
    """How the list of requests is narrowed and ordered."""

    q: SearchText = Field(
        "", description="Part of a name, of the requester's user name or of the organisation; or a number."
    )
    status: ListedStatus = ""
    action: Literal["", "needed"] = Field("", description="`needed`: what waits for your people.")
    organisation: Slug = ""
    sort: Sort = Sort.NEWEST
    limit: Limit = 50
    cursor: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[A-Za-z0-9_-]*$")] = ""


class AttributeOut(Row):
    """One attribute of the CSR's subject."""

    name: str
    value: str


class TermOut(Row):
    """How long the entitlement runs, the validity of the (newest or foreseen) certificate, the next ones."""

    duration_years: int
    not_before: Moment | None
    not_after: Moment | None
    ends_at: Moment | None = Field(description="The last second of the term; null until it is approved.")
    certificates: int | None = Field(
        description="About how many certificates fill the term; null where nobody can say."
    )
    next_at: Moment | None = Field(
        description="When the next certificate is due; null where none follows without a person’s doing."
    )
    needs_csr: bool = Field(description="The next certificate waits for a new CSR.")
    problem: str = Field(description="What stands in the way of the next certificate now.")


class EventOut(Row):
    """A line of the history."""

    at: Moment
    event: str
    from_status: StatusOrNone
    to_status: StatusOrNone
    actor: str
    note: str


class ApprovalOut(Row):
    """A recorded yes or no; `waived` are the codes of the reasons that an officer accepted."""

    verdict: Literal["approve", "reject"]
    by: str
    waived: list[str]
    note: str = Field(description="For officers and auditors; empty for others.")
    message: str
    at: Moment


class AskedOut(Schema):
    """What was asked for: the same members in a preview and in a request."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    detail: str
    action_needed: bool = Field(
        default=False, description="It waits for the organisation’s people to choose a mailbox."
    )
    certificate_status: CertificateStatus | None = Field(
        default=None, description="Of the newest certificate."
    )
    organisation: str
    organisation_slug: str
    requester: str
    names: list[str]
    subject: list[AttributeOut]
    key: str
    csr_sha256: str
    profile: str = Field(validation_alias="profile_id")
    duration_years: int
    server_software: str
    note: str = ""
    term: TermOut
    entitled_until: Moment | None = Field(
        default=None, description="Until when further certificates may be issued under it."
    )
    checks: list[CheckOut]
    certificates: list[CertificateOut] = Field(default=[])
    approvals: list[ApprovalOut] = Field(default=[])
    events: list[EventOut] = Field(default=[])
    links: dict[str, str] = Field(default={})


def term_json(
    years: int, dates: tuple[datetime | None, datetime | None], term: Term | None
) -> dict[str, object]:
    """The members of a `TermOut`; `dates` are those of the certificate."""
    return {
        "duration_years": years,
        "not_before": dates[0],
        "not_after": dates[1],
        "ends_at": term and term.ends_at,
        "certificates": term and term.certificates,
        "next_at": term and term.next_at,
        "needs_csr": term is not None and term.needs_csr,
        "problem": "" if term is None else term.problem,
    }


def _status_text(row: RequestDetail) -> str:
    return status_text(row.status, state=row.state, ra=runtime.current().rules.ra)


def _certificate_status(row: RequestDetail) -> CertificateStatus | None:
    return row.certificate_status(now=timezone.now())


class RequestOut(AskedOut):
    """A request, with everything that belongs to it."""

    id: int = Field(validation_alias="number")
    status: Status
    state: State
    status_text: str
    version: int
    created_at: Moment
    changed_at: Moment

    resolve_status_text = staticmethod(_status_text)
    resolve_certificate_status = staticmethod(_certificate_status)

    @staticmethod
    def resolve_subject(request: RequestDetail) -> list[dict[str, str]]:
        return [{"name": name, "value": value} for name, value in request.subject]

    @staticmethod
    def resolve_term(request: RequestDetail) -> dict[str, object]:
        """With the validity of the newest certificate."""
        newest = request.certificates[0] if request.certificates else None
        dates = (None, None) if newest is None else (newest.not_before, newest.not_after)
        return term_json(request.duration_years, dates, term_of(request, now=timezone.now()))

    @staticmethod
    def resolve_entitled_until(request: RequestDetail) -> datetime | None:
        """Null where nothing more may be issued."""
        return open_until(request)

    @staticmethod
    def resolve_checks(request: RequestDetail) -> tuple[Check, ...]:
        return stored(request.checks)

    @staticmethod
    def resolve_links(request: RequestDetail) -> dict[str, str]:
        here = f"{ROOT}/requests/{request.number}"
        files = {"bundle": f"{here}/bundle.zip", "certificate": f"{here}/certificate"}
        return {"self": here, "csr": f"{here}/csr", **(files if request.certificates else {})}


class PreviewOut(AskedOut):
    """The same members as a request has; those that only a stored one has are null."""

    id: None = None
    decision: Outcome
    status: None = None
    state: None = None
    status_text: None = None
    version: None = None
    created_at: None = None
    changed_at: None = None


class RequestRowOut(Row):
    """A line of the list."""

    id: int
    status: Status
    state: State
    status_text: str
    action_needed: bool
    certificate_status: CertificateStatus | None
    common_names: str
    name_count: int
    requester: str
    organisation: str
    duration_years: int
    created_at: Moment
    changed_at: Moment
    links: dict[str, str]


@functools.lru_cache(maxsize=5000)
def row_json(row: RequestRow, *, certificate_status: CertificateStatus | None, ra: str) -> str:
    """A `RequestRowOut` as JSON, of nothing but these: who lists again has most of the lines already."""
    return RequestRowOut(
        id=row.number,
        status=row.status,
        state=row.state,
        status_text=status_text(row.status, state=row.state, ra=ra),
        action_needed=row.action_needed,
        certificate_status=certificate_status,
        common_names=row.common_names,
        name_count=row.name_count,
        requester=row.requester,
        organisation=row.organisation,
        duration_years=row.duration_years,
        created_at=row.created_at,
        changed_at=row.changed_at,
        links={"self": f"{ROOT}/requests/{row.number}"},
    ).model_dump_json()


class FurtherOut(Schema):
    """Another certificate under a request; null while the CA is at work on it."""

    request: int
    certificate: ListedCertificateOut | None


class DecisionDomainOut(Row):
    """A domain that nothing proves yet; `required` where only an officer's evidence can."""

    domain: str
    names: list[str]
    required: bool


class DecisionOut(Schema):
    """What an approval would be about now."""

    shown: str = Field(description="To be sent back with the approval, unchanged.")
    checks: list[CheckOut] = Field(validation_alias="decision.checks")
    vetted: bool = Field(description="Whether the organisation is; if not, the approval says how it was.")
    domains: list[DecisionDomainOut]

    @staticmethod
    def resolve_shown(judged: Judgement) -> str:
        return judged.shown.token()

    @staticmethod
    def resolve_domains(judged: Judgement) -> list[dict[str, object]]:
        """With the names that depend on each."""
        return [
            {"domain": domain, "names": names, "required": domain in judged.required}
            for domain, names in judged.domains.items()
        ]
