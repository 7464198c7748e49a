"""The programs of docs/examples/ca-command, with CAs for them, as settings of a back end."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
    load_pem_private_key,
)

from certdesk.backends.own_ca import ca_builder
from certdesk.domain.issuing.certificates import Intent
from tests.harness.processes import ended, started
from tests.harness.waiting import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "ca-command"
CMP_SECRET = "shared-secret"


def example(name: str, folder: Path) -> Path:
    """A copy of an example that is the service's own, as an operator would install it."""
    program = folder / name
    shutil.copyfile(EXAMPLES / name, program)
    program.chmod(0o755)
    return program


def make_ca(folder: Path) -> Path:
    """A folder with an issuing CA: ca.pem (with its root), ca.key, and the former alone in issuing.pem."""
    folder.mkdir()
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)
    root_name, name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        for text in ("Example Root", "Example Issuing CA")
    )
    root = ca_builder(root_name, root_key.public_key(), years=10, path_length=1, now=now)
    issuing = ca_builder(name, key.public_key(), years=8, path_length=0, now=now)
    pems = [
        builder.issuer_name(root_name).sign(root_key, hashes.SHA256()).public_bytes(Encoding.PEM)
        for builder in (issuing, root)
    ]
    (folder / "ca.pem").write_bytes(b"".join(pems))
    (folder / "issuing.pem").write_bytes(pems[0])
    (folder / "ca.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return folder


def openssl_ca(folder: Path) -> dict[str, object]:
    """Settings of a back end over `openssl ca`, with a new CA in the folder."""
    return {
        "kind": "command",
        "title": "Our own CA",
        "program": example("openssl-ca", folder),
        "arguments": [str(make_ca(folder / "ca"))],
        "environment": {"DOMAINS": "example.ac.uk,example.org"},
        "can_find": True,
        "can_list": True,
    }


def cfssl(folder: Path) -> dict[str, object]:
    """Settings of a back end over `cfssl sign`, with a new CA in the folder."""
    ca = make_ca(folder / "cfssl")
    chain = (ca / "ca.pem").rename(ca / "chain.pem")
    (ca / "issuing.pem").rename(ca / "ca.pem")
    return {
        "kind": "command",
        "program": example("cfssl-sign", folder),
        "arguments": [str(ca)],
        "environment": {"DOMAINS": "example.ac.uk,example.org"},
        "chain_file": chain,
        "can_find": True,
    }


def openssl_cmp(folder: Path, port: int) -> dict[str, object]:
    """Settings of a back end to a CMP server on this port, and a CA for `cmp_server` to hand out from."""
    ca = make_ca(folder / "cmp")
    return {
        "kind": "command",
        "program": example("openssl-cmp", folder),
        "arguments": [f"127.0.0.1:{port}", "/pkix/", str(folder)],
        "environment": {"CMP_REF": "certdesk", "CMP_SECRET": CMP_SECRET},
        "chain_file": ca / "ca.pem",
        "can_find": True,
    }


@contextmanager
def cmp_server(folder: Path, port: int, leaf: bytes, *more: str) -> Iterator[None]:
    """OpenSSL's own server for tests: to every request it answers with this certificate (DER)."""
    pem = folder / "leaf.pem"
    pem.write_bytes(x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM))
    secret = ("-srv_ref", "certdesk", "-srv_secret", f"pass:{CMP_SECRET}")
    command = ["openssl", "cmp", "-config", "", "-port", str(port), *secret, "-rsp_cert", str(pem), *more]
    server = started(command, log=folder / "cmp.log")
    try:
        wait_until(lambda: _answers(port), what="the CMP server to listen")
        yield
    finally:
        ended(server, seconds=10)


def signed_leaf(ca: Path, intent: Intent) -> bytes:
    """A certificate by the CA in the folder, just as the intent wants it."""
    key = load_pem_private_key((ca / "ca.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificates((ca / "ca.pem").read_bytes())[0]
    public_key = load_der_public_key(intent.spki_der)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in intent.names])
    usages = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in intent.profile.eku])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, intent.names[0])]))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(intent.not_before)
        .not_valid_after(intent.not_after)
    )
    for extension in (names, usages):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
