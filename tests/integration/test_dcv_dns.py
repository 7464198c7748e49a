"""Resolver, DNS methods, CAA against real servers: knot answers, unbound resolves and validates."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.flags
import dns.message
import pytest

from certdesk.conf.config import load_config
from certdesk.dcv.addresses import AddressPolicy
from certdesk.dcv.base import Challenge, Network, NotValidated, Outcome, Validated
from certdesk.dcv.caa import check_caa
from certdesk.dcv.conformance import NOW, ScriptedFetcher
from certdesk.dcv.fetch import FetchConfig, NotFetched, SafeFetcher
from certdesk.dcv.registry import load_validators
from certdesk.dcv.resolver import (
    DnsResolver,
    Dnssec,
    NameServer,
    ResolverConfig,
    Status,
    servers_of_this_host,
)
from certdesk.domain.errors import Misconfigured
from certdesk.domain.validation.caa import Code, Question
from certdesk.domain.validation.evidence import Method
from tests.harness.dns_world import ACCOUNT, CNAME_TARGET, ISSUER, KEY_AUTHORIZATION, LAME, SILENT, TOKEN
from tests.harness.nameserver import NameServers
from tests.harness.ports import free_port

_HOST = "127.0.0.1"


def _resolver(*ports: int, dnssec: Dnssec = Dnssec.LOOPBACK) -> DnsResolver:
    servers = tuple(NameServer(address=_HOST, port=port) for port in ports)
    return DnsResolver(ResolverConfig(servers=servers, dnssec=dnssec, try_seconds=2.0, total_seconds=4.0))


@pytest.fixture(scope="module")
def resolver(name_servers: NameServers) -> DnsResolver:
    return _resolver(name_servers.recursive_port)


# --- the resolver


@pytest.mark.parametrize(
    "name,kind,status,values,authenticated",
    [
        ("www.example.ac.uk", "A", Status.OK, ("127.0.0.1",), True),
        ("WWW.Example.AC.UK.", "A", Status.OK, ("127.0.0.1",), True),
        ("www.example.ac.uk", "AAAA", Status.NO_DATA, (), True),
        ("none.example.ac.uk", "A", Status.NO_NAME, (), True),
        ("words.plain.ac.uk", "TXT", Status.OK, ("firstsecond",), False),
        ("nobody.example.ac.uk", "CAA", Status.OK, ('0 issue ";"',), True),
        ("_certdesk-challenge.alias.example.ac.uk", "CNAME", Status.OK, (CNAME_TARGET,), True),
        ("www.forged.ac.uk", "A", Status.OK, ("127.0.0.1",), True),
        ("_certdesk-challenge.forged.ac.uk", "TXT", Status.BOGUS, (), False),
        (f"www.{LAME}", "A", Status.SERVFAIL, (), False),
        (f"www.{SILENT}", "A", Status.TIMEOUT, (), False),
        ("a.plain.ac.uk", "TXT", Status.SERVFAIL, (), False),  # unbound gives the loop up itself
        ("", "A", Status.MALFORMED, (), False),
        (".", "A", Status.MALFORMED, (), False),
        ("a..example.ac.uk", "A", Status.MALFORMED, (), False),
        (f"{'x' * 64}.example.ac.uk", "A", Status.MALFORMED, (), False),
        (f"{'x.' * 127}example.ac.uk", "A", Status.MALFORMED, (), False),
        ("ünï.example.ac.uk", "A", Status.MALFORMED, (), False),
        ("www.example.ac.uk", "NONSENSE", Status.MALFORMED, (), False),
    ],
)
def test_an_answer(
    resolver: DnsResolver,
    name: str,
    kind: str,
    status: Status,
    values: tuple[str, ...],
    authenticated: bool,  # noqa: FBT001 - a column of the table
) -> None:
    answer = resolver.lookup(name, kind)
    assert (answer.status, answer.values, answer.authenticated) == (status, values, authenticated)


def test_an_answer_too_long_for_udp_comes_by_tcp(resolver: DnsResolver) -> None:
    answer = resolver.lookup("big.plain.ac.uk", "TXT")
    assert answer.status is Status.OK
    assert len(answer.values) == 20
    assert all(len(value) == 203 for value in answer.values)


def test_an_answer_is_authenticated_only_if_every_part_of_it_is(resolver: DnsResolver) -> None:
    answer = resolver.lookup("far.plain.ac.uk", "A")
    assert (answer.values, answer.chain) == (("127.0.0.1",), ("www.example.ac.uk",))
    assert not answer.authenticated
    assert answer.ttl is not None


def test_an_alias_into_a_forged_zone_is_only_as_good_as_its_end(resolver: DnsResolver) -> None:
    assert resolver.lookup("into-forged.plain.ac.uk", "A").status is Status.OK
    delegated = resolver.lookup("_certdesk-challenge.delegated.example.ac.uk", "TXT")
    assert (delegated.values, delegated.authenticated) == ((TOKEN,), False)


def test_without_dnssec_nothing_is_authenticated_and_a_forgery_is_still_no_answer(
    name_servers: NameServers,
) -> None:
    off = _resolver(name_servers.recursive_port, dnssec=Dnssec.OFF)
    assert not off.lookup("www.example.ac.uk", "A").authenticated
    assert off.lookup("_certdesk-challenge.forged.ac.uk", "TXT").status is Status.SERVFAIL


@pytest.mark.parametrize(
    "dnssec,address,believed",
    [
        (Dnssec.LOOPBACK, "127.0.0.53", True),
        (Dnssec.LOOPBACK, "::1", True),
        (Dnssec.LOOPBACK, "192.0.2.53", False),
        (Dnssec.AD, "192.0.2.53", True),
        (Dnssec.OFF, "127.0.0.1", False),
    ],
)
def test_an_ad_bit_counts_where_nobody_can_set_it_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
    dnssec: Dnssec,
    address: str,
    believed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """RFC 4035 4.9.3: whoever stands between could set the bit."""

    def answer(query: dns.message.QueryMessage, *_: object, **__: object) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AD
        return response

    monkeypatch.setattr("dns.query.udp", answer)
    config = ResolverConfig(servers=(NameServer(address=address),), dnssec=dnssec)
    assert DnsResolver(config).lookup("www.example.ac.uk", "A").authenticated is believed


@pytest.mark.parametrize(
    "setting,value,message",
    [
        ("CERTDESK_DNS_DNSSEC", "validate", "Run a validating resolver"),
        ("CERTDESK_DNS_TRUST_ANCHORS", "[]", "is not a setting"),
    ],
)
def test_settings_of_our_own_validation_say_what_to_do_instead(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, message: str
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(Misconfigured, match=message):
        load_config()


def test_aliases_are_followed_by_asking_on_and_their_circles_found(name_servers: NameServers) -> None:
    """Straight from the authoritative server, which stops where its own knowledge does."""
    straight = _resolver(name_servers.authoritative_port)
    assert straight.lookup("a.plain.ac.uk", "TXT").status is Status.CNAME_LOOP
    assert straight.lookup("l0.plain.ac.uk", "TXT").status is Status.CNAME_LOOP
    assert straight.lookup("l8.plain.ac.uk", "TXT").status is Status.NO_NAME
    assert straight.lookup("far.plain.ac.uk", "A").values == ("127.0.0.1",)
    assert straight.lookup(f"www.{LAME}", "A").status is Status.REFUSED
    assert straight.lookup("a.plain.ac.uk", "CNAME").values == ("b.plain.ac.uk",)


def test_the_next_server_is_asked_where_one_does_not_answer(name_servers: NameServers) -> None:
    spare = _resolver(free_port(), name_servers.authoritative_port, name_servers.recursive_port)
    assert spare.lookup("www.example.ac.uk", "A").status is Status.OK
    assert _resolver(free_port()).lookup("www.example.ac.uk", "A").status is Status.TIMEOUT


def test_a_forgery_is_not_asked_of_the_next_server(name_servers: NameServers) -> None:
    """The second server validates nothing, and would hand the forged record out."""
    both = _resolver(name_servers.recursive_port, name_servers.authoritative_port)
    assert both.lookup("_certdesk-challenge.forged.ac.uk", "TXT").status is Status.BOGUS


def test_one_look_up_has_its_time_and_no_more(name_servers: NameServers) -> None:
    slow = _resolver(*[name_servers.recursive_port] * 9)
    begun = time.monotonic()
    assert slow.lookup(f"other.{SILENT}", "A").status is Status.TIMEOUT
    assert time.monotonic() - begun < 12, "nine tries of two seconds are not made"


def test_many_threads_share_a_resolver(resolver: DnsResolver) -> None:
    names = [f"n{number}.example.ac.uk" for number in range(50)] + ["www.example.ac.uk"] * 50
    threads = set()

    def ask(name: str) -> Status:
        threads.add(threading.get_ident())
        return resolver.lookup(name, "A").status

    with ThreadPoolExecutor(max_workers=20) as pool:
        found = list(pool.map(ask, names))
    assert found == [Status.NO_NAME] * 50 + [Status.OK] * 50
    assert len(threads) > 1


def test_the_hosts_own_servers_are_read_on_request(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# ours\nsearch example.ac.uk\nnameserver 127.0.0.53\nnameserver ::1\n", encoding="utf-8")
    assert servers_of_this_host(path) == (NameServer(address="127.0.0.53"), NameServer(address="::1"))
    assert servers_of_this_host(tmp_path / "none") == ()
    with pytest.raises(ValueError, match="at least one"):
        ResolverConfig(servers=())


# --- the methods


def _validate(challenge: Challenge, resolver: DnsResolver) -> Outcome:
    network = Network(resolver=resolver, fetcher=ScriptedFetcher())
    return load_validators(())[challenge.method].validate(challenge, network=network, now=NOW)


def _challenge(method: Method, adn: str = "example.ac.uk") -> Challenge:
    expected = {Method.DNS_TXT: TOKEN, Method.DNS_CNAME: CNAME_TARGET}.get(method, KEY_AUTHORIZATION)
    return Challenge(method=method, adn=adn, expected=expected, account_uri=ACCOUNT, issuers=(ISSUER,))


@pytest.mark.parametrize(
    "method,adn",
    [
        (Method.DNS_TXT, "example.ac.uk"),
        (Method.DNS_TXT, "split.example.ac.uk"),
        (Method.DNS_TXT, "delegated.example.ac.uk"),
        (Method.DNS_CNAME, "alias.example.ac.uk"),
        (Method.ACME_DNS, "example.ac.uk"),
        (Method.ACME_DNS_ACCOUNT, "example.ac.uk"),
        (Method.DNS_PERSIST, "example.ac.uk"),
        (Method.DNS_PERSIST, "deep.below.example.ac.uk"),
    ],
)
def test_what_stands_in_the_dns_is_a_proof(resolver: DnsResolver, method: Method, adn: str) -> None:
    outcome = _validate(_challenge(method, adn), resolver)
    assert isinstance(outcome, Validated), outcome
    assert "127.0.0.1#" in repr(outcome.record.details)


@pytest.mark.parametrize(
    "adn,code",
    [
        ("forged.ac.uk", "dcv.dns.bogus"),
        ("plain.ac.uk", "dcv.dns.no_record"),
        ("big.plain.ac.uk", "dcv.dns.other_value"),
        (f"www.{LAME}", "dcv.dns.servfail"),
        (f"www.{SILENT}", "dcv.dns.timeout"),
    ],
)
def test_anything_else_is_none_and_says_why(resolver: DnsResolver, adn: str, code: str) -> None:
    outcome = _validate(_challenge(Method.DNS_TXT, adn), resolver)
    assert isinstance(outcome, NotValidated)
    assert outcome.problem.code == code
    assert outcome.record.details


def test_a_hundred_names_are_validated_in_the_time_of_the_slowest(resolver: DnsResolver) -> None:
    challenges = [_challenge(Method.DNS_PERSIST, f"h{number}.example.ac.uk") for number in range(97)]
    challenges += [_challenge(Method.DNS_TXT, f"s{number}.{SILENT}") for number in range(3)]
    begun = time.monotonic()
    with ThreadPoolExecutor(max_workers=20) as pool:
        outcomes = list(pool.map(lambda challenge: _validate(challenge, resolver), challenges))
    assert sum(isinstance(outcome, Validated) for outcome in outcomes) == 97
    assert time.monotonic() - begun < 6, "three that nobody answers, of two seconds each, one after the other"


# --- fetching by names of a real DNS


def test_the_fetcher_resolves_by_it_and_by_nothing_else(resolver: DnsResolver) -> None:
    closed = {80: free_port(), 443: free_port()}
    fetcher = SafeFetcher(
        FetchConfig(addresses=AddressPolicy.allowing(["127.0.0.0/8"]), ports=closed), resolver
    )
    codes = {}
    for host in ("www.example.ac.uk", "private.example.ac.uk", "nothing.plain.ac.uk", f"www.{LAME}"):
        found = fetcher.get(f"http://{host}/")
        assert isinstance(found, NotFetched)
        codes[host] = found.code
    assert codes == {
        "www.example.ac.uk": "fetch.connect",
        "private.example.ac.uk": "fetch.private_address",
        f"www.{LAME}": "fetch.dns.servfail",
        "nothing.plain.ac.uk": "fetch.no_address",
    }


# --- CAA


@pytest.mark.parametrize(
    "name,code,where,looked",
    [
        ("www.example.ac.uk", Code.AUTHORISED, "example.ac.uk", 2),
        ("*.example.ac.uk", Code.AUTHORISED, "example.ac.uk", 1),
        ("x.nobody.example.ac.uk", Code.NOBODY, "nobody.example.ac.uk", 2),
        ("*.nobody.example.ac.uk", Code.NOBODY, "nobody.example.ac.uk", 1),
        ("critical.example.ac.uk", Code.CRITICAL_UNKNOWN, "critical.example.ac.uk", 1),
        ("wild.example.ac.uk", Code.AUTHORISED, "wild.example.ac.uk", 1),
        ("*.wild.example.ac.uk", Code.NOBODY, "wild.example.ac.uk", 1),
        ("account.example.ac.uk", Code.AUTHORISED, "account.example.ac.uk", 1),
        ("alias.example.ac.uk", Code.OTHER_ISSUER, "alias.example.ac.uk", 1),
        ("bare-alias.example.ac.uk", Code.AUTHORISED, "example.ac.uk", 2),
        ("www.plain.ac.uk", Code.NO_RECORDS, "", 4),
        ("www.forged.ac.uk", Code.LOOKUP_FAILED, "forged.ac.uk", 2),
        (f"www.{LAME}", Code.LOOKUP_FAILED, f"www.{LAME}", 1),
        (f"www.{SILENT}", Code.LOOKUP_FAILED, f"www.{SILENT}", 1),
        ("a.plain.ac.uk", Code.LOOKUP_FAILED, "a.plain.ac.uk", 1),
    ],
)
def test_caa_by_real_records(resolver: DnsResolver, name: str, code: Code, where: str, looked: int) -> None:
    question = Question(name=name, issuers=(ISSUER,), account_uri=ACCOUNT, method=Method.ACME_DNS)
    checked = check_caa(question, resolver=resolver, now=NOW)
    assert (checked.decision.code, checked.decision.where) == (code, where), checked.decision
    assert len(checked.looked) == looked
    assert checked.evidence()["at"] == NOW.isoformat()


def test_caa_knows_whether_the_answer_was_signed(resolver: DnsResolver) -> None:
    signed = check_caa(Question(name="www.example.ac.uk", issuers=(ISSUER,)), resolver=resolver, now=NOW)
    assert signed.decision.authenticated
    plain = check_caa(Question(name="www.plain.ac.uk", issuers=(ISSUER,)), resolver=resolver, now=NOW)
    assert not plain.decision.authenticated
