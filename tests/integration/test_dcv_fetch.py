"""The safe fetcher against web servers that misbehave: each refuses with its own code, in time."""

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from types import MappingProxyType

import pytest
from cryptography import x509

from certdesk.dcv.addresses import AddressPolicy
from certdesk.dcv.base import Challenge, NotValidated, Validated, Validator
from certdesk.dcv.conformance import NOW, ScriptedResolver, network, txt
from certdesk.dcv.fetch import FetchConfig, Fetched, NotFetched, SafeFetcher
from certdesk.dcv.http import AcmeHttpValidator, HttpFileValidator, acme_url
from certdesk.dcv.resolver import Answer, Status
from certdesk.dcv.tls_alpn import TlsAlpnValidator
from certdesk.domain.validation.evidence import Method
from tests.harness.acme_certificates import acme_certificate
from tests.harness.hostile_http import HostileHttp, hostile_tls
from tests.harness.ports import free_port
from tests.harness.served import Quiet, answering

HOST = "www.example.ac.uk"
OTHER = "other.example.ac.uk"
ALPN_HOST = "alpn.example.ac.uk"
KEY_AUTHORIZATION = "evaGxfADs6pSRb2LAv9IZ.k3J9sYw0Vd7nQm2xTz5bLp8cRf1hGa4uEo6iNvKjXsY"

ADDRESS = "127.0.0.1"
LOOPBACK = AddressPolicy.allowing(["127.0.0.1/32"])
ADDRESSES = {
    **dict.fromkeys([(HOST, "A"), (OTHER, "A"), (ALPN_HOST, "A")], txt("127.0.0.1")),
    ("inside.example.ac.uk", "A"): txt("10.1.2.3"),
    ("metadata.example.ac.uk", "A"): txt("169.254.169.254"),
    ("six.example.ac.uk", "AAAA"): txt("::1"),
    ("mapped.example.ac.uk", "AAAA"): txt("::ffff:127.0.0.1"),
    ("mixed.example.ac.uk", "A"): txt("127.0.0.1", "10.1.2.3"),
    ("half.example.ac.uk", "A"): txt("127.0.0.1"),
    ("half.example.ac.uk", "AAAA"): Answer(status=Status.SERVFAIL),
    ("forged.example.ac.uk", "A"): Answer(status=Status.BOGUS),
}


@pytest.fixture(scope="module")
def web() -> Iterator[HostileHttp]:
    with answering(HostileHttp()) as server:
        yield server


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileHttp]:
    proofs: dict[str, str | x509.GeneralName] = {
        ALPN_HOST: ALPN_HOST,
        "1.0.0.127.in-addr.arpa": x509.IPAddress(IPv4Address(ADDRESS)),
    }
    right = {
        sni: acme_certificate(names=(name,), key_authorization=KEY_AUTHORIZATION)
        for sni, name in proofs.items()
    }
    other = acme_certificate(names=("something.else.example",), key_authorization=None)
    with answering(
        HostileHttp(hostile_tls(tmp_path_factory.mktemp("tls"), plain=other, alpn=right))
    ) as server:
        yield server


@pytest.fixture
def resolver() -> ScriptedResolver:
    return ScriptedResolver(answers=ADDRESSES, otherwise=Answer(status=Status.NO_DATA))


@pytest.fixture
def config(web: HostileHttp, tls: HostileHttp) -> FetchConfig:
    ports = MappingProxyType({80: web.server_port, 443: tls.server_port})
    return FetchConfig(addresses=LOOPBACK, ports=ports, total_seconds=2.0)


@pytest.fixture
def fetcher(config: FetchConfig, resolver: ScriptedResolver) -> SafeFetcher:
    return SafeFetcher(config, resolver)


def _refusal(found: Fetched | NotFetched | bytes) -> str:
    assert isinstance(found, NotFetched), found
    assert found.detail.endswith((".", "?")) or "http" in found.detail
    return found.code


def _page(found: Fetched | NotFetched) -> Fetched:
    assert isinstance(found, Fetched), found
    return found


def test_a_page_its_address_and_the_names_kept(fetcher: SafeFetcher, web: HostileHttp) -> None:
    found = fetcher.get(f"http://{HOST}/status/200?hello")
    assert found == Fetched(status=200, body=b"hello", truncated=False, address="127.0.0.1")
    headers = web.seen[-1].headers
    assert headers["Host"] == HOST
    assert not {"Cookie", "Authorization", "Referer"} & set(headers)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_followed_and_told(fetcher: SafeFetcher, status: int) -> None:
    found = _page(fetcher.get(f"http://{HOST}/to/{status}?http://{OTHER}/status/200%3Fthere"))
    assert (found.body, found.redirects) == (b"there", (f"http://{OTHER}/status/200?there",))


