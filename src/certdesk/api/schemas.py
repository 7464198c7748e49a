"""What goes in and out, as pydantic models: input is validated by them, output only described (OpenAPI).

A test holds `render` to these.
"""

from datetime import datetime
from typing import Annotated, Literal

from ninja import Schema
from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from certdesk.domain.actors import Scope
from certdesk.domain.findings import Verdict
from certdesk.domain.requests import Status
from certdesk.domain.revocation import CertificateStatus, RevocationReason
from certdesk.services.organisations import WAYS
from certdesk.store.selectors.requests import Sort

MAX_VERSION = 2**31 - 1
#: PostgreSQL stores no NUL, and nobody means one.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=4000)]
ShortText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=300)]
Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,63}$")]
Version = Annotated[int, Field(ge=0, le=MAX_VERSION)]
StatusName = Literal[
    "waiting_for_approval", "accepted", "submitted", "issued", "rejected_by_ra", "rejected_by_ca", "withdrawn"
]
if set(StatusName.__args__) != {status.value for status in Status}:  # type: ignore[attr-defined] # Literal's own
    raise TypeError("the statuses in the OpenAPI document are not those of the domain")


class Body(BaseModel):
    """A JSON body. Unknown members are refused, so that a typing mistake is not taken for a wish."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SubmissionIn(Body):
    """What an applicant sends."""

    csr: Annotated[str, StringConstraints(max_length=1_000_000)] = Field(
        description="The CSR: PEM text (RFC 7468). At most 64 KB."
    )
    duration_years: int = Field(ge=0, le=99, description="The term: 1, 2 or 3 unless set up differently.")
    server_software: ShortText = Field(description="One of the list in the portal; `Other` always is.")
    profile: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "tls-server"
    names: list[ShortText] | None = Field(
        default=None, max_length=1000, description="If given, it must be exactly the names in the CSR."
    )
    note: Text = Field(default="", description="For the RA officer.")
    organisation: Slug = Field(default="", description="Slug; only people of several organisations need it.")


class UploadIn(SubmissionIn):
    """The same as a form, with the CSR as a file (PEM or DER)."""

    csr: str = Field(description="The CSR as a file.", json_schema_extra={"format": "binary"})


class CsrIn(Body):
    """A CSR for names of a request that was decided already."""

    csr: Annotated[str, StringConstraints(max_length=1_000_000)] = Field(
        description="The CSR: PEM text (RFC 7468). At most 64 KB."
    )


class CsrUploadIn(CsrIn):
    """The same as a form, with the CSR as a file (PEM or DER)."""

    csr: str = Field(description="The CSR as a file.", json_schema_extra={"format": "binary"})


class EvidenceIn(Body):
    """How ownership of one domain was checked."""

    domain: ShortText
    how: Literal["registry", "document", "contact", "other"] = "other"
    details: Text = Field(min_length=1, description="What was checked, and where.")
    reference: ShortText = ""


if set(EvidenceIn.model_fields["how"].annotation.__args__) != set(WAYS):  # type: ignore[union-attr] # Literal's own
    raise TypeError("the ways in the OpenAPI document are not those of the services")


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
    version: Version | None = Field(default=None, description="The version you looked at; or send If-Match.")


class RejectIn(Body):
    """An officer's no, with the details that the applicant reads."""

    details: Text = Field(min_length=1, validation_alias=AliasChoices("details", "note", "reason"))
    version: Version | None = Field(default=None, description="The version you looked at; or send If-Match.")


class WithdrawIn(Body):
    """An applicant's change of mind."""

    version: Version | None = Field(default=None, description="The version you looked at; or send If-Match.")


class RevokeIn(Body):
    """Why a certificate is to be revoked."""

    reason: RevocationReason = Field(
        description="Its name in RFC 5280 5.3.1; `privilegeWithdrawn` is for RA officers."
    )
    note: Text = Field(default="", description="In your own words; kept in the request's history.")
    end_request: bool = Field(
        default=False,
        description="End its request as well, with `cessationOfOperation` or `affiliationChanged`, by "
        "whoever may; `privilegeWithdrawn` does so anyway.",
    )


