"""Uploads that are not exactly one readable request: name, expected code, why, bytes.

The private keys in here are the seeded ones of `forge`: everybody has them.
"""

import base64
import datetime as dt
import gzip
import io
import random
import zipfile
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)

from tests.vectors import forge
from tests.vectors.bad_requests import Vector

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey

_KEY = "csr.private_key"
_LONG_AGO = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_PATHS = {
    "path-windows.txt": b"C:\\Users\\jo\\Desktop\\server.csr",
    "path-windows-quoted.txt": b'"C:\\Users\\jo\\Desktop\\my server.csr"\r\n',
    "path-share.txt": b"\\\\fileserver\\certs\\www.csr",
    "path-unix.txt": b"/etc/ssl/www.example.ac.uk.csr\n",
    "path-home.txt": b"~/www.csr",
    "path-relative.txt": b"./certs/www.pem",
    "path-name-alone.txt": b"server.csr",
    "path-file-url.txt": b"file:///etc/ssl/www.csr",
}


def unreadable() -> Iterator[Vector]:
    """All of them."""
    for source in (
        _nothing(),
        _private_keys(),
        _other_objects(),
        _other_files(),
        _damaged_text(),
        _damaged_der(),
    ):
        for file, code, why, upload in source:
            yield Vector(file, "unreadable", code, why, upload)


Found = Iterator[tuple[str, str, str, bytes]]


def _nothing() -> Found:
    yield "empty.csr", "csr.empty", "no byte at all", b""
    yield "blank.csr", "csr.empty", "white space alone", b" \r\n\t\r\n"
    yield "byte-order-mark.csr", "csr.empty", "a byte order mark alone", b"\xef\xbb\xbf"
    good = forge.pem(forge.good_der())
    yield "too-large.csr", "csr.too_large", "one byte more than is read", good.ljust(65_537, b"\n")


def _pem(key: PrivateKey, form: PrivateFormat, lock: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, form, lock or NoEncryption())


def _private_keys() -> Found:
    small, curve = forge.seeded_rsa(2048), forge.ec_key()
    edwards = ed25519.Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)
    locked = BestAvailableEncryption(b"certdesk")
    old, new, ssh = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8, PrivateFormat.OpenSSH
    pkcs8 = _pem(small, new)
    for word, made in (
        ("pkcs8-rsa", pkcs8),
        ("pkcs8-ec", _pem(curve, new)),
        ("pkcs8-ed25519", _pem(edwards, new)),
        ("pkcs1", _pem(small, old)),
        ("sec1", _pem(curve, old)),
        ("openssh", _pem(curve, ssh)),
        ("pkcs8-locked", _pem(small, new, locked)),
        ("pkcs1-locked", _pem(small, old, locked)),
        ("openssh-damaged", _pem(curve, ssh)[:200] + b"\n-----END OPENSSH PRIVATE KEY-----\n"),
        ("two-keys", pkcs8 + _pem(curve, old)),
        ("after-request", forge.pem(forge.good_der()) + pkcs8),
        ("before-request", pkcs8 + forge.pem(forge.good_der())),
        ("crlf", pkcs8.replace(b"\n", b"\r\n")),
        ("cr", pkcs8.replace(b"\n", b"\r")),
        ("utf-16", pkcs8.decode().encode("utf-16")),
        ("cut-off", pkcs8[:600]),
        ("end-alone", pkcs8[600:]),
        ("bare-base64", b"".join(pkcs8.splitlines()[1:-1])),
        ("under-request-label", pkcs8.replace(b"PRIVATE KEY", b"CERTIFICATE REQUEST")),
        ("putty", b"PuTTY-User-Key-File-3: ssh-rsa\r\nEncryption: none\r\nPrivate-Lines: 1\r\nAAAA\r\n"),
    ):
        yield f"private-key-{word}.pem", _KEY, f"a private key: {word}", made
    for word, form, key in (("pkcs8", new, small), ("pkcs1", old, small), ("sec1", old, curve)):
        der = key.private_bytes(Encoding.DER, form, NoEncryption())
        yield f"private-key-{word}.der", _KEY, f"a private key in DER: {word}", der
    for word, made in _forged_keys():
        yield f"private-key-forged-{word}.pem", _KEY, f"numbers around a stranger's modulus: {word}", made
    for word, made in _costly_keys():
        yield f"private-key-{word}.pem", _KEY, "as many costly keys as fit: must cost nothing", made
    der = small.private_bytes(Encoding.DER, new, locked)
    yield "private-key-pkcs8-locked.der", _KEY, "an encrypted private key in DER", der


def _forged_keys() -> Iterator[tuple[str, bytes]]:
    """Private keys made by somebody who has the public one alone: reading them must block nothing."""
    public = forge.seeded_rsa(2048).public_key().public_numbers()
    own = forge.seeded_rsa(2048, "forger").private_numbers()
    modulus, half = public.n, public.n >> 1 | 1
    numbers = {
        "exponents": (half, forge.prime("p", 1024), forge.prime("q", 1024)),
        "modulus-as-prime": (half, modulus, 1),
        "negative-primes": (half, -modulus, -1),
        "own-primes": (own.d, own.p, own.q),
        "huge-exponent": (1 << 40_000 | 1, own.p, own.q),
    }
    for word, (d, p, q) in numbers.items():
        parts = (0, modulus, public.e, d, p, q, 1, 1, 1)
        yield word, forge.pem(forge.sequence(*map(forge.integer, parts)), label="RSA PRIVATE KEY")


def _costly_keys() -> Iterator[tuple[str, bytes]]:
    """DSA and DH keys of 9,999 bits: loading one takes a third of a second, and many fit into an upload."""
    p, q, g, x = (
        forge.integer(number) for number in ((1 << 9999) - 159, (1 << 9998) - 19, 3, (1 << 9997) - 7)
    )
    for word, oid, parameters in (
        ("dsa", "1.2.840.10040.4.1", forge.sequence(p, q, g)),
        ("dh", "1.2.840.113549.1.3.1", forge.sequence(p, g)),
    ):
        der = forge.sequence(forge.integer(0), forge.sequence(forge.oid(oid), parameters), forge.octets(x))
        one = forge.pem(der, label="PRIVATE KEY")
        yield f"costly-{word}", one * (65_536 // len(one))


def _certificate() -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.ac.uk")])
    key = forge.ec_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_LONG_AGO)
        .not_valid_after(_LONG_AGO + dt.timedelta(days=30))
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def _other_objects() -> Found:
    certificate = _certificate()
    key = forge.ec_key()
    public = key.public_key()
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(certificate.subject)
        .last_update(_LONG_AGO)
        .next_update(_LONG_AGO + dt.timedelta(days=7))
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    for form, end in ((Encoding.PEM, "pem"), (Encoding.DER, "der")):
        yield f"certificate.{end}", "csr.certificate", "the certificate", certificate.public_bytes(form)
        yield f"crl.{end}", "csr.crl", "a revocation list", crl.public_bytes(form)
        bundle = pkcs7.serialize_certificates([certificate], form)
        yield f"pkcs7.{end}", "csr.pkcs7", "a bundle of certificates", bundle
        spki = public.public_bytes(form, PublicFormat.SubjectPublicKeyInfo)
        yield f"public-key.{end}", "csr.public_key", "the public key alone", spki
    p, q, g, y = (
        forge.integer(number) for number in ((1 << 9999) - 159, (1 << 9998) - 19, 3, (1 << 9990) + 1)
    )
    dhx = forge.spki("1.2.840.10046.2.1", forge.sequence(p, g, q), y)
    yield "public-key-dhx.der", "csr.public_key", "a public key that takes half a second to load", dhx
    numbers = forge.seeded_rsa(2048).public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    yield "public-key-pkcs1.pem", "csr.public_key", "an RSA public key of the old kind", numbers
    p12 = pkcs12.serialize_key_and_certificates(
        b"www", key, certificate, None, BestAvailableEncryption(b"certdesk")
    )
    yield "pkcs12.p12", "csr.pkcs12", "key and certificate together", p12
    bare = base64.encodebytes(certificate.public_bytes(Encoding.DER))
    yield "certificate-bare-base64.txt", "csr.certificate", "a certificate without its BEGIN line", bare
    relabelled = certificate.public_bytes(Encoding.PEM).replace(b"CERTIFICATE", b"CERTIFICATE REQUEST")
    yield (
        "certificate-under-request-label.csr",
        "csr.certificate",
        "a certificate with the wrong label",
        relabelled,
    )
    ssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    yield "ssh-public-key.pub", "csr.ssh_key", "an SSH public key", ssh + b" jo@laptop\n"
    yield "dh-parameters.pem", "csr.not_a_request", "some other PEM", forge.pem(b"0\0", label="DH PARAMETERS")
    yield "pgp.asc", "csr.not_a_request", "PGP", forge.pem(b"\x99\x01", label="PGP PUBLIC KEY BLOCK")
    yield "java.jks", "csr.keystore", "a Java keystore", b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01" + b"\0" * 64


