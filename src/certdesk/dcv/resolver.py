"""DNS as validation methods and CAA see it: injected, never global. Answers and faults are values.

`DnsResolver` asks the resolvers that the configuration names. On DNSSEC (BR 4.2.2.2) it takes the word of a
validating resolver by the AD bit (RFC 4035 3.2.3), where nobody can set that bit on the way. It keeps no
cache and no state. What an answer means for a validation or for CAA does not live here.
"""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT


class Status(StrEnum):
    """How a look-up ended. Anything but OK and the two kinds of "nothing there" refuses."""

    OK = "ok"
    NO_DATA = "no_data"  # the name exists, the type does not
    NO_NAME = "no_name"  # NXDOMAIN
    SERVFAIL = "servfail"
    BOGUS = "bogus"  # DNSSEC says that somebody lies
    TIMEOUT = "timeout"  # no answer in time, or nobody to ask
    REFUSED = "refused"
    MALFORMED = "malformed"
    CNAME_LOOP = "cname_loop"  # or a chain too long to follow

    @property
    def answered(self) -> bool:
        """Whether the DNS has spoken: what is there, or that nothing is."""
        return self in (Status.OK, Status.NO_DATA, Status.NO_NAME)

    @property
    def passing(self) -> bool:
        """Whether the same question may well be answered later."""
        return self in (Status.SERVFAIL, Status.TIMEOUT, Status.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One look-up: its status, the records' values in presentation form, and where they came from.

    `values` of TXT are the joined character-strings; of CAA `flags tag "value"`; of A and AAAA addresses; of
    CNAME the target without its last dot. `chain` holds the CNAMEs followed. `authenticated`: DNSSEC
    vouches for every part of the answer, by the AD bit of a resolver that is believed. `ttl` is the smallest
    of the records', in seconds. `note` is what the resolver said about a fault (RFC 8914), for people.
    """

    status: Status
    values: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    authenticated: bool = False
    server: str = ""
    ttl: int | None = None
    note: str = ""


class Resolver(Protocol):
    """Asks the DNS. Never raises for what the DNS does; follows CNAMEs to the asked type."""

    def lookup(self, name: str, kind: str) -> Answer:
        """The answer for a name and a type such as `TXT`, `CAA`, `A`, `AAAA`, `CNAME`."""


class Dnssec(StrEnum):
    """Whose AD bit is believed."""

    LOOPBACK = "loopback"  # that of resolvers on this host: nobody stands between
    AD = "ad"  # that of every configured resolver: they validate, and the network to them is trusted
    OFF = "off"  # nobody's; for networks without a validating resolver, and never for public CAs


@dataclass(frozen=True, slots=True, kw_only=True)
class NameServer:
    """A recursive resolver: an IP address and a port."""

    address: str
    port: int = 53

    def __post_init__(self) -> None:
        """Raises ValueError for what is no address: a name would need a resolver to be found."""
        ipaddress.ip_address(self.address)

    def __str__(self) -> str:
        return f"{self.address}#{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverConfig:
    """Whom to ask and for how long: `try_seconds` for one question, `total_seconds` for one look-up."""

    servers: tuple[NameServer, ...]
    dnssec: Dnssec = Dnssec.LOOPBACK
    try_seconds: float = 3.0
    total_seconds: float = 9.0
    max_cnames: int = 8

    def __post_init__(self) -> None:
        """Raises ValueError where a look-up could never succeed."""
        if not self.servers:
            raise ValueError("a resolver needs at least one server to ask")

    def believes(self, server: NameServer) -> bool:
        """Whether the AD bit in this server's answers counts."""
        on_this_host = ipaddress.ip_address(server.address).is_loopback
        return self.dnssec is Dnssec.AD or (self.dnssec is Dnssec.LOOPBACK and on_this_host)


#: Large enough for what we ask for, small enough not to be fragmented (DNS flag day 2020).
_UDP_PAYLOAD = 1232

_RCODES = {
    dns.rcode.NOERROR: Status.OK,
    dns.rcode.NXDOMAIN: Status.NO_NAME,
    dns.rcode.FORMERR: Status.MALFORMED,
    dns.rcode.REFUSED: Status.REFUSED,
}


def servers_of_this_host(path: Path = Path("/etc/resolv.conf")) -> tuple[NameServer, ...]:
    """The resolvers that the host's own configuration names; empty where it names none."""
    reader = dns.resolver.Resolver(configure=False)
    try:
        with path.open(encoding="utf-8") as lines:
            reader.read_resolv_conf(lines)
    except (OSError, dns.resolver.NoResolverConfiguration):
        return ()
    return tuple(NameServer(address=str(address), port=reader.port) for address in reader.nameservers)


@dataclass(frozen=True, slots=True)
class _Step:
    """What one response said: where its chain of CNAMEs ended, and whether the end was answered."""

    answer: Answer
    ends_at: dns.name.Name
    complete: bool


class DnsResolver:
    """Asks the configured resolvers one after the other. Safe to share among threads."""

    def __init__(self, config: ResolverConfig, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._monotonic = monotonic

    def lookup(self, name: str, kind: str) -> Answer:
        """The answer for a name and a type; asks on where a response ends within a chain of CNAMEs."""
        try:
            if not name.isascii() or not name.strip("."):
                raise ValueError("not a DNS name in ASCII")  # noqa: TRY301 - told as the others
            asked = dns.name.from_text(name, dns.name.root)
            rdtype = dns.rdatatype.from_text(kind)
        except (dns.exception.DNSException, ValueError):
            return Answer(status=Status.MALFORMED, note="This name can't be asked for.")
        deadline = self._monotonic() + self._config.total_seconds
        chain: tuple[str, ...] = ()
        authenticated = True
        while True:
            step = self._ask(asked, rdtype, deadline)
            chain += step.answer.chain
            authenticated = authenticated and step.answer.authenticated
            answer = replace(step.answer, chain=chain, authenticated=authenticated)
            if len(chain) > self._config.max_cnames or len(set(chain)) < len(chain):
                return replace(answer, status=Status.CNAME_LOOP, values=())
            if step.complete:
                return answer
            asked = step.ends_at

    def _ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, deadline: float) -> _Step:
        """The first server's answer that is one; else the last server's fault. BOGUS is final."""
        step = _fault(name, Status.TIMEOUT, "")
        for server in self._config.servers:
            left = deadline - self._monotonic()
            if left <= 0:
                break
            seconds = min(left, self._config.try_seconds)
            response = _exchange(_query(name, rdtype), server, seconds)
            if isinstance(response, Status):
                step = _fault(name, response, str(server))
                continue
            status = _RCODES.get(response.rcode(), Status.SERVFAIL)
            if status.answered:
                trusted = self._config.believes(server) and bool(response.flags & dns.flags.AD)
                step = _read(response, name, rdtype, status=status, authenticated=trusted, server=str(server))
            else:
                if status is Status.SERVFAIL and self._config.dnssec is not Dnssec.OFF:
                    # It is DNSSEC's verdict if the answer comes when checking is off (RFC 4035 3.2.2).
                    unchecked = _exchange(_query(name, rdtype, checking=False), server, seconds)
                    seen = None if isinstance(unchecked, Status) else unchecked.rcode()
                    if seen in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                        status = Status.BOGUS
                # What the resolver says of the fault (RFC 8914), cut short and printable.
                told = (o for o in response.options if isinstance(o, dns.edns.EDEOption))
                texts = (f"{o.code.name.replace('_', ' ').lower()} {o.text or ''}".strip() for o in told)
                note = "".join(c if c.isprintable() else " " for c in "; ".join(texts))[:200]
                step = _fault(name, status, str(server), note=note)
            if step.answer.status.answered or step.answer.status in (Status.BOGUS, Status.CNAME_LOOP):
                break
        return step


def _query(
    name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, checking: bool = True
) -> dns.message.QueryMessage:
    """A question; without `checking` the answer is wanted, whatever the resolver thinks of it (CD)."""
    query = dns.message.make_query(name, rdtype, use_edns=0, want_dnssec=True, payload=_UDP_PAYLOAD)
    # The AD bit in a question: "I understand it in the answer" (RFC 6840 5.7).
    query.flags |= dns.flags.AD if checking else dns.flags.CD
    return query


def _exchange(
    query: dns.message.QueryMessage, server: NameServer, seconds: float
) -> dns.message.Message | Status:
    """The response, by TCP where UDP would cut it short; or the fault."""
    where, port = server.address, server.port
    try:
        return dns.query.udp_with_fallback(query, where, seconds, port, ignore_unexpected=True)[0]
    except (dns.exception.Timeout, OSError, EOFError):
        return Status.TIMEOUT
    except (dns.exception.DNSException, ValueError):
        return Status.MALFORMED


def _fault(name: dns.name.Name, status: Status, server: str, *, note: str = "") -> _Step:
    return _Step(Answer(status=status, server=server, note=note), ends_at=name, complete=True)


def _read(
    response: dns.message.Message,
    name: dns.name.Name,
    rdtype: dns.rdatatype.RdataType,
    *,
    status: Status,
    authenticated: bool,
    server: str,
) -> _Step:
    """The records at the end of the response's chain of CNAMEs."""
    owner, chain, ttls = name, list[str](), list[int]()
    while rdtype != dns.rdatatype.CNAME:
        alias = _rrset(response, owner, dns.rdatatype.CNAME)
        if alias is None:
            break
        owner = alias[0].target
        chain.append(_text(owner))
        ttls.append(alias.ttl)
        if len(set(chain)) < len(chain):
            break
    found = _rrset(response, owner, rdtype)
    if found is not None:
        ttls.append(found.ttl)
    elif status is Status.OK:
        status = Status.NO_DATA
    answer = Answer(
        status=status,
        values=tuple(_value(record) for record in found or ()) if status is Status.OK else (),
        chain=tuple(chain),
        authenticated=authenticated,
        server=server,
        ttl=min(ttls, default=None),
    )
    # A server that is no recursive one, or does not follow this alias, stops without a word on the target.
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)
    stopped = found is None and bool(chain) and status is Status.NO_DATA and not has_soa
    return _Step(answer, ends_at=owner, complete=not stopped)


def _rrset(
    response: dns.message.Message, owner: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    asked = (owner, dns.rdataclass.IN, rdtype)
    return next((r for r in response.answer if (r.name, r.rdclass, r.rdtype) == asked), None)


def _value(record: dns.rdata.Rdata) -> str:
    """The record as `Answer.values` promises it."""
    if isinstance(record, TXT):
        return b"".join(record.strings).decode("utf-8", "backslashreplace")
    if record.rdtype == dns.rdatatype.CNAME:
        return _text(record.target)  # type: ignore[attr-defined]  # every CNAME has one
    return record.to_text()


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