class RetryIn(Body):
    """An officer's word that what the CA objected to is settled."""

    note: Text = Field(default="", description="Stays in the history; the applicant reads it.")
    version: Version | None = Field(default=None, description="The version you looked at; or send If-Match.")


class TokenIn(Body):
    """A token to be made."""

    name: ShortText = Field(min_length=1, description="What uses it, such as “backup script”.")
    scopes: list[Scope] = Field(
        default_factory=list, max_length=len(Scope), description="Every token may read, whatever is named."
    )
    expires_at: AwareDatetime | None = Field(
        None, description="With `decide` or `manage` it is needed. A token that a token makes ends with it."
    )


class RequestsQuery(Schema):
    """How the list of requests is narrowed and ordered."""

    q: Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=200)] = Field(
        "", description="Part of a name, of the requester's user name or of the organisation; or a number."
    )
    status: Literal["", StatusName] = ""
    action: Literal["", "needed"] = Field("", description="`needed`: what waits for your people.")
    organisation: Slug = ""
    sort: Sort = Sort.NEWEST
    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[A-Za-z0-9_-]*$")] = ""


Hex = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:]{0,95}$")]


class CertificatesQuery(Schema):
    """How the list of certificates is narrowed."""

    name: Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=253)] = Field(
        "", description="A whole DNS name."
    )
    serial: Hex = Field("", description="The serial number, hex, with or without colons.")
    sha256: Hex = Field("", description="The fingerprint: SHA-256 of the certificate, hex.")
    organisation: Slug = ""
    request: int | None = Field(None, ge=1, le=2**63 - 1, description="A Request ID.")
    expires_from: AwareDatetime | None = Field(None, description="Valid at least until then (RFC 3339).")
    expires_before: AwareDatetime | None = Field(None, description="Ending before then (RFC 3339).")
    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,18}$")] = ""


class FormatQuery(Schema):
    """The form of a certificate."""

    format: Literal["pem", "fullchain", "chain", "der", "p7b", "truststore"] = "pem"


class FileQuery(Schema):
    """The form of a certificate's file."""

    format: Literal["pem", "fullchain", "chain", "der", "p7b", "truststore", "zip"] = "pem"


class CheckOut(Schema):
    """One rule applied once."""

    code: str
    verdict: Verdict
    message: str
    seen: str
    rule: str
    rule_from: str = Field(description="Since when the rule holds, as an ISO date; empty for a standing one.")
    changed_by: str


class AttributeOut(Schema):
    """One attribute of the CSR's subject."""

    name: str
    value: str


class TermOut(Schema):
    """How long the entitlement runs, and the validity of the (newest or foreseen) certificate."""

    duration_years: int
    not_before: datetime | None
    not_after: datetime | None


class CertificateOut(Schema):
    """A certificate of a request."""

    id: int
    serial: str
    issuer: str
    sha256: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    links: dict[str, str]


class RevocationOut(Schema):
    """The last word on revoking a certificate.

    `open` until the CA has taken it; `refused` when it said no, for the reason in `detail`.
    """

    outcome: Literal["open", "done", "refused"]
    reason: RevocationReason
    note: str
    actor: str
    detail: str
    requested_at: datetime
    ended_at: datetime | None


class ListedCertificateOut(CertificateOut):
    """A certificate by itself. A superseded one still works, an expiring one too."""

    status: CertificateStatus
    request: int
    organisation: str
    names: list[str]
    revocation_reason: str
    revocation: RevocationOut | None


class EventOut(Schema):
    """A line of the history."""

    at: datetime
    event: str
    from_status: StatusName | None
    to_status: StatusName | None
    actor: str
    note: str


class DecisionDomainOut(Schema):
    """A domain that nothing proves yet; `required` where only an officer's evidence can."""

    domain: str
    names: list[str]
    required: bool


