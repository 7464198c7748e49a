"""Certificates for ACME clients: their chains (RFC 8555 7.4.2), and who may revoke them (7.6).

The revoking itself is `services.revocation.revoke`'s.
"""

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.domain.acme.orders import AuthorizationStatus
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, malformed
from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import InvalidInput
from certdesk.domain.issuing.certificates import UNREADABLE
from certdesk.domain.issuing.downloads import fullchain_pem
from certdesk.domain.issuing.revocation import RevocationReason, reason_coded
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.validation.evidence import covering
from certdesk.services.acme.accounts import actor_of, refuse_obstacles
from certdesk.services.acme.orders import named, not_there, status_of
from certdesk.services.revocation.revoke import HoldsAccount, HoldsKey, revoke_by_proof
from certdesk.store.models import AcmeAccount, AcmeAuthorization, Certificate
from certdesk.store.selectors.facts import organisation_facts
from certdesk.store.sql import ORDERED

MAX_CERTIFICATE = 64 * 1024
MAX_REASON = 500
HOLDER = "holder of the certificate's key"
_UNKNOWN = "There is no such certificate here."


def chain_pem(*, account: AcmeAccount, certificate_id: int, with_root: bool = False, now: datetime) -> bytes:
    """A certificate of one of the account's orders and what stands above it (RFC 8555 7.4.2), PEM.

    The root is left out unless it is asked for. Raises AcmeRefused: 404 for any other certificate, or as
    `refuse_obstacles` does.
    """
    row = ORDERED.row(certificate=certificate_id, account=account.pk)
    if row is None:
        raise not_there()
    names, profile_id, der, chain = row
    refuse_obstacles(account, names=names, profile_id=profile_id, now=now)
    above = tuple(base64.b64decode(one) for one in chain)
    return fullchain_pem((bytes(der), *above), with_root=with_root)


def revoke_by_account(
    *, account: AcmeAccount, der: bytes, reason_code: int | None, clock: Callable[[], datetime]
) -> None:
    """Revokes for the account that ordered the certificate, or one that is authorized for all its names.

    Raises AcmeRefused (unauthorized, malformed, badRevocationReason, alreadyRevoked).
    """
    reason, row, actor = _reason(reason_code), _certificate(der), actor_of(account)
    holder = OrganisationId(row.request.organisation_id)
    may = can(actor, Action.CERTIFICATE_REVOKE, organisation_id=holder)
    if may and not row.acme_orders.filter(account_id=account.pk).exists():
        # RFC 8555 7.6: one that did not order it holds authorizations for all its names.
        names, now = list(row.names.values_list("name", flat=True)), clock()
        held = AcmeAuthorization.objects.select_related("order").filter(
            order__account_id=account.pk, name__in=[name.removeprefix("*.") for name in names]
        )
        valid = {
            named(one)
            for one in held
            if status_of(one, expires_at=one.order.expires_at, now=now) is AuthorizationStatus.VALID
        }
        proofs = organisation_facts(row.request.organisation, names=names, now=now).validations
        may = bool(names) and all(
            name in valid and covering(name, proofs, now=now) is not None for name in names
        )
    if not may:
        raise AcmeRefused(ProblemType.UNAUTHORIZED, "This account may not revoke this certificate.")
    proof = HoldsAccount(account=account)
    revoke_by_proof(actor=actor, certificate_id=row.pk, proof=proof, reason=reason, clock=clock)


def revoke_by_key(
    *, spki_sha256: str, der: bytes, reason_code: int | None, clock: Callable[[], datetime]
) -> None:
    """Revokes for whoever signed with the certificate's own key. Raises as `revoke_by_account`."""
    reason, row = _reason(reason_code), _certificate(der)
    if spki_sha256 != row.spki_sha256:
        raise AcmeRefused(ProblemType.UNAUTHORIZED, "The key that signed is not that of the certificate.")
    revoke_by_proof(
        actor=Actor(label=HOLDER),
        certificate_id=row.pk,
        proof=HoldsKey(spki_sha256=spki_sha256),
        reason=reason,
        clock=clock,
    )


def _reason(code: int | None) -> RevocationReason:
    if code is None:
        return RevocationReason.UNSPECIFIED
    try:
        return reason_coded(code)
    except InvalidInput:
        told = "This is no reason on offer. Use 0, 1, 3, 4 or 5 (RFC 5280 5.3.1), or leave it out."
        raise AcmeRefused(ProblemType.BAD_REVOCATION_REASON, told) from None


def _certificate(der: bytes) -> Certificate:
    if len(der) > MAX_CERTIFICATE:
        raise malformed("“certificate” is too long to be one.")
    try:
        key = x509.load_der_x509_certificate(der).public_key()
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UNREADABLE:
        raise malformed("“certificate” is not a certificate in DER.") from None
    sha256 = hashlib.sha256(der).hexdigest()
    row = Certificate.objects.select_related("request__organisation").filter(sha256=sha256).first()
    if row is None:
        raise AcmeRefused(ProblemType.UNAUTHORIZED, _UNKNOWN, status=404)
    return row
