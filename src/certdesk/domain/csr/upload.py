"""From an upload to the DER of exactly one certificate request, or a sentence on what was sent instead.

People send certificates, keys, archives, pages and file paths: each is recognised and named, so that the
answer says what to do. Nothing is unpacked, fetched or stored here; the request itself is read in `csr`.
Sources: RFC 2986, RFC 7468, RFC 5958.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import pkcs7

from certdesk.domain.csr.keys import PARSE_ERRORS, SubjectPublicKeyInfo
from certdesk.domain.csr.private_keys import (
    PrivateKeyPasted,
    holds_private_key,
    private_key_in_der,
    public_halves,
)
from certdesk.domain.errors import BadCsr

#: Tested before anything is parsed. A request for 100 long names with an RSA-4096 key takes 25 KB.
MAX_UPLOAD = 65_536

_PEM_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9][A-Z0-9 ]{0,60})-----")
_CSR_LABELS = frozenset({b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"})
_CARELESS_DASHES = re.compile(rb"BEGIN\s+(?:NEW\s+)?CERTIFICATE\s+REQUEST", re.IGNORECASE)
_BASE64_ONLY = re.compile(rb"[A-Za-z0-9+/\s]{100,}={0,2}\s*")
_NOT_TEXT = re.compile(rb"[^\t-\r -~]")
_WHITESPACE = re.compile(rb"\s+")

_SEND_CSR = (
    "Send the certificate request (CSR): the file that begins with -----BEGIN CERTIFICATE REQUEST-----, "
    "often called .csr or .req."
)


def request_der(upload: bytes) -> bytes:
    """The DER of the one request in an upload: PEM in any line ending, with text around it, or DER.

    Raises:
        PrivateKeyPasted: there is a private key in it, whatever else there is.
        BadCsr: there is not exactly one request in it; the code is `csr.*`.
    """
    # 1. Of a size that can be a request.
    if len(upload) > MAX_UPLOAD:
        raise BadCsr(
            f"The file has {len(upload):,} bytes; a certificate request has a few thousand, and at most "
            f"{MAX_UPLOAD:,} are read. Check that you chose the right file.",
            code="csr.too_large",
        )
    if not upload.strip(b"\0 \t\r\n\x0b\x0c\xef\xbb\xbf\xff\xfe"):
        raise BadCsr(f"The file is empty. {_SEND_CSR}", code="csr.empty")
    data = _as_utf8(upload)
    labels = [match.group(1) for match in _PEM_BEGIN.finditer(data)]

    # 2. No private key: PEM of every flavour, PuTTY's and OpenSSH's own formats, and DER, bare or in base64.
    if holds_private_key(data):
        raise PrivateKeyPasted(spki_sha256=public_halves(data))
    der = data if data.startswith(b"\x30") else _decoded(data)
    if not labels and der is not None and (found := private_key_in_der(der)) is not None:
        raise PrivateKeyPasted(spki_sha256=found)

    # 3. PEM, unless it is what a ZIP shows of what is stored in it uncompressed; or binary DER. The digit 0
    #    has the same first byte as DER: text is told by having printable bytes only.
    _refuse_formats(data, _BINARY_FORMATS)
    if labels:
        return _from_pem(data, labels)
    if data.startswith(b"\x30") and _NOT_TEXT.search(data):
        return data

    # 4. Base64 without its first and last line, or something else.
    _refuse_formats(data, _TEXT_FORMATS)
    if _CARELESS_DASHES.search(data):
        raise BadCsr(
            "The BEGIN line is not as it should be. It must be exactly -----BEGIN CERTIFICATE REQUEST-----, "
            "with five hyphens on each side; word processors change them. Copy the file again in a plain "
            "text editor.",
            code="csr.begin_line",
        )
    der = _decoded(data)
    if der is None:
        raise BadCsr(f"This is not a certificate request. {_SEND_CSR}", code="csr.unreadable")
    return der


def parse_failure(der: bytes, error: Exception) -> BadCsr:
    """Why DER that should be a request is none: damaged, or some other object, which is then named."""
    if (public_half := private_key_in_der(der)) is not None:
        return PrivateKeyPasted(spki_sha256=public_half)
    if other := _kind_of_der(der):
        return _wrong_kind(other)
    if isinstance(error, x509.InvalidVersion):
        told = "The request has an unknown version number. Make it again with a current tool."
        return BadCsr(told, code="csr.version")
    for (sign, code), told in _FAILURES.items():
        if sign in str(error) and (code != "csr.truncated" or der.startswith(b"\x30")):
            return BadCsr(told, code=code)
    told = f"This can't be read as a certificate request: it is damaged. {_SEND_CSR}"
    return BadCsr(told, code="csr.unreadable")


#: What pyca says of DER that it can't read, the code → what to do.
_FAILURES = {
    ("InvalidSetOrdering", "csr.order"): (
        "The request's parts are not in the order that DER demands. Make it again with a current tool."
    ),
    ("ExtraData", "csr.trailing_data"): (
        "There is more data after the end of the request. Send the request alone, as your tool wrote it."
    ),
    ("ShortData", "csr.truncated"): (
        "The request is incomplete: its end is missing. Copy all of it, from BEGIN line to END line."
    ),
}


def _as_utf8(upload: bytes) -> bytes:
    """Notepad's UTF-16 and the UTF-8 byte order mark are undone; everything else stays as it is."""
    encoding = ""
    if upload.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"-\0-\0-\0-\0-\0B\0E\0G\0I\0N" in upload:
        encoding = "utf-16-le" if upload.index(b"-\0-\0") % 2 == 0 else "utf-16-be"
    if not encoding:
        return upload.removeprefix(b"\xef\xbb\xbf")
    try:
        return upload.decode(encoding).encode("utf-8")
    except UnicodeError as error:
        told = "The file looks like UTF-16 text, but it is damaged. Save it as UTF-8 or as plain text."
        raise BadCsr(told, code="csr.encoding") from error


