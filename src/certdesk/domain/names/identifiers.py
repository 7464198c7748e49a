"""Names and IP addresses: what may stand in a certificate, and how names relate to suffixes and domains.

Names are compared by label, never as strings. Only the ICANN part of the bundled public suffix list
counts. What an organisation may ask for is policy and does not live here; nor does any look-up.
An IP address travels as text among the names, in its one canonical form: nothing is above or below it.
Sources: RFC 1034 3.5, RFC 5280 4.2.1.6, RFC 5890 to 5892 (IDNA 2008), RFC 5952, RFC 6761,
RFC 8738, BR 3.2.2.6, BR 7.1.4.2.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import NewType

import idna
from publicsuffixlist import PublicSuffixList

from certdesk.domain.errors import RejectedIdentifier

DnsName = NewType("DnsName", str)

MAX_NAME = 253
MAX_LABEL = 63

#: RFC 2606 keeps it for documentation. Certdesk reads it as "outside, a human decides": it never resolves,
#: and the product's own text and tests use it (ADR "documentation names").
DOCUMENTATION_TLD = "example"

#: Top-level names that are reserved, or that networks use inside. None of them has a public owner.
_INTERNAL_TLDS = frozenset(
    {"alt", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost"}
    | {"mail", "private", "test", "workgroup"}
)
_REVERSE_ZONES = ("in-addr.arpa", "ip6.arpa")

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_NOT_LDH = re.compile(r"[^a-z0-9.*-]")

#: Cyrillic letters that look like Latin ones; a label of nothing else passes for a Latin word.
_LATIN_LOOK_ALIKES = frozenset("асԁеһіјӏорԛѕԝхуъь")
#: Scripts that are written together in Japanese, Korean and Chinese (UTS 39, "highly restrictive").
_WRITTEN_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
)


@cache
def _public_suffixes() -> PublicSuffixList:
    """The bundled list, ICANN part only; read once, for reading it takes some 30 ms."""
    return PublicSuffixList(only_icann=True)


def quoted(text: str, *, limit: int = 80) -> str:
    """The text in quotation marks, cut short, with everything that does not print written as an escape."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    shown = (
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in short
    )
    return f"“{''.join(shown)}”"


def parse_dns_name(text: str, *, allow_wildcard: bool = True) -> DnsName:
    """The name in lower case, checked: it may stand in a certificate if policy agrees.

    Raises:
        RejectedIdentifier: with a `names.*` code and a detail that says what to do.
    """
    # 1. What can be told before the name is split into labels.
    name = text.lower()
    if not text.strip():
        raise _reject("empty", "A host name is empty. Write the full name, such as www.example.ac.uk.")
    if len(text) > MAX_NAME:
        told = f"The name {quoted(text)} has {len(text)} characters; at most {MAX_NAME} are allowed."
        raise _reject("too_long", told)
    if not text.isascii():  # `text`, for in lower case the Kelvin sign, for one, is an ASCII k
        advice = "Use letters a to z, digits and hyphens."
        try:  # a U-label, of which there is an A-label to use
            offered = idna.encode(text.removeprefix("*."), uts46=True).decode("ascii")
            advice = f"Write it in its ASCII form: {'*.' if text.startswith('*.') else ''}{offered}"
        except (idna.IDNAError, UnicodeError, ValueError):
            pass
        raise _reject("unicode", f"The name {quoted(text)} has characters outside ASCII. {advice}")
    if name.endswith("."):
        raise _reject("trailing_dot", f"The name {quoted(text)} ends with a dot. Leave the last dot out.")
    if (":" in name or name[-1].isdigit()) and is_ip_address(name.strip("[]")):
        told = "is an IP address. Certificates here are for host names: use the server's full name."
        raise _reject("ip_address", f"{quoted(text)} {told}")

    # 2. A wildcard label is the whole left-most label or nothing (BR 3.2.2.6).
    host = name.removeprefix("*.")
    if "*" in host:
        told = "a * in the wrong place. It may only be the whole first part of a name, as in *.example.ac.uk."
        raise _reject("wildcard", f"The name {quoted(text)} has {told}")
    if host != name and not allow_wildcard:
        raise _reject("wildcard", f"The name {quoted(text)} is a wildcard, and a plain name is needed here.")

    # 3. The labels, and whose the name can be. No certificate covers a whole public suffix (BR 3.2.2.6).
    _refuse_labels(text, host)
    _refuse_unroutable(text, host)
    if _public_suffixes().is_public(host):
        if host != name:
            told = f"would cover every name directly under {host}, which belongs to many owners."
            advice = "Ask for a wildcard under your own domain."
            raise _reject("wildcard_public_suffix", f"{quoted(text)} {told} {advice}")
        told = "is a public suffix, shared by many owners. Ask for a name under your domain."
        raise _reject("public_suffix", f"{quoted(text)} {told}")
    return DnsName(name)


