"""How an issuing CA comes below a root: its key and CSR are made, and what the root has signed is installed.

The root may be offline or somebody else's, or the embedded CA's own. Each step says what it did, for the
record of whoever calls. Nothing here is needed to issue.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from certdesk.backends.embedded.authority import (
    ISSUING_CERTIFICATE,
    ISSUING_KEY,
    ROOT_CERTIFICATE,
    ROOT_KEY,
    USAGES,
    ca_name,
    encrypted,
    load_certificates,
    make_folder,
    open_key,
)
from certdesk.backends.embedded.config import EmbeddedConfig
from certdesk.backends.embedded.encoding import sign_csr
from certdesk.backends.embedded.keys import KINDS, KeyInMemory, PublicKey, Signer, kind_of
from certdesk.backends.embedded.token import TokenKey, key_in_token
from certdesk.backends.own_ca import ca_builder, exclusive, write_new
from certdesk.domain.errors import Misconfigured
from certdesk.domain.issuing.certificates import UNREADABLE
from certdesk.domain.issuing.profiles import BACKDATE

_USABLE = (*USAGES, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a step made, PEM, and what to record of it."""

    pem: str
    record: Mapping[str, object]


def make_request(config: EmbeddedConfig) -> Done:
    """A CSR for the CA's key, which is made first where there is none: in its file, or within its token.

    A CA with a root of its own gets its key with that, at the first start. Raises Misconfigured,
    Unavailable.
    """
    make_folder(config.directory)
    with exclusive(config.directory):
        path, more = config.directory / ISSUING_KEY, dict[str, object]()
        signer: Signer
        if config.token is not None:
            key, serial, is_new = key_in_token(config.token, make=KINDS[config.key])
            signer, more = TokenKey(config.token, key), {"token": serial, "label": config.token.label}
        else:
            if is_new := not path.exists():
                if config.root_directory is not None:
                    raise Misconfigured("This CA has no key yet: it is made at the service's first start.")
                made = KINDS[config.key].made()
                write_new({path: encrypted(made, config.passphrase)})
            own = open_key(path, config.passphrase)
            key, signer = own.public_key(), KeyInMemory(own, kind_of(own.public_key()))
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    csr = x509.load_der_x509_csr(sign_csr(ca_name(config, "Issuing CA"), spki, signer))
    record = {"kind": signer.kind.name, "spki_sha256": _sha256(spki), "key_made": is_new, **more}
    return Done(pem=csr.public_bytes(Encoding.PEM).decode(), record=record)


def install(
    config: EmbeddedConfig,
    pem: bytes,
    *,
    now: datetime,
    record: Callable[[Mapping[str, object]], None] = lambda _record: None,
) -> Done:
    """Installs the CA's certificate with what stands above it, its own first; the one before is kept.

    Under the same name and key it may be installed again, for longer: what was issued holds, and so does its
    CRL. `record` is called with what to record before a file changes: no audit, no action. Raises
    Misconfigured, with what is wrong with it.
    """
    try:
        issuing, *above = x509.load_pem_x509_certificates(pem)
        key = issuing.public_key()
    except UNREADABLE as error:
        advice = "Give certificates in PEM form: the CA's own first, then those above it, up to the root."
        raise Misconfigured(advice) from error
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    path = config.directory / ISSUING_CERTIFICATE
    with exclusive(config.directory):
        if config.token is not None:
            own: PublicKey = key_in_token(config.token)[0]
        else:
            own = open_key(config.directory / ISSUING_KEY, config.passphrase).public_key()
        before = load_certificates(path)[0] if path.exists() else None
        if own.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
            raise Misconfigured("The first certificate is not for this CA's key. Put it first, or ask again.")
        if before is not None and before.subject != issuing.subject:
            raise Misconfigured("The CA is called otherwise in the certificate that it has. Add another CA.")
        _refuse_unfit(issuing, above, now=now)
        if before is not None and _identifier(before) != _identifier(issuing):
            raise Misconfigured(
                "The CA has another subject key identifier in the certificate that it has, by which what it "
                "issued names it. Have the root keep it (OpenSSL: subjectKeyIdentifier), or add another CA."
            )
        told = {
            "serial": f"{issuing.serial_number:x}",
            "issuer": issuing.issuer.rfc4514_string(),
            "not_after": issuing.not_valid_after_utc.isoformat(),
            "spki_sha256": _sha256(spki),
        }
        record(told)
        if before is not None and before != issuing:
            kept = config.directory / f"issuing-{before.serial_number:x}.crt"
            if not kept.exists():
                shutil.copy2(path, kept)
        for file, certificates in ((ROOT_CERTIFICATE, above), (ISSUING_CERTIFICATE, [issuing])):
            content = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
            new = config.directory / f".{file}.installed"
            new.unlink(missing_ok=True)
            write_new({new: content})
            new.replace(config.directory / file)
    return Done(pem=issuing.public_bytes(Encoding.PEM).decode(), record=told)


