"""TLS in front of a demo instance, as real ACME clients want it: a throw-away CA and a proxy of bytes.

Clients are told of the CA by a file. The instance itself speaks plain HTTP on the loopback address, as behind
any reverse proxy.
"""

import asyncio
import contextlib
import shutil
import socket
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.harness.server import DemoServer

_CHUNK = 65536


@dataclass(slots=True, kw_only=True)
class Front:
    """A running front: `url` is the instance's public address, `ca` the file that clients trust."""

    url: str
    ca: Path

    @property
    def directory(self) -> str:
        """The ACME directory as clients are told it."""
        return f"{self.url}/acme/directory"

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes the usual TLS libraries trust the front, and keeps proxies out."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "LEGO_CA_CERTIFICATES")
        return {**dict.fromkeys(names, str(self.ca)), "NO_PROXY": "*", "no_proxy": "*"}


@contextlib.contextmanager
def acme_front(
    folder: Path, *, template: Path, extra: Mapping[str, str] | None = None
) -> Iterator[tuple[Front, DemoServer]]:
    """A demo instance behind TLS on the loopback address, on a copy of `template`'s data; `extra` are further
    settings for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context, ca = throw_away_tls(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    server = DemoServer(data=folder / "var", extra={"CERTDESK_BASE_URL": url, **(extra or {})})
    shutil.copytree(template, server.data)
    with _in_background(listener, context, server.port):
        try:
            server.start()
            yield Front(url=url, ca=ca), server
        finally:
            server.stop()


@contextlib.contextmanager
def _in_background(listener: socket.socket, context: ssl.SSLContext, port: int) -> Iterator[None]:
    """In one event loop: a TLS connection read by one thread and written by another breaks now and then."""
    over = asyncio.Event()
    loop = asyncio.new_event_loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        thread = threading.Thread(target=runner.run, args=(_serve(listener, context, port, over),))
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()


def challenge_settings(*, name_server_port: int, http_port: int, tls_port: int) -> dict[str, str]:
    """Settings under which an instance validates names that a test's name server puts on the loopback."""
    return {
        "CERTDESK_DNS_SERVERS": f'["127.0.0.1#{name_server_port}"]',
        "CERTDESK_DNS_DNSSEC": "off",
        "CERTDESK_DCV_ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        "CERTDESK_DCV_HTTP_PORT": str(http_port),
        "CERTDESK_DCV_TLS_PORT": str(tls_port),
    }


async def _serve(listener: socket.socket, context: ssl.SSLContext, port: int, over: asyncio.Event) -> None:
    async def connected(outer_reader: StreamReader, outer_writer: StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_copy(outer_reader, inner_writer), _copy(inner_reader, outer_writer))
        finally:
            inner_writer.close()
            outer_writer.close()

    async with await asyncio.start_server(connected, sock=listener, ssl=context):
        await over.wait()


async def _copy(source: StreamReader, target: StreamWriter) -> None:
    with contextlib.suppress(OSError):  # whatever a client breaks is its own affair
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
        else:  # TLS has no half-closed state
            target.close()


def root_ca(name: str, *, days: int = 2) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A root of its own: key and certificate."""
    key, subject = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
    )
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key, now=datetime.now(UTC), days=days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def throw_away_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server context for localhost, and the file of the CA that signed its certificate."""
    now, leaf_key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    root_key, root = root_ca("Front of the tests")
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = (
        _builder(x509.Name([]), root.subject, leaf_key, now=now)
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    ca, chain, key = folder / "front-ca.pem", folder / "front.pem", folder / "front.key"
    ca.write_bytes(root.public_bytes(Encoding.PEM))
    chain.write_bytes(leaf.public_bytes(Encoding.PEM))
    key.write_bytes(leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context, ca


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, now: datetime, days: int = 2
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )
