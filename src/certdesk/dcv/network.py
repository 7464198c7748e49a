"""The outside as the configuration describes it: which resolvers, which networks besides the public ones."""

import ipaddress
from collections.abc import Sequence

from certdesk.dcv.addresses import AddressPolicy
from certdesk.dcv.base import Network
from certdesk.dcv.fetch import HTTP, HTTPS, FetchConfig, SafeFetcher
from certdesk.dcv.resolver import DnsResolver, Dnssec, NameServer, ResolverConfig, servers_of_this_host

#: In place of an address: the resolvers of the host's own configuration.
SYSTEM = "system"


def make_network(
    *,
    resolvers: Sequence[str],
    dnssec: Dnssec = Dnssec.LOOPBACK,
    allowed_networks: Sequence[str] = (),
    http_port: int = HTTP,
    https_port: int = HTTPS,
) -> Network:
    """The network of these settings. A resolver is `ADDRESS`, `ADDRESS#PORT`, or `system`.

    Raises: ValueError for what is no address, network or port, and when nobody is left to ask.
    """
    servers: list[NameServer] = []
    for text in resolvers:
        address, _, port = text.partition("#")
        if text == SYSTEM:
            servers += servers_of_this_host()
        else:
            servers.append(NameServer(address=str(ipaddress.ip_address(address)), port=int(port or 53)))
    resolver = DnsResolver(ResolverConfig(servers=tuple(servers), dnssec=dnssec))
    config = FetchConfig(
        addresses=AddressPolicy.allowing(allowed_networks), ports={HTTP: http_port, HTTPS: https_port}
    )
    return Network(resolver=resolver, fetcher=SafeFetcher(config, resolver))