@pytest.mark.parametrize("status", [300, 303, 304, 305, 306])
def test_br_18_19_other_redirects_are_answers(fetcher: SafeFetcher, status: int) -> None:
    found = _page(fetcher.get(f"http://{HOST}/to/{status}?/status/200"))
    assert (found.status, found.redirects) == (status, ())


def test_no_cookie_is_carried_to_the_next_page(fetcher: SafeFetcher, web: HostileHttp) -> None:
    _page(fetcher.get(f"http://{HOST}/to/302?/status/200"))
    assert web.seen[-1].path == "/status/200"
    assert "Cookie" not in web.seen[-1].headers


def test_https_is_followed_whatever_its_certificate(fetcher: SafeFetcher, tls: HostileHttp) -> None:
    assert _page(fetcher.get(f"http://{HOST}/to/301?https://{OTHER}/status/200%3Fsecured")).body == b"secured"
    assert tls.seen[-1].headers["Host"] == OTHER


def test_no_proxy_of_the_environment_is_asked(fetcher: SafeFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    _page(fetcher.get(f"http://{HOST}/status/200"))


def test_ten_redirects_are_followed_and_no_eleventh(fetcher: SafeFetcher, web: HostileHttp) -> None:
    found = fetcher.get(f"http://{HOST}/loop?ten")
    assert (_refusal(found), len(found.redirects)) == ("fetch.redirects", 10)
    assert [seen.path for seen in web.seen].count("/loop?ten") == 11


@pytest.mark.parametrize(
    "host,code",
    [
        ("inside.example.ac.uk", "fetch.private_address"),
        ("metadata.example.ac.uk", "fetch.private_address"),
        ("six.example.ac.uk", "fetch.private_address"),
        ("mapped.example.ac.uk", "fetch.private_address"),
        ("mixed.example.ac.uk", "fetch.private_address"),
        ("half.example.ac.uk", "fetch.dns.servfail"),
        ("forged.example.ac.uk", "fetch.dns.bogus"),
        ("nowhere.example.ac.uk", "fetch.no_address"),
        ("localhost", "fetch.no_address"),
        ("2130706433", "fetch.no_address"),
        ("0x7f000001", "fetch.no_address"),
    ],
)
def test_names_that_lead_nowhere_we_go(fetcher: SafeFetcher, web: HostileHttp, host: str, code: str) -> None:
    assert _refusal(fetcher.get(f"http://{host}/status/200")) == code
    assert _refusal(fetcher.get(f"http://{HOST}/to/302?http://{host}/status/200")) == code
    assert host not in [seen.headers["Host"] for seen in web.seen]


@pytest.mark.parametrize(
    "url,code",
    [
        ("http://127.0.0.1/status/200", "fetch.ip_literal"),
        ("http://[::1]/status/200", "fetch.ip_literal"),
        ("http://[::ffff:127.0.0.1]/", "fetch.ip_literal"),
        (f"http://{HOST}:8080/", "fetch.port"),
        (f"http://{HOST}:22/", "fetch.port"),
        (f"http://user:secret@{HOST}/", "fetch.credentials"),
        (f"ftp://{HOST}/", "fetch.scheme"),
        ("file:///etc/passwd", "fetch.scheme"),
        ("gopher://x/", "fetch.scheme"),
        ("javascript:alert(1)", "fetch.scheme"),
        ("data:text/plain,x", "fetch.scheme"),
    ],
)
def test_urls_that_are_not_followed(fetcher: SafeFetcher, url: str, code: str) -> None:
    assert _refusal(fetcher.get(url)) == code
    assert _refusal(fetcher.get(f"http://{HOST}/to/302?{url}")) == code


def test_a_location_given_twice_is_not_chosen_from(fetcher: SafeFetcher) -> None:
    found = _page(fetcher.get(f"http://{HOST}/two-locations"))
    assert (found.status, found.redirects) == (302, ())


def test_a_name_is_looked_up_once_a_hop_and_judged_anew(config: FetchConfig) -> None:
    """DNS rebinding: the second answer is private; the first one's connection was to what was judged."""

    class Rebinding(ScriptedResolver):
        def lookup(self, name: str, kind: str) -> Answer:
            self.asked.append((name, kind))
            if kind != "A":
                return Answer(status=Status.NO_DATA)
            return txt("127.0.0.1" if self.asked.count((HOST, "A")) == 1 else "10.0.0.1")

    resolver = Rebinding()
    fetcher = SafeFetcher(config, resolver)
    _page(fetcher.get(f"http://{HOST}/status/200"))
    assert resolver.asked == [(HOST, "AAAA"), (HOST, "A")]
    resolver.asked.clear()
    assert _refusal(fetcher.get(f"http://{HOST}/to/302?/status/200")) == "fetch.private_address"
    assert resolver.asked == [(HOST, "AAAA"), (HOST, "A")] * 2


@pytest.mark.parametrize("path", ["huge", f"status/200?{'x' * 4096}"], ids=["huge", "4 KB"])
def test_a_huge_body_is_cut_and_four_kilobytes_are_not_too_long(fetcher: SafeFetcher, path: str) -> None:
    found = _page(fetcher.get(f"http://{HOST}/{path}"))
    assert (len(found.body), found.truncated) == (4096, path == "huge")


def test_nothing_is_unpacked(fetcher: SafeFetcher) -> None:
    assert _page(fetcher.get(f"http://{HOST}/gzip")).body.startswith(b"\x1f\x8b")


@pytest.mark.parametrize("path", ["drip", "drip-body", "silent"])
def test_slow_peers_get_their_time_and_no_more(
    config: FetchConfig, resolver: ScriptedResolver, path: str
) -> None:
    fetcher = SafeFetcher(replace(config, total_seconds=0.4), resolver)
    begun = time.monotonic()
    assert _refusal(fetcher.get(f"http://{HOST}/{path}")) == "fetch.timeout"
    assert time.monotonic() - begun < 5


def test_a_tls_peer_that_says_nothing_gets_no_more_time(
    config: FetchConfig, resolver: ScriptedResolver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listens:
        port = listens.getsockname()[1]
        ports = MappingProxyType({80: port, 443: port})
        fetcher = SafeFetcher(replace(config, total_seconds=0.3, ports=ports), resolver)
        assert _refusal(fetcher.connect_tls_alpn(HOST)) == "fetch.timeout"
        assert _refusal(fetcher.get(f"https://{HOST}/")) == "fetch.timeout"


def test_the_time_is_for_all_redirects_together(config: FetchConfig, resolver: ScriptedResolver) -> None:
    ticks = iter(range(100))
    fetcher = SafeFetcher(replace(config, total_seconds=12), resolver, monotonic=lambda: float(next(ticks)))
    assert _refusal(fetcher.get(f"http://{HOST}/loop")) == "fetch.timeout"


@pytest.mark.parametrize("path", ["garbage", "headers", "short"])
def test_what_is_no_http(fetcher: SafeFetcher, path: str) -> None:
    assert _refusal(fetcher.get(f"http://{HOST}/{path}")) == "fetch.protocol"


def test_nobody_listens(config: FetchConfig, resolver: ScriptedResolver) -> None:
    closed = MappingProxyType({80: free_port(), 443: free_port()})
    fetcher = SafeFetcher(replace(config, ports=closed), resolver)
    for found in (fetcher.get(f"http://{HOST}/"), fetcher.connect_tls_alpn(HOST)):
        assert _refusal(found) == "fetch.connect"


def test_plain_http_where_tls_is_wanted(
    config: FetchConfig, web: HostileHttp, resolver: ScriptedResolver
) -> None:
    fetcher = SafeFetcher(
        replace(config, ports=MappingProxyType({80: web.server_port, 443: web.server_port})), resolver
    )
    assert _refusal(fetcher.get(f"https://{HOST}/status/200")) == "fetch.tls"
    assert _refusal(fetcher.connect_tls_alpn(HOST)) == "fetch.tls"


def test_tls_alpn_of_a_private_address(fetcher: SafeFetcher) -> None:
    assert _refusal(fetcher.connect_tls_alpn("inside.example.ac.uk")) == "fetch.private_address"


# --- IP addresses (RFC 8738)


def test_an_address_is_fetched_from_only_for_its_own_proof(fetcher: SafeFetcher, web: HostileHttp) -> None:
    url = f"http://{ADDRESS}/status/200"
    _page(fetcher.get(url, ip_address=ADDRESS))
    assert web.seen[-1].headers["Host"] == ADDRESS
    assert _refusal(fetcher.get(url)) == "fetch.ip_literal"
    assert _refusal(fetcher.get(url, ip_address="127.0.0.2")) == "fetch.ip_literal"
    assert _refusal(fetcher.get("http://127.1/status/200", ip_address=ADDRESS)) == "fetch.no_address"


@pytest.mark.parametrize("where", [f"http://{ADDRESS}/status/200", "/status/200", "http://127.0.0.2/"])
def test_no_redirect_leads_to_an_address(fetcher: SafeFetcher, where: str) -> None:
    found = fetcher.get(f"http://{ADDRESS}/to/302?{where}", ip_address=ADDRESS)
    assert _refusal(found) == "fetch.ip_literal"


def test_an_address_redirects_to_a_name(fetcher: SafeFetcher) -> None:
    _page(fetcher.get(f"http://{ADDRESS}/to/302?http://{HOST}/status/200", ip_address=ADDRESS))


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.2", "169.254.169.254", "::1", "fd00::1"])
def test_an_address_that_is_not_permitted_is_not_contacted(
    config: FetchConfig, resolver: ScriptedResolver, address: str
) -> None:
    fetcher = SafeFetcher(config, resolver)
    assert _refusal(fetcher.get(acme_url(address, "t"), ip_address=address)) == "fetch.private_address"
    assert _refusal(fetcher.connect_tls_alpn(address)) == "fetch.private_address"
    assert resolver.asked == []  # there is nothing to look up


class _Six(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


class _TellsHost(Quiet, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["Host"].encode())


def test_an_ipv6_address_is_asked_for_in_brackets(resolver: ScriptedResolver) -> None:
    try:
        server = _Six(("::1", 0), _TellsHost)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with answering(server):
        ports = MappingProxyType({80: server.server_port, 443: 1})
        config = FetchConfig(addresses=AddressPolicy.allowing(["::1/128"]), ports=ports, total_seconds=5.0)
        found = SafeFetcher(config, resolver).get(acme_url("::1", "t"), ip_address="::1")
    assert found == Fetched(status=200, body=b"[::1]", truncated=False, address="::1")


# --- the methods over it


@pytest.mark.parametrize(
    "validator, method, adn, problem",
    [
        (TlsAlpnValidator(), Method.ACME_TLS_ALPN, ALPN_HOST, ""),
        (TlsAlpnValidator(), Method.ACME_TLS_ALPN, ADDRESS, ""),  # RFC 8738: its reverse name is the SNI
        (TlsAlpnValidator(), Method.ACME_TLS_ALPN, HOST, r"dcv\.fetch\.(alpn|tls)"),  # knows no acme-tls/1
        # A 404 that echoes the path is no proof: 8,850 certificates were issued on such pages (2017).
        (AcmeHttpValidator(), Method.ACME_HTTP, HOST, r"dcv\.http\.status"),
        (HttpFileValidator(), Method.HTTP_FILE, HOST, r"dcv\.http\.status"),
    ],
    ids=["RFC 8737", "RFC 8738", "another TLS", "an echo by ACME", "an echo as a file"],
)
def test_only_what_was_made_for_it_is_a_proof(
    fetcher: SafeFetcher,
    resolver: ScriptedResolver,
    validator: Validator,
    method: Method,
    adn: str,
    problem: str,
) -> None:
    tokens = {Method.ACME_HTTP: "evaGxfADs6pSRb2LAv9IZ", Method.HTTP_FILE: "certdesk-1"}
    token = tokens.get(method, "")
    challenge = Challenge(method=method, adn=adn, expected=KEY_AUTHORIZATION, token=token)
    outcome = validator.validate(challenge, network=network(resolver=resolver, fetcher=fetcher), now=NOW)
    if problem:
        assert isinstance(outcome, NotValidated)
        assert re.fullmatch(problem, outcome.problem.code)
    else:
        assert isinstance(outcome, Validated), outcome


def test_a_port_that_nobody_answers_at_is_told_from_a_slow_server(
    config: FetchConfig, resolver: ScriptedResolver
) -> None:
    """As behind a firewall: a file for people is looked for on port 443 then (BR 3.2.2.4.18)."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind((ADDRESS, 0))
        full.listen(0)
        for one in (first, second):  # they fill the queue, so that no further one gets in
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        ports = MappingProxyType({80: full.getsockname()[1], 443: config.ports[443]})
        config = replace(config, ports=ports, connect_seconds=0.2)
        assert _refusal(SafeFetcher(config, resolver).get(f"http://{HOST}/")) == "fetch.connect_timeout"
        _page(SafeFetcher(config, resolver).get(f"https://{HOST}/status/200?there"))
