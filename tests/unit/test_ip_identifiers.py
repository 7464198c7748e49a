"""IP addresses among the names (RFC 8738): canonical, related to nothing but themselves, only by profile."""

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certdesk.dcv.email_challenge import mailboxes
from certdesk.dcv.http import acme_url, file_url
from certdesk.dcv.tls_alpn.certificate import identifier_value, problem_of
from certdesk.domain.acme.orders import challenge_types, parse_identifiers
from certdesk.domain.acme.problems import AcmeRefused, ProblemType
from certdesk.domain.csr.csr import Csr, read_csr
from certdesk.domain.csr.names import read_names
from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import general_name
from certdesk.domain.issuing.downloads import file_stem
from certdesk.domain.issuing.profiles import BUILT_IN
from certdesk.domain.names.identifiers import (
    authorization_domain_names,
    is_ip_address,
    is_under,
    parse_dns_name,
    registrable_domain,
)
from certdesk.domain.names.ip_addresses import parse_ip_name
from certdesk.domain.policy.in_force import CaaMode, Rules
from certdesk.domain.policy.limits import caa_checks
from certdesk.domain.validation.evidence import Method, Validation, proving_names
from tests.harness.acme_certificates import acme_certificate
from tests.harness.acme_client import make_csr

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
FOUR, SIX = "10.1.2.3", "2001:db8::1"
KEY_AUTHORIZATION = "evaGxfADs6pSRb2LAv9IZ.k3J9sYw0Vd7nQm2xTz5bLp8cRf1hGa4uEo6iNvKjXsY"
ADDRESSES = st.ip_addresses().filter(
    lambda one: not (one.is_multicast or one.is_unspecified or getattr(one, "ipv4_mapped", None))
)


@given(ADDRESSES)
def test_one_spelling_of_an_address_is_taken_and_stays_as_it_is(address: ipaddress.IPv4Address) -> None:
    text = str(address)
    if text == "255.255.255.255":
        return
    name = parse_ip_name(text)
    assert name == text
    assert is_ip_address(name)
    assert registrable_domain(name) == text
    assert authorization_domain_names(name) == proving_names(name) == (text,)
    assert general_name(name) == x509.IPAddress(address)
    if text != address.exploded:
        with pytest.raises(RejectedIdentifier):
            parse_ip_name(address.exploded)


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"],  # noqa: S104 - nothing binds to it
)
def test_an_address_of_no_single_server_is_refused(text: str) -> None:
    with pytest.raises(RejectedIdentifier, match="one server") as caught:
        parse_ip_name(text)
    assert caught.value.code == "names.ip_address"


@pytest.mark.parametrize("name", ["www.example.ac.uk", "*.example.ac.uk", "a1.2b", "example.9a9", "a.1", ""])
def test_names_are_no_addresses(name: str) -> None:
    assert not is_ip_address(name)


def test_an_address_is_under_nothing_but_itself() -> None:
    assert is_under(FOUR, FOUR)
    assert not is_under(FOUR, "2.3")
    assert not is_under(FOUR, "3")
    assert not is_under(SIX, "1")
    proof = Validation(adn=FOUR, method=Method.MANUAL_OWNERSHIP, validated_at=NOW, expires_at=NOW)
    assert proof.covers(FOUR)
    assert not proof.covers("10.1.2.30")
    assert not proof.covers("1.10.1.2.3")


def test_no_dns_name_is_ever_an_address() -> None:
    with pytest.raises(RejectedIdentifier, match="is an IP address"):
        parse_dns_name(FOUR)
    with pytest.raises(RejectedIdentifier):
        parse_dns_name(f"*.{FOUR}")


def _refused(csr: Csr) -> list[str]:
    return [check.code for check in csr.findings if check.verdict is Verdict.REFUSE]


def test_a_csr_brings_addresses_only_where_the_profile_has_them() -> None:
    upload = make_csr("www.example.ac.uk", FOUR, SIX)
    assert _refused(read_csr(upload)) == ["names.san_type"]
    assert read_csr(upload).names == ("www.example.ac.uk",)
    csr = read_csr(upload, ip_addresses=True)
    assert _refused(csr) == []
    assert csr.names == ("www.example.ac.uk", FOUR, SIX)
    assert any("3 names are valid names or addresses." in check.message for check in csr.findings)


def _read(common_name: str, *alt_names: x509.GeneralName) -> tuple[tuple[str, ...], list[str]]:
    names, found = read_names(common_names=(common_name,), alt_names=alt_names, ip_addresses=True)
    return names, [check.code for check in found if check.verdict is Verdict.REFUSE]


def test_a_common_name_may_repeat_an_address_and_brings_none() -> None:
    address, six = general_name(FOUR), general_name(SIX)
    assert _read(FOUR, address) == ((FOUR,), [])
    assert _read(SIX.upper(), six) == ((SIX,), [])
    assert _read(FOUR, general_name("www.example.ac.uk")) == (("www.example.ac.uk",), ["names.ip_address"])


