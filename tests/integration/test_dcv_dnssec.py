"""One table for both ways to know of DNSSEC: unbound's AD bit and our own validation say the same of every zone.

The zones hang below a root of our own; unbound has its key as trust anchor, and so have we. Our own validation asks
the very unbound with checking disabled, and knot itself, which validates nothing.
"""

from collections.abc import Iterator

import pytest
from dns.dnssectypes import Algorithm

from certdesk.dcv.base import Network
from certdesk.dcv.caa import check_caa
from certdesk.dcv.conformance import NOW
from certdesk.dcv.dnssec.anchors import TrustAnchors
from certdesk.dcv.network import make_network
from certdesk.dcv.resolver import DnsResolver, Dnssec, NameServer, ResolverConfig, Status
from certdesk.domain.caa import Code, Question
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


def _resolver(servers: NameServers, port: int, dnssec: Dnssec) -> DnsResolver:
    return DnsResolver(
        ResolverConfig(
            servers=(NameServer(address="127.0.0.1", port=port),),
            dnssec=dnssec,
            anchors=TrustAnchors.parse([_anchor(servers)]),
        )
    )


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
