"""The names that a CSR asks for: the union of its SAN and its common names, each with its own finding.

No name is silently dropped: one that may not be certified leaves a refusal behind (S5). What the applicant is
entitled to is policy and not looked at here. Sources: RFC 5280 4.2.1.6, BR 7.1.4.2, S5 to S8, S11.
"""

import re
from dataclasses import dataclass

from cryptography import x509

from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.identifiers import (
    DnsName,
    is_documentation_name,
    is_ip_address,
    parse_dns_name,
    quoted,
    script_warning,
    to_unicode,
)
from certdesk.domain.ip_addresses import parse_ip_name

#: S11. More are counted and refused, and not looked at one by one: that could be thousands.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedNames:
    """The valid names in order, and what was found about all of them."""

    names: tuple[DnsName, ...]
    findings: tuple[Check, ...]


def read_names(
    *, common_names: tuple[str, ...], alt_names: tuple[x509.GeneralName, ...], ip_addresses: bool = False
) -> RequestedNames:
    """Checks every name: common names first, then the SAN in its order, in lower case and once each (S5).

    With `ip_addresses` those of the SAN are names as well; a common name may repeat one, and brings none.
    """
    kinds = (x509.DNSName, x509.IPAddress) if ip_addresses else (x509.DNSName,)
    taken = [name for name in alt_names if isinstance(name, kinds)]
    addresses = {str(name.value) for name in taken if isinstance(name, x509.IPAddress)}
    # An address that is written as a DNS name, too, is not taken for the one beside it.
    addresses -= {_folded(name.value) for name in taken if isinstance(name, x509.DNSName)}
    in_cn = {_folded(text): text for text in common_names}
    in_san = {_folded(str(name.value)): str(name.value) for name in taken}
    asked = list((in_cn | in_san).items())
    names: list[DnsName] = []
    findings: list[Check] = []
    for key, text in asked[:MAX_NAMES]:
        try:
            name = parse_ip_name(text) if text in addresses else parse_dns_name(text)
        except RejectedIdentifier as error:
            findings.append(_rejected(text, error, only_in_cn=key not in in_san))
        else:
            names.append(name)
            findings.extend(_warnings(name))
    findings.extend(_other_types([name for name in alt_names if not isinstance(name, kinds)]))
    findings.extend(_number(len(asked), repeated=len(taken) - len(in_san)))
    return RequestedNames(names=tuple(names), findings=(*_valid(names), *findings))


def _folded(text: str) -> str:
    """What tells names apart. Only ASCII is folded: the Kelvin sign in lower case would become a plain k."""
    return text.lower() if text.isascii() else text


def _rejected(text: str, error: RejectedIdentifier, *, only_in_cn: bool) -> Check:
    if only_in_cn and not _HOST_LIKE.fullmatch(text):
        return Check(
            "names.cn_not_a_name",
            Verdict.REFUSE,
            f"The common name (CN) {quoted(text)} is not a host name. Put the server's full name there, or "
            "leave the CN out and list the names as subject alternative names.",
            seen=quoted(text),
        )
    return Check(error.code, Verdict.REFUSE, error.detail, seen=quoted(text))


def _warnings(name: DnsName) -> list[Check]:
    found = []
    if warning := script_warning(name):
        found.append(
            Check(
                "names.mixed_script",
                Verdict.WARN,
                f"{warning} Look at it closely.",
                seen=f"{name} ({quoted(to_unicode(name))})",
            )
        )
    if is_documentation_name(name):
        found.append(
            Check(
                "names.documentation",
                Verdict.WARN,
                f"{name} is a name for examples and can't be reached on the Internet. Is it what you want?",
                seen=name,
            )
        )
    return found


def _other_types(others: list[x509.GeneralName]) -> list[Check]:
    """One finding for each type of SAN that the profile does not have (S7)."""
    by_type: dict[str, list[str]] = {}
    for name in others:
        by_type.setdefault(_SAN_TYPES.get(type(name), "names of an unknown type"), []).append(_value(name))
    return [
        Check(
            "names.san_type",
            Verdict.REFUSE,
            f"The request asks for {kind}, which certificates here do not have. Use DNS names only.",
            seen=", ".join(quoted(value) for value in values[:_MAX_SHOWN]),
        )
        for kind, values in by_type.items()
    ]


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


def _number(count: int, *, repeated: int) -> list[Check]:
    """None at all, too many (S11), or one twice in the SAN. A CN that is in the SAN too is normal."""
    found = []
    if not count:
        found.append(
            Check(
                "names.none",
                Verdict.REFUSE,
                "The request has no host name. Put the server's full name into it, as subject alternative "
                "name (DNS) or common name.",
            )
        )
    if count > MAX_NAMES:
        found.append(
            Check(
                "names.too_many",
                Verdict.REFUSE,
                f"The request has {count} names; at most {MAX_NAMES} fit. Split it, or use a wildcard.",
                seen=f"{count} names",
            )
        )
    if repeated > 0:
        found.append(
            Check(
                "names.duplicate",
                Verdict.WARN,
                "The request lists the same name more than once. Each will be in the certificate once.",
                seen=f"{repeated} repeated",
            )
        )
    return found


def _valid(names: list[DnsName]) -> tuple[Check, ...]:
    if not names:
        return ()
    seen = ", ".join(names[:_MAX_SHOWN]) + (
        f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    )
    kind = "name or address" if any(map(is_ip_address, names)) else "host name"
    kinds = "names or addresses" if any(map(is_ip_address, names)) else "host names"
    plural = f"name is a valid {kind}" if len(names) == 1 else f"names are valid {kinds}"
    return (Check("names.valid", Verdict.PASS, f"{len(names)} {plural}.", seen=seen),)
