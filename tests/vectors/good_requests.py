"""Real requests by real tools: OpenSSL, keytool, certtool and pyca. Their private keys are thrown away.

OpenSSL, keytool and certtool make a new key each time, so that these files change when they are made again.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type  # certreq writes BMPString, which pyca does only when told
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID

from tests.vectors import forge


class Good(NamedTuple):
    """One good upload and its facts."""

    file: str
    names: tuple[str, ...]
    algorithm: str
    size: int
    made_by: str
    upload: bytes


_WWW = "www.example.ac.uk"
_UNIVERSITY = "/C=GB/O=Example University"
_WINDOWS = "1.3.6.1.4.1.311"


def _many(count: int) -> tuple[str, ...]:
    return tuple(f"host{number}.example.ac.uk" for number in range(1, count + 1))


def accepted() -> Iterator[Good]:
    """All of them."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _openssl(Path(folder))
        yield from _keytool(Path(folder))
        yield from _certtool(Path(folder))
    yield from _pyca()
    yield from _text_forms()


def _run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def _openssl(folder: Path) -> Iterator[Good]:
    by_config = "openssl req"
    key = str(folder / "openssl.key")
    plain = f"{_UNIVERSITY}/CN={_WWW}"
    for size in (2048, 3072, 4096):
        made = _run(
            "openssl", "req", "-new", "-newkey", f"rsa:{size}", "-nodes", "-keyout", key, "-subj", plain
        )
        yield Good(f"openssl-rsa-{size}.csr", (_WWW,), "RSA", size, by_config, made)
    for size in (256, 384, 521):
        new = ("-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:P-{size}", "-nodes", "-keyout", key)
        made = _run("openssl", "req", "-new", *new, "-subj", plain, "-addext", f"subjectAltName=DNS:{_WWW}")
        yield Good(f"openssl-p-{size}.csr", (_WWW,), "EC", size, by_config, made)
    for file, subject in (
        ("openssl-default-subject.csr", "/C=AU/ST=Some-State/O=Internet Widgits Pty Ltd"),
        ("openssl-acme-sh-subject.csr", "/O=acme.sh"),  # as that client asks for it
    ):
        new = ("-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", subject)
        made = _run("openssl", "req", "-new", *new, "-addext", f"subjectAltName=DNS:{_WWW}")
        yield Good(file, (_WWW,), "RSA", 2048, by_config, made)
    for file, names, extra in (
        ("openssl-100-names.csr", _many(100), ()),
        ("openssl-wildcard.csr", ("*.example.ac.uk", "example.ac.uk"), ()),
        ("openssl-a-label.csr", ("xn--bcher-kva.example.ac.uk",), ()),
        ("openssl-three-names.der", _many(3), ("-outform", "DER")),
        ("openssl-sha-512.csr", _many(1), ("-sha512",)),
    ):
        alt_names = ",".join(f"DNS:{name}" for name in names)
        new = ("-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/", *extra)
        made = _run("openssl", "req", "-new", *new, "-addext", f"subjectAltName={alt_names}")
        yield Good(file, names, "RSA", 2048, by_config, made)
    pss = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32")
    made = _run(
        "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", plain, *pss
    )
    yield Good("openssl-pss-signature.csr", (_WWW,), "RSA", 2048, by_config, made)
    made = _run(
        "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", plain, "-text"
    )
    yield Good("openssl-with-text.csr", (_WWW,), "RSA", 2048, f"{by_config} -text", made)


def _keytool(folder: Path) -> Iterator[Good]:
    for algorithm, size in (("RSA", 2048), ("EC", 256)):
        store = ("-keystore", str(folder / f"{algorithm}.p12"), "-storepass", "certdesk", "-alias", "www")
        name = f"CN={_WWW}, O=Example University, C=GB"
        sort = ("-keyalg", algorithm, "-keysize", str(size))
        _run("keytool", "-genkeypair", *store, *sort, "-dname", name, "-storetype", "PKCS12")
        made = _run("keytool", "-certreq", *store, "-ext", f"SAN=dns:{_WWW},dns:mail.example.ac.uk")
        names = (_WWW, "mail.example.ac.uk")
        yield Good(f"keytool-{algorithm.lower()}.csr", names, algorithm, size, "keytool -certreq", made)


def _certtool(folder: Path) -> Iterator[Good]:
    template = folder / "certtool.cfg"
    names = (_WWW, "mail.example.ac.uk")
    fields = [f'cn = "{_WWW}"', 'organization = "Example University"', "tls_www_server", "signing_key"]
    template.write_text("\n".join([*fields, *(f'dns_name = "{name}"' for name in names)]) + "\n")
    for word, algorithm, size, how in (
        ("rsa", "RSA", 3072, ("--key-type", "rsa", "--bits", "3072")),
        ("ec", "EC", 384, ("--key-type", "ecdsa", "--curve", "secp384r1")),
    ):
        key = folder / f"certtool-{word}.key"
        key.write_bytes(_run("certtool", "--generate-privkey", *how))
        made = _run("certtool", "--generate-request", "--load-privkey", str(key), "--template", str(template))
        yield Good(f"certtool-{word}.csr", names, algorithm, size, "certtool --generate-request", made)