class DecisionOut(Schema):
    """What an approval would be about now."""

    shown: str = Field(description="To be sent back with the approval, unchanged.")
    checks: list[CheckOut]
    vetted: bool = Field(description="Whether the organisation is; if not, the approval says how it was.")
    domains: list[DecisionDomainOut]


class ApprovalOut(Schema):
    """A recorded yes or no; `waived` are the codes of the reasons that an officer accepted."""

    verdict: Literal["approve", "reject"]
    by: str
    waived: list[str]
    note: str = Field(description="For officers and auditors; empty for others.")
    message: str
    at: datetime


class AskedOut(Schema):
    """What was asked for: the same members in a preview and in a request."""

    detail: str
    action_needed: bool = Field(description="It waits for the organisation’s people to choose a mailbox.")
    certificate_status: CertificateStatus | None = Field(description="Of the newest certificate.")
    organisation: str
    organisation_slug: str
    requester: str
    names: list[str]
    subject: list[AttributeOut]
    key: str
    csr_sha256: str
    profile: str
    duration_years: int
    server_software: str
    note: str
    term: TermOut
    entitled_until: datetime | None = Field(
        description="Until when further certificates may be issued under it."
    )
    checks: list[CheckOut]
    certificates: list[CertificateOut]
    approvals: list[ApprovalOut]
    events: list[EventOut]
    links: dict[str, str]


class RequestOut(AskedOut):
    """A request, with everything that hangs on it."""

    id: int
    status: StatusName
    status_text: str
    version: int
    created_at: datetime
    changed_at: datetime


class PreviewOut(AskedOut):
    """The same members as a request has; those that only a stored one has are null."""

    id: None
    decision: Literal["auto", "manual", "refuse"]
    status: None
    status_text: None
    version: None
    created_at: None
    changed_at: None


class FurtherOut(Schema):
    """Another certificate under a request; null while the CA is at work on it."""

    request: int
    certificate: ListedCertificateOut | None


class RequestRowOut(Schema):
    """A line of the list."""

    id: int
    status: StatusName
    status_text: str
    action_needed: bool
    certificate_status: CertificateStatus | None
    common_names: str
    name_count: int
    requester: str
    organisation: str
    duration_years: int
    created_at: datetime
    changed_at: datetime
    links: dict[str, str]


class RequestsOut(Schema):
    """A page of requests; `next_cursor` is null on the last one."""

    items: list[RequestRowOut]
    next_cursor: str | None


class CertificatesOut(Schema):
    """A page of certificates."""

    items: list[ListedCertificateOut]
    next_cursor: str | None


class OrganisationOut(Schema):
    """An organisation."""

    slug: str
    legal_name: str
    country: str
    locality: str
    is_active: bool
    vetted_at: datetime | None
    first_approved_at: datetime | None
    links: dict[str, str]


class OrganisationsOut(Schema):
    """All organisations that the caller may see."""

    items: list[OrganisationOut]
    next_cursor: str | None


class MemberOut(Schema):
    """A person of an organisation."""

    id: int
    username: str
    name: str
    email: str
    role: Literal["applicant", "manager"]
    is_active: bool
    last_login_at: datetime | None


class MembersOut(Schema):
    """All people of an organisation."""

    items: list[MemberOut]
    next_cursor: str | None


class TokenOut(Schema):
    """A token, without its secret."""

    id: int
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str = Field(description="The username of the person who ended it.")


class NewTokenOut(TokenOut):
    """A new token; `token` is shown this once."""

    token: str


class TokensOut(Schema):
    """The caller's own tokens."""

    items: list[TokenOut]
    next_cursor: str | None


class ProblemErrorOut(Schema):
    """One thing to put right: in the body (JSON pointer) or in a parameter."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemOut(Schema):
    """An RFC 9457 problem.

    `checks` comes with the code `policy.refused`, `request_status` with `certificate.not_available`.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ProblemErrorOut] | None = None
    checks: list[CheckOut] | None = None
    request_status: StatusName | None = None
