"""A trial of a CA: a certificate with a throw-away key, compared with what was asked for and revoked at once.

It passes no decision and no validation, for nobody can use it: its private key is never stored. For operators
at the server's command line alone. Nothing that an applicant asks for goes this way.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.backends.base import Finds, PublishesCrl
from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import BackendError, BackendRefused, InvalidInput, OutcomeUnknown
from certdesk.domain.findings import Check
from certdesk.domain.issuing.certificates import (
    Absent,
    Intent,
    Issued,
    Outcome,
    Refused,
    certificate_facts,
    compare,
    general_name,
    subject_under,
)
from certdesk.domain.issuing.profiles import Profile, certificate_validity
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.issuing.terms import longest
from certdesk.domain.names.identifiers import parse_dns_name
from certdesk.domain.policy.in_force import KeyType
from certdesk.services.issuance.intents import prepared
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.db import write_transaction

_CURVES: dict[KeyType, ec.EllipticCurve] = {
    KeyType.P256: ec.SECP256R1(),
    KeyType.P384: ec.SECP384R1(),
    KeyType.P521: ec.SECP521R1(),
}
_POST_QUANTUM: dict[
    KeyType, type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]
] = {
    KeyType.ML_DSA_44: mldsa.MLDSA44PrivateKey,
    KeyType.ML_DSA_65: mldsa.MLDSA65PrivateKey,
    KeyType.ML_DSA_87: mldsa.MLDSA87PrivateKey,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of it. `checks` compare the certificate with what was asked for; `serial` is hexadecimal.

    `problem` says why it could not be revoked, in which case somebody has to do so at the CA. Without a
    serial nothing was signed: the service makes this CA's CRL from its own certificates, and this is none.
    """

    ca: str
    checks: tuple[Check, ...] = ()
    serial: str = ""
    seconds: float = 0.0
    problem: str = ""


def try_ca(*, actor: Actor, name: str, profile_id: str, ca: str = "", clock: Callable[[], datetime]) -> Trial:
    """Has the CA (the profile's first, unless one is named) issue for a host name, and revokes that.

    Raises NotAuthorized for anybody but operators and the system, InvalidInput, BackendError as the CA does.
    """
    # 1. Look: the profile, a key that it takes, the CA, and what would be signed, fixed and linted.
    require(actor, Action.SERVICE_OPERATE, "Only an operator tries a CA.")
    rt, now = runtime.current(), clock()
    kind, host = rt.profile(profile_id), parse_dns_name(name)
    backend = rt.backend(ca or rt.cas_of(kind)[0])
    if not backend.inline:
        told = f"{backend.title} does not answer at once, so it can't be tried like this."
        raise InvalidInput(told, {"ca": "Choose a CA that answers at once."})
    intent = prepared(backend, _intent(kind, host, backend.name, now=now))
    if isinstance(backend, PublishesCrl):
        return Trial(ca=backend.name)

    # 2. Record it: no audit, no action. 3. Ask, outside any transaction.
    data: dict[str, object] = {"name": host, "profile": kind.id, "key": intent.idempotency_key}
    record(actor, "ca.try", backend.name, data, now=now)
    begun = time.monotonic()
    try:
        answer: Outcome | Absent = backend.submit(intent)
    except OutcomeUnknown:
        if not isinstance(backend, Finds):
            raise
        answer = backend.find(intent)
    seconds = time.monotonic() - begun
    if isinstance(answer, Refused):
        raise BackendRefused(answer.reason)
    if not isinstance(answer, Issued):
        raise OutcomeUnknown("The CA has not said what became of it. Revoke there what it issues.")

    # 4. Compare, revoke whatever came, and record that.
    checks, problem = compare(answer, intent), ""
    try:
        serial = certificate_facts(answer.chain[0]).serial_hex
    except (ValueError, IndexError):
        raise BackendRefused("The CA has sent nothing that can be read. Look there what it issued.") from None
    try:
        backend.revoke(certificate_der=answer.chain[0], reason=RevocationReason.CESSATION_OF_OPERATION)
    except BackendError as error:
        problem = error.detail
    data = {**data, "serial": serial, "checks": [check.code for check in checks], "revoked": not problem}
    record(actor, "ca.tried", backend.name, data, now=clock())
    return Trial(ca=backend.name, checks=checks, serial=serial, seconds=seconds, problem=problem)


def _intent(kind: Profile, host: str, ca: str, *, now: datetime) -> Intent:
    """For a new key of the first kind that the profile takes, which is forgotten on return."""
    first = next((one for one in (*_CURVES, *_POST_QUANTUM) if one in kind.key_types), KeyType.RSA)
    key: CertificateIssuerPrivateKeyTypes
    if first in _CURVES:
        key = ec.generate_private_key(_CURVES[first])
    elif first in _POST_QUANTUM:
        key = _POST_QUANTUM[first].generate()
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=kind.rsa_min_bits)
    names = x509.SubjectAlternativeName([general_name(host)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    most = longest(kind, runtime.current().limits_of(ca), at=now)
    years = min(kind.term_years)
    begins, ends = certificate_validity(kind, duration_years=years, term_ends_at=None, longest=most, now=now)
    return Intent(
        idempotency_key=f"trial-{secrets.token_hex(16)}",
        backend=ca,
        profile=kind,
        csr_der=csr.add_extension(names, critical=False)
        .sign(key, None if first in _POST_QUANTUM else hashes.SHA256())
        .public_bytes(Encoding.DER),
        spki_der=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        names=(host,),
        subject=subject_under(kind, names=(host,)),
        not_before=begins,
        not_after=ends,
    )


def record(actor: Actor, action: str, ca: str, data: Mapping[str, object], *, now: datetime) -> None:
    """Writes into the audit log what was done with a CA at the server's command line."""
    with write_transaction():
        audit.record(actor, action, ca, now=now, data=data)
