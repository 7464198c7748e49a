"""Why a certificate may be revoked, and how a certificate stands. Who may revoke is in `actors`.

Reasons are those of RFC 5280 5.3.1 that BR 7.2.2 leaves for server certificates. `certificateHold` is not
among them, for a revocation is for good, and neither is `removeFromCRL`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

from certdesk.domain.errors import InvalidInput
from certdesk.domain.issuing.states import RequestId

CertificateId = NewType("CertificateId", int)


class RevocationReason(StrEnum):
    """The reasons on offer, by their names in RFC 5280, in the order in which people are shown them."""

    KEY_COMPROMISE = "keyCompromise"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    AFFILIATION_CHANGED = "affiliationChanged"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    UNSPECIFIED = "unspecified"


#: What each reason means to people who have never read RFC 5280.
PLAIN: Mapping[RevocationReason, str] = {
    RevocationReason.KEY_COMPROMISE: "The private key is no longer secret",
    RevocationReason.SUPERSEDED: "Another certificate has taken its place",
    RevocationReason.CESSATION_OF_OPERATION: "It is no longer needed",
    RevocationReason.AFFILIATION_CHANGED: "Something in it about the organisation is no longer true",
    RevocationReason.PRIVILEGE_WITHDRAWN: "The holder broke the rules",
    RevocationReason.UNSPECIFIED: "Another reason, or none given",
}
#: CRLReason ::= ENUMERATED of RFC 5280 5.3.1, as ACME sends it (RFC 8555 7.6).
_CODES: Mapping[int, RevocationReason] = {
    0: RevocationReason.UNSPECIFIED,
    1: RevocationReason.KEY_COMPROMISE,
    3: RevocationReason.AFFILIATION_CHANGED,
    4: RevocationReason.SUPERSEDED,
    5: RevocationReason.CESSATION_OF_OPERATION,
    9: RevocationReason.PRIVILEGE_WITHDRAWN,
}

#: The RA's own word for a subscriber who broke the rules (BR 7.2.2): nobody says it of themselves.
RA_ONLY = frozenset({RevocationReason.PRIVILEGE_WITHDRAWN})
#: With this reason the certificate's request ends too, and with these it may: nothing is to follow under it.
ENDS_REQUEST = RA_ONLY
MAY_END_REQUEST = frozenset({RevocationReason.CESSATION_OF_OPERATION, RevocationReason.AFFILIATION_CHANGED})


class CertificateStatus(StrEnum):
    """How one certificate stands. Exactly one at a time; computed, never stored."""

    VALID = "valid"
    EXPIRING = "expiring"  # valid, and it is time to replace it
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    REVOKED = "revoked"


#: Clients reject these.
OVER = frozenset({CertificateStatus.EXPIRED, CertificateStatus.REVOKED})
#: The longest time before its end at which a certificate counts as expiring.
SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a certificate's status is computed from. Newer ones have higher ids."""

    id: CertificateId
    request: RequestId
    names: frozenset[str]
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None


def status_alone(
    not_before: datetime, not_after: datetime, revoked_at: datetime | None, *, now: datetime
) -> CertificateStatus:
    """The status of a certificate that no newer one replaces, such as the newest of a request.

    It is expiring for the last third of its time, and for 30 days at most. The last second still counts
    (RFC 5280 4.1.2.5).
    """
    if revoked_at is not None:
        return CertificateStatus.REVOKED
    if now > not_after:
        return CertificateStatus.EXPIRED
    soon = not_after - now < min(SOON, (not_after - not_before) / 3)
    return CertificateStatus.EXPIRING if soon else CertificateStatus.VALID


def statuses(certificates: Iterable[Standing], *, now: datetime) -> dict[CertificateId, CertificateStatus]:
    """The status of each; all certificates of a request have to be among them.

    A certificate is superseded by a newer one of the same request for the same names, unless that one was
    revoked.
    """
    found: dict[CertificateId, CertificateStatus] = {}
    replaced: set[tuple[RequestId, frozenset[str]]] = set()
    for one in sorted(certificates, key=lambda c: c.id, reverse=True):
        place = (one.request, one.names)
        status = status_alone(one.not_before, one.not_after, one.revoked_at, now=now)
        found[one.id] = CertificateStatus.SUPERSEDED if place in replaced and status not in OVER else status
        if status is not CertificateStatus.REVOKED:
            replaced.add(place)
    return found


def reason_coded(code: int) -> RevocationReason:
    """The reason of this number in RFC 5280. Raises InvalidInput, with those on offer."""
    if code not in _CODES:
        raise InvalidInput(
            f"{code} is not the number of a reason for a revocation here.",
            {"reason": f"Choose one of: {', '.join(reason.value for reason in RevocationReason)}."},
            code="revocation.bad_reason",
        )
    return _CODES[code]
