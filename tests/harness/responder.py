"""A resolver in a thread: answers by UDP from a table that the test changes while it runs, as slowly as told.

For stories and benchmarks in which records come and go. What real name servers do is tested with real ones
(`tests.harness.nameserver`).
"""

import contextlib
import socketserver
import threading
from contextlib import AbstractContextManager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.harness.served import answering

_SOA = "ns.invalid. hostmaster.invalid. 1 3600 600 86400 60"


class _Handler(socketserver.BaseRequestHandler):
    server: "Responder"

    def handle(self) -> None:
        wire, listening = self.request
        query = dns.message.from_wire(wire)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()

        def reply() -> None:
            with contextlib.suppress(OSError):  # closed meanwhile
                listening.sendto(self.server.answer(query, name), self.client_address)

        threading.Timer(self.server.delays.get(name, 0), reply).start()


class Responder(socketserver.UDPServer):
    """`records`: name and type → values. `delays`: name → seconds before its answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.records: dict[tuple[str, str], list[str]] = {}
        self.delays: dict[str, float] = {}

    @property
    def address(self) -> str:
        """As a setting names it."""
        return f"127.0.0.1#{self.server_address[1]}"

    def answer(self, query: dns.message.Message, name: str) -> bytes:
        """What the table says."""
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
        return response.to_wire()


def responder() -> AbstractContextManager[Responder]:
    """A running one, on a free port of the loopback."""
    return answering(Responder())
