"""Certdesk's tables, one module per aggregate."""

from certdesk.store.models.acme import (
    AcmeAccount,
    AcmeAuthorization,
    AcmeChallenge,
    AcmeOrder,
    EabCredential,
    EabCredentialSeen,
    RenewalAdvice,
    UsedNonce,
)
from certdesk.store.models.cas import CaReport, Finding, FindingKind, FindingState, Reconciliation
from certdesk.store.models.issuance import (
    BlockedKey,
    Certificate,
    CertificateName,
    Issuance,
    IssuerChain,
    KeyProof,
    PublishedCrl,
    Renewal,
    Revocation,
    RevocationOutcome,
)
from certdesk.store.models.organisations import Domain, Organisation, ValidationRecord
from certdesk.store.models.people import ApiToken, Membership, User
from certdesk.store.models.proving import CaValidation, MethodChallenge, PersistentRecord, ValidationAttempt
from certdesk.store.models.requests import Approval, Request, RequestEvent, StoppedName
from certdesk.store.models.validation import CaaCheck, ChallengeOutcome, EmailChallenge
from certdesk.store.models.versions import AuditEvent, FaqVersion, SettingsVersion

__all__ = [
    "AcmeAccount",
    "AcmeAuthorization",
    "AcmeChallenge",
    "AcmeOrder",
    "ApiToken",
    "Approval",
    "AuditEvent",
    "BlockedKey",
    "CaReport",
    "CaValidation",
    "CaaCheck",
    "Certificate",
    "CertificateName",
    "ChallengeOutcome",
    "Domain",
    "EabCredential",
    "EabCredentialSeen",
    "EmailChallenge",
    "FaqVersion",
    "Finding",
    "FindingKind",
    "FindingState",
    "Issuance",
    "IssuerChain",
    "KeyProof",
    "Membership",
    "MethodChallenge",
    "Organisation",
    "PersistentRecord",
    "PublishedCrl",
    "Reconciliation",
    "Renewal",
    "RenewalAdvice",
    "Request",
    "RequestEvent",
    "Revocation",
    "RevocationOutcome",
    "SettingsVersion",
    "StoppedName",
    "UsedNonce",
    "User",
    "ValidationAttempt",
    "ValidationRecord",
]
