"""The programs of docs/examples/ca-command, with CAs for them, as settings of a back end."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certdesk.backends.own_ca import ca_builder

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "ca-command"


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
