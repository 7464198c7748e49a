"""The network as validation methods see it, from the configuration: whom to ask, and where not to go."""

from types import MappingProxyType

from certdesk.conf.config import Config
from certdesk.dcv.addresses import AddressPolicy
from certdesk.dcv.base import Network
from certdesk.dcv.fetch import HTTP, HTTPS, FetchConfig, SafeFetcher
from certdesk.dcv.resolver import (
    DnsResolver,
    Dnssec,
    NameServer,
    ResolverConfig,
    servers_of_this_host,
)
from certdesk.domain.errors import Misconfigured

DNS_PORT = 53


def make_network(config: Config) -> Network | None:
    """The resolver and the fetcher; None on a host without a resolver. Raises Misconfigured."""
    servers = tuple(_server(text) for text in config.dns_servers) or servers_of_this_host()
    if not servers:
        return None
    resolver = DnsResolver(ResolverConfig(servers=servers, dnssec=Dnssec(config.dns_dnssec)))
    try:
        addresses = AddressPolicy.allowing(config.dcv_allowed_networks)
    except ValueError as error:
        raise Misconfigured(f'CERTDESK_DCV_ALLOWED_NETWORKS: {error}. Such as ["10.20.0.0/16"].') from None
    ports = MappingProxyType({HTTP: config.dcv_http_port, HTTPS: config.dcv_tls_port})
    return Network(
        resolver=resolver, fetcher=SafeFetcher(FetchConfig(addresses=addresses, ports=ports), resolver)
    )


def _server(text: str) -> NameServer:
    address, _mark, port = text.partition("#")
    try:
        return NameServer(address=address, port=int(port or DNS_PORT))
    except ValueError:
        raise Misconfigured(
            f"CERTDESK_DNS_SERVERS: “{text}” is not an address such as 127.0.0.1#53."
        ) from None
