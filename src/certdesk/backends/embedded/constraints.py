"""What the CAs of a chain let those below them certify: name constraints (RFC 5280 4.2.1.10)."""

import ipaddress
from collections.abc import Iterable, Iterator

from cryptography import x509

from certdesk.domain.issuing.certificates import Intent, general_name


def constraints_of(chain: Iterable[x509.Certificate]) -> tuple[x509.NameConstraints, ...]:
    """Those of a chain; of a root, which is trusted as it is, none."""
    return tuple(
        extension.value
        for ca in chain
        if ca.subject != ca.issuer
        for extension in ca.extensions
        if isinstance(extension.value, x509.NameConstraints)
    )


def forbidden(intent: Intent, constraints: Iterable[x509.NameConstraints]) -> Iterator[str]:
    """Names of the intent, and its subject, that no client would accept below these."""
    names: list[x509.GeneralName] = [general_name(name) for name in intent.names]
    if intent.subject:
        subject = [x509.NameAttribute(x509.ObjectIdentifier(oid), text) for oid, text in intent.subject]
        names.append(x509.DirectoryName(x509.Name(subject)))
    for one in constraints:
        for name in names:
            permitted, excluded = (
                [_is_within(name, tree) for tree in trees or () if type(tree) is type(name)]
                for trees in (one.permitted_subtrees, one.excluded_subtrees)
            )
            if any(excluded) or (permitted and not any(permitted)):
                yield name.value.rfc4514_string() if isinstance(name, x509.DirectoryName) else str(name.value)


def _is_within(name: x509.GeneralName, tree: x509.GeneralName) -> bool:
    if isinstance(name, x509.DNSName) and isinstance(tree, x509.DNSName):
        base = tree.value.lower().removeprefix(".")
        return not base or f".{name.value.lower()}".endswith(f".{base}")
    if isinstance(name, x509.DirectoryName) and isinstance(tree, x509.DirectoryName):
        return list(name.value)[: len(list(tree.value))] == list(tree.value)
    assert isinstance(tree.value, (ipaddress.IPv4Network, ipaddress.IPv6Network))  # noqa: S101 - what is left
    return name.value in tree.value
