"""A resolver in a thread: answers by UDP from a table that the test changes while it runs, as slowly as told.

For stories and benchmarks in which records come and go. What real name servers do is tested with real ones
(`tests.harness.nameserver`).
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

_SOA = "ns.invalid. hostmaster.invalid. 1 3600 600 86400 60"


@dataclass(slots=True)
class Responder:
    """`records`: name and type → values. `delays`: name → seconds before its answer."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    port: int = 0
    _socket: socket.socket | None = None

    @property
    def address(self) -> str:
        """As a setting names it."""
        return f"127.0.0.1#{self.port}"

    def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                wire, peer = listening.recvfrom(4096)
            except OSError:  # closed
                return
            query = dns.message.from_wire(wire)
            name = query.question[0].name.to_text(omit_final_dot=True).lower()
            threading.Timer(self.delays.get(name, 0), self._answer, (listening, query, name, peer)).start()

    def _answer(self, listening: socket.socket, query: dns.message.Message, name: str, peer: Any) -> None:  # noqa: ANN401 - an address as the socket gives it
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AD
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        values = self.records.get((name, kind), [])
        if values:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *values))
        else:
            known = any(held == name for held, _kind in self.records)
            response.set_rcode(dns.rcode.NOERROR if known else dns.rcode.NXDOMAIN)
            response.authority.append(dns.rrset.from_text(question.name.parent(), 60, "IN", "SOA", _SOA))
        try:
            listening.sendto(response.to_wire(), peer)
        except OSError:  # closed meanwhile
            return


@contextmanager
def responder() -> Iterator[Responder]:
    """A running one."""
    one = Responder()
    one.start()
    try:
        yield one
    finally:
        one.stop()
