"""What stands where OpenBao should answers as it likes: no time is lost on it, and nothing breaks."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.backends.base import Listed
from certdesk.backends.openbao import OpenBaoBackend
from certdesk.domain.errors import BackendError
from certdesk.domain.findings import Check, Verdict, as_record
from tests.harness.served import Quiet, answering
from tests.integration.openbao_support import intent_for

NAMES = ("www.example.ac.uk",)
ROLE: Mapping[str, object] = {"server_flag": True, "allow_any_name": True}
#: Beyond any margin, and little enough to be waited for when a test fails.
DRIPPED_FOR = 6.0


class Stand(ThreadingHTTPServer):
    """Answers with these JSON objects by path; with `drips` an octet of a header now and then instead."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, object] = {
            "sys/health": {"sealed": False},
            "auth/token/lookup-self": {"data": {}},
            "pki/roles/web": {"data": ROLE},
        }
        self.drips, self.over = False, threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what the test is about."""

    def shutdown(self) -> None:
        self.over.set()
        super().shutdown()


class _Handler(Quiet, BaseHTTPRequestHandler):
    server: Stand

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.drips:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            ends = time.monotonic() + DRIPPED_FOR
            while time.monotonic() < ends and not self.server.over.wait(0.05):
                self.wfile.write(b"y")
            return
        answer = self.server.answers.get(self.path.partition("?")[0].removeprefix("/v1/"))
        self.send_response(404 if answer is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer or {}).encode())

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self.do_GET
        raise AttributeError(name)


@pytest.fixture
def stand() -> Iterator[Stand]:
    with answering(Stand()) as server:
        yield server


@pytest.fixture
def backend(stand: Stand, tmp_path: Path) -> OpenBaoBackend:
    token = tmp_path / "token"
    token.write_text("s.only-for-this-test", encoding="utf-8")
    token.chmod(0o600)
    address = f"http://127.0.0.1:{stand.server_address[1]}"
    settings = {"address": address, "role": "web", "token_file": token}
    return OpenBaoBackend.from_settings(
        name="bao", settings={**settings, "total_seconds": 0.5, "connect_seconds": 0.4}
    )


def found(backend: OpenBaoBackend) -> dict[str, Check]:
    return {check.code: check for check in backend.check()}


def test_headers_that_drip_are_waited_for_no_longer_than_an_answer(
    stand: Stand, backend: OpenBaoBackend
) -> None:
    """Each octet would begin an ordinary time-out anew, and a worker would wait for as long as it liked."""
    stand.drips = True
    began = time.monotonic()
    with pytest.raises(BackendError):
        backend.submit(intent_for(NAMES, now=datetime.now(UTC)))
    assert set(found(backend)) == {"backend.unreachable"}
    assert time.monotonic() - began < DRIPPED_FOR / 2


@pytest.mark.parametrize("at", ["soon", "2026-11-27T00:00:00", "9" * 400])
def test_a_tokens_end_that_is_no_moment_breaks_no_check(
    stand: Stand, backend: OpenBaoBackend, at: str
) -> None:
    stand.answers["auth/token/lookup-self"] = {"data": {"expire_time": at}}
    assert found(backend)["backend.credentials"].verdict is Verdict.WARN


@pytest.mark.parametrize("at", [10**30, -(10**30)])
def test_a_clock_that_is_no_time_breaks_no_check(stand: Stand, backend: OpenBaoBackend, at: int) -> None:
    stand.answers["sys/health"] = {"server_time_utc": at}
    assert "backend.role" in found(backend)


def test_a_clock_that_is_days_off_is_told_in_full(stand: Stand, backend: OpenBaoBackend) -> None:
    stand.answers["sys/health"] = {"server_time_utc": int(time.time()) - 2 * 86400}
    assert "by 1728" in found(backend)["backend.clock"].message


def test_what_cannot_be_stored_is_not_passed_on(stand: Stand, backend: OpenBaoBackend) -> None:
    """PostgreSQL takes neither a NUL nor half a surrogate pair; one such CA would stop all reports."""
    odd = "e\x00c\ud800" + "x" * 10_000
    stand.answers["auth/token/lookup-self"] = {"data": {"expire_time": f"2030-01-01T00:00:00Z{odd}"}}
    stand.answers["pki/roles/web"] = {
        "data": {**ROLE, "key_type": odd, "issuer_ref": odd, "not_after_bound": "ttl-limited", "ttl": odd}
        | {"ext_key_usage": [odd]}
    }
    checks = found(backend)
    assert {"backend.role.keys", "backend.role.issuer", "backend.role.usages"} <= set(checks)
    for check in checks.values():
        told = json.dumps(as_record(check), ensure_ascii=False)
        assert told.isprintable(), check.code
        assert len(told) < 1000, check.code


def test_warnings_that_cannot_be_stored_are_cleaned(stand: Stand, backend: OpenBaoBackend) -> None:
    """A certificate that ends too soon is withheld with what the CA says of it."""
    now = datetime.now(UTC)
    ca = short_lived(now)
    stand.answers["pki/sign/web"] = {
        "data": {"certificate": ca, "issuing_ca": ca},
        "warnings": ["shorter\x00\ud800 than asked"],
    }
    issued = backend.submit(intent_for(NAMES, now=now))
    assert getattr(issued, "fault", "").isprintable()
    assert "shorter than asked" in getattr(issued, "fault", "")


def short_lived(now: datetime) -> str:
    """Any certificate that ends soon, in PEM."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_a_secret_that_others_may_read_is_told(backend: OpenBaoBackend, tmp_path: Path) -> None:
    assert "backend.credentials_open" not in found(backend)
    (tmp_path / "token").chmod(0o644)
    check = found(backend)["backend.credentials_open"]
    assert (check.verdict, str(tmp_path / "token") in check.message) == (Verdict.WARN, True)


def test_a_token_that_cannot_be_read_is_told_without_it(backend: OpenBaoBackend, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s.secret s.secret", encoding="utf-8")
    with pytest.raises(BackendError) as refused:
        backend.submit(intent_for(NAMES, now=datetime.now(UTC)))
    assert "s.secret" not in refused.value.detail


def listed(backend: OpenBaoBackend) -> list[Listed]:
    return list(backend.listed(since=datetime.now(UTC) - timedelta(days=1)))


@pytest.mark.parametrize(
    "data",
    [
        {"keys": "none", "key_info": 5},
        {"keys": [None, 5, {}, "not hex", "../../sys/seal", ""], "key_info": {}},
        {"keys": ["0c:38"], "key_info": {"0c:38": {"not_before": "2020-01-01T00:00:00Z"}}},
    ],
)
def test_a_list_of_garbage_lists_nothing_or_is_told(
    stand: Stand, backend: OpenBaoBackend, data: dict[str, object]
) -> None:
    stand.answers |= {"pki/certs/detailed": {"data": data}, "pki/issuers": {"data": {"keys": []}}}
    try:
        assert listed(backend) == []
    except BackendError as error:
        assert "without dates" in error.detail or "can't be read" in error.detail  # noqa: PT017 - by what it holds


@pytest.mark.parametrize("at", [10**30, -5, "soon", None, True])
def test_a_certificate_of_garbage_can_be_told_from_none(
    stand: Stand, backend: OpenBaoBackend, at: object
) -> None:
    stand.answers["pki/cert/0c:38"] = {"data": {"certificate": "no PEM", "revocation_time": at}}
    found = backend.fetch(Listed(serial=0xC38))
    assert found is not None
    assert found.der == b"no PEM"
    assert backend.fetch(Listed(serial=0xC39)) is None
