"""One table for both ways to know of DNSSEC: unbound's AD bit and our own validation say the same.

The zones hang below a root of our own; unbound has its key as trust anchor, and so have we. Our own
validation asks the very unbound with checking disabled, and knot itself, which validates nothing.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from dns.dnssectypes import Algorithm
from dns.message import Message, make_query
from dns.name import Name, from_text
from dns.rdatatype import RdataType

from certdesk.conf.config import Config
from certdesk.conf.network import configured_network
from certdesk.dcv.caa import check_caa
from certdesk.dcv.conformance import NOW
from certdesk.dcv.dnssec.anchors import TrustAnchors
from certdesk.dcv.dnssec.chain import Walk
from certdesk.dcv.dnssec.judge import is_secure
from certdesk.dcv.dnssec.signatures import Bogus, Budget
from certdesk.dcv.network import make_network
from certdesk.dcv.resolver import DnsResolver, Dnssec, NameServer, ResolverConfig, Status
from certdesk.domain.caa import Code, Question
from certdesk.domain.errors import Misconfigured
from tests.harness.nameserver import NameServers, missing_programs
from tests.harness.signed_tree import Hashed, TreeZone, sign_tree

_LINES = """
www IN A 127.0.0.1
words IN TXT "one" "two"
caa IN CAA 0 issue "certs.example.net"
alias IN CNAME www
out IN CNAME www.plain.example.
far IN CNAME www.nsec3.example.
gone IN CNAME nothing.nsec.example.
into-forged IN CNAME words.forged.example.
*.wild IN TXT "for all"
there.wild IN TXT "for itself"
deep.empty IN TXT "below a name without records"
tree IN DNAME nsec3.example.
"""
_WORDS = 'words IN TXT "one" "two"\nwww IN A 127.0.0.1\n'
_OTHER_DS = f"12345 13 2 {'AB' * 32}"

_ALGORITHMS = {
    "rsa256": Algorithm.RSASHA256,
    "rsa512": Algorithm.RSASHA512,
    "p384": Algorithm.ECDSAP384SHA384,
    "ed25519": Algorithm.ED25519,
    "ed448": Algorithm.ED448,
}

_TREE = (
    TreeZone(name="example"),
    TreeZone(name="nsec.example", lines=_LINES),
    TreeZone(name="nsec3.example", lines=_LINES, hashed=Hashed(iterations=5)),
    TreeZone(name="plain.example", lines=_LINES, signed=False),
    TreeZone(name="optout.example", lines=_LINES, hashed=Hashed(opt_out=True)),
    TreeZone(name="child.optout.example", lines=_WORDS, signed=False),
    TreeZone(name="island.example", lines=_WORDS, ds="-"),
    TreeZone(name="dear.example", lines=_LINES, hashed=Hashed(iterations=200)),
    TreeZone(name="unknown.example", lines=_WORDS, signed=False, ds=f"12345 200 2 {'AB' * 32}"),
    TreeZone(name="expired.example", lines=_WORDS, valid_days=(-9, -1)),
    TreeZone(name="early.example", lines=_WORDS, valid_days=(3, 9)),
    TreeZone(name="other-ds.example", lines=_WORDS, ds=_OTHER_DS),
    TreeZone(name="stripped.example", lines=_WORDS, signed=False, ds=_OTHER_DS),
    TreeZone(name="forged.example", lines=_WORDS, forged='words IN TXT "three"\n'),
    TreeZone(name="hidden.example", lines=_WORDS, hidden=("words",)),
    *(TreeZone(name=f"{name}.example", lines=_WORDS, algorithm=one) for name, one in _ALGORITHMS.items()),
)

_A, _TXT = ("127.0.0.1",), ("onetwo",)
_SIGNED = [
    ("www", "A", Status.OK, _A),
    ("WWW", "A", Status.OK, _A),
    ("words", "TXT", Status.OK, _TXT),
    ("caa", "CAA", Status.OK, ('0 issue "certs.example.net"',)),
    ("www", "AAAA", Status.NO_DATA, ()),
    ("alias", "A", Status.OK, _A),
    ("alias", "AAAA", Status.NO_DATA, ()),
    ("far", "A", Status.OK, _A),
    ("gone", "A", Status.NO_NAME, ()),
    ("none", "A", Status.NO_NAME, ()),
    ("far.below.none", "A", Status.NO_NAME, ()),
    ("empty", "TXT", Status.NO_DATA, ()),
    ("x.wild", "TXT", Status.OK, ("for all",)),
    ("x.y.wild", "TXT", Status.OK, ("for all",)),
    ("x.wild", "A", Status.NO_DATA, ()),
    ("there.wild", "TXT", Status.OK, ("for itself",)),
    ("x.there.wild", "TXT", Status.NO_NAME, ()),
    ("www.tree", "A", Status.OK, _A),
]
_VERDICTS = [
    *((f"{name}.{zone}.example", *rest, True) for zone in ("nsec", "nsec3") for name, *rest in _SIGNED),
    *((f"words.{name}.example", "TXT", Status.OK, _TXT, True) for name in _ALGORITHMS),
    ("example", "A", Status.NO_DATA, (), True),
    ("nothing", "A", Status.NO_NAME, (), True),
    ("out.nsec.example", "A", Status.OK, _A, False),
    ("out.nsec3.example", "A", Status.OK, _A, False),
    ("into-forged.nsec.example", "TXT", Status.BOGUS, (), False),
    ("www.plain.example", "A", Status.OK, _A, False),
    ("none.plain.example", "A", Status.NO_NAME, (), False),
    ("far.plain.example", "A", Status.OK, _A, False),
    ("words.optout.example", "TXT", Status.OK, _TXT, True),
    ("words.optout.example", "A", Status.NO_DATA, (), True),
    ("none.optout.example", "A", Status.NO_NAME, (), False),
    ("x.wild.optout.example", "TXT", Status.OK, ("for all",), False),
    ("words.child.optout.example", "TXT", Status.OK, _TXT, False),
    ("none.child.optout.example", "TXT", Status.NO_NAME, (), False),
    ("words.island.example", "TXT", Status.OK, _TXT, False),
    ("words.dear.example", "TXT", Status.OK, _TXT, True),
    ("none.dear.example", "TXT", Status.NO_NAME, (), False),
    ("words.dear.example", "A", Status.NO_DATA, (), False),
    ("words.unknown.example", "TXT", Status.OK, _TXT, False),
    ("words.expired.example", "TXT", Status.BOGUS, (), False),
    ("none.expired.example", "TXT", Status.BOGUS, (), False),
    ("words.early.example", "TXT", Status.BOGUS, (), False),
    ("words.other-ds.example", "TXT", Status.BOGUS, (), False),
    ("words.stripped.example", "TXT", Status.BOGUS, (), False),
    ("none.stripped.example", "TXT", Status.BOGUS, (), False),
    ("words.forged.example", "TXT", Status.BOGUS, (), False),
    ("www.forged.example", "A", Status.OK, _A, True),
    ("words.hidden.example", "TXT", Status.BOGUS, (), False),
]


@pytest.fixture(scope="module")
def servers() -> Iterator[NameServers]:
    missing = missing_programs()
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed (Debian: apt-get install knot unbound)")
    running = NameServers(zones=sign_tree(_TREE))
    try:
        running.start()
        yield running
    finally:
        running.stop()


def _anchor(servers: NameServers) -> str:
    return next(zone.anchor for zone in servers.zones if zone.anchor)


def _config(servers: NameServers, port: int, dnssec: Dnssec) -> ResolverConfig:
    return ResolverConfig(
        servers=(NameServer(address="127.0.0.1", port=port),),
        dnssec=dnssec,
        anchors=TrustAnchors.parse([_anchor(servers)]),
    )


def _resolver(servers: NameServers, port: int, dnssec: Dnssec) -> DnsResolver:
    return DnsResolver(_config(servers, port, dnssec))


@pytest.fixture(scope="module", params=["the resolver's word", "our own", "our own, from authority"])
def resolver(request: pytest.FixtureRequest, servers: NameServers) -> DnsResolver:
    if request.param == "the resolver's word":
        return _resolver(servers, servers.recursive_port, Dnssec.AD)
    own = servers.recursive_port if request.param == "our own" else servers.authoritative_port
    return _resolver(servers, own, Dnssec.VALIDATE)


@pytest.mark.parametrize("name,kind,status,values,authenticated", _VERDICTS)
def test_the_verdict_is_the_same_whoever_validates(
    resolver: DnsResolver,
    name: str,
    kind: str,
    status: Status,
    values: tuple[str, ...],
    authenticated: bool,  # noqa: FBT001 - a column of the table
) -> None:
    answer = resolver.lookup(name, kind)
    found = (answer.status, answer.values, answer.authenticated)
    assert found == (status, values, authenticated), answer


def test_a_forgery_says_what_is_wrong(servers: NameServers) -> None:
    own = _resolver(servers, servers.authoritative_port, Dnssec.VALIDATE)
    assert "expired" in own.lookup("words.expired.example", "TXT").note
    assert "DS record" in own.lookup("words.other-ds.example", "TXT").note
    assert "DNSKEY" in own.lookup("words.stripped.example", "TXT").note


# --- somebody in the middle: the answers of knot, changed on the way


Change = Callable[[Message], None]


def _look(
    servers: NameServers, name: str, kind: str, change: Change, *, budget: Budget | None = None
) -> bool:
    """The verdict on a response that was changed."""

    def ask(name: Name, rdtype: RdataType) -> Message:
        query = make_query(name, rdtype, want_dnssec=True)
        return dns.query.tcp(query, "127.0.0.1", 5, servers.authoritative_port)

    anchors = TrustAnchors.parse([_anchor(servers)])
    walk = Walk(ask=ask, anchors=anchors, at=time.time(), budget=budget)
    asked, rdtype = from_text(name), dns.rdatatype.from_text(kind)
    response = ask(asked, rdtype)
    change(response)
    return is_secure(response, asked, rdtype, walk=walk)


def _unchanged(_response: Message) -> None:
    """As it came."""


def _without(*kinds: RdataType) -> Change:
    def change(response: Message) -> None:
        response.answer = [r for r in response.answer if r.rdtype not in kinds and r.covers not in kinds]
        response.authority = [
            r for r in response.authority if r.rdtype not in kinds and r.covers not in kinds
        ]

    return change


def _with_code(code: dns.rcode.Rcode) -> Change:
    return lambda response: response.set_rcode(code)


def _nothing_there(response: Message) -> None:
    response.answer.clear()


def _another_class(response: Message) -> None:
    for rrset in response.answer:
        rrset.rdclass = dns.rdataclass.CH


@pytest.mark.parametrize(
    "name,kind,change",
    [
        ("words.nsec.example", "TXT", _without(RdataType.RRSIG)),
        ("words.nsec.example", "TXT", _with_code(dns.rcode.NXDOMAIN)),
        ("words.nsec.example", "TXT", _nothing_there),
        ("words.nsec.example", "TXT", _another_class),
        ("none.nsec.example", "TXT", _with_code(dns.rcode.NOERROR)),
        ("none.nsec.example", "TXT", _without(RdataType.NSEC)),
        ("none.nsec3.example", "TXT", _without(RdataType.NSEC3)),
        ("none.nsec3.example", "TXT", _without(RdataType.RRSIG)),
        ("words.nsec.example", "A", _with_code(dns.rcode.NXDOMAIN)),
        ("x.wild.nsec.example", "TXT", _without(RdataType.NSEC)),
        ("x.wild.nsec3.example", "TXT", _without(RdataType.NSEC3)),
        ("www.tree.nsec.example", "A", _without(RdataType.DNAME)),
    ],
)
def test_what_was_changed_on_the_way_is_bogus(
    servers: NameServers, name: str, kind: str, change: Change
) -> None:
    assert _look(servers, name, kind, _unchanged)
    with pytest.raises(Bogus):
        _look(servers, name, kind, change)


def test_records_of_another_name_are_bogus(servers: NameServers) -> None:
    def change(response: Message) -> None:
        other = make_query("there.wild.nsec.example.", "TXT", want_dnssec=True)
        response.answer = dns.query.tcp(other, "127.0.0.1", 5, servers.authoritative_port).answer
        for rrset in response.answer:
            rrset.name = from_text("words.nsec.example")

    with pytest.raises(Bogus):
        _look(servers, "words.nsec.example", "TXT", change)


def test_an_unsigned_alias_beside_what_is_signed_is_bogus(servers: NameServers) -> None:
    """Whoever reads the response follows the alias; the signed records beside it must not cover for that."""

    def change(response: Message) -> None:
        for line in (("words.nsec.example.", "CNAME", "evil.example."), ("evil.example.", "TXT", '"ours"')):
            owner, kind, value = line
            response.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, value))

    with pytest.raises(Bogus):
        _look(servers, "words.nsec.example", "TXT", change)


def test_a_target_that_does_not_follow_from_the_dname_is_bogus(servers: NameServers) -> None:
    def change(response: Message) -> None:
        alias = next(one for one in response.answer if one.rdtype == RdataType.CNAME)
        elsewhere = dns.rrset.from_text(alias.name, 60, "IN", "CNAME", "www.plain.example.")
        response.answer[response.answer.index(alias)] = elsewhere

    with pytest.raises(Bogus, match="DNAME"):
        _look(servers, "www.tree.nsec.example", "A", change)


def test_a_name_costs_few_questions_and_no_more_than_it_may(servers: NameServers) -> None:
    spent = Budget()
    assert _look(servers, "words.nsec3.example", "TXT", _unchanged, budget=spent)
    assert (Budget().queries - spent.queries, Budget().tries - spent.tries) == (5, 9)
    for short in (Budget(queries=4), Budget(tries=8)):
        with pytest.raises(Bogus, match="cost too much"):
            _look(servers, "words.nsec3.example", "TXT", _unchanged, budget=short)


def test_signatures_hold_for_their_time_only(servers: NameServers) -> None:
    later = DnsResolver(
        _config(servers, servers.authoritative_port, Dnssec.VALIDATE), clock=lambda: time.time() + 9 * 86400
    )
    assert later.lookup("words.nsec.example", "TXT").status is Status.BOGUS


def test_no_anchor_above_a_name_is_no_security(servers: NameServers) -> None:
    elsewhere = TrustAnchors.parse([f"other.example. DS {_OTHER_DS}"])
    config = replace(_config(servers, servers.authoritative_port, Dnssec.VALIDATE), anchors=elsewhere)
    answer = DnsResolver(config).lookup("words.nsec.example", "TXT")
    assert (answer.status, answer.authenticated) == (Status.OK, False)


def test_a_key_that_nobody_tells_is_no_verdict(servers: NameServers) -> None:
    """The answer came, the chain did not: that passes, and is not a forgery."""
    config = _config(servers, servers.authoritative_port, Dnssec.VALIDATE)
    ticks = iter([0.0, 0.0, 99.0])
    answer = DnsResolver(config, monotonic=lambda: next(ticks, 99.0)).lookup("words.nsec.example", "TXT")
    assert (answer.status, answer.values) == (Status.TIMEOUT, ())
    assert "DNSKEY was asked for" in answer.note


def test_caa_and_the_settings_know_the_third_way(servers: NameServers) -> None:
    network = make_network(
        resolvers=[f"127.0.0.1#{servers.authoritative_port}"],
        dnssec=Dnssec.VALIDATE,
        trust_anchors=[_anchor(servers)],
    )
    found = {}
    for name in ("caa.nsec.example", "caa.plain.example", "words.forged.example", "words.expired.example"):
        question = Question(name=name, issuers=("certs.example.net",))
        decision = check_caa(question, resolver=network.resolver, now=NOW).decision
        found[name] = (decision.code, decision.authenticated)
    assert found == {
        "caa.nsec.example": (Code.AUTHORISED, True),
        "caa.plain.example": (Code.AUTHORISED, False),
        "words.forged.example": (Code.NO_RECORDS, True),
        "words.expired.example": (Code.LOOKUP_FAILED, False),
    }


def test_an_anchor_that_is_none_stops_start_up() -> None:
    good = Config(dns_servers=("127.0.0.1",), dns_dnssec="validate")
    assert configured_network(good) is not None
    bad = good.model_copy(update={"dns_trust_anchors": ("example. NS ns",)})
    with pytest.raises(Misconfigured, match=r"TRUST_ANCHORS .* no DS record"):
        configured_network(bad)
