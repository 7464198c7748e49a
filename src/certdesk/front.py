"""The front of every server: granian's event loop on one side, a WSGI application in threads on the other.

A request takes a thread only once its body is here: read whole, up to a limit, within a deadline. So whoever
sends slowly, or nothing, holds a socket and no thread. An answer to a body that was not read says that the
connection closes (RFC 9112 9.6), and the client may finish sending before it does. No Django in here.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

#: Seconds for a whole body, and for a client that was refused to finish sending.
DEADLINE, LINGER = 10.0, 5.0
MAX_LINGER = 64 * 1024 * 1024
#: A body comes with its head or just behind it: a sender who takes longer shows its right to be here first.
PATIENCE = 0.05
CLOSE = (("Connection", "close"),)
#: What some address here may know; all else, TRACE among it, is 405 everywhere.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BASE: WSGIEnvironment = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


class Front:
    """A WSGI application as granian's RSGI calls it.

    `limit` is how many bytes a request may bring; `admits` whether its sender may bring any, asked when they
    have to be waited for. The application decides both again. `unread` answers for it when none came in time.
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        threads: int,
        limit: Callable[[WSGIEnvironment], int],
        admits: Callable[[WSGIEnvironment], bool],
        unread: WSGIApplication,
    ) -> None:
        self._application, self._unread = application, unread
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._limit, self._admits = limit, admits

    async def __rsgi__(self, scope: "Scope", proto: "HTTPProtocol") -> None:
        """One request.

        The application gets one that it will refuse, for its size or its sender, without the body.
        """
        environ, loop = _environ(scope), asyncio.get_running_loop()
        in_thread = partial(loop.run_in_executor, self._threads)
        length = _length(environ)
        if length == 0:
            await in_thread(_answer, self._application, environ, proto)
            return
        limit, chunks = self._limit(environ), aiter(proto)
        if length is not None and length > limit:
            await in_thread(_answer, self._application, environ, proto, CLOSE)
            await _let_finish(chunks)
            return
        reading = loop.create_task(_read(chunks, length, limit))
        await asyncio.wait({reading}, timeout=PATIENCE)
        if not reading.done():
            if not await in_thread(self._admits, environ):
                await in_thread(_answer, self._application, environ, proto, CLOSE)
                await asyncio.wait({reading}, timeout=LINGER)
                reading.cancel()
                return
            await asyncio.wait({reading}, timeout=DEADLINE)
        body = reading.result() if reading.done() else None
        if body is None:
            reading.cancel()
            await in_thread(_answer, self._unread, environ, proto, CLOSE)
            return
        environ["CONTENT_LENGTH"] = str(len(body))
        if len(body) > limit:
            await in_thread(_answer, self._application, environ, proto, CLOSE)
            await _let_finish(chunks)
            return
        environ["wsgi.input"] = BytesIO(body)
        await in_thread(_answer, self._application, environ, proto)


def _environ(scope: "Scope") -> WSGIEnvironment:
    """The request as WSGI has it (PEP 3333). A name with "_" could pose as a header that a proxy sets."""
    address, _, _port = scope.client.rpartition(":")
    host, _, port = scope.server.rpartition(":")
    environ = {
        **BASE,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "REMOTE_ADDR": address.strip("[]"),
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    for name, value in scope.headers.items():
        if "_" not in name:
            key = f"HTTP_{name.upper().replace('-', '_')}"
            before = environ.get(key)
            environ[key] = value if before is None else f"{before}{';' if name == 'cookie' else ','} {value}"
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if (told := environ.pop(f"HTTP_{key}", None)) is not None:
            environ[key] = told
    return environ


def _length(environ: WSGIEnvironment) -> int | None:
    """How long the body is; None when it comes in chunks. The server has checked the header's form."""
    if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:
        return None
    return int(environ.get("CONTENT_LENGTH") or 0)


async def _read(chunks: AsyncIterator[bytes], length: int | None, limit: int) -> bytes | None:
    """The body, or a little more than `limit` of it; None when it breaks off."""
    read = bytearray()
    while length is None or len(read) < length:
        chunk = await anext(chunks)
        if not chunk:
            return bytes(read) if length is None and await _has_ended(chunks) else None
        read += chunk
        if len(read) > limit:
            break
    return bytes(read)


async def _has_ended(chunks: AsyncIterator[bytes]) -> bool:
    """Whether an empty chunk was the end: granian gives one in the place of an error too, and goes on."""
    try:
        await anext(chunks)
    except StopAsyncIteration:
        return True
    return False


async def _let_finish(chunks: AsyncIterator[bytes]) -> None:
    """Takes in what a refused client goes on sending: many read no answer before they have sent it all."""
    left = MAX_LINGER
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(LINGER):
            while left > 0 and (chunk := await anext(chunks)):
                left -= len(chunk)


def _answer(
    application: WSGIApplication,
    environ: WSGIEnvironment,
    proto: "HTTPProtocol",
    more: Sequence[tuple[str, str]] = (),
) -> None:
    """Runs the application, and hands the whole answer over: slow readers hold no thread either."""
    started: list[Any] = []

    def start(
        status: str, headers: list[tuple[str, str]], _error: object = None
    ) -> Callable[[bytes], object]:
        started[:] = [int(status.partition(" ")[0]), [*headers, *more]]
        return started.append

    content = application(environ, start)
    try:
        proto.response_bytes(started[0], started[1], b"".join(content))
    finally:
        if hasattr(content, "close"):
            content.close()