def sign_request(
    csr_pem: bytes, *, root_directory: Path, passphrase: bytes, years: int, now: datetime
) -> Done:
    """A certificate for another issuing CA by the embedded CA's root, and the root after it.

    The root's folder has to be there. Raises Misconfigured.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        kind_of(csr.public_key())
        is_proven = csr.is_signature_valid
    except UNREADABLE as error:
        raise Misconfigured("This is not a CSR in PEM form.") from error
    if not is_proven:
        raise Misconfigured("The CSR was not signed by its own key.")
    (root,) = load_certificates(root_directory / ROOT_CERTIFICATE)
    key = open_key(root_directory / ROOT_KEY, passphrase)
    if csr.subject == root.subject or csr.public_key() == root.public_key():
        raise Misconfigured("A CA below the root needs a name and a key of its own.")
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    asked = cast("PublicKey", csr.public_key())
    builder = (
        ca_builder(csr.subject, asked, years=years, path_length=0, now=now)
        .issuer_name(root.subject)
        .add_extension(above, critical=False)
        .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
    )
    signed = builder.sign(key, kind_of(key.public_key()).hash)
    if signed.not_valid_after_utc > root.not_valid_after_utc:
        raise Misconfigured(f"The root ends on {root.not_valid_after_utc:%-d %B %Y}. Choose fewer years.")
    chain = "".join(one.public_bytes(Encoding.PEM).decode() for one in (signed, root))
    spki = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    told = {
        "subject": csr.subject.rfc4514_string(),
        "serial": f"{signed.serial_number:x}",
        "spki_sha256": _sha256(spki),
    }
    return Done(pem=chain, record=told)


def _refuse_unfit(issuing: x509.Certificate, above: list[x509.Certificate], *, now: datetime) -> None:
    """Raises Misconfigured where nobody could verify what the CA signs (RFC 5280 6)."""
    if not above:
        raise Misconfigured("Add the certificates that stand above the CA's, up to the root.")
    for lower, upper in pairwise((issuing, *above)):
        try:
            lower.verify_directly_issued_by(upper)
        except (InvalidSignature, *UNREADABLE):
            raise Misconfigured(
                f"“{lower.subject.rfc4514_string()}” was not issued by “{upper.subject.rfc4514_string()}”, "
                "which follows it. Put after each the one that issued it."
            ) from None
    below = 0
    for one in (issuing, *above):
        if not one.not_valid_before_utc <= now < one.not_valid_after_utc:
            raise Misconfigured(f"“{one.subject.rfc4514_string()}” is not valid now.")
        _refuse_no_ca(one, below=below)
        below += one.subject != one.issuer  # RFC 5280 4.2.1.9 does not count those of one name
    begins = issuing.not_valid_before_utc + BACKDATE
    if begins > now:
        raise Misconfigured(
            "The CA's certificate has just begun, and what it issues is back-dated: none would lie in its "
            f"time. Install it after {begins:%H:%M} UTC, or have the root back-date it too."
        )
    try:
        _identifier(issuing)
    except x509.ExtensionNotFound:
        raise Misconfigured(
            "The CA's certificate has no subject key identifier (RFC 5280 4.2.1.2)."
        ) from None
    if not issuing.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign:
        raise Misconfigured("The CA's certificate does not allow to sign CRLs (key usage cRLSign).")


def _refuse_no_ca(one: x509.Certificate, *, below: int) -> None:
    """Raises Misconfigured where clients see no CA that may stand here, with so many below it."""
    name = one.subject.rfc4514_string()
    if not name:
        raise Misconfigured(
            "A CA's certificate without a name in its subject names nobody (RFC 5280 4.1.2.6)."
        )
    try:
        constraints = one.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = one.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        told = f"“{name}” is not a CA's certificate: no basic constraints or no key usage."
        raise Misconfigured(told) from None
    if not (constraints.ca and usage.key_cert_sign):
        raise Misconfigured(f"“{name}” may not sign certificates.")
    if constraints.path_length is not None and constraints.path_length < below:
        told = f"“{name}” allows {constraints.path_length} CAs below it (path length). There are {below}."
        raise Misconfigured(told)
    for extension in one.extensions:
        value = extension.value
        if extension.critical and isinstance(value, x509.UnrecognizedExtension):
            told = f"“{name}” has a critical extension that clients don't know: {value.oid.dotted_string}."
            raise Misconfigured(told)
        if isinstance(value, x509.ExtendedKeyUsage) and not set(_USABLE) & set(value):
            raise Misconfigured(f"“{name}” allows neither TLS servers nor clients (extended key usage).")


def _identifier(ca: x509.Certificate) -> bytes:
    return ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _sha256(content: bytes) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    return digest.finalize().hex()
