"""What the stand-ins share: a CA in memory, orders, and faults that a test asks for by a request's path."""

import socket
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certdesk.backends.own_ca import ca_builder, key_usage
from certdesk.domain.issuing.certificates import general_name
from tests.harness.served import Quiet

Answer = tuple[int, Mapping[str, str], bytes]


class Fault(StrEnum):
    """What happens to the next request for a path, instead of or after what it asks for."""

    LOST = "lost"  # it is done, and the connection is closed without an answer
    FAILED = "failed"  # it is done, and the answer is 500
    GARBAGE = "garbage"  # it is done, and the answer is 200 with something else in it
    BUSY = "busy"  # nothing is done: 429, with a Retry-After
    DOWN = "down"  # nothing is done: 503
    REFUSED = "refused"  # nothing is done, and the vendor says why
    ELSEWHERE = "elsewhere"  # nothing is done: a redirect to a page that would answer


@dataclass(slots=True)
class Order:
    """A request at the CA; `names` and `subject` are what it would certify."""

    number: int
    key: str
    csr: x509.CertificateSigningRequest
    names: list[str]
    status: str
    leaf: x509.Certificate | None = None
    is_revoked: bool = False
    revoking: bool = False
    asked: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes


class StandIn(ThreadingHTTPServer):
    """A CA with its API, whose `answer` a vendor's stand-in writes."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._root_key, self._key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self._begin(datetime.now(UTC))
        self.orders: list[Order] = []
        self.seen: list[Asked] = []
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        #: Whether orders wait for an administrator, and what is certified instead of what was asked for.
        self.approves, self.certifies = True, None  # type: bool, list[str] | None
        self.days = 200

    def _begin(self, now: datetime) -> None:
        root_name, name = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
            for text in ("Vendor Root", "Vendor Issuing CA")
        )
        root = ca_builder(root_name, self._root_key.public_key(), years=10, path_length=1, now=now)
        issuing = ca_builder(name, self._key.public_key(), years=8, path_length=0, now=now)
        self.root = root.issuer_name(root_name).sign(self._root_key, hashes.SHA256())
        self.issuing = issuing.issuer_name(root_name).sign(self._root_key, hashes.SHA256())

    def grow_old(self) -> None:
        """Its certificates ended a year ago."""
        self._begin(datetime.now(UTC) - timedelta(days=11 * 366))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def chain_pem(self) -> bytes:
        return self.issuing.public_bytes(Encoding.PEM) + self.root.public_bytes(Encoding.PEM)

    def paths(self, method: str) -> Sequence[str]:
        return [asked.path for asked in self.seen if asked.method == method]

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def refusal(self) -> Answer:
        """What the vendor says to what it won't do."""
        raise NotImplementedError

    def take(self, *, key: str, csr: bytes, names: list[str], days: int, status: str) -> Order:
        """A new order, issued at once where no administrator has to approve it."""
        request = x509.load_pem_x509_csr(csr)
        order = Order(len(self.orders) + 101, key, request, names, status)
        order.asked["days"] = days
        self.orders.append(order)
        if self.approves:
            self.issue(order)
        return order

    def issue(self, order: Order) -> None:
        """Signs it, from midnight to the last second of a day, as vendors do."""
        names = order.names if self.certifies is None else self.certifies
        begins = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        days = order.asked["days"]
        assert isinstance(days, int)
        ends = begins + timedelta(days=days + 1) - timedelta(seconds=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, order.names[0])]))
            .issuer_name(self.issuing.subject)
            .public_key(order.csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        if names:
            alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
            builder = builder.add_extension(alternative, critical=False)
        order.leaf, order.status = builder.sign(self._key, hashes.SHA256()), "issued"

    def by_serial(self, serial: str) -> Order | None:
        number = int(serial, 16)
        return next((one for one in self.orders if one.leaf and one.leaf.serial_number == number), None)

    def bundle(self, order: Order) -> bytes:
        """The chain in PEM, in no order to rely on: the root first, as one vendor's documentation shows."""
        assert order.leaf is not None
        certificates = (self.root, self.issuing, order.leaf)
        return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what some tests are about."""


class Handler(Quiet, BaseHTTPRequestHandler):
    """Every method alike."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer on a kept connection takes 40 ms
    server: StandIn

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(self.command, parts.path, query, self.headers, body)
        self.server.seen.append(asked)
        waiting = next((self.server.faults[path] for path in self.server.faults if path in self.path), None)
        fault = waiting.popleft() if waiting else None
        if fault is Fault.BUSY:
            self._say(429, {"Retry-After": "7"}, b"")
        elif fault is Fault.DOWN:
            self._say(503, {}, b"")
        elif fault is Fault.ELSEWHERE:
            self._say(302, {"Location": "/elsewhere"}, b"")
        elif fault is Fault.REFUSED:
            self._say(*self.server.refusal())
        else:
            answer = self.answer(asked)
            if fault is Fault.LOST:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif fault is Fault.FAILED:
                self._say(500, {}, b"")
            elif fault is Fault.GARBAGE:
                self._say(200, {}, b"\x00\xff<html>")
            else:
                self._say(*answer)

    def answer(self, asked: Asked) -> Answer:
        return self.server.answer(asked)

    do_GET = do_POST = do_PUT = _do  # noqa: N815 - http.server's names

    def _say(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
