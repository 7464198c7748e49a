"""Perspectives: `certdesk perspective` in a process of its own, and any application on a loopback address."""

import contextlib
import secrets
import socketserver
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx2

from certdesk.dcv.mpic.coordinator import PerspectiveAddress
from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.served import Quiet, answering
from tests.harness.waiting import wait_until

Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


class _Server(WSGIServer):
    def server_bind(self) -> None:
        """Without asking the DNS what the address is called, which takes its time."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "perspective", self.server_address[1]
        self.setup_environ()


class _Quiet(Quiet, WSGIRequestHandler):
    pass


@contextlib.contextmanager
def serving(application: Application, *, address: str) -> Iterator[str]:
    """The URL of an application that answers at this loopback address until the block ends."""
    server = make_server(address, 0, application, server_class=_Server, handler_class=_Quiet)
    with answering(server):
        yield f"http://{address}:{server.server_port}"


@contextlib.contextmanager
def running_perspective(folder: Path, *, resolver: str) -> Iterator[PerspectiveAddress]:
    """The address of a perspective that asks this resolver; it ends with the block."""
    token, port = secrets.token_urlsafe(32), free_port()
    token_file, log = folder / "token", folder / "perspective.log"
    token_file.write_text(f"{token}\n", encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    told = ("--code", "ripe.here", "--token-file", token_file, "--port", str(port), "--resolver", resolver)
    process = started([sys.executable, "-m", "certdesk", "perspective", *told], log=log)

    def answers() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(f"{url}/healthz", trust_env=False).status_code == httpx2.codes.OK
        return False

    try:
        wait_until(answers, seconds=150, what="the perspective to answer")
        yield PerspectiveAddress(code="ripe.here", url=url, token=token)
    finally:
        ended(process, seconds=10)
