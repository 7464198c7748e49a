"""Connections of a running server: slow senders hold nothing up, and no answer breaks a kept connection."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.harness.server import DemoServer

JSON, JOSE = "application/json", "application/jose+json"
FORM = "application/x-www-form-urlencoded"
#: Where a POST is refused, by whom, and the type it is sent with.
REFUSED = [
    ("/requests/confirm/", FORM),  # a page that needs a sign-in
    ("/accounts/login/", FORM),  # no CSRF token
    ("/api/v1/requests", JSON),  # no bearer token
    ("/acme/new-account", JOSE),  # no JWS
    ("/acme/new-order", JSON),  # another type
    ("/status/", FORM),
    ("/demo/mail/", FORM),
    ("/healthz", FORM),
    ("/static/app.css", FORM),
    ("/nothing/here", FORM),
]
SIZES = (0, 1, 700, 60_000, 130_000, 700_000)


def _connect(server: DemoServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)


def _start(server: DemoServer, *lines: str, then: bytes = b"", end: str = "\r\n\r\n") -> socket.socket:
    """A connection that has sent this much and nothing else."""
    opened = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    opened.sendall(("\r\n".join([*lines[:1], "Host: 127.0.0.1", *lines[1:]]) + end).encode() + then)
    return opened


def _answer(opened: socket.socket) -> tuple[int, http.client.HTTPMessage, bytes]:
    with closing(opened):
        answer = http.client.HTTPResponse(opened)
        answer.begin()
        return answer.status, answer.headers, answer.read()


@pytest.fixture
def token(server: DemoServer) -> str:
    return f"Authorization: Bearer {server.demo.api_tokens['alice']}"


def test_slow_and_silent_connections_hold_nobody_up(server: DemoServer, token: str) -> None:
    slow = [
        ("POST /accounts/login/ HTTP/1.1", f"Content-Type: {FORM}", "Content-Length: 900"),
        ("POST /acme/new-account HTTP/1.1", f"Content-Type: {JOSE}", "Content-Length: 900"),
        ("POST /api/v1/requests HTTP/1.1", f"Content-Type: {JSON}", token, "Content-Length: 900"),
        ("POST /status/ HTTP/1.1", f"Content-Type: {FORM}", "Transfer-Encoding: chunked"),
    ]
    with ExitStack() as held:
        bodies = [
            held.enter_context(closing(_start(server, *head, then=b"1"))) for _ in range(10) for head in slow
        ]
        for _ in range(40):
            held.enter_context(closing(_start(server, "GET / HTTP/1.1", end="\r\nX-Half: a hea")))
            held.enter_context(closing(socket.create_connection(("127.0.0.1", server.port))))
        began = time.monotonic()
        for path in ("/healthz", "/accounts/login/", "/acme/directory"):
            with closing(_connect(server)) as quick:
                quick.request("GET", path)
                assert quick.getresponse().status == 200
        assert time.monotonic() - began < 5
        late = [_answer(one) for one in bodies[:4]]
    assert [(status, headers["Connection"]) for status, headers, _ in late] == [(408, "close")] * 4
    assert json.loads(late[1][2])["type"] == "urn:ietf:params:acme:error:malformed"
    assert json.loads(late[2][2])["code"] == "request.too_slow"


@pytest.mark.parametrize("given", ["", "Authorization: Bearer cdk_wrong", "Authorization: Basic eDp5"])
def test_a_token_is_refused_before_the_body_is_sent(server: DemoServer, given: str) -> None:
    head = ("POST /api/v1/requests HTTP/1.1", f"Content-Type: {JSON}", "Content-Length: 900")
    status, headers, content = _answer(_start(server, *head, *filter(None, [given])))
    assert (status, headers["Connection"]) == (401, "close")
    assert json.loads(content)["code"] == "authentication.required"


@pytest.mark.parametrize("path, kind", REFUSED)
def test_size_is_refused_before_the_body_is_sent(
    server: DemoServer, path: str, kind: str, token: str
) -> None:
    told = f"POST {path} HTTP/1.1", f"Content-Type: {JOSE if 'acme' in path else kind}", token
    status, headers, _ = _answer(_start(server, *told, "Content-Length: 90000000000"))
    assert (status, headers["Connection"]) == (413, "close")
    chunk = b"%x\r\n" % 100_000 + b"a" * 100_000 + b"\r\n"
    status, headers, _ = _answer(_start(server, *told, "Transfer-Encoding: chunked", then=chunk * 8))
    assert (status, headers["Connection"]) == (413, "close")


def test_no_refusal_breaks_a_kept_connection(server: DemoServer, token: str) -> None:
    """As a proxy does: connections are used again, unless an answer says that it closes its own."""
    broken: list[str] = []
    kept = [_connect(server) for _ in range(3)]
    rounds = [(path, kind, size) for path, kind in REFUSED for size in SIZES] * 8
    for number, (path, kind, size) in enumerate(rounds):
        connection = kept[number % 3]
        try:
            connection.request("POST", path, b"a" * size, {"Content-Type": kind})
            answer = connection.getresponse()
            answer.read()
        except (http.client.HTTPException, OSError) as error:
            broken.append(f"{number}: {path} {size} {error!r}")
            connection.close()
            continue
        assert 300 <= answer.status < 500, (path, size, answer.status)
        if answer.headers["Connection"] != "close":
            assert connection.sock is not None
    assert not broken
    for method in ("HEAD", "OPTIONS", "TRACE", "DELETE"):
        for path, kind in REFUSED:
            kept[0].request(method, path, b"b" * 900, {"Content-Type": kind})
            kept[0].getresponse().read()
    for one in kept:
        one.close()


def _in_chunks(body: bytes) -> Iterator[bytes]:
    return (body[at : at + 100] for at in range(0, len(body), 100))


def test_bodies_in_chunks_are_read(server: DemoServer) -> None:
    headers = {"Authorization": f"Bearer {server.demo.api_tokens['alice']}", "Content-Type": JSON}
    with closing(_connect(server)) as kept:
        kept.request("POST", "/api/v1/tokens", _in_chunks(b'{"name": "in chunks"%s}' % (b" " * 900)), headers)
        made = kept.getresponse()
        assert (made.status, json.loads(made.read())["name"]) == (201, "in chunks")
        kept.request("POST", "/acme/new-account", _in_chunks(b"{}" * 300), {"Content-Type": JOSE})
        refused = kept.getresponse()
        assert (refused.status, refused.headers["Connection"]) == (400, None)
        assert b"Content-Length" not in refused.read()


def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(server: DemoServer, token: str) -> None:
    told = "POST /api/v1/tokens HTTP/1.1", f"Content-Type: {JSON}", token
    whole = b'{"name": "cut short"}'
    for head, sent in (
        ("Content-Length: 60", whole),
        ("Transfer-Encoding: chunked", b"15\r\n%s\r\nXX\r\n" % whole),
    ):
        opened = _start(server, *told, head, then=sent)
        opened.shutdown(socket.SHUT_WR)
        opened.settimeout(3)
        assert b" 201 " not in opened.recv(4096)
        opened.close()


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "PROPFIND", "BREW"])
def test_methods_that_nothing_knows_are_405_everywhere(server: DemoServer, method: str) -> None:
    paths = [path for path, _ in REFUSED] + [
        "/",
        "/acme/directory",
        "/acme/nothing",
        "/api/v1/nothing",
        "/ca/x.crl",
    ]
    with closing(_connect(server)) as kept:
        for path in paths:
            kept.request(method, path)
            answer = kept.getresponse()
            assert (answer.status, answer.headers["Connection"]) == (405, None), path
            assert "GET" in answer.headers["Allow"] or "POST" in answer.headers["Allow"], path
            is_problem = answer.headers["Content-Type"] == "application/problem+json"
            assert is_problem == path.startswith(("/api/", "/acme/")), path
            answer.read()
