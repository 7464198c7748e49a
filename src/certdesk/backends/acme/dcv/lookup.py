"""Where a record belongs, and whether every authoritative server shows it. Nothing here waits or changes.

A recursive server is asked for CNAMEs, zones and name servers only, never for the record: it would remember
for a while that there is none.
"""

import errno
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from certdesk.domain.errors import Misconfigured, Unavailable

Address = tuple[str, int]
_LONGEST_CHAIN = 8
#: An IPv6 address on a machine without IPv6, for instance.
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def address(text: str, *, port: int = 53) -> Address:
    """Host and port of `192.0.2.1`, `192.0.2.1:53`, `::1` or `[::1]:53`. Raises ValueError."""
    host, given = text, ""
    if text.startswith("["):
        host, _bracket, given = text[1:].partition("]")
        given = given.removeprefix(":")
    elif text.count(":") == 1:
        host, given = text.split(":")
    if not host:
        raise ValueError(f"“{text}” has no host")
    return host, int(given) if given else port


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """`resolvers`: recursive servers, else the system's. `port` is where authoritative servers are asked.

    `servers`: those to be asked instead of the zone's NS records, for a hidden primary behind a firewall.
    """

    resolvers: tuple[Address, ...] = ()
    servers: tuple[Address, ...] = ()
    port: int = 53
    seconds: float = 3.0

    def target(self, name: str) -> dns.name.Name:
        """The name at the end of the CNAMEs, which need not exist. Raises Unavailable, Misconfigured."""
        at = dns.name.from_text(name)
        for _ in range(_LONGEST_CHAIN):
            found = self._ask(at, "CNAME")
            if found is None or found.rrset is None:
                return at
            at = found.rrset[0].target
        raise Misconfigured(
            f"The CNAMEs of {name} lead on and on. Have the last one name the record's place."
        )

    def zone(self, name: dns.name.Name) -> dns.name.Name:
        """The zone that the name lies in. Raises Unavailable, Misconfigured."""
        try:
            return dns.resolver.zone_for_name(name, resolver=self._resolver())
        except dns.resolver.NoRootSOA as error:
            raise Misconfigured(f"No zone is found for {_shown(name)}.") from error
        except dns.exception.DNSException as error:
            raise Unavailable(f"The zone of {_shown(name)} can't be looked up: {error}") from error

    def authoritative(self, zone: dns.name.Name) -> tuple[Address, ...]:
        """Every address of every name server of a zone. Raises Unavailable, Misconfigured."""
        if self.servers:
            return self.servers
        found = self._ask(zone, "NS")
        hosts = [] if found is None or found.rrset is None else [one.target for one in found.rrset]
        addresses = [
            (one.address, self.port)
            for host in hosts
            for kind in ("A", "AAAA")
            if (answer := self._ask(host, kind)) is not None and answer.rrset is not None
            for one in answer.rrset
        ]
        if not addresses:
            raise Misconfigured(f"No name server of the zone {_shown(zone)} has an address.")
        return tuple(dict.fromkeys(addresses))

    def missing_at(self, at: dns.name.Name, value: str) -> tuple[str, ...]:
        """The authoritative servers that don't show this TXT value yet, each with what it says instead.

        A server that no route leads to from here says nothing about the record. Raises Unavailable where that
        is every one; Unavailable, Misconfigured as above.
        """
        servers = self.authoritative(self.zone(at))
        seen = {server: self._seen(server, at, value) for server in servers}
        if all(one is None for one in seen.values()):
            raise Unavailable(f"No name server of {_shown(at)} can be reached from here.")
        return tuple(f"{host} port {port} {said}" for (host, port), said in seen.items() if said)

    def _seen(self, server: Address, at: dns.name.Name, value: str) -> str | None:
        """What stands in the way, empty where the value is there; None where there is no route."""
        query = dns.message.make_query(at, dns.rdatatype.TXT)
        query.flags &= ~dns.flags.RD
        host, port = server
        try:
            answer, _tcp = dns.query.udp_with_fallback(query, host, timeout=self.seconds, port=port)
        except (dns.exception.DNSException, OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno in _NO_ROUTE:
                return None
            return f"does not answer ({type(error).__name__})"
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return f"answers {dns.rcode.to_text(answer.rcode())}"
        found = answer.get_rrset(answer.answer, at, dns.rdataclass.IN, dns.rdatatype.TXT) or ()
        shown = {b"".join(one.strings).decode("ascii", "replace") for one in found}
        return "" if value in shown else "doesn't show the record yet"

    def _ask(self, name: dns.name.Name, kind: str) -> dns.resolver.Answer | None:
        """The answer, None where there is no such name. Raises Unavailable."""
        try:
            return self._resolver().resolve(name, kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return None
        except dns.exception.DNSException as error:
            raise Unavailable(f"{_shown(name)} can't be looked up: {error}") from error

    def _resolver(self) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver(configure=not self.resolvers)
        if self.resolvers:
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(host, port) for host, port in self.resolvers
            ]
        resolver.timeout, resolver.lifetime = self.seconds, 2 * self.seconds
        return resolver


def _shown(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
