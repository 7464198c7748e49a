"""The load for `bench_acme`: lean ACME clients, and a responder that answers DNS and http-01 for all names.

A client's host names start with its number, so that the responder knows whose key authorization to show.
Neither is part of what is measured.
"""

import http.client
import json
import multiprocessing
import secrets
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.harness.acme_client import AcmeClient, Reply, b64

WAIT = 0.002  # seconds between two looks at an order or authorization that is not there yet
PATIENCE = 20.0
_A, _NO_RECORDS, _ONE_RECORD = 1, 0, 1


class Responder:
    """Answers each A question with 127.0.0.1, and http-01 as the client named in the host wants it."""

    def __init__(self) -> None:
        self.dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.dns.bind(("127.0.0.1", 0))
        self.dns_port: int = self.dns.getsockname()[1]
        self.web = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.http_port: int = self.web.getsockname()[1]
        self._process: multiprocessing.Process | None = None

    def start(self, thumbprints: Mapping[str, str]) -> None:
        """Starts it in a process of its own, for the clients with these keys."""
        self._process = multiprocessing.Process(target=self._run, args=(thumbprints,), daemon=True)
        self._process.start()

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _run(self, thumbprints: Mapping[str, str]) -> None:
        threading.Thread(target=self._answer_dns, daemon=True).start()
        while True:
            connection, _address = self.web.accept()
            with connection:
                _show_proof(connection, thumbprints)

    def _answer_dns(self) -> None:
        while True:
            question, sender = self.dns.recvfrom(4096)
            self.dns.sendto(_dns_answer(question), sender)


def _dns_answer(question: bytes) -> bytes:
    end = question.index(b"\0", 12) + 5
    (kind,) = struct.unpack(">H", question[end - 4 : end - 2])
    count = _ONE_RECORD if kind == _A else _NO_RECORDS
    head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, count, 0, 0)
    record = struct.pack(">HHHIH", 0xC00C, _A, 1, 60, 4) + socket.inet_aton("127.0.0.1")
    return head + question[12:end] + record * count


def _show_proof(connection: socket.socket, thumbprints: Mapping[str, str]) -> None:
    asked = b""
    while b"\r\n\r\n" not in asked:
        chunk = connection.recv(4096)
        if not chunk:
            return
        asked += chunk
    lines = asked.decode("latin-1").split("\r\n")
    token = lines[0].split(" ")[1].rpartition("/")[2]
    host = next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:"))
    body = f"{token}.{thumbprints[host.partition('-')[0]]}"
    connection.sendall(
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server to load. `credential` is None where none is needed."""

    directory: str
    credential: tuple[str, str] | None = None
    ca_file: str = ""


@dataclass(slots=True)
class Client:
    """One account with one kept connection, signing with nothing in between."""

    number: int
    target: Target
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    leaf: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    at: dict[str, Any] = field(default_factory=dict)
    kid: str = ""
    nonce: str = ""
    connection: http.client.HTTPConnection | None = None

    @property
    def label(self) -> str:
        """What its host names start with."""
        return f"c{self.number}"

    @property
    def thumbprint(self) -> str:
        """RFC 7638's, of the account's key."""
        return ECKey.import_key(self.key).thumbprint()

    def name(self, domain: str) -> str:
        """A name that nobody has used."""
        return f"{self.label}-{secrets.token_hex(6)}.{domain}"

    def register(self) -> None:
        """Makes the account."""
        client = AcmeClient(send=self.send, directory=self.target.directory, key=ECKey.import_key(self.key))
        if self.target.credential is None:
            made = client.post(client.at["newAccount"], {"termsOfServiceAgreed": True})
            self.kid = made.headers["Location"]
        else:
            made = client.register(*self.target.credential)
            self.kid = client.kid
        assert made.status in (200, 201), made.body
        self.at, self.nonce = client.at, client.nonce

    def send(self, method: str, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One request over the kept connection."""
        parts = urlsplit(url)
        if self.connection is None:
            self.connection = _connection(parts.netloc, self.target.ca_file)
        self.connection.request(method, parts.path, body, dict(headers))
        response = self.connection.getresponse()
        content = response.read()
        told = {name.title(): value for name, value in response.headers.items()}
        return Reply(status=response.status, headers=told, body=content)

    def post(self, url: str, payload: bytes = b"") -> Reply:
        """A signed request; what is not a success ends the benchmark."""
        head = b64(json.dumps({"alg": "ES256", "kid": self.kid, "nonce": self.nonce, "url": url}).encode())
        text = f"{head}.{b64(payload)}".encode()
        r, s = decode_dss_signature(self.key.sign(text, ec.ECDSA(hashes.SHA256())))
        signature = b64(r.to_bytes(32) + s.to_bytes(32))
        body = json.dumps({"protected": head, "payload": b64(payload), "signature": signature}).encode()
        reply = self.send("POST", url, body=body, headers={"Content-Type": "application/jose+json"})
        assert reply.status < 300, f"{url}: {reply.status} {reply.body!r}"
        self.nonce = reply.headers["Replay-Nonce"]
        return reply

    def csr(self, *names: str) -> bytes:
        """A CSR in DER for some names."""
        sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        signed = builder.add_extension(sans, critical=False).sign(self.leaf, hashes.SHA256())
        return signed.public_bytes(Encoding.DER)

    def issue(self, names: Sequence[str], csr: bytes, *, challenged: bool) -> bytes:
        """From newOrder to the downloaded chain; `challenged` says that http-01 must be needed for it."""
        asked = [{"type": "dns", "value": name} for name in names]
        made = self.post(self.at["newOrder"], json.dumps({"identifiers": asked}).encode())
        order, address = made.json, made.headers["Location"]
        assert order["status"] == ("pending" if challenged else "ready"), order
        if challenged:
            for authorization in order["authorizations"]:
                self.prove(authorization)
        found = self.post(order["finalize"], json.dumps({"csr": b64(csr)}).encode()).json
        found = self.wait_for("valid", address, found)
        return self.post(found["certificate"]).body

    def prove(self, authorization: str) -> None:
        """Answers http-01, and looks until the authorization is valid."""
        offered = self.post(authorization).json["challenges"]
        challenge = next(one for one in offered if one["type"] == "http-01")
        self.post(challenge["url"], b"{}")
        self.wait_for("valid", authorization, {})

    def wait_for(self, status: str, url: str, found: dict[str, Any]) -> dict[str, Any]:
        """The object once it has this status."""
        until = time.monotonic() + PATIENCE
        while found.get("status") != status:
            assert time.monotonic() < until, found
            assert found.get("status") != "invalid", found
            if found:
                time.sleep(WAIT)
            found = self.post(url).json
        return found

    def close(self) -> None:
        """Ends the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _connection(netloc: str, ca_file: str) -> http.client.HTTPConnection:
    if not ca_file:
        return http.client.HTTPConnection(netloc, timeout=30)
    return http.client.HTTPSConnection(netloc, timeout=30, context=ssl.create_default_context(cafile=ca_file))