def _other_files() -> Found:
    good = forge.pem(forge.good_der())
    for file, upload in _PATHS.items():
        yield file, "csr.path", "the name of a file instead of the file", upload
    yield "link.txt", "csr.url", "a link", b"https://www.example.ac.uk/server.csr"
    page = b"<!DOCTYPE html>\n<html><body><h1>404</h1></body></html>"
    yield "page.html", "csr.html", "an error page", page
    yield "page-with-space.html", "csr.html", "a page after white space", b"\r\n\r\n  <html lang=en>"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("server.csr"), good)
    yield "archive.zip", "csr.archive", "a ZIP with a request in it: never unpacked", packed.getvalue()
    yield "archive.gz", "csr.archive", "gzip", gzip.compress(good, mtime=0)
    yield "document.pdf", "csr.document", "a PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
    yield "picture.png", "csr.document", "a picture of a request", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    yield "document.rtf", "csr.document", "a word processor's file", b"{\\rtf1\\ansi hello}"
    command = b"openssl req -new -key server.key -out server.csr\n"
    yield "command.txt", "csr.command", "the command instead of its result", command
    printout = (
        b"Certificate Request:\n    Data:\n        Version: 1 (0x0)\n        Subject: CN=www.example.ac.uk\n"
    )
    yield "printout.txt", "csr.printout", "openssl req -text -noout", printout
    yield (
        "prose.txt",
        "csr.unreadable",
        "a sentence",
        b"Please send me a certificate for www.example.ac.uk, thanks!",
    )
    yield (
        "zero.txt",
        "csr.unreadable",
        "the digit 0 is the first byte of DER too",
        b"0118 999 881 999 119 725 3",
    )
    yield "name-alone.txt", "csr.unreadable", "a host name", b"www.example.ac.uk"
    yield "json.txt", "csr.unreadable", "JSON without a request", b'{"csr": null}'
    noise = random.Random("noise").randbytes(900)  # noqa: S311 - test data
    yield "noise.bin", "csr.unreadable", "random bytes", b"\x01" + noise
    yield (
        "noise-after-sequence.bin",
        "csr.unreadable",
        "a SEQUENCE of noise",
        forge.sequence(b"\x05\0", b"\x05\0"),
    )


def _damaged_text() -> Found:
    good = forge.pem(forge.good_der())
    other = forge.pem(forge.ec_request(forge.san(b"mail.example.ac.uk")))
    yield "two-requests.csr", "csr.several", "two requests", good + other
    yield "same-request-twice.csr", "csr.several", "the same request twice", good + good
    certificate = _certificate().public_bytes(Encoding.PEM)
    yield "request-and-certificate.csr", "csr.mixed", "a request and a certificate", good + certificate
    yield "base64-star.csr", "csr.base64", "a character that is not base64", good[:110] + b"*" + good[111:]
    yield "base64-one-lost.csr", "csr.base64", "a character is missing", good[:110] + good[111:]
    yield "base64-quoted.csr", "csr.base64", "quoted in a mail", good.replace(b"\n", b"\n> ")
    yield "base64-literal-newlines.csr", "csr.base64", "\\n in two characters", good.replace(b"\n", b"\\n")
    yield "base64-no-break-space.csr", "csr.base64", "copied from a page", good.replace(b"\n", b"\xc2\xa0\n")
    yield "no-end-line.csr", "csr.truncated", "the END line is missing", good[: good.index(b"-----END")]
    yield "cut-in-the-middle.csr", "csr.truncated", "half of it", good[:200]
    yield "body-empty.csr", "csr.unreadable", "BEGIN and END alone", forge.pem(b"")
    yield (
        "dashes-of-a-word-processor.csr",
        "csr.begin_line",
        "dashes",
        good.replace(b"-----", "\u2014\u2013".encode()),
    )
    yield "four-dashes.csr", "csr.begin_line", "four hyphens", good.replace(b"-----", b"----")
    yield (
        "lower-case.csr",
        "csr.begin_line",
        "a BEGIN line in lower case",
        good.replace(b"BEGIN CERT", b"begin cert"),
    )
    damaged = good.decode().encode("utf-16-le")[:-1]
    yield "utf-16-damaged.csr", "csr.encoding", "UTF-16 with half a character", b"\xff\xfe" + damaged
    yield (
        "base64-of-text.csr",
        "csr.unreadable",
        "base64 of a sentence",
        forge.pem(b"this is not ASN.1 at all"),
    )


