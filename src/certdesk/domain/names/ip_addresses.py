"""IP addresses as identifiers (RFC 8738): what their text has to look like. Host names do not live here.

Sources: RFC 8738 3, RFC 1123 2.1 (IPv4), RFC 5952 (IPv6), RFC 4007 11 (zones).
"""

import ipaddress

from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.names.identifiers import DnsName, quoted

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def parse_ip_address(text: str) -> Address:
    """The address that the text is the one right spelling of.

    IPv6 has many spellings of one address; another than RFC 5952's is refused with the right one offered,
    so that what was asked for, what is stored and what is compared are the same characters.

    Raises:
        RejectedIdentifier: with a detail that says what to do.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise _reject(_advice(text)) from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise _reject(
            f"The address {quoted(text)} has a zone, which means something on one machine only. "
            "Leave out the % and what follows."
        )
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        told = f"{quoted(text)} is an IPv4 address in IPv6 spelling. Write it as {address.ipv4_mapped}"
        raise _reject(told)
    if text != str(address):
        told = f"The address {quoted(text)} is not in its short spelling (RFC 5952). Write it as {address}"
        raise _reject(told)
    return address


def parse_ip_name(text: str) -> DnsName:
    """The address as it travels among the names of a request: text in its one spelling, of one server.

    Where the address is, and whether we may be sent there, is for the fetcher to judge.

    Raises:
        RejectedIdentifier: with a detail that says what to do.
    """
    address = parse_ip_address(text)
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise _reject(f"{quoted(text)} is not the address of one server. Use the server's own address.")
    return DnsName(text)


def _advice(text: str) -> str:
    found = f"{quoted(text)} is not an IP address."
    if "/" in text:
        return f"{found} A certificate is for single addresses, not for a network: give each one by itself."
    if "*" in text:
        return f"{found} There are no wildcards for addresses: give each one by itself."
    if "[" in text:
        return f"{found} Leave out the brackets and the port."
    return f"{found} Write it as 192.0.2.10 or 2001:db8::10, or use the type “dns” for a host name."


def _reject(detail: str) -> RejectedIdentifier:
    return RejectedIdentifier(detail, code="names.ip_address")
