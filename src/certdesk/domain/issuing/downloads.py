"""The files that a subscriber downloads, made from a chain of DER certificates. Never a private key.

A chain is leaf first, then intermediates, the root last when it is known.
"""

import functools
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs7, pkcs12
from cryptography.x509.oid import NameOID

#: What Java expects of a trust store unless told otherwise. It holds nothing secret.
TRUSTSTORE_PASSWORD = "changeit"  # noqa: S105 - everybody's
#: The same chain makes the same zip, byte for byte; a zip can't hold an earlier date than this.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@functools.lru_cache(maxsize=64)  # each chain ends in the same few issuers
def to_pem(der: bytes) -> bytes:
    """One certificate in PEM (RFC 7468)."""
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def fullchain_pem(chain: tuple[bytes, ...], *, with_root: bool = False) -> bytes:
    """Leaf and intermediates in PEM, as servers send them; the root only when it is asked for."""
    return b"".join(to_pem(der) for der in chain if with_root or not _is_root(der))


def pkcs7_der(chain: tuple[bytes, ...]) -> bytes:
    """The whole chain in PKCS#7 (RFC 2315, certificates only), DER, as IIS and Tomcat import it."""
    return pkcs7.serialize_certificates([x509.load_der_x509_certificate(der) for der in chain], Encoding.DER)


def chain_pem(chain: tuple[bytes, ...]) -> bytes:
    """What stands between the leaf and the root, in PEM; the root itself where nothing does."""
    between = [der for der in chain[1:] if not _is_root(der)]
    return b"".join(to_pem(der) for der in between or chain[1:])


def java_truststore(chain: tuple[bytes, ...]) -> bytes:
    """The last certificate of the chain, the root, as a PKCS#12 trust store for Java's clients."""
    root = pkcs12.PKCS12Certificate(x509.load_der_x509_certificate(chain[-1]), b"root")
    return pkcs12.serialize_java_truststore([root], BestAvailableEncryption(TRUSTSTORE_PASSWORD.encode()))


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a certificate: how its file's name ends, its media type, and how it is made of a chain."""

    ending: str
    media_type: str
    make: Callable[[tuple[bytes, ...]], bytes]


#: Every form but the zip, by the name that addresses and the API have for it.
FORMS: Mapping[str, Form] = {
    "fullchain": Form("-fullchain.pem", "application/pem-certificate-chain", fullchain_pem),
    "pem": Form(ending=".pem", media_type="application/x-pem-file", make=lambda chain: to_pem(chain[0])),
    "chain": Form(ending="-chain.pem", media_type="application/pem-certificate-chain", make=chain_pem),
    "der": Form(ending=".der", media_type="application/pkix-cert", make=lambda chain: chain[0]),
    "p7b": Form(ending=".p7b", media_type="application/x-pkcs7-certificates", make=pkcs7_der),
    "truststore": Form(ending="-truststore.p12", media_type="application/x-pkcs12", make=java_truststore),
}


def file_stem(name: str, not_after: datetime) -> str:
    """The name of a certificate's files without extension: `host_example_ac_uk-2027-01-08`."""
    words = name.lower().replace("*", "wildcard").replace(".", "_")
    safe = re.sub(r"[^a-z0-9_-]", "-", words)[:100].lstrip("-") or "certificate"
    return f"{safe}-{not_after.astimezone(UTC).date().isoformat()}"


def bundle_zip(chain: tuple[bytes, ...], stem: str) -> bytes:
    """A zip of the leaf, every other certificate of the chain and a README that says what each is."""
    described = _bundle_files(chain, stem)
    readme = [
        "The files of your certificate, all in PEM form",
        "",
        *(f"{name}\r\n    {what}" for name, _, what in described),
        "",
        "Your private key is not here: it stayed on the machine where you made the request.",
        "",
    ]
    files = [(name, content) for name, content, _ in described]
    return _packed([*files, ("README.txt", "\r\n".join(readme).encode())])


def server_zip(chain: tuple[bytes, ...], stem: str, *, form: str, instructions: str) -> bytes:
    """A zip for whoever runs the server: what it takes, the root, and how to install it.

    `form` is a key of FORMS, or zip: then it is all that the zip of `bundle_zip` has but its README.
    """
    files = [(name, content) for name, content, _ in _bundle_files(chain, stem)]
    if form != "zip":
        roots = [(name, content) for name, content in files if name.startswith("root-")]
        files = [(stem + FORMS[form].ending, FORMS[form].make(chain)), *roots]
    return _packed([*files, ("INSTALL.txt", "\r\n".join(instructions.splitlines()).encode())])


def _packed(files: list[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def _bundle_files(chain: tuple[bytes, ...], stem: str) -> list[tuple[str, bytes, str]]:
    """(name, content, what it is), leaf first."""
    files = [(f"{stem}.crt", to_pem(chain[0]), "your server's certificate")]
    for number, der in enumerate(chain[1:], start=1):
        if _is_root(der):
            what = "the root certificate; servers need not send it, some clients need to trust it"
            files.append((f"root-{_common_name(der)}.crt", to_pem(der), what))
        else:
            what = "a chaining certificate; your server must send it after its own"
            files.append((f"chain-{number}-{_common_name(der)}.crt", to_pem(der), what))
    return files


@functools.lru_cache(maxsize=64)
def _is_root(der: bytes) -> bool:
    certificate = x509.load_der_x509_certificate(der)
    return certificate.subject == certificate.issuer


@functools.lru_cache(maxsize=64)
def _common_name(der: bytes) -> str:
    subject = x509.load_der_x509_certificate(der).subject
    attributes = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(attributes[0].value) if attributes else "ca"
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:60] or "ca"
