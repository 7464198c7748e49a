"""Which addresses may be contacted for an applicant, and which may not whatever they look like."""

import pytest

from certdesk.dcv.addresses import AddressPolicy, carried_address


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "9.9.9.9", "128.232.0.1", "2606:4700::1111", "2001:630:212::1"]
)
def test_the_public_internet_is_reached(address: str) -> None:
    assert AddressPolicy().permits(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1"),
        *("192.168.1.1", "2001:10::1", "2001:20::1", "fc00::1", "fd00:ec2::254"),
        *("192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "198.18.0.1", "198.19.255.255"),
        *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8"),
        *("64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1"),
        *("2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1"),
        *("fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "fe80::1%eth0", "2606:4700::1111%1"),
        *("", "localhost", "1.1.1", "0x7f.0.0.1", "2130706433", "01.1.1.1", "1.1.1.1:80", "[::1]"),
    ],
)
def test_nothing_else_is(address: str) -> None:
    assert not AddressPolicy().permits(address)


def test_a_network_of_the_operator_is_reached_and_nothing_beside_it() -> None:
    policy = AddressPolicy.allowing(["10.20.0.0/16", "fd12:3456::/32"])
    assert policy.permits("10.20.255.1")
    assert policy.permits("fd12:3456:1::1")
    assert not policy.permits("10.21.0.1")
    assert not policy.permits("127.0.0.1")
    assert not policy.permits("::ffff:10.20.0.1")


def test_translated_addresses_are_judged_by_what_they_carry() -> None:
    policy = AddressPolicy.allowing(["64:ff9b::/96"])  # a network that reaches IPv4 by NAT64 alone
    assert policy.permits("64:ff9b::808:808")
    assert not policy.permits("64:ff9b::a00:1")
    assert not policy.permits("64:ff9b::7f00:1")


def test_what_an_address_carries() -> None:
    assert carried_address("::ffff:10.0.0.1") == "10.0.0.1"
    assert carried_address("2002:a00:1::") == "10.0.0.1"
    assert carried_address("64:ff9b::a00:1") == "10.0.0.1"
    assert carried_address("2606:4700::1111") == ""
    assert carried_address("10.0.0.1") == ""


def test_what_is_no_network_stops_start_up() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        AddressPolicy.allowing(["everything"])