def test_an_address_as_dns_name_stays_refused_even_beside_itself() -> None:
    assert _read("www.example.ac.uk", x509.DNSName(FOUR))[1] == ["names.ip_address"]
    assert _read("www.example.ac.uk", x509.DNSName(FOUR), general_name(FOUR)) == (
        ("www.example.ac.uk",),
        ["names.ip_address"],
    )


@pytest.mark.parametrize("address", ["::ffff:10.1.2.3", "224.0.0.1", "0.0.0.0"])  # noqa: S104 - no address to bind
def test_an_address_of_no_server_is_refused_in_a_csr(address: str) -> None:
    assert _refused(read_csr(make_csr(address), ip_addresses=True)) == ["names.ip_address"]


def test_only_its_own_profile_certifies_addresses() -> None:
    assert [one.id for one in BUILT_IN.values() if one.ip_addresses] == ["tls-server-ip"]
    plain, other = BUILT_IN["tls-server"], BUILT_IN["tls-server-ip"]
    assert replace(other, id=plain.id, title=plain.title, ip_addresses=False) == plain


def test_an_order_names_addresses_by_their_own_type() -> None:
    asked = [{"type": "dns", "value": "a.example.org"}, {"type": "ip", "value": SIX}]
    assert parse_identifiers(asked, ip_addresses=True) == ("a.example.org", SIX)
    with pytest.raises(AcmeRefused) as caught:
        parse_identifiers(asked)
    assert caught.value.kind is ProblemType.UNSUPPORTED_IDENTIFIER
    (problem,) = caught.value.subproblems
    assert problem.as_json()["identifier"] == {"type": "ip", "value": SIX}


@pytest.mark.parametrize(
    "kind, text", [("ip", "2001:DB8::1"), ("ip", "www.example.org"), ("ip", "*.10.1.2.3"), ("dns", FOUR)]
)
def test_an_address_under_the_wrong_type_or_spelling_is_rejected(kind: str, text: str) -> None:
    with pytest.raises(AcmeRefused) as caught:
        parse_identifiers([{"type": kind, "value": text}], ip_addresses=True)
    assert caught.value.kind is ProblemType.REJECTED_IDENTIFIER


@pytest.mark.parametrize("address", [FOUR, SIX])
def test_rfc8738_an_address_is_proven_by_http_or_tls_alone(address: str) -> None:
    offered = challenge_types(address, wildcard=False, available=Method)
    assert [kind.name for kind in offered] == ["http-01", "tls-alpn-01"]
    assert challenge_types(address, wildcard=True, available=Method) == ()
    assert mailboxes(address) == {}


def test_rfc8738_urls_have_ipv6_in_brackets() -> None:
    assert acme_url(SIX, "t") == "http://[2001:db8::1]/.well-known/acme-challenge/t"
    assert acme_url(FOUR, "t") == "http://10.1.2.3/.well-known/acme-challenge/t"
    assert file_url(SIX, "t", scheme="https") == "https://[2001:db8::1]/.well-known/pki-validation/t"


@pytest.mark.parametrize(
    "names",
    [
        (x509.DNSName(SIX),),
        (general_name("2001:db8::2"),),
        (general_name(SIX), general_name("2001:db8::2")),
        (general_name(SIX), x509.DNSName("1.example.org")),
    ],
)
def test_rfc8738_the_certificate_has_exactly_the_address(names: tuple[x509.GeneralName, ...]) -> None:
    value = identifier_value(KEY_AUTHORIZATION)
    problem = problem_of(
        acme_certificate(names=names, key_authorization=KEY_AUTHORIZATION), adn=SIX, value=value
    )
    assert problem is not None
    assert problem.code == "dcv.tls_alpn.names"
    right = acme_certificate(names=(general_name(SIX),), key_authorization=KEY_AUTHORIZATION)
    assert problem_of(right, adn=SIX, value=value) is None


def test_an_address_in_the_certificate_proves_no_name() -> None:
    shown = acme_certificate(names=(general_name(SIX),), key_authorization=KEY_AUTHORIZATION)
    problem = problem_of(shown, adn="www.example.org", value=identifier_value(KEY_AUTHORIZATION))
    assert problem is not None


def test_rfc8659_addresses_have_no_caa_and_names_beside_them_still_have() -> None:
    rules = Rules(caa=CaaMode.REQUIRE)
    address, name = parse_ip_name(FOUR), parse_dns_name("www.example.org")
    assert list(caa_checks((address,), None, rules, now=NOW)) == []
    (check,) = caa_checks((address, name), None, rules, now=NOW)
    assert (check.code, check.seen) == ("caa.unknown", name)


def test_files_of_an_address_have_plain_names() -> None:
    assert file_stem(SIX, NOW) == "2001-db8--1-2026-11-23"
    assert file_stem("::1", NOW) == "1-2026-11-23"
    assert file_stem(FOUR, NOW) == "10_1_2_3-2026-11-23"
