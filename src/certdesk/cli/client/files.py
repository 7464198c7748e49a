"""Files of the client: reading a CSR, and writing what was downloaded all at once and for its owner alone."""

import base64
import binascii
import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path

from certdesk.cli.client.exits import Failure

MAX_CSR = 65_536
_PRIVATE_KEY = re.compile(rb"(?:BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY|PuTTY-User-Key-File-")
#: How a key or a keystore begins in binary: PKCS#1, PKCS#8 and PKCS#12 with their version, where a CSR or a
#: certificate has a sequence; an encrypted PKCS#8 with the identifier of PKCS#5; Java's stores.
_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..)"
_BINARY_KEY = re.compile(
    rb"\x30" + _LENGTH + rb"(?:\x02\x01|\x30" + _LENGTH + rb"\x06.\x2a\x86\x48\x86\xf7\x0d\x01\x05)"
    rb"|\xfe\xed\xfe\xed|\xce\xce\xce\xce",
    re.DOTALL,
)
_PEM_BODY = re.compile(rb"-----BEGIN [^-]+-----([A-Za-z0-9+/=\s]+)-----END ")
_BASE64 = re.compile(rb"\A[A-Za-z0-9+/=\s]+\Z")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_FILENAME = re.compile(r'filename="([^"]{1,200})"')


def read_csr(source: str) -> bytes:
    """The bytes of a CSR, from a path or (`-`) from stdin. A private key never leaves this machine."""
    try:
        content = sys.stdin.buffer.read(MAX_CSR + 1) if source == "-" else _read(Path(source).expanduser())
    except FileNotFoundError:
        raise Failure(f"There is no file {source}. Give the path of the CSR, or - to read stdin.") from None
    except IsADirectoryError:
        raise Failure(f"{source} is a folder. Give the path of the CSR file in it.") from None
    except (OSError, ValueError) as error:
        raise Failure(f"{source} can't be read: {error}") from None
    if _holds_private_key(content):
        raise Failure(
            "This holds a private key, so nothing was sent. "
            "Send the CSR alone: the file that begins with -----BEGIN CERTIFICATE REQUEST-----"
        )
    if len(content) > MAX_CSR:
        raise Failure("This is more than 64 KB. A CSR is far smaller: send it alone.")
    if not content.strip():
        raise Failure("There is nothing in it. Give the path of the CSR, or - to read stdin.")
    return content


def _holds_private_key(content: bytes) -> bool:
    """PEM, in UTF-16 as well, and binary, bare or in base64; the service tells the rest."""
    if _PRIVATE_KEY.search(content.replace(b"\0", b"")):
        return True
    for body in _PEM_BODY.findall(content) or _BASE64.findall(content):
        with contextlib.suppress(binascii.Error):
            if _BINARY_KEY.match(base64.b64decode(body)):
                return True
    return _BINARY_KEY.match(content) is not None


def file_name(disposition: str, *, default: str) -> str:
    """The name that the server gives a file, without anything that could leave the folder or hide in it."""
    found = _FILENAME.search(disposition)
    name = _UNSAFE.sub("-", found[1]) if found else default
    return name if name.strip(".-") and not name.startswith((".", "-")) else default


def write_file(folder: Path, name: str, content: bytes) -> Path:
    """Writes a file for its owner alone; a reader sees the old content or the new, never a part."""
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".certdesk-")
    except OSError as error:
        raise Failure(f"{folder} can't be written to: {error}") from None
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise Failure(f"{path} can't be written: {error}") from None
    return path


def _read(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(MAX_CSR + 1)
