"""What NSEC and NSEC3 records prove and what not: with the zones of RFC 4035 and RFC 5155, appendix A."""

import dns.dnssec
import dns.name
import dns.rdatatype
import dns.rrset
import pytest

from certdesk.dcv.dnssec.denial import Denials, Proof, read_denials
from certdesk.dcv.dnssec.signatures import Bogus, Budget

_ZONE = dns.name.from_text("example.")


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text, _ZONE)


def _denials(kind: str, lines: list[str], budget: Budget | None = None) -> Denials:
    """The denials of one kind, of records given as `owner rdata`."""
    rrsets = []
    for line in lines:
        owner, _, value = line.partition(" ")
        rrsets.append(dns.rrset.from_text(_name(owner), 60, "IN", kind, value))
    plain, hashed = read_denials(_ZONE, rrsets, budget=budget or Budget())
    return plain if kind == "NSEC" else hashed


def _ask(denials: Denials, question: str, name: str, argument: str) -> object:
    """`no_closer` takes the encloser, the others a type or nothing."""
    match question:
        case "no_name":
            return denials.no_name(_name(name))
        case "no_data":
            return denials.no_data(_name(name), dns.rdatatype.from_text(argument))
        case "no_closer":
            return denials.no_closer(_name(name), _name(argument))
        case _:
            return denials.no_ds(_name(name))


_NSEC = {
    "apex": "@ a.example. NS SOA MX RRSIG NSEC DNSKEY",
    "a": "a ai.example. NS DS RRSIG NSEC",
    "b": "b ns1.example. NS RRSIG NSEC",
    "ns1": "ns1 ns2.example. A RRSIG NSEC",
    "wild": "*.w x.w.example. MX RRSIG NSEC",
    "xw": "x.w x.y.w.example. MX RRSIG NSEC",
    "last": "xx example. A AAAA RRSIG NSEC",
    "alias": "c d.example. CNAME RRSIG NSEC",
    "dname": "t u.example. DNAME RRSIG NSEC",
}


@pytest.mark.parametrize(
    "records,question,name,argument,expected",
    [
        ("b apex", "no_name", "ml", "", Proof.SECURE),
        ("b", "no_name", "ml", "", Proof.NONE),  # a wildcard could stand for it
        ("last apex", "no_name", "zz", "", Proof.SECURE),
        ("b apex", "no_name", "x.b", "", Proof.NONE),  # below a delegation: another's to deny
        ("dname apex", "no_name", "x.t", "", Proof.NONE),  # below a DNAME
        ("apex", "no_name", "a", "", Proof.NONE),
        ("xw", "no_name", "y.w", "", Proof.NONE),  # x.y.w lies below it
        ("ns1", "no_data", "ns1", "MX", Proof.SECURE),
        ("ns1", "no_data", "ns1", "A", Proof.NONE),
        ("ns1", "no_data", "ns1", "NSEC", Proof.NONE),
        ("ns1", "no_data", "ns2", "MX", Proof.NONE),
        ("alias", "no_data", "c", "A", Proof.NONE),  # an alias hides its target's answer
        ("xw", "no_data", "y.w", "A", Proof.SECURE),  # a name without records
        ("xw wild", "no_data", "a.z.w", "AAAA", Proof.NONE),  # nothing covers it
        ("xw wild", "no_data", "x.x.w", "MX", Proof.NONE),  # x.w exists: no wildcard
        ("b", "no_data", "b", "A", Proof.NONE),  # the parent says nothing of the child's records
        ("b", "no_data", "b", "DS", Proof.SECURE),
        ("apex", "no_data", "@", "DS", Proof.NONE),  # the child says nothing of the parent's
        ("apex", "no_data", "@", "A", Proof.SECURE),
        ("b", "no_ds", "b", "", True),
        ("a", "no_ds", "a", "", False),
        ("ns1", "no_ds", "ns1", "", False),
        ("apex", "no_ds", "@", "", False),
        ("b apex", "no_ds", "ml", "", False),
        ("xw", "no_closer", "x.a.w", "w", Proof.NONE),
        ("xw", "no_closer", "x.xx.w", "w", Proof.SECURE),
        ("xw", "no_closer", "x.xx.w", "@", Proof.NONE),  # w is closer than the apex
        ("xw", "no_closer", "x.x.w", "w", Proof.NONE),  # x.w is closer than w
        ("b", "no_closer", "c.c", "@", Proof.SECURE),
        ("ns1", "no_closer", "x.ns1", "@", Proof.NONE),  # ns1 is closer
    ],
)
def test_nsec(records: str, question: str, name: str, argument: str, expected: object) -> None:
    denials = _denials("NSEC", [_NSEC[one] for one in records.split()])
    assert _ask(denials, question, name, argument) == expected


#: RFC 5155 appendix A: salt aabbccdd, 12 iterations; every record has opt-out set.
_NSEC3 = {
    "apex": "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom 1 {} 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr NS SOA RRSIG",
    "ns1": "2t7b4g4vsa5smi47k61mv5bv1a22bojr 1 {} 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG",
    "a": "35mthgpgcu1qg68fab165klnsnk3dpvl 1 {} 12 aabbccdd b4um86eghhds6nea196smvmlo4ors995 NS DS RRSIG",
    "xw": "b4um86eghhds6nea196smvmlo4ors995 1 {} 12 aabbccdd gjeqe526plbf1g8mklp59enfd789njgi MX RRSIG",
    "ai": "gjeqe526plbf1g8mklp59enfd789njgi 1 {} 12 aabbccdd ji6neoaepv8b5o6k4ev33abha8ht9fgc A RRSIG",
    "yw": "ji6neoaepv8b5o6k4ev33abha8ht9fgc 1 {} 12 aabbccdd k8udemvp1j2f7eg6jebps17vp3n8i58h",
    "w": "k8udemvp1j2f7eg6jebps17vp3n8i58h 1 {} 12 aabbccdd kohar7mbb8dc2ce8a9qvl8hon4k53uhi",
    "ns2": "q04jkcevqvmu85r014c7dkba38o0ji5r 1 {} 12 aabbccdd r53bq7cc2uvmubfu5ocmm6pers9tk9en A RRSIG",
    "wild": "r53bq7cc2uvmubfu5ocmm6pers9tk9en 1 {} 12 aabbccdd t644ebqk9bibcna874givr6joj62mlhv MX RRSIG",
}