def _pyca_request(*names: str, subject: x509.Name | None = None) -> x509.CertificateSigningRequestBuilder:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    alt_names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return builder.add_extension(alt_names, critical=False)


def _sign(builder: x509.CertificateSigningRequestBuilder, curve: ec.EllipticCurve | None = None) -> bytes:
    signed = builder.sign(forge.ec_key(curve=curve), hashes.SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(Encoding.DER)


def _pyca() -> Iterator[Good]:
    for count in (1, 2, 10, 99, 100):
        made = forge.pem(_sign(_pyca_request(*_many(count))))
        yield Good(f"pyca-{count}-names.csr", _many(count), "EC", 256, "pyca", made)
    made = _sign(_pyca_request(_WWW, "WWW.Example.AC.UK", "mail.example.ac.uk"))
    yield Good("pyca-upper-case.der", (_WWW, "mail.example.ac.uk"), "EC", 256, "pyca", made)
    names = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, name) for name in ("b.example.ac.uk", _WWW)]
    )
    made = forge.pem(_sign(_pyca_request("a.example.ac.uk", _WWW, subject=names)))
    order = ("b.example.ac.uk", _WWW, "a.example.ac.uk")
    yield Good("pyca-two-common-names.csr", order, "EC", 256, "pyca", made)
    wishes = (
        _pyca_request(_WWW)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    )
    yield Good("pyca-asks-to-be-a-ca.csr", (_WWW,), "EC", 256, "pyca", forge.pem(_sign(wishes)))
    secret = _pyca_request(_WWW).add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"certdesk")
    yield Good("pyca-challenge-password.csr", (_WWW,), "EC", 256, "pyca", forge.pem(_sign(secret)))
    made = forge.pem(forge.rsa_request(forge.seeded_rsa(4096), dns=b"*.physics.example.ac.uk"))
    yield Good("pyca-rsa-4096-wildcard.csr", ("*.physics.example.ac.uk",), "RSA", 4096, "pyca", made)


def _windows() -> bytes:
    """What certreq writes: its own attributes, and the extensions that a template asks for."""
    subject = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Example University", _ASN1Type.BMPString),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, _WWW),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _pyca_request(_WWW, "mail.example.ac.uk", subject=subject)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(b"\x01" * 20), critical=False)
        .add_attribute(x509.ObjectIdentifier(f"{_WINDOWS}.13.2.3"), b"10.0.20348.2", _tag=_ASN1Type.IA5String)
    )
    key = forge.seeded_rsa(2048)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _text_forms() -> Iterator[Good]:
    names = (_WWW, "mail.example.ac.uk")
    windows = forge.pem(_windows(), label="NEW CERTIFICATE REQUEST", line_end=b"\r\n")
    yield Good("windows-new-crlf.req", names, "RSA", 2048, "pyca, in the form of certreq", windows)
    yield Good(
        "windows-utf-16.req",
        names,
        "RSA",
        2048,
        "the same, saved by Notepad",
        windows.decode().encode("utf-16"),
    )
    yield Good(
        "windows-utf-16-no-mark.req", names, "RSA", 2048, "the same", windows.decode().encode("utf-16-le")
    )
    yield Good("windows-utf-8-mark.req", names, "RSA", 2048, "the same", b"\xef\xbb\xbf" + windows)
    old = forge.ec_request(
        attributes=[forge.asks_for(forge.san(_WWW.encode()), attribute=forge.WINDOWS_EXTENSION_REQUEST)]
    )
    yield Good("windows-old-attribute.csr", (_WWW,), "EC", 256, "forge", forge.pem(old))
    der = forge.good_der()
    lines = forge.pem(der)
    body = b"".join(lines.splitlines()[1:-1])
    letter = b"Dear RA,\r\n\r\nhere it is:\r\n\r\n" + lines + b"\r\n--\r\nJo\r\n"
    for file, upload in (
        ("text-cr.csr", lines.replace(b"\n", b"\r")),
        ("text-letter.csr", letter),
        ("text-one-line.csr", lines.replace(b"\n", b" ")),
        ("text-indented.csr", lines.replace(b"\n", b"\n    ")),
        ("text-no-last-newline.csr", lines.rstrip()),
        ("text-blank-lines.csr", b"\n\n" + lines.replace(b"\n", b"\n\n")),
        ("text-bare-base64.txt", body),
        ("text-base64-lines.txt", b"\r\n".join(lines.splitlines()[1:-1]) + b"\r\n"),
        ("binary.der", der),
    ):
        yield Good(file, (_WWW,), "EC", 256, "forge", upload)
