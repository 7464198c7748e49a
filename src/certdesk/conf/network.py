"""The network as validation methods see it, from the configuration: whom to ask, and where not to go."""

from certdesk.conf.config import Config
from certdesk.dcv.base import Network
from certdesk.dcv.network import SYSTEM, make_network
from certdesk.dcv.resolver import Dnssec, servers_of_this_host
from certdesk.domain.errors import Misconfigured


def configured_network(config: Config) -> Network | None:
    """The resolver and the fetcher; None on a host without a resolver. Raises Misconfigured."""
    if not config.dns_servers and not servers_of_this_host():
        return None
    try:
        return make_network(
            resolvers=config.dns_servers or (SYSTEM,),
            dnssec=Dnssec(config.dns_dnssec),
            allowed_networks=config.dcv_allowed_networks,
            http_port=config.dcv_http_port,
            https_port=config.dcv_tls_port,
        )
    except ValueError as error:
        told = f"CERTDESK_DNS_SERVERS or CERTDESK_DCV_ALLOWED_NETWORKS can't be used: {error}."
        raise Misconfigured(told) from None
