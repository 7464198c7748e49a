"""What the CAs of a chain let those below them certify: names (RFC 5280 4.2.1.10), and usages, as clients
count them.
"""

import ipaddress
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certdesk.domain.issuing.certificates import Intent, general_name

Limits = tuple[x509.NameConstraints | x509.ExtendedKeyUsage, ...]


def limits_of(chain: Iterable[x509.Certificate]) -> Limits:
    """Those of a chain; of a root, which is trusted as it is, none."""
    return tuple(
        extension.value
        for ca in chain
        if ca.subject != ca.issuer
        for extension in ca.extensions
        if isinstance(extension.value, x509.NameConstraints | x509.ExtendedKeyUsage)
    )


def forbidden(intent: Intent, limits: Limits) -> Iterator[str]:
    """Names of the intent, its subject and its usages, as far as no client would accept them below these."""
    for one in limits:
        if isinstance(one, x509.ExtendedKeyUsage):
            allowed = {usage.dotted_string for usage in one}
            if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string not in allowed:
                yield from (f"usage {usage}" for usage in intent.profile.eku if usage not in allowed)
            continue
        for name in _names(intent):
            permitted, excluded = (
                [_is_within(name, tree) for tree in trees or () if type(tree) is type(name)]
                for trees in (one.permitted_subtrees, one.excluded_subtrees)
            )
            if any(excluded) or (permitted and not any(permitted)):
                yield name.value.rfc4514_string() if isinstance(name, x509.DirectoryName) else str(name.value)


def _names(intent: Intent) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [general_name(name) for name in intent.names]
    if intent.subject:
        subject = [x509.NameAttribute(x509.ObjectIdentifier(oid), text) for oid, text in intent.subject]
        names.append(x509.DirectoryName(x509.Name(subject)))
    return names


def _is_within(name: x509.GeneralName, tree: x509.GeneralName) -> bool:
    if isinstance(name, x509.DNSName) and isinstance(tree, x509.DNSName):
        base = tree.value.lower().removeprefix(".")
        return not base or f".{name.value.lower()}".endswith(f".{base}")
    if isinstance(name, x509.DirectoryName) and isinstance(tree, x509.DirectoryName):
        return list(name.value)[: len(list(tree.value))] == list(tree.value)
    assert isinstance(tree.value, (ipaddress.IPv4Network, ipaddress.IPv6Network))  # noqa: S101 - what is left
    return name.value in tree.value
