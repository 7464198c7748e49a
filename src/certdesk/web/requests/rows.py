"""What pages say of requests: the words for their states, events and checks. No reading, no deciding."""

import functools
import textwrap
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from certdesk.domain.findings import QUIET, Check, Verdict
from certdesk.domain.issuing.revocation import OVER, CertificateStatus
from certdesk.domain.issuing.states import Event, State, Status, status_text
from certdesk.domain.policy.catalogue import explained
from certdesk.store.selectors.requests import EventRow, RequestDetail, RequestRow
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
_VERDICTS: Mapping[Verdict, tuple[str, str]] = {
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
    Event.CLAIM: "Sent to the CA",
    Event.RELEASE: "Sending to the CA postponed",
    Event.CA_ACCEPT: "Acknowledged by the CA",
    Event.CA_REFUSE: "Refused by the CA",
    Event.ISSUE: "Certificate issued",
    Event.RETRY: "Tried again",
    Event.END: "Ended",
    Event.CANCEL: "Issuing cancelled",
    "revoke": "Certificate revoked",
    "not_renewed": "Could not be renewed",
}


def check_list(checks: Iterable[Check]) -> dict[str, Any]:
    """The context of `parts/sorted_checks.html`: what needs attention, and what asks nothing of anybody."""
    rows = [(*_VERDICTS[check.verdict], check) for check in explained(checks)]
    problems = [row for row in rows if row[-1].verdict not in QUIET]
    quiet = [row for row in rows if row[-1].verdict in QUIET]
    not_made = sum(check.verdict is Verdict.NOT_CHECKED for *_, check in quiet)
    passed = times.counted(len(quiet) - not_made, "check")
    summary = f"{passed} passed" if problems or not_made else f"All {passed} passed"
    return {
        "problem_checks": problems,
        "passed_checks": quiet,
        "passed_summary": f"{summary}, {not_made} not made" if not_made else summary,
        "checks_summary": f"{len(problems)} to review" if problems else "",
    }


def subject(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The subject's attributes, all of them, with names that people know."""
    return [(_ATTRIBUTES.get(name, name), value) for name, value in pairs]


def stored_csr(detail: RequestDetail) -> dict[str, object]:
    """What the CSR of a stored request says, for `parts/csr_facts.html`."""
    return {
        "names": detail.names,
        "common_name": next((value for name, value in detail.subject if name == "CN"), "").lower(),
        "subject": subject(detail.subject),
        "key": detail.key,
        "sha256": detail.csr_sha256,
    }


def csr_pem(der: bytes) -> str:
    """A CSR as text again, to change something about its request (RFC 7468 7)."""
    body = "\n".join(textwrap.wrap(b64encode(der).decode(), 64))
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"


def badges(row: RequestRow | RequestDetail, *, ra: str, now: datetime) -> tuple[tuple[str, str], ...]:
    """Looks and words: that it ended, how its certificate stands if not just valid, or else its status."""
    found = [("idle", "Ended")] if row.state is State.ENDED else []
    certificate = row.certificate_status(now=now)
    if certificate is not None and certificate is not CertificateStatus.VALID:
        look, word = CERTIFICATE[certificate]
        found.append((look, f"Certificate {word.lower()}"))
    return tuple(found) or ((LOOK[row.status], status_text(row.status, ra=ra)),)


def list_rows(
    rows: Iterable[RequestRow], *, shows_organisation: bool, ra: str, now: datetime
) -> list[SafeString]:
    """Lines of the list."""
    return [line(row, badges(row, ra=ra, now=now), shows_organisation) for row in rows]


@functools.lru_cache(maxsize=5000)
def line(row: RequestRow, badges: tuple[tuple[str, str], ...], shows_organisation: bool) -> SafeString:  # noqa: FBT001 - part of what it is kept by
    """A line as HTML, of nothing but these: who looks at a list again has most of its lines already."""
    return render_to_string(
        "requests/row.html", {"r": row, "badges": badges, "shows_organisation": shows_organisation}
    )


def second_line(detail: RequestDetail, *, ra: str, now: datetime, over: str = "") -> str:
    """What is happening now; `over` says what became of a certificate that is over.

    What the rest of the page says is not repeated: the reasons for a review, a rejection or an ending.
    """
    line = detail.detail
    if detail.certificate_status(now=now) in OVER:
        return over
    if detail.state is State.ENDED or detail.status in (Status.REJECTED_BY_RA, Status.REJECTED_BY_CA):
        return ""
    if " ".join(line.split()) == _manual_reasons(detail):
        return f"{ra} is reviewing this request. We’ll email you when they decide."
    if detail.status is Status.SUBMITTED:
        return f"{line} The CA has had it for {times.lasted(now - detail.changed_at)}.".strip()
    return line


def ending(detail: RequestDetail) -> EventRow | None:
    """Who ended the request, when and why; None while it has not been ended."""
    return next((event for event in reversed(detail.events) if event.event == Event.END), None)


def title(detail: RequestDetail) -> str:
    """The names in a line."""
    others = len(detail.names) - 1
    return (
        f"{detail.common_names} and {times.counted(others, 'other name')}" if others else detail.common_names
    )


def history(detail: RequestDetail, *, ra: str) -> list[dict[str, object]]:
    """The history, newest first."""
    said = _manual_reasons(detail)
    return [
        {
            "title": _event_title(event, ra=ra),
            "status": _new_status(event, ra=ra),
            "reason": "" if " ".join(event.note.split()) == said else event.note,
            "at": event.at,
            "actor": event.actor,
        }
        for event in reversed(detail.events)
    ]


def _manual_reasons(detail: RequestDetail) -> str:
    """The reasons for a human in one line, as the second line has them; notes have a line for each."""
    return " ".join(" ".join(c["message"] for c in detail.checks if c["verdict"] == Verdict.MANUAL).split())


def _event_title(event: EventRow, *, ra: str) -> str:
    if event.event == Event.ISSUE and event.from_status == Status.ISSUED:
        return "Another certificate issued"
    return _EVENTS.get(event.event, event.event).format(ra=ra)


def _new_status(event: EventRow, *, ra: str) -> str:
    """The status that an event led to; empty if it is the one from before, or what the event says."""
    if event.event == Event.END:
        return ""
    words = {status.value: status_text(status, ra=ra) for status in Status}
    before, after = words.get(event.from_status, ""), words.get(event.to_status, "")
    what = _EVENTS.get(event.event, "").format(ra=ra)
    return "" if after in (before, what) else after