def _damaged_der() -> Found:
    good = forge.good_der()
    names = forge.san(b"www.example.ac.uk")
    yield "truncated.der", "csr.truncated", "the last ten bytes are missing", good[:-10]
    yield "truncated-under-pem.csr", "csr.truncated", "the last ten bytes are missing", forge.pem(good[:-10])
    yield "trailing.der", "csr.trailing_data", "a byte too many", good + b"\0"
    yield "trailing-request.der", "csr.trailing_data", "two requests in DER", good + good
    yield "indefinite-length.der", "csr.unreadable", "BER", b"\x30\x80" + good[4:] + b"\0\0"
    first = forge.asks_for(names)
    second = forge.sequence(forge.oid("1.2.840.113549.1.9.2"), forge.set_of(forge.octets(b"x")))
    ordered = forge.ec_request(attributes=[first, second])
    assert second + first in ordered
    made = forge.pem(ordered.replace(second + first, first + second))
    yield "attributes-out-of-order.csr", "csr.order", "a SET OF that is not sorted", made
    yield "version-2.csr", "csr.version", "an unknown version", forge.pem(forge.ec_request(names, version=1))
    yield (
        "version-negative.csr",
        "csr.unreadable",
        "a negative version",
        forge.pem(forge.ec_request(names, version=-1)),
    )
    twice = forge.ec_request(names, forge.san(b"mail.example.ac.uk"))
    yield "san-twice.csr", "csr.duplicate_extension", "two SAN extensions", forge.pem(twice)
    usage = forge.extension("2.5.29.15", b"\x03\x02\x05\xa0")
    yield (
        "key-usage-twice.csr",
        "csr.duplicate_extension",
        "two keyUsages",
        forge.pem(forge.ec_request(usage, usage)),
    )
    for word, attributes in (
        ("twice", [forge.asks_for(names), forge.asks_for(forge.san(b"mail.example.ac.uk"))]),
        (
            "old-and-new",
            [forge.asks_for(names), forge.asks_for(names, attribute=forge.WINDOWS_EXTENSION_REQUEST)],
        ),
        (
            "two-values",
            [
                forge.sequence(
                    forge.oid(forge.EXTENSION_REQUEST),
                    forge.set_of(forge.sequence(names), forge.sequence(usage)),
                )
            ],
        ),
    ):
        made = forge.pem(forge.ec_request(attributes=attributes))
        yield (
            f"extension-request-{word}.csr",
            "csr.several_extension_requests",
            "two lists of extensions",
            made,
        )
    for word, value in (("null", b"\x05\0"), ("noise", b"\x30\x09\x82"), ("empty", b""), ("latin-1", b"")):
        san = forge.extension(forge.SUBJECT_ALT_NAME, value)
        if word == "latin-1":
            san = forge.san("bücher.example.ac.uk".encode("latin-1"))
        yield (
            f"san-of-{word}.csr",
            "csr.extensions",
            "a SAN that can't be decoded",
            forge.pem(forge.ec_request(san)),
        )
    broken = forge.extension("2.5.29.15", b"\x30\x03\x01\x01\xff")
    yield (
        "key-usage-broken.csr",
        "csr.extensions",
        "keyUsage of the wrong type",
        forge.pem(forge.ec_request(broken)),
    )
    not_a_list = forge.sequence(forge.oid(forge.EXTENSION_REQUEST), forge.set_of(forge.null()))
    made = forge.pem(forge.ec_request(attributes=[not_a_list]))
    yield "extension-request-null.csr", "csr.extensions", "NULL instead of extensions", made
    subject = forge.name(("2.5.4.10", b"Example \xff\xfe"))
    yield (
        "subject-not-utf-8.csr",
        "csr.subject",
        "not UTF-8",
        forge.pem(forge.ec_request(names, subject=subject)),
    )
    for word, numbers in (
        ("null", forge.null()),
        ("negative", forge.sequence(forge.integer(-5), forge.integer(3))),
    ):
        key = forge.spki("1.2.840.113549.1.1.1", forge.null(), numbers)
        made = forge.pem(forge.unsigned_request(key))
        yield f"rsa-key-{word}.csr", "csr.key_unreadable", "RSA without its numbers", made
