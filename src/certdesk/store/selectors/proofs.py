"""Proofs and open confirmations as rows for readers: what every list and page of domains says about them."""

from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.validation.evidence import METHODS, Method
from certdesk.store.copied import copied
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
    return copied(
        Proof,
        record,
        method=METHODS[method].title,
        method_id=method,
        covers_subdomains=METHODS[method].covers_subdomains,
        who=_who(record, evidence),
        evidence=evidence,
        ended_by=record.ended_by.username if record.ended_by else "",
    )


def challenge_row(row: EmailChallenge) -> OpenChallenge:
    """A challenge as readers see it."""
    return copied(OpenChallenge, row, asked_by=row.asked_by.username)


def _who(record: ValidationRecord, evidence: dict[str, object]) -> str:
    if record.validated_by is not None:
        return record.validated_by.username
    how = str(evidence.get("how", ""))
    if how.endswith(" confirmed"):
        return how.removesuffix(" confirmed")
    return f"asked by {evidence['asked_by']}" if evidence.get("asked_by") else how