def is_ip_address(name: str) -> bool:
    """Whether a name that was checked before is an IP address."""
    if ":" not in name and not name[-1:].isdigit():
        return False  # Most names: reading them as an address would cost more.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def url_host(name: str) -> str:
    """The name as the host of a URL: IPv6 addresses stand in brackets (RFC 3986 3.2.2)."""
    return f"[{name}]" if ":" in name else name


def _reject(code: str, detail: str) -> RejectedIdentifier:
    return RejectedIdentifier(detail, code=f"names.{code}")


def _refuse_labels(text: str, host: str) -> None:
    """Every label is LDH and at most 63 long. Only xn-- may have hyphens in third and fourth place, and must
    decode by IDNA 2008 and back again.
    """
    if found := _NOT_LDH.search(host):
        raise _reject("character", _character_detail(text, found.group()))
    for label in host.split("."):
        if not label:
            told = "has two dots in a row or begins with one. Correct it."
            raise _reject("label", f"The name {quoted(text)} {told}")
        if len(label) > MAX_LABEL:
            told = f"has {len(label)} characters; at most {MAX_LABEL} may be."
            raise _reject("label_too_long", f"A part of the name {quoted(text)} {told}")
        if not _LABEL.fullmatch(label):
            told = "begins or ends with a hyphen. Correct it."
            raise _reject("label", f"One part of the name {quoted(text)} {told}")
        if label[2:4] != "--":
            continue
        try:
            valid = label.startswith("xn--") and idna.alabel(idna.ulabel(label)) == label.encode("ascii")
        except (idna.IDNAError, UnicodeError, ValueError):
            valid = False
        if not valid:
            raise _reject(
                "idna",
                f"The part {quoted(label)} of the name {quoted(text)} is not a valid international name "
                "(IDNA 2008). Convert the name again from its original spelling.",
            )


def _character_detail(text: str, char: str) -> str:
    """The character that may not be there, with advice for the mistakes that people make."""
    if "://" in text or "/" in text:
        advice = "Give the host name alone, without http:// and without a path."
    elif char == "@":
        advice = "That looks like an e-mail address: give the host name alone."
    elif char == ":":
        advice = "Leave out the port number."
    elif char == "_":
        advice = "Host names have no underscore: use a hyphen, or rename the server."
    elif char.isspace():
        advice = "Leave out spaces, and give each name in an entry of its own."
    else:
        advice = "Host names have only letters, digits, hyphens and dots."
    return (
        f"The name {quoted(text)} has the character {quoted(char)}, which may not be in a host name. {advice}"
    )


def _refuse_unroutable(text: str, host: str) -> None:
    """Names that nobody owns in the public DNS: local, reserved, reverse zones, .onion (BR 7.1.4.2)."""
    tld = host.rpartition(".")[2]
    if tld == host:
        told = "is a local name. Use the server's full name, such as server.example.ac.uk."
        raise _reject("not_fqdn", f"{quoted(text)} {told}")
    if tld == "arpa" and under_any(host, _REVERSE_ZONES):
        raise _reject("reverse_zone", f"{quoted(text)} is a reverse-lookup name. Use the server's host name.")
    if tld == "onion":
        told = "is a Tor .onion name, for which no certificates are issued here."
        raise _reject("onion", f"{quoted(text)} {told}")
    if tld != DOCUMENTATION_TLD and not _is_public_tld(tld):
        raise _reject(
            "internal",
            f"{quoted(text)} ends in {quoted('.' + tld)}, which is not a public top-level domain: the name "
            "is internal or reserved. Use the server's full public name.",
        )


