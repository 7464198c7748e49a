"""Proofs and open confirmations as rows for readers: what every list and page of domains says about them."""

from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.evidence import METHODS, Method
from certdesk.store.models import EmailChallenge, ValidationRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One validation record. `who` is the officer, the mailbox that confirmed, or whoever asked.

    `ended_by` and `end_reason` are empty unless somebody ended it, at `expires_at`.
    """

    id: int
    method: str
    method_id: Method
    covers_subdomains: bool
    source: str
    who: str
    evidence: dict[str, object]
    request_id: int | None
    validated_at: datetime
    expires_at: datetime
    ended_by: str
    end_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChallenge:
    """A confirmation that was asked for and has not come. `sent_at` is None when the mail did not leave."""

    id: int
    adn: str
    mailbox: str
    asked_by: str
    created_at: datetime
    sent_at: datetime | None
    expires_at: datetime

    def is_expired(self, *, now: datetime) -> bool:
        """Whether its code has stopped working."""
        return self.expires_at <= now


def proof_row(record: ValidationRecord) -> Proof:
    """A record as readers see it."""
    evidence, method = dict(record.evidence), Method(record.method)
    return Proof(
        id=record.pk,
        method=METHODS[method].title,
        method_id=method,
        covers_subdomains=METHODS[method].covers_subdomains,
        source=record.source,
        who=_who(record, evidence),
        evidence=evidence,
        request_id=record.request_id,
        validated_at=record.validated_at,
        expires_at=record.expires_at,
        ended_by=record.ended_by.username if record.ended_by else "",
        end_reason=record.end_reason,
    )


def challenge_row(row: EmailChallenge) -> OpenChallenge:
    """A challenge as readers see it."""
    return OpenChallenge(
        id=row.pk,
        adn=row.adn,
        mailbox=row.mailbox,
        asked_by=row.asked_by.username,
        created_at=row.created_at,
        sent_at=row.sent_at,
        expires_at=row.expires_at,
    )


def _who(record: ValidationRecord, evidence: dict[str, object]) -> str:
    if record.validated_by is not None:
        return record.validated_by.username
    how = str(evidence.get("how", ""))
    if how.endswith(" confirmed"):
        return how.removesuffix(" confirmed")
    return f"asked by {evidence['asked_by']}" if evidence.get("asked_by") else how
