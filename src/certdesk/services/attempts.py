"""What is written down when an attempt to issue ends: its outcome, the certificate, the issuer's chain.

The same for a person's request and for what is issued under one; what follows for either is told by
`services.issuance` and `services.under_request`. Everything happens in the caller's transaction.
"""

import base64
import hashlib
from datetime import datetime

from certdesk.domain.certificates import CertificateFacts, Issued
from certdesk.domain.errors import StateConflict
from certdesk.store.models import AttemptOutcome, Certificate, CertificateName, IssuanceAttempt, IssuerChain
from certdesk.store.prepared import Prepared, Swap, insert, insert_all

_END = Swap(IssuanceAttempt, where=("id", "outcome"), to=("outcome", "reason", "received", "ended_at"))
_CHAIN = Prepared(lambda sha256: IssuerChain.objects.filter(sha256=sha256).values_list("id"), str)


def end_attempt(
    attempt: IssuanceAttempt,
    outcome: AttemptOutcome,
    *,
    reason: str = "",
    received: bytes | None = None,
    now: datetime,
) -> None:
    """Closes an attempt, once. Raises StateConflict for whoever comes second, whose transaction is undone."""
    if not _END((attempt.pk, AttemptOutcome.OPEN), (outcome, reason, received, now)):
        raise StateConflict("This attempt was ended by somebody else.")


def store_certificate(
    attempt: IssuanceAttempt, issued: Issued, facts: CertificateFacts, *, now: datetime
) -> Certificate:
    """The certificate with its names and chain; `facts` are those of the chain's first."""
    certificate = Certificate(
        request_id=attempt.request_id,
        attempt=attempt,
        issuer_chain_id=_chain_id(issued.chain[1:]),
        der=facts.der,
        sha256=facts.sha256,
        issuer=facts.issuer,
        serial=facts.serial_hex,
        spki_sha256=facts.spki_sha256,
        not_before=facts.not_before,
        not_after=facts.not_after,
        created_at=now,
    )
    insert(certificate)
    insert_all(CertificateName(certificate=certificate, name=name) for name in facts.names)
    return certificate


def _chain_id(chain: tuple[bytes, ...]) -> int:
    sha256 = hashlib.sha256(b"".join(chain)).hexdigest()
    known = _CHAIN.row(sha256)
    if known is not None:
        return int(known[0])
    row, _new = IssuerChain.objects.get_or_create(
        sha256=sha256, defaults={"certificates": [base64.b64encode(der).decode() for der in chain]}
    )
    return row.pk
