"""An IP address has one spelling as an identifier; every other one is refused, with advice (RFC 8738)."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.names.ip_addresses import parse_ip_address


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_is_read_as_itself(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert parse_ip_address(str(address)) == address


@given(st.integers(min_value=1 << 64, max_value=(1 << 128) - 1))  # above the addresses that map IPv4 ones
def test_an_ipv6_address_has_one_spelling(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    assert parse_ip_address(str(address)) == address
    if address.exploded != str(address):
        with pytest.raises(RejectedIdentifier, match="Write it as") as refused:
            parse_ip_address(address.exploded)
        assert refused.value.detail.endswith(str(address))


@pytest.mark.parametrize(
    "text, advice",
    [
        ("", "Write it as"),
        ("www.example.ac.uk", "type “dns”"),
        ("192.0.2", "Write it as"),
        ("192.0.2.256", "Write it as"),
        ("192.0.02.1", "Write it as"),  # octal to some, decimal to others
        ("0xc0000201", "Write it as"),
        ("3221225985", "Write it as"),
        (" 192.0.2.1", "Write it as"),
        ("١٩٢.0.2.1", "Write it as"),
        ("192.0.2.0/24", "not for a network"),
        ("2001:db8::/32", "not for a network"),
        ("*.0.2.1", "no wildcards"),
        ("[2001:db8::1]", "brackets"),
        ("[2001:db8::1]:443", "brackets"),
        ("fe80::1%eth0", "has a zone"),
        ("2001:DB8::1", "Write it as 2001:db8::1"),
        ("2001:db8:0:0::1", "Write it as 2001:db8::1"),
        ("::ffff:192.0.2.1", "Write it as 192.0.2.1"),
        ("::ffff:c000:201", "Write it as 192.0.2.1"),
    ],
)
def test_other_spellings_are_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(RejectedIdentifier) as refused:
        parse_ip_address(text)
    assert advice in refused.value.detail
