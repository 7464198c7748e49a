"""What the benchmarks share: an environment of their own, CSRs, figures. Nothing here is part of Certdesk."""

import atexit
import os
import secrets
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

DOMAIN = "example.ac.uk"
_KEYS: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "RSA-2048": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}


def prepare_environment() -> Path:
    """A data folder that goes at exit, and the demo's settings; DATABASE_URL is kept if it is set."""
    data = Path(tempfile.mkdtemp(prefix="certdesk-bench-"))
    atexit.register(shutil.rmtree, data, ignore_errors=True)
    url = os.environ.get("DATABASE_URL")
    for name in [n for n in os.environ if n.startswith("CERTDESK_")]:
        del os.environ[name]
    os.environ |= {"CERTDESK_DATA": str(data), "CERTDESK_DEMO": "1", "CERTDESK_LOG_LEVEL": "ERROR"}
    if url:
        os.environ["DATABASE_URL"] = url
    return data


def database() -> str:
    """Which database the run uses, for the heading."""
    return "PostgreSQL" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "SQLite"


def csr(kind: str = "P-256", *, names: int = 1) -> bytes:
    """A fresh CSR, PEM, with a name nobody has used; the key is the same for all of a kind."""
    host = f"h{secrets.token_hex(6)}"
    hosts = [f"{host}.{DOMAIN}", *(f"{host}-{n}.{DOMAIN}" for n in range(1, names))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in hosts])
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(sans, critical=False)
    )
    return builder.sign(_KEYS[kind], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def line(what: str, milliseconds: Sequence[float], *, more: str = "") -> None:
    """Prints one row: median, p99 and whatever else."""
    print(
        f"| {what} | {statistics.median(milliseconds):.2f} | {percentile(milliseconds, 0.99):.2f} | {more} |"
    )


def certificate_for_localhost(folder: Path) -> tuple[Path, Path]:
    """Files with a certificate for `localhost` that signs itself, and its key, for a peer that wants TLS."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(tz=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(hours=1))
        .not_valid_after(today + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "peer.pem", folder / "peer-key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private
