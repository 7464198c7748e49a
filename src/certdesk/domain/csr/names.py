"""The names that a CSR asks for: the union of its SAN and its common names, each with its own finding.

No name is silently dropped: one that may not be certified leaves a refusal behind. What the applicant is
entitled to is policy and not looked at here. Sources: RFC 5280 4.2.1.6, BR 7.1.4.2.
"""

import re
from collections.abc import Iterator

from cryptography import x509

from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.names.identifiers import (
    DnsName,
    is_documentation_name,
    is_ip_address,
    parse_dns_name,
    quoted,
    script_warning,
    to_unicode,
)
from certdesk.domain.names.ip_addresses import parse_ip_name

#: More are counted and refused, and not looked at one by one: that could be thousands.
MAX_NAMES = 100

#: A common name of this shape was meant as a host name, so that its own fault is told; others are no names.
_HOST_LIKE = re.compile(r"[^\s@/:,.]+(?:\.[^\s@/:,.]+)+\.?|[A-Za-z0-9-]+")
_MAX_SHOWN = 5

_SAN_TYPES: dict[type[x509.GeneralName], str] = {
    x509.IPAddress: "IP addresses",
    x509.RFC822Name: "e-mail addresses",
    x509.UniformResourceIdentifier: "URIs",
    x509.DirectoryName: "directory names",
    x509.RegisteredID: "registered IDs",
    x509.OtherName: "other names (such as a Windows user principal name)",
}


def read_names(
    *, common_names: tuple[str, ...], alt_names: tuple[x509.GeneralName, ...], ip_addresses: bool = False
) -> tuple[tuple[DnsName, ...], tuple[Check, ...]]:
    """The valid names and what was found about all of them: common names first, then the SAN in its order, in
    lower case and once each.

    With `ip_addresses` those of the SAN are names as well; a common name may repeat one, and brings none.
    """
    # 1. What is asked for, each name once.
    kinds = (x509.DNSName, x509.IPAddress) if ip_addresses else (x509.DNSName,)
    taken = [name for name in alt_names if isinstance(name, kinds)]
    addresses = {str(name.value) for name in taken if isinstance(name, x509.IPAddress)}
    # An address that is written as a DNS name, too, is not taken for the one beside it.
    addresses -= {_folded(name.value) for name in taken if isinstance(name, x509.DNSName)}
    in_cn = {_folded(text): text for text in common_names}
    in_san = {_folded(str(name.value)): str(name.value) for name in taken}
    asked = in_cn | in_san

    # 2. Each of them.
    names: list[DnsName] = []
    findings: list[Check] = []
    for key, text in list(asked.items())[:MAX_NAMES]:
        try:
            name = parse_ip_name(text) if text in addresses else parse_dns_name(text)
        except RejectedIdentifier as error:
            code, told = error.code, error.detail
            if key not in in_san and not _HOST_LIKE.fullmatch(text):
                code = "names.cn_not_a_name"
                told = (
                    f"The common name (CN) {quoted(text)} is not a host name. Put the server's full name "
                    "there, or leave the CN out and list the names as subject alternative names."
                )
            findings.append(Check(code, Verdict.REFUSE, told, seen=quoted(text)))
            continue
        names.append(name)
        if warning := script_warning(name):
            told, seen = f"{warning} Look at it closely.", f"{name} ({quoted(to_unicode(name))})"
            findings.append(Check("names.mixed_script", Verdict.WARN, told, seen=seen))
        if is_documentation_name(name):
            told = f"{name} is a name for examples and can't be reached on the Internet. Is it what you want?"
            findings.append(Check("names.documentation", Verdict.WARN, told, seen=name))

    # 3. One finding for each type of SAN that the profile does not have.
    by_type: dict[str, list[str]] = {}
    for other in alt_names:
        if not isinstance(other, kinds):
            kind = _SAN_TYPES.get(type(other), "names of an unknown type")
            by_type.setdefault(kind, []).append(quoted(_value(other)))
    for kind, values in by_type.items():
        told = f"The request asks for {kind}, which certificates here do not have. Use DNS names only."
        seen = ", ".join(values[:_MAX_SHOWN])
        findings.append(Check("names.san_type", Verdict.REFUSE, told, seen=seen))

    findings += _counted(len(asked), repeated=len(taken) - len(in_san))
    return tuple(names), (*_valid(names), *findings)


def _folded(text: str) -> str:
    """What tells names apart. Only ASCII is folded: the Kelvin sign in lower case would become a plain k."""
    return text.lower() if text.isascii() else text


def _value(name: x509.GeneralName) -> str:
    match name:
        case x509.DirectoryName():
            return name.value.rfc4514_string()
        case x509.RegisteredID():
            return name.value.dotted_string
        case x509.OtherName():
            return name.type_id.dotted_string
        case _:
            return str(name.value)


def _counted(count: int, *, repeated: int) -> Iterator[Check]:
    """None at all, too many, or one twice in the SAN. A CN that is in the SAN too is normal."""
    if not count:
        told = (
            "The request has no host name. Put the server's full name into it, as subject alternative "
            "name (DNS) or common name."
        )
        yield Check("names.none", Verdict.REFUSE, told)
    if count > MAX_NAMES:
        told = f"The request has {count} names; at most {MAX_NAMES} fit. Split it, or use a wildcard."
        yield Check("names.too_many", Verdict.REFUSE, told, seen=f"{count} names")
    if repeated > 0:
        told = "The request lists the same name more than once. Each will be in the certificate once."
        yield Check("names.duplicate", Verdict.WARN, told, seen=f"{repeated} repeated")


def _valid(names: list[DnsName]) -> Iterator[Check]:
    if not names:
        return
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    addresses = any(map(is_ip_address, names))
    if len(names) == 1:
        told = f"1 name is a valid {'name or address' if addresses else 'host name'}."
    else:
        told = f"{len(names)} names are valid {'names or addresses' if addresses else 'host names'}."
    yield Check("names.valid", Verdict.PASS, told, seen=", ".join(names[:_MAX_SHOWN]) + more)
