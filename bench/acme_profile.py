"""Where the time of an ACME order goes: statements of each step, and a profile, in one process.

For `bench_acme --profile`. Requests go through the WSGI application, with no server and no socket.

What it says at present, on SQLite: an order with a challenge is 66 statements in 6 requests, one without is
39 in 3, ends of transactions too. Lint apart, an order without a challenge is 9,800 function calls (ADR 19):
policy, its checks and records, the encoding of the certificate, and some forty short statements. In wall time
it is the two commits that wait for the disk: the intent, and the certificate.
"""

import cProfile
import io
import json
import os
import pstats
import re
from collections.abc import Callable, Mapping
from typing import Any

from acme_load import Client, Responder, Target
from common import DOMAIN, database, prepare_environment

from tests.harness.acme_client import Reply

UNPROVEN = "bench.ac.uk"


def profile(*, orders: int) -> None:
    """Prints statements and profile of both flows."""
    data = prepare_environment()
    responder = Responder()
    client = Client(0, Target(directory=""))
    responder.start({client.label: client.thumbprint})
    os.environ |= {
        "CERTDESK_DNS_SERVERS": json.dumps([f"127.0.0.1#{responder.dns_port}"]),
        "CERTDESK_DCV_ALLOWED_NETWORKS": json.dumps(["127.0.0.0/8"]),
        "CERTDESK_DCV_HTTP_PORT": str(responder.http_port),
        "CERTDESK_ACME_ORDERS_PER_HOUR": "1000000",
    }
    from certdesk.conf import server  # noqa: PLC0415 - the environment comes first

    server.prepare(talk=lambda _line: None)
    from certdesk.acme import orders as views  # noqa: PLC0415 - as above
    from certdesk.conf.wsgi import wsgi  # noqa: PLC0415 - as above

    # So that looks at challenges are in the profile.
    views.run_for_a_moment = lambda work: work()  # type: ignore[attr-defined] # in this thread, for the profile
    told = json.loads((data / "demo.json").read_text())
    (eab,) = [one for one in told["eab"] if one["organisation"] == "Example University"]
    here = InProcess(wsgi)
    client = here.client(client, directory=told["acme_directory"], credential=(eab["kid"], eab["hmac_key"]))
    client.register()
    for flow, domain, challenged in (("challenged", UNPROVEN, True), ("pre-validated", DOMAIN, False)):
        _warm(client, domain, challenged=challenged)
        print(f"== {flow}, {database()}: statements of each step")
        with here.counting():
            _one(client, domain, challenged=challenged)
        print(f"== {flow}, {database()}: profile of {orders} orders, ms of each order")
        _profiled(client, domain, challenged=challenged, orders=orders)
    responder.stop()


def _one(client: Client, domain: str, *, challenged: bool) -> None:
    name = client.name(domain)
    client.issue([name], client.csr(name), challenged=challenged)


def _warm(client: Client, domain: str, *, challenged: bool) -> None:
    for _ in range(5):
        _one(client, domain, challenged=challenged)


def _profiled(client: Client, domain: str, *, challenged: bool, orders: int) -> None:
    names = [client.name(domain) for _ in range(orders)]
    jobs = [(name, client.csr(name)) for name in names]
    recorder = cProfile.Profile()
    recorder.enable()
    for name, csr in jobs:
        client.issue([name], csr, challenged=challenged)
    recorder.disable()
    for order, lines in (("cumulative", 90), ("tottime", 40)):
        text = io.StringIO()
        stats = pstats.Stats(recorder, stream=text)
        print(f"{stats.total_calls / orders:.0f} calls an order")  # type: ignore[attr-defined] # typeshed has it not
        stats.sort_stats(order).print_stats(lines)
        print(re.sub(r"/[^ ]*/(site-packages|src|lib/python3[.]\d+)/", "", text.getvalue()))


class InProcess:
    """Hands requests to a WSGI application, and prints what each costs in statements while asked to."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._counts = False

    def client(self, keys: Client, *, directory: str, credential: tuple[str, str]) -> Client:
        """A client that needs no connection."""
        send = self.send

        class Direct(Client):
            def send(self, method: str, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
                return send(method, url, body=body, headers=headers)

        target = Target(directory=directory, credential=credential)
        return Direct(keys.number, target, keys.key, keys.leaf)

    def counting(self) -> "InProcess":
        """While it is entered, statements are printed."""
        return self

    def __enter__(self) -> None:
        self._counts = True

    def __exit__(self, *_what: object) -> None:
        self._counts = False

    def send(self, method: str, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One request."""
        from django.db import connection  # noqa: PLC0415 - Django comes after its settings
        from django.test.utils import CaptureQueriesContext  # noqa: PLC0415 - as above

        host, _slash, path = url.partition("://")[2].partition("/")
        if not self._counts:
            return self._call(method, host, f"/{path}", body, headers)
        with CaptureQueriesContext(connection) as seen:
            reply = self._call(method, host, f"/{path}", body, headers)
        print(f"{len(seen)} statements: {method} /{path}")
        for one in seen.captured_queries:
            print(f"    {one['sql'][:150]}")
        return reply

    def _call(self, method: str, host: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        told: list[tuple[str, list[tuple[str, str]]]] = []
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "HTTP_HOST": host,
            "SERVER_NAME": host.partition(":")[0],
            "SERVER_PORT": host.partition(":")[2] or "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.version": (1, 0),
        }
        found = self._application(environ, lambda status, pairs: told.append((status, pairs)))
        content = b"".join(found)
        if hasattr(found, "close"):
            found.close()
        status, pairs = told[0]
        return Reply(status=int(status[:3]), headers=dict(pairs), body=content)