def _from_pem(data: bytes, labels: list[bytes]) -> bytes:
    requests = [label for label in labels if label in _CSR_LABELS]
    others = [label for label in labels if label not in _CSR_LABELS]
    if len(requests) > 1:
        told = f"There are {len(requests)} certificate requests in this upload. Send one at a time."
        raise BadCsr(told, code="csr.several")
    if others:
        label = others[0].decode("ascii").lower()
        if requests:
            told = f"There is a {label} beside the request. Send the request alone."
            raise BadCsr(told, code="csr.mixed")
        if others[0] in _PEM_KINDS:
            raise _wrong_kind(_PEM_KINDS[others[0]])
        told = f"This is a {label}, not a certificate request. {_SEND_CSR}"
        raise BadCsr(told, code="csr.not_a_request")
    body, end, _ = data.split(b"-----BEGIN " + requests[0] + b"-----", 1)[1].partition(b"-----END ")
    if not end:
        raise BadCsr(
            "The request is cut off: its last line, -----END CERTIFICATE REQUEST-----, is missing. "
            "Copy the whole file.",
            code="csr.truncated",
        )
    try:
        return base64.b64decode(_WHITESPACE.sub(b"", body), validate=True)
    except binascii.Error as error:
        raise BadCsr(
            "The text between the BEGIN and END lines is damaged: it is not valid base64. Copy it again from "
            "the file that your tool wrote, in a plain text editor.",
            code="csr.base64",
        ) from error


def _decoded(data: bytes) -> bytes | None:
    """The bytes of base64 without a BEGIN line, if it can be nothing else and holds DER."""
    if not _BASE64_ONLY.fullmatch(data):
        return None
    try:
        der = base64.b64decode(_WHITESPACE.sub(b"", data), validate=True)
    except binascii.Error:
        return None
    return der if der.startswith(b"\x30") else None


#: What DER can be instead of a request: code, what to call it. The order is that of the tests below.
_KINDS = {
    "certificate": ("csr.certificate", "a certificate, not a certificate request"),
    "crl": ("csr.crl", "a revocation list (CRL)"),
    "public_key": ("csr.public_key", "a public key alone, without the names and the signature of a request"),
    "pkcs7": ("csr.pkcs7", "a PKCS#7 file, which holds certificates"),
    "pkcs12": (
        "csr.pkcs12",
        "a PKCS#12 file (.p12, .pfx), which holds a private key: do not send it to anybody",
    ),
}


def _wrong_kind(kind: str) -> BadCsr:
    code, what = _KINDS[kind]
    return BadCsr(f"This is {what}. {_SEND_CSR}", code=code)


