"""Domains as pages show them: finished strings. No reading and no deciding here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.urls import reverse

from certdesk.store.selectors.validation import ListedDomain, Proof, Standing
from certdesk.web import times
from certdesk.web.requests.rows import Fact

SOON = timedelta(days=30)
_EVIDENCE: Mapping[str, str] = {
    "how": "How it was checked",
    "details": "What was seen",
    "reference": "Reference",
    "adn": "Domain asked about",
    "asked": "What was asked",
    "asked_by": "Asked by",
    "asked_at": "Asked at",
    "answered": "What came back",
    "answered_from": "From the address",
    "value_sha256": "SHA-256 of the value",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRow:
    """A line of the list."""

    href: str
    adn: str
    organisation: str
    look: str
    state: str
    awaited: str
    method: str
    proven: str
    until: str
    left: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingView:
    """Whether a domain is proven, with what follows from it."""

    look: str
    state: str
    text: str
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRow:
    """A validation record."""

    method: str
    source: str
    who: str
    at: str
    at_iso: str
    period: str
    request: str
    request_href: str
    evidence: tuple[Fact, ...]


def list_row(row: ListedDomain, *, now: datetime) -> DomainRow:
    """A line of the list."""
    look, state = look_of(row, now=now)
    proof = row.proof
    boxes = awaited_mailboxes(row, now=now)
    return DomainRow(
        href=reverse("domains-show", args=[row.id]),
        adn=row.adn,
        organisation=row.organisation,
        look=look,
        state=state,
        awaited=f"Waiting for {' or '.join(boxes)}" if boxes else "",
        method=proof.method if proof else "",
        proven=f"{times.day(proof.validated_at)}, {proof.who}" if proof else "",
        until=times.day(proof.expires_at) if proof else "",
        left=days_left(proof.expires_at, now=now) if proof else "",
    )


def awaited_mailboxes(row: ListedDomain, *, now: datetime) -> list[str]:
    """Who was asked and may still confirm."""
    return [one.mailbox for one in row.awaited if one.sent_at and not one.is_expired(now=now)]


def look_of(row: ListedDomain, *, now: datetime) -> tuple[str, str]:
    """Icon and word."""
    if row.standing is Standing.VALIDATED and row.proof is not None:
        soon = row.proof.expires_at - now <= SOON
        return ("warn", "Lapses soon") if soon else ("ok", "Validated")
    return ("stop", "Lapsed") if row.standing is Standing.LAPSED else ("idle", "Not validated")


def days_left(until: datetime, *, now: datetime) -> str:
    """How long it still counts, or how long it has not."""
    if until > now:
        return f"{times.lasted(until - now)} left"
    return f"{times.lasted(now - until)} ago"


def standing(row: ListedDomain, *, now: datetime) -> StandingView:
    """The head of a domain's page."""
    look, state = look_of(row, now=now)
    proof = row.proof
    if proof is None:
        text = "Requests for names at or below it wait until somebody has confirmed it."
    elif row.standing is Standing.LAPSED:
        text = (
            f"Its validation lapsed on {times.day(proof.expires_at)}. Certificates that were issued go on "
            "working; new requests wait until it is validated again."
        )
    else:
        text = f"Validated until {times.day(proof.expires_at)}: {days_left(proof.expires_at, now=now)}."
    return StandingView(look=look, state=state, text=text, valid=row.standing is Standing.VALIDATED)


def proof_row(proof: Proof, *, shows_evidence: bool, now: datetime) -> ProofRow:
    """A validation record; the evidence is for the RA."""
    ended = proof.expires_at <= now
    evidence = proof.evidence if shows_evidence else {}
    return ProofRow(
        method=proof.method,
        source=proof.source,
        who=proof.who,
        at=times.at(proof.validated_at),
        at_iso=times.iso(proof.validated_at),
        period=f"{'Counted' if ended else 'Counts'} until {times.at(proof.expires_at)}",
        request=str(proof.request_id or ""),
        request_href=reverse("requests-show", args=[proof.request_id]) if proof.request_id else "",
        evidence=tuple(
            Fact(label=_EVIDENCE.get(name, name), value=str(value))
            for name, value in evidence.items()
            if value
        ),
    )
