"""What REST's rooms share of what goes out: times, pages of a list, checks, certificates, problems."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Generic, Literal, Protocol, TypeVar

from django.http import HttpRequest, HttpResponse
from ninja import Schema
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.revocation import CertificateStatus, RevocationReason
from certdesk.domain.issuing.states import Status
from certdesk.store.selectors.certificates import ListedCertificate
from certdesk.store.selectors.requests import CertificateRow

ROOT = "/api/v1"
T = TypeVar("T")


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: RFC 3339 in UTC, to the millisecond.
Moment = Annotated[
    datetime, PlainSerializer(_rfc3339), WithJsonSchema({"type": "string", "format": "date-time"})
]


class Row(BaseModel):
    """A shape without resolvers: pydantic reads it from a row's attributes, quicker than ninja's Schema."""

    model_config = ConfigDict(from_attributes=True)


class Page(Schema, Generic[T]):
    """A page of a list; `next_cursor` is null on the last one."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    items: list[T]
    next_cursor: str | None = None


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


def page(
    request: HttpRequest, response: HttpResponse, rows: Iterable[object], next_cursor: str
) -> dict[str, object]:
    """One page of a list; the `Link` in its answer leads to the next with the same query (RFC 8288)."""
    if next_cursor:
        query = request.GET.copy()
        query["cursor"] = next_cursor
        response["Link"] = f'<{request.path}?{query.urlencode()}>; rel="next"'
    return {"items": list(rows), "next_cursor": next_cursor or None}


def numbered_page(
    request: HttpRequest, response: HttpResponse, found: Sequence[_Numbered], limit: int
) -> object:
    """One page of a list that goes on below the last one's number; `found` holds one more if there is one."""
    following = str(found[limit - 1].id) if len(found) > limit else ""
    return page(request, response, found[:limit], following)


class CheckOut(Row):
    """One rule applied once."""

    code: str
    verdict: Verdict
    message: str
    seen: str
    rule: str
    rule_from: str = Field(description="Since when the rule holds, as an ISO date; empty for a standing one.")
    changed_by: str


class CertificateOut(Schema):
    """A certificate of a request."""

    id: int
    serial: str
    issuer: str
    sha256: str
    not_before: Moment
    not_after: Moment
    revoked_at: Moment | None
    links: dict[str, str]

    @staticmethod
    def resolve_links(row: CertificateRow) -> dict[str, str]:
        return {"self": f"{ROOT}/certificates/{row.id}"}


class RevocationOut(Row):
    """The last word on revoking a certificate.

    `open` until the CA has taken it; `refused` when it said no, for the reason in `detail`.
    """

    outcome: Literal["open", "done", "refused"]
    reason: RevocationReason
    note: str
    actor: str
    detail: str
    requested_at: Moment
    ended_at: Moment | None


class ListedCertificateOut(CertificateOut):
    """A certificate by itself. A superseded one still works, an expiring one too."""

    status: CertificateStatus
    request: int
    organisation: str
    names: list[str]
    revocation_reason: str
    revocation: RevocationOut | None

    @staticmethod
    def resolve_links(row: ListedCertificate) -> dict[str, str]:  # type: ignore[override] # a row of its own
        here = f"{ROOT}/certificates/{row.id}"
        request = f"{ROOT}/requests/{row.request}"
        return {"self": here, "file": f"{here}/file", "revoke": f"{here}/revoke", "request": request}


class ProblemErrorOut(Row):
    """One thing to put right: in the body (JSON pointer) or in a parameter."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemOut(Row):
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
    request_status: Status | None = None