def _kind_of_der(der: bytes) -> str:
    """What the DER is, by the first reader that accepts it; empty if none does.

    A public key is told by its shape and not loaded: pyca proves some kinds, which takes half a second.
    """
    for kind, read in _READERS.items():
        try:
            read(der)
        except PARSE_ERRORS:
            continue
        return kind
    # The outer layer is enough: a wrong password is a PKCS#12 too, and no password is guessed.
    is_pkcs12 = b"\x02\x01\x03\x30" in der[:12] and b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07" in der[:32]
    return "pkcs12" if is_pkcs12 else ""


_READERS: dict[str, Callable[[bytes], object]] = {
    "certificate": x509.load_der_x509_certificate,
    "crl": x509.load_der_x509_crl,
    "public_key": lambda der: asn1.decode_der(SubjectPublicKeyInfo, der),
    "pkcs7": pkcs7.load_der_pkcs7_certificates,
}


_PEM_KINDS = {
    b"CERTIFICATE": "certificate",
    b"TRUSTED CERTIFICATE": "certificate",
    b"X509 CERTIFICATE": "certificate",
    b"X509 CRL": "crl",
    b"PUBLIC KEY": "public_key",
    b"RSA PUBLIC KEY": "public_key",
    b"PKCS7": "pkcs7",
    b"CMS": "pkcs7",
    b"PKCS12": "pkcs12",
}


_PATH_ADVICE = (
    "This is the name of a file, not what is in it. Choose the file itself, or open it in a text editor and "
    "paste everything from the BEGIN line to the END line."
)
#: Other things that people send: a pattern for the beginning → the code, and what to do.
_Formats = Mapping[bytes, tuple[str, str]]
_BINARY_FORMATS: _Formats = {
    rb"PK\x03\x04|PK\x05\x06": (
        "csr.archive",
        "This is a ZIP archive or an Office document. Unpack it first.",
    ),
    rb"\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ": ("csr.archive", "This is an archive. Unpack it first."),
    rb"%PDF|\x89PNG|\xff\xd8\xff|GIF8|\{\\rtf|\xd0\xcf\x11\xe0": (
        "csr.document",
        "This is a document or a picture, not text. Send the file that your tool wrote.",
    ),
    rb"\xfe\xed\xfe\xed|\xce\xce\xce\xce": (
        "csr.keystore",
        "This is a Java keystore with a private key: keep it. Make a request with keytool -certreq.",
    ),
}
_TEXT_FORMATS: _Formats = {
    rb"(?i)\s*(?:<!doctype|<html|<\?xml|<head|<body|<svg)": (
        "csr.html",
        "This is a web page or XML, not a certificate request.",
    ),
    rb"\s*(?:ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-\S+|---- BEGIN SSH2)\s": (
        "csr.ssh_key",
        "This is an SSH key. Certificates for servers need a key and a request of their own.",
    ),
    rb"\s*(?:Certificate Request:|Data:)\s": (
        "csr.printout",
        "This is the printed form of a request. Leave out -noout, so that the BEGIN line is there.",
    ),
    rb"(?i)\s*[^\s=]{0,100}(?:openssl|certreq|keytool|certtool)(?:\.exe)?\s+\S": (
        "csr.command",
        "This is a command. Run it on your server and send the file that it writes.",
    ),
    rb"\s*\"?(?:[A-Za-z]:[\\/]|\\\\|file:|~?/|\.{1,2}[\\/])[^\r\n]{1,400}\s*": ("csr.path", _PATH_ADVICE),
    rb"\s*(?:https?|ftp)://\S+\s*": ("csr.url", "This is a link. Links are not followed."),
    rb"(?i)\s*[^\s<>]{1,200}\.(?:csr|req|pem|txt|der|p10)\"?\s*": ("csr.path", _PATH_ADVICE),
}
_WHOLE = frozenset({"csr.path", "csr.url"})


def _refuse_formats(data: bytes, formats: _Formats) -> None:
    """Recognises a file by how it begins; paths and links must be all that there is."""
    for pattern, (code, advice) in formats.items():
        if re.fullmatch(pattern, data) if code in _WHOLE else re.match(pattern, data):
            raise BadCsr(f"{advice} {_SEND_CSR}", code=code)
