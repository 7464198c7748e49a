"""Requests as pages show them: finished strings, so that templates stay flat and cheap.

No reading and no deciding here; rows of the selectors and facts of the domain go in.
"""

import textwrap
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.check_catalogue import explained
from certdesk.domain.findings import QUIET, Check, Verdict
from certdesk.domain.identifiers import to_unicode
from certdesk.domain.requests import Event, Status, status_text
from certdesk.domain.revocation import OVER, CertificateStatus
from certdesk.store.selectors.requests import ApprovalRow, EventRow, RequestDetail, RequestRow
from certdesk.web import times

LOOK: Mapping[Status, str] = {
    Status.WAITING_FOR_APPROVAL: "wait",
    Status.ACCEPTED: "busy",
    Status.SUBMITTED: "busy",
    Status.ISSUED: "ok",
    Status.REJECTED_BY_RA: "stop",
    Status.REJECTED_BY_CA: "stop",
    Status.WITHDRAWN: "idle",
}
CERTIFICATE: Mapping[CertificateStatus, tuple[str, str]] = {
    CertificateStatus.VALID: ("ok", "Valid"),
    CertificateStatus.EXPIRING: ("warn", "Expires soon"),
    CertificateStatus.SUPERSEDED: ("idle", "Replaced by a newer one"),
    CertificateStatus.EXPIRED: ("idle", "Expired"),
    CertificateStatus.REVOKED: ("stop", "Revoked"),
}
_VERDICT_LOOK: Mapping[Verdict, tuple[str, str]] = {
    Verdict.PASS: ("ok", "Passed."),
    Verdict.NOT_CHECKED: ("idle", "Not checked."),
    Verdict.WARN: ("warn", "Note."),
    Verdict.PENDING: ("busy", "To be confirmed."),
    Verdict.MANUAL: ("wait", "Needs review."),
    Verdict.REFUSE: ("stop", "Not accepted."),
}
_ATTRIBUTES = {
    "CN": "Common name (CN)",
    "O": "Organisation (O)",
    "OU": "Organisational unit (OU)",
    "C": "Country (C)",
    "ST": "State or county (ST)",
    "L": "Town or city (L)",
    "emailAddress": "E-mail address",
    "street": "Street",
    "postalCode": "Postal code",
    "serialNumber": "Serial number",
}
_EVENTS: Mapping[str, str] = {
    Event.CREATE: "Request confirmed",
    Event.APPROVE: "Approved",
    Event.REJECT: "Rejected by {ra}",
    Event.WITHDRAW: "Withdrawn",
    Event.REFER: "Referred to {ra}",
    Event.CLAIM: "Handed to the CA",
    Event.RELEASE: "Handing to the CA put off",
    Event.CA_ACCEPT: "Acknowledged by the CA",
    Event.CA_REFUSE: "Refused by the CA",
    Event.ISSUE: "Certificate issued",
    Event.RETRY: "Tried again",
    Event.END: "Ended",
    Event.CANCEL: "Issuing cancelled",
    "revoke": "Certificate revoked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A term and its description."""

    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """A check with its icon and the word for its verdict."""

    look: str
    word: str
    code: str
    message: str
    seen: str
    rule: str
    rule_from: str
    rule_since: str
    changed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckList:
    """All checks of a request: what needs attention, gravest first, and what asks nothing of anybody.

    `passed` has those that could not be made as well, so many as `not_checked` says.
    """

    problems: tuple[CheckRow, ...]
    passed: tuple[CheckRow, ...]
    not_checked: int = 0

    def context(self) -> dict[str, object]:
        """What `parts/checks.html` and its surroundings need."""
        passed = times.counted(len(self.passed) - self.not_checked, "check")
        summary = f"{passed} passed" if self.problems or self.not_checked else f"All {passed} passed"
        if self.not_checked:
            summary += f", {self.not_checked} not made"
        return {
            "problem_checks": self.problems,
            "passed_checks": self.passed,
            "passed_summary": summary,
            "checks_summary": f"{len(self.problems)} to look at" if self.problems else "",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRow:
    """A name, with its Unicode form where that differs."""

    ascii: str
    unicode: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsrFacts:
    """What a CSR says."""

    names: tuple[NameRow, ...]
    subject: tuple[Fact, ...]
    key: str
    fingerprint: str
    signature: str = ""
    key_fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """A line of the list."""

    number: int
    name: str
    more: str
    look: str
    status: str
    mark: str
    organisation: str
    requester: str
    at: str
    at_iso: str
    duration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """A line of the history."""

    title: str
    status: str
    reason: str
    at: str
    at_iso: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalLine:
    """A recorded yes or no."""

    at: str
    text: str
    details: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRow:
    """The head of a request's page."""

    number: int
    title: str
    look: str
    status: str
    second_line: str
    version: int
    requester: str


def check_list(checks: Iterable[Check]) -> CheckList:
    """Checks as rows, in the order in which everybody is told them."""
    rows = [(check.verdict, _check(check)) for check in explained(checks)]
    return CheckList(
        problems=tuple(row for verdict, row in rows if verdict not in QUIET),
        passed=tuple(row for verdict, row in rows if verdict in QUIET),
        not_checked=sum(verdict is Verdict.NOT_CHECKED for verdict, _row in rows),
    )


def names(values: Sequence[str], *, common_name: str = "") -> tuple[NameRow, ...]:
    """Names with their Unicode form; the common name says so."""
    return tuple(
        NameRow(
            ascii=name,
            unicode=shown if (shown := to_unicode(name)) != name else "",
            note="common name" if name == common_name.lower() else "",
        )
        for name in values
    )


def subject(pairs: Iterable[tuple[str, str]]) -> tuple[Fact, ...]:
    """The subject's attributes, all of them, with names that people know."""
    return tuple(Fact(label=_ATTRIBUTES.get(name, name), value=value) for name, value in pairs)


def fingerprint(hexadecimal: str) -> str:
    """SHA-256 as people compare it: upper case, in pairs."""
    return ":".join(textwrap.wrap(hexadecimal.upper(), 2))


def stored_csr(detail: RequestDetail) -> CsrFacts:
    """What the CSR of a stored request says."""
    common = next((value for name, value in detail.subject if name == "CN"), "")
    return CsrFacts(
        names=names(detail.names, common_name=common),
        subject=subject(detail.subject),
        key=detail.key,
        fingerprint=fingerprint(detail.csr_sha256),
    )


def csr_pem(der: bytes) -> str:
    """A CSR as text again, to change something about its request (RFC 7468 7)."""
    body = "\n".join(textwrap.wrap(b64encode(der).decode(), 64))
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"


def badge(status: Status, certificate: CertificateStatus | None, *, ra: str) -> tuple[str, str]:
    """Look and words of a request: its certificate's, where that is no longer just valid."""
    if certificate is None or certificate is CertificateStatus.VALID:
        return LOOK[status], status_text(status, ra=ra)
    look, word = CERTIFICATE[certificate]
    return look, f"Certificate {word.lower()}"


def list_rows(rows: Iterable[RequestRow], *, ra: str, now: datetime) -> list[ListRow]:
    """Lines of the list."""
    return [
        ListRow(
            number=row.number,
            name=row.common_names,
            more=f"and {row.name_count - 1} more" if row.name_count > 1 else "",
            look=look,
            status=status,
            mark="Action needed" if row.action_needed else "",
            organisation=row.organisation,
            requester=row.requester,
            at=times.at(row.created_at),
            at_iso=times.iso(row.created_at),
            duration=times.counted(row.duration_years, "year"),
        )
        for row in rows
        for look, status in [badge(row.status, row.certificate_status(now=now), ra=ra)]
    ]


def page_row(detail: RequestDetail, *, ra: str, now: datetime, ended: str = "") -> PageRow:
    """The head of a request's page; `ended` says what became of a certificate that is over.

    Reasons that stand in the list of checks are not told twice.
    """
    second_line = detail.detail
    certificate = detail.certificate_status(now=now)
    look, status = badge(detail.status, certificate, ra=ra)
    if certificate in OVER:
        second_line = ended
    elif detail.status in (Status.REJECTED_BY_RA, Status.REJECTED_BY_CA):
        second_line = ""
    elif " ".join(second_line.split()) == _manual_reasons(detail):
        second_line = f"{ra} is reviewing this request. We’ll email you when they decide."
    elif detail.status is Status.SUBMITTED:
        second_line = f"{second_line} The CA has had it for {times.lasted(now - detail.changed_at)}.".strip()
    return PageRow(
        number=detail.number,
        title=title(detail),
        look=look,
        status=status,
        second_line=second_line,
        version=detail.version,
        requester=detail.requester,
    )


def title(detail: RequestDetail) -> str:
    """The names in a line."""
    others = len(detail.names) - 1
    return (
        f"{detail.common_names} and {times.counted(others, 'other name')}" if others else detail.common_names
    )


def history(detail: RequestDetail, *, ra: str) -> list[HistoryRow]:
    """The history, newest first (R25)."""
    told = _manual_reasons(detail)
    return [
        HistoryRow(
            title=_event_title(event, ra=ra),
            status=_new_status(event, ra=ra),
            reason="" if " ".join(event.note.split()) == told else event.note,
            at=times.at_second(event.at),
            at_iso=times.iso(event.at),
            actor=event.actor,
        )
        for event in reversed(detail.events)
    ]


def approvals(rows: Iterable[ApprovalRow]) -> list[ApprovalLine]:
    """Who said yes or no."""
    verbs = {"approve": "Approved", "reject": "Rejected"}
    return [
        ApprovalLine(
            at=times.at(row.at),
            text=f"{verbs.get(row.verdict, row.verdict)} by {row.by}",
            details=tuple(
                Fact(label=label, value=value)
                for label, value in (("Message to the applicant", row.message), ("Internal note", row.note))
                if value
            ),
        )
        for row in rows
    ]


def about(detail: RequestDetail) -> tuple[Fact, ...]:
    """The facts beside a request."""
    channel = {"portal": "in the portal", "api": "through the API", "acme": "by ACME"}
    facts = (
        Fact(label="Organisation", value=detail.organisation),
        Fact(
            label="Requested by", value=f"{detail.requester}, {channel.get(detail.channel, detail.channel)}"
        ),
        Fact(label="Date", value=times.at(detail.created_at)),
        Fact(label="Duration", value=times.counted(detail.duration_years, "year")),
        Fact(label="Server software", value=detail.server_software),
    )
    return (*facts, Fact(label="Note", value=detail.note)) if detail.note else facts


def _check(check: Check) -> CheckRow:
    look, word = _VERDICT_LOOK[check.verdict]
    return CheckRow(
        look=look,
        word=word,
        code=check.code,
        message=check.message,
        seen=check.seen,
        rule=check.rule,
        rule_from=check.rule_from,
        rule_since=times.plain_day(check.rule_from),
        changed_by=check.changed_by,
    )


def _manual_reasons(detail: RequestDetail) -> str:
    """The reasons for a human in one line, as the second line has them; notes have a line for each."""
    return " ".join(" ".join(c["message"] for c in detail.checks if c["verdict"] == Verdict.MANUAL).split())


def _event_title(event: EventRow, *, ra: str) -> str:
    if event.event == Event.ISSUE and event.from_status == Status.ISSUED:
        return "Another certificate issued"
    return _EVENTS.get(event.event, event.event).format(ra=ra)


def _new_status(event: EventRow, *, ra: str) -> str:
    """The status that an event led to, in the seed's words; empty if it is the one from before."""
    words = {status.value: status_text(status, ra=ra) for status in Status}
    before, after = words.get(event.from_status, ""), words.get(event.to_status, "")
    what = _EVENTS.get(event.event, "").format(ra=ra)
    return "" if after in (before, what) else after
