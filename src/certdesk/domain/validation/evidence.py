"""What proves that an organisation controls a domain, as facts: pure, insert-only in the store.

A record says which authorisation domain name (ADN) was checked, how, by whom and until when it
counts (BR 3.2.2.4, 4.2.1). Validation flows down to names below the ADN only where the method
allows; never up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from certdesk.domain.names.identifiers import is_ip_address, is_under


class Method(StrEnum):
    MANUAL_OWNERSHIP = "manual_ownership"
    EMAIL_CONSTRUCTED = "email_constructed"
    DNS_TXT = "dns_txt"
    DNS_CNAME = "dns_cname"
    HTTP_FILE = "http_file"
    ACME_HTTP = "acme_http_01"
    ACME_DNS = "acme_dns_01"
    ACME_DNS_ACCOUNT = "acme_dns_account_01"
    ACME_TLS_ALPN = "acme_tls_alpn_01"
    DNS_PERSIST = "dns_persist"  # without policy=wildcard: that FQDN alone
    DNS_PERSIST_WILDCARD = "dns_persist_wildcard"  # with it: the FQDN, its wildcard and all below


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """What a method reaches: `covers_subdomains` is False for proofs of exactly one FQDN."""

    title: str
    source: str
    covers_subdomains: bool = True


METHODS: Mapping[Method, MethodFacts] = {
    Method.MANUAL_OWNERSHIP: MethodFacts("Ownership checked by an RA officer", "the RA's own check"),
    Method.EMAIL_CONSTRUCTED: MethodFacts("Confirmed by e-mail", "BR 3.2.2.4.4"),
    Method.DNS_TXT: MethodFacts("DNS TXT record", "BR 3.2.2.4.7"),
    Method.DNS_CNAME: MethodFacts("DNS CNAME record", "BR 3.2.2.4.7"),
    Method.HTTP_FILE: MethodFacts("File on the web server", "BR 3.2.2.4.18", covers_subdomains=False),
    Method.ACME_HTTP: MethodFacts("ACME http-01", "BR 3.2.2.4.19", covers_subdomains=False),
    Method.ACME_DNS: MethodFacts("ACME dns-01", "BR 3.2.2.4.7"),
    Method.ACME_DNS_ACCOUNT: MethodFacts("ACME dns-account-01", "BR 3.2.2.4.21"),
    Method.ACME_TLS_ALPN: MethodFacts("ACME tls-alpn-01", "BR 3.2.2.4.20", covers_subdomains=False),
    Method.DNS_PERSIST: MethodFacts("Persistent DNS record", "BR 3.2.2.4.22", covers_subdomains=False),
    Method.DNS_PERSIST_WILDCARD: MethodFacts("Persistent DNS record with policy=wildcard", "BR 3.2.2.4.22"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One validation record of one organisation, as policy sees it."""

    adn: str
    method: Method
    validated_at: datetime
    expires_at: datetime

    def is_current(self, *, now: datetime) -> bool:
        """Whether the proof may still be relied on; a proof from the future may not."""
        return self.validated_at <= now < self.expires_at

    def covers(self, name: str) -> bool:
        """Whether the proof reaches the name: exactly, or below the ADN where the method allows."""
        bare = name.removeprefix("*.")
        if METHODS[self.method].covers_subdomains:
            return is_under(bare, self.adn)
        return name == self.adn


def proving_names(name: str) -> tuple[str, ...]:
    """The ADNs whose proofs may reach a name: itself, without a wildcard label, and what stands above it.

    Nothing stands above an IP address.
    """
    if is_ip_address(name):
        return (name,)
    labels = name.lower().removeprefix("*.").split(".")
    return tuple(".".join(labels[start:]) for start in range(len(labels)))


def covering(name: str, validations: Iterable[Validation], *, now: datetime) -> Validation | None:
    """The current validation that reaches the name and lasts longest, or None."""
    found = [v for v in validations if v.is_current(now=now) and v.covers(name)]
    return max(found, key=lambda v: v.expires_at, default=None)


def ownership_expiry(*, validated_at: datetime, days: int) -> datetime:
    """When a manual ownership validation lapses; `days` comes from the settings, capped by rule."""
    return validated_at + timedelta(days=days)