@pytest.mark.parametrize(
    "records,question,name,argument,closed,opt_out",
    [
        # B.1 name error: encloser x.w, next closer c.x.w, wildcard *.x.w
        ("apex xw a", "no_name", "a.c.x.w", "", Proof.SECURE, Proof.INSECURE),
        ("xw a", "no_name", "a.c.x.w", "", Proof.NONE, Proof.NONE),  # the next closer name may exist
        ("apex xw", "no_name", "a.c.x.w", "", Proof.NONE, Proof.NONE),  # a wildcard may
        ("a apex ai yw w ns2 wild ns1", "no_name", "a.c.x.w", "", Proof.NONE, Proof.NONE),  # no encloser
        # B.2 no data, B.2.1 a name without records
        ("ns1", "no_data", "ns1", "MX", Proof.SECURE, Proof.SECURE),
        ("ns1", "no_data", "ns1", "A", Proof.NONE, Proof.NONE),
        ("yw", "no_data", "y.w", "A", Proof.SECURE, Proof.SECURE),
        # B.3 an insecure delegation by opt-out: c.example is covered by the record of a
        ("a apex", "no_ds", "c", "", False, True),
        ("a", "no_ds", "c", "", False, False),  # without the encloser
        ("a", "no_ds", "a", "", False, False),
        ("a apex", "no_data", "c", "DS", Proof.NONE, Proof.INSECURE),
        # below a delegation the parent denies nothing
        ("a xw apex ai", "no_name", "x.a", "", Proof.NONE, Proof.NONE),
        ("a", "no_data", "a", "A", Proof.NONE, Proof.NONE),
        # B.4 wildcard answer, B.5 wildcard no data: a.z.w, next closer z.w
        ("ns2", "no_closer", "a.z.w", "w", Proof.SECURE, Proof.INSECURE),
        ("w", "no_closer", "a.z.w", "w", Proof.NONE, Proof.NONE),
        ("w ns2 wild", "no_data", "a.z.w", "AAAA", Proof.SECURE, Proof.INSECURE),
        ("w ns2 wild", "no_data", "a.z.w", "MX", Proof.NONE, Proof.NONE),
        ("w ns2", "no_data", "a.z.w", "AAAA", Proof.NONE, Proof.NONE),
        # B.6 DS no data at the apex, by the child
        ("apex", "no_data", "@", "DS", Proof.NONE, Proof.NONE),
    ],
)
def test_nsec3(
    records: str, question: str, name: str, argument: str, closed: object, opt_out: object
) -> None:
    for flag, expected in ((0, closed), (1, opt_out)):
        denials = _denials("NSEC3", [_NSEC3[one].format(flag) for one in records.split()])
        assert _ask(denials, question, name, argument) == expected, f"opt-out {flag}"


def test_the_hashes_are_those_of_the_rfc() -> None:
    hashed = _denials("NSEC3", [_NSEC3["ns1"].format(0)])
    assert hashed.no_data(_name("NS1"), dns.rdatatype.MX) is Proof.SECURE


def test_many_iterations_are_insecure_and_cost_nothing() -> None:
    budget = Budget(hashes=0)
    dear = _denials("NSEC3", [_NSEC3["ns1"].format(0).replace(" 12 ", " 101 ")], budget)
    assert dear.no_name(_name("x")) is Proof.INSECURE
    assert dear.no_data(_name("x"), dns.rdatatype.A) is Proof.INSECURE
    assert dear.no_closer(_name("x"), _ZONE) is Proof.INSECURE
    assert dear.no_ds(_name("x"))


def test_a_deep_name_is_hashed_only_as_often_as_is_paid_for() -> None:
    lines = [_NSEC3["ns1"].format(0).replace(" 12 ", " 100 ")]
    deep = ".".join(["x"] * 120)
    assert _denials("NSEC3", lines).no_name(_name(deep)) is Proof.NONE
    with pytest.raises(Bogus, match="cost too much"):
        _denials("NSEC3", lines, Budget(hashes=1000)).no_name(_name(deep))


@pytest.mark.parametrize(
    "owner,value",
    [
        ("2t7b4g4vsa5smi47k61mv5bv1a22bojr", "2 0 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A"),
        ("2t7b4g4vsa5smi47k61mv5bv1a22bojr", "1 2 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A"),
        ("2t7b4g4vsa5smi47k61mv5bv1a22bojr.ns1", "1 0 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A"),
        ("not!base32", "1 0 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A"),
    ],
)
def test_what_is_not_understood_proves_nothing(owner: str, value: str) -> None:
    hashed = _denials("NSEC3", [f"{owner} {value}"])
    assert hashed.no_data(_name("ns1"), dns.rdatatype.MX) is Proof.NONE
    assert hashed.no_name(_name("none")) is Proof.NONE
    assert not hashed.no_ds(_name("none"))
