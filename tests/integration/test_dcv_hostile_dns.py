"""A name server that answers with whatever a test wants: nothing of it is taken for a record."""

import socket
import socketserver
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from certdesk.dcv.fetch import NotFetched
from certdesk.dcv.network import make_network
from certdesk.dcv.resolver import Answer, DnsResolver, NameServer, ResolverConfig, Status
from tests.harness.served import answering

NAME = "www.example.ac.uk"
Reply = Callable[[dns.message.Message], bytes]
Change = Callable[[dns.message.Message], None]


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Reply = _nothing


class _Handler(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        data, sock = self.request
        answer = self.server.reply(dns.message.from_wire(data))
        sock.sendto(answer, self.client_address)


def _nothing(_query: dns.message.Message) -> bytes:
    return b""


@pytest.fixture(scope="module")
def server() -> Iterator[_Udp]:
    with answering(_Udp()) as running:
        yield running


@pytest.fixture
def ask(server: _Udp) -> Callable[..., Answer]:
    def look(reply: Reply, kind: str = "TXT") -> Answer:
        server.reply = reply
        address, port = server.server_address[0], server.server_address[1]
        assert isinstance(address, str)
        servers = (NameServer(address=address, port=port),)
        # Every question is answered: however busy the machine is, no time-out takes an answer's place.
        config = ResolverConfig(servers=servers, try_seconds=30, total_seconds=60)
        return DnsResolver(config).lookup(NAME, kind)

    return look


def _answer(*records: str, change: Change = lambda _response: None) -> Reply:
    def reply(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        for record in records:
            owner, kind, value = record.split(" ", 2)
            response.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, value))
        change(response)
        return response.to_wire(max_size=65535)

    return reply


def _marked(*, flags: int = 0, code: dns.rcode.Rcode = dns.rcode.NOERROR) -> Change:
    def mark(response: dns.message.Message) -> None:
        response.flags |= flags
        response.set_rcode(code)

    return mark


def _other_id(response: dns.message.Message) -> None:
    response.id ^= 1


def _other_question(response: dns.message.Message) -> None:
    response.question = dns.message.make_query("other.example.ac.uk", "TXT").question


def _a_question(response: dns.message.Message) -> None:
    response.flags &= ~dns.flags.QR


@pytest.mark.parametrize("change", [_other_id, _other_question, _a_question])
def test_an_answer_to_something_else_is_none(ask: Callable[..., Answer], change: Change) -> None:
    answer = ask(_answer(f'{NAME}. TXT "forged"', change=change))
    assert (answer.status, answer.values) == (Status.MALFORMED, ())


@pytest.mark.parametrize("octets", [b"", b"\x00", b"x" * 12, b"\x81\x80" + b"\xff" * 500])
def test_what_is_no_message(ask: Callable[..., Answer], octets: bytes) -> None:
    assert ask(lambda query: query.id.to_bytes(2, "big") + octets).status is Status.MALFORMED


@pytest.mark.parametrize(
    "code,status",
    [
        (dns.rcode.FORMERR, Status.MALFORMED),
        (dns.rcode.SERVFAIL, Status.SERVFAIL),
        (dns.rcode.NXDOMAIN, Status.NO_NAME),
        (dns.rcode.NOTIMP, Status.SERVFAIL),
        (dns.rcode.REFUSED, Status.REFUSED),
        (dns.rcode.NOTAUTH, Status.SERVFAIL),
        (dns.rcode.BADVERS, Status.SERVFAIL),
    ],
)
def test_records_beside_an_error_are_none(
    ask: Callable[..., Answer], code: dns.rcode.Rcode, status: Status
) -> None:
    answer = ask(_answer(f'{NAME}. TXT "here"', change=_marked(code=code)))
    assert (answer.status, answer.values) == (status, ())


def test_records_of_another_name_or_type_are_none(ask: Callable[..., Answer]) -> None:
    answer = ask(_answer('other.example.ac.uk. TXT "x"', f"{NAME}. A 192.0.2.1", f'x.{NAME}. TXT "x"'))
    assert (answer.status, answer.values) == (Status.NO_DATA, ())


def test_the_case_of_a_name_does_not_matter(ask: Callable[..., Answer]) -> None:
    assert ask(_answer(f'{NAME.upper()}. TXT "here"')).values == ("here",)


def test_a_chain_goes_in_its_order_and_its_length_is_limited(ask: Callable[..., Answer]) -> None:
    chain = [f"{NAME}. CNAME c1.example.", "c1.example. CNAME c2.example.", 'c2.example. TXT "end"']
    assert ask(_answer(*reversed(chain))).values == ("end",)
    links = [f"c{n}.example. CNAME c{n + 1}.example." for n in range(1, 20)]
    answer = ask(_answer(chain[0], *links, 'c20.example. TXT "end"'))
    assert (answer.status, answer.values) == (Status.CNAME_LOOP, ())


def test_an_endless_chain_of_answers_ends(ask: Callable[..., Answer]) -> None:
    """Each answer points on to a new name, and never says what is there."""

    def on_and_on(query: dns.message.Message) -> bytes:
        asked = query.question[0].name.to_text()
        return _answer(f"{asked} CNAME x{asked}")(query)

    answer = ask(on_and_on)
    assert answer.status is Status.CNAME_LOOP
    assert len(answer.chain) == 9


def test_cut_short_and_no_tcp_to_ask_by(ask: Callable[..., Answer]) -> None:
    answer = ask(_answer(f'{NAME}. TXT "part"', change=_marked(flags=dns.flags.TC)))
    assert (answer.status, answer.values) == (Status.TIMEOUT, ())


def test_text_that_is_no_text_is_kept_printable(ask: Callable[..., Answer]) -> None:
    answer = ask(_answer(f'{NAME}. TXT "\\000\\255\\013x"'))
    assert answer.status is Status.OK
    assert answer.values == ("\x00\\xff\rx",)


def test_a_caa_property_with_an_impossible_tag(ask: Callable[..., Answer]) -> None:
    def impossible(query: dns.message.Message) -> bytes:
        wire = _answer(f'{NAME}. CAA 0 issue "x"')(query)
        return wire.replace(b"\x05issue", b"\x05is-ue")

    assert ask(impossible, "CAA").status is Status.MALFORMED


def test_the_ad_bit_on_a_servfail_is_worth_nothing(ask: Callable[..., Answer]) -> None:
    assert not ask(_answer(change=_marked(flags=dns.flags.AD, code=dns.rcode.SERVFAIL))).authenticated


def test_a_network_is_made_of_settings_or_not_at_all() -> None:
    for wrong in ((), ("dns.example.net",), ("127.0.0.1#port",)):
        with pytest.raises(ValueError, match=r"."):
            make_network(resolvers=wrong)
    with pytest.raises(ValueError, match=r"."):
        make_network(resolvers=["127.0.0.1"], allowed_networks=["campus"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        made = make_network(resolvers=["system", f"127.0.0.1#{nobody.getsockname()[1]}"])
    assert isinstance(made.fetcher.get("ftp://www.example.ac.uk"), NotFetched)
