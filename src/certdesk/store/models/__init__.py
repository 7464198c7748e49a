"""Certdesk's tables, one module per aggregate."""

from certdesk.store.models.audit import AuditEvent
from certdesk.store.models.issuance import (
    AttemptOutcome,
    BlockedKey,
    Certificate,
    CertificateName,
    IssuanceAttempt,
    IssuerChain,
)
from certdesk.store.models.organisations import Domain, Organisation, ValidationRecord
from certdesk.store.models.people import ApiToken, Membership, User
from certdesk.store.models.requests import Approval, Request, RequestEvent

__all__ = [
    "ApiToken",
    "Approval",
    "AttemptOutcome",
    "AuditEvent",
    "BlockedKey",
    "Certificate",
    "CertificateName",
    "Domain",
    "IssuanceAttempt",
    "IssuerChain",
    "Membership",
    "Organisation",
    "Request",
    "RequestEvent",
    "User",
    "ValidationRecord",
]