@lru_cache(maxsize=4096)
def _is_public_tld(tld: str) -> bool:
    """Whether it is delegated to a registry: `arpa` belongs to the infrastructure."""
    if tld == "arpa" or tld in _INTERNAL_TLDS:
        return False
    return _public_suffixes().publicsuffix(tld, accept_unknown=False) is not None


def is_under(name: str, suffix: str) -> bool:
    """Whether a name equals the suffix or is below it, by label; `*.a.b` counts as under `a.b`.

    An IP address is under nothing but itself.
    """
    tail = _tail(suffix)
    host = name.lower().removeprefix("*.")
    if not tail or host == tail:
        return bool(tail)
    return host.endswith(f".{tail}") and not is_ip_address(host) and not is_ip_address(tail)


@lru_cache(maxsize=4096)
def _tail(suffix: str) -> str:
    """The suffix as names are compared with it; empty, which no name is under, where a label is empty."""
    tail = suffix.lower().removeprefix("*.").lstrip(".")
    return "" if "" in tail.split(".") else tail


def under_any(name: str, suffixes: Iterable[str]) -> bool:
    return any(is_under(name, suffix) for suffix in suffixes)


@lru_cache(maxsize=8192)
def registrable_domain(name: str) -> DnsName:
    """The public suffix and one label more: what an organisation registers. An IP address stands for itself.

    Raises:
        RejectedIdentifier: the name is a public suffix itself.
    """
    host = name.lower().removeprefix("*.")
    if is_ip_address(host):
        return DnsName(host)
    domain = _public_suffixes().privatesuffix(host)
    if domain is None:
        told = f"{quoted(name)} is a public suffix or no name at all; it has no owner."
        raise _reject("public_suffix", told)
    return DnsName(domain)


def authorization_domain_names(name: str) -> tuple[DnsName, ...]:
    """The names whose control proves control of this one: the FQDN and its parents, to the registrable one.

    The wildcard label is removed first (BR 1.6.1 "Authorization Domain Name", 3.2.2.4). Control of an IP
    address is shown at that address alone.
    """
    host = name.lower().removeprefix("*.")
    if is_ip_address(host):
        return (DnsName(host),)
    labels = host.split(".")
    steps = len(labels) - len(registrable_domain(host).split("."))
    return tuple(DnsName(".".join(labels[step:])) for step in range(steps + 1))


def is_documentation_name(name: str) -> bool:
    """Whether the name is under the documentation TLD `.example` (RFC 2606)."""
    return is_under(name, DOCUMENTATION_TLD)


def to_unicode(name: str) -> str:
    """The name as people read it; a label that does not decode stays as it is."""
    return ".".join(_label_to_unicode(label) for label in name.split("."))


def _label_to_unicode(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return idna.ulabel(label)
    except (idna.IDNAError, UnicodeError, ValueError):
        return label


def script_warning(name: str) -> str | None:
    """Why the name may deceive a reader: scripts mixed within one label, or letters that pass for Latin."""
    if "xn--" not in name:
        return None
    for label in name.split("."):
        shown = _label_to_unicode(label)
        if shown.isascii():
            continue
        # By the first word of each letter's Unicode name.
        letters = (char for char in shown if unicodedata.category(char).startswith("L"))
        scripts = {unicodedata.name(char, "UNKNOWN").split(" ")[0] for char in letters}
        if len(scripts) > 1 and not any(scripts <= together for together in _WRITTEN_TOGETHER):
            mixed = " and ".join(sorted(script.capitalize() for script in scripts))
            return f"{quoted(shown)} mixes {mixed} letters: it may be made to look like another name."
        if set(shown) - set("0123456789-") <= _LATIN_LOOK_ALIKES:
            return f"{quoted(shown)} is written in Cyrillic letters that look like Latin ones."
    return None
