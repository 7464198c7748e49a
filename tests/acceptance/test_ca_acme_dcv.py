"""Records for a CA's validation: put into real name servers, by updates, programs and HTTP, and removed."""

import json
import socketserver
import stat
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.name
import pytest

from certdesk.backends.acme.dcv import Dcv, read_dcv
from certdesk.backends.acme.dcv.delegation import check_delegation
from certdesk.backends.acme.dcv.lookup import Lookup, address
from certdesk.backends.conformance import settled
from certdesk.domain.errors import Misconfigured, Unavailable
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import Issued
from tests.harness.acme_ca import DELEGATED, ZONE, ZONES, AcmeCa, acme_ca, csr_intent, resolver_of
from tests.harness.served import Quiet, answering
from tests.harness.updated_zones import UpdatedZones, updated_zones

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["bind", "knot"])
def zones(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpdatedZones]:
    with updated_zones(request.param, tmp_path_factory.mktemp("zones"), ZONES) as running:
        yield running


@pytest.fixture(scope="module")
def resolver(zones: UpdatedZones, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with resolver_of(zones, tmp_path_factory.mktemp("resolver") / "unbound") as port:
        yield port


@pytest.fixture
def open_dcv(zones: UpdatedZones, resolver: int) -> Callable[..., Dcv]:
    def opened(**changes: object) -> Dcv:
        settings = {
            "driver": "rfc2136",
            "server": zones.address,
            "resolvers": [f"127.0.0.1:{resolver}"],
            "port": zones.port,
            "key_name": "certdesk",
            "key_file": str(zones.key_file),
            "timeout": 1,
            **changes,
        }
        return read_dcv(where="dcv", settings=settings)

    return opened


@pytest.mark.parametrize(
    "name, target, zone",
    [
        (f"www.{ZONE}", f"_acme-challenge.www.{ZONE}", ZONE),
        (f"*.www.{ZONE}", f"_acme-challenge.www.{ZONE}", ZONE),
        (f"moved.{ZONE}", f"moved.{DELEGATED}", DELEGATED),
        (f"own.{ZONE}", f"_acme-challenge.own.{ZONE}", f"_acme-challenge.own.{ZONE}"),
    ],
)
def test_a_delegation_that_works(
    open_dcv: Callable[..., Dcv], zones: UpdatedZones, name: str, target: str, zone: str
) -> None:
    found = {check.code: check for check in check_delegation(open_dcv(), name)}
    assert worst(found.values()) is Verdict.PASS, found
    assert found["delegation.target"].seen == target
    assert f"in the zone {zone}," in found["delegation.zone"].message
    assert found["delegation.zone"].seen == f"127.0.0.1 port {zones.port}"
    assert set(found) == {f"delegation.{step}" for step in ("target", "zone", "add", "visible", "remove")}
    assert zones.texts(target) == set()


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"key_name": "stranger"}, "doesn't accept the key"),
        ({"key_algorithm": "hmac-sha512"}, "doesn't accept the key"),
        ({"zone": DELEGATED}, "Add a CNAME there that leads to a name in the zone."),
        ({"zone": "uk"}, "Send updates to the primary server"),
        ({"server": "127.0.0.1:9"}, "no answer"),
        ({"resolvers": ["127.0.0.1:9"]}, "can't be looked up"),
    ],
)
def test_a_delegation_that_does_not_work_says_why(
    open_dcv: Callable[..., Dcv], changes: dict[str, object], told: str
) -> None:
    checks = check_delegation(open_dcv(**changes), f"www.{ZONE}")
    assert checks[-1].verdict is Verdict.REFUSE
    assert told in checks[-1].message


def test_settings_of_a_key_that_could_only_fail_later(open_dcv: Callable[..., Dcv]) -> None:
    with pytest.raises(Misconfigured, match=r"no TSIG algorithm hmac-rot13\. Use one of: .*hmac-sha256"):
        open_dcv(key_algorithm="hmac-rot13")
    with pytest.raises(Misconfigured, match="is none"):
        open_dcv(key_name="..")


def test_a_wrong_secret_and_none(open_dcv: Callable[..., Dcv], tmp_path: Path) -> None:
    for secret, told in (("d3Jvbmc=", "another secret"), ("!", "not base64"), ("", "is empty")):
        key = tmp_path / "key"
        key.write_text(secret, encoding="ascii")
        (*_before, last) = check_delegation(open_dcv(key_file=str(key)), f"www.{ZONE}")
        assert told in last.message


def test_a_key_that_may_not_change_the_name(zones: UpdatedZones, open_dcv: Callable[..., Dcv]) -> None:
    """It may change TXT records only, and tries an address: as for a name that is not its own."""
    driver = open_dcv().driver
    update = driver._update(dns.name.from_text(f"www.{ZONE}"))  # type: ignore[attr-defined]  # RFC 2136's own
    update.add("www", 60, "A", "192.0.2.1")
    told = "bind says so when the key may not" if zones.kind == "bind" else "that is how knot says it"
    with pytest.raises(Misconfigured, match=told):
        driver._send(update, dns.name.from_text(f"www.{ZONE}"))  # type: ignore[attr-defined]  # as above


def test_several_values_at_one_name(zones: UpdatedZones, open_dcv: Callable[..., Dcv]) -> None:
    dcv, name = open_dcv(), f"_acme-challenge.many.{ZONE}"
    at = dns.name.from_text(name)
    for value in ("one", "two", "two", "three"):
        dcv.driver.add(at, value)
    assert zones.texts(name) == {"one", "two", "three"}
    assert dcv.lookup.missing_at(at, "two") == ()
    for value in ("two", "two"):
        dcv.driver.remove(at, value)
    assert zones.texts(name) == {"one", "three"}
    assert dcv.lookup.missing_at(at, "two") == (f"127.0.0.1 port {zones.port} doesn't show the record yet",)
    for value in ("one", "three"):
        dcv.driver.remove(at, value)


def test_cnames_that_lead_on_and_on(tmp_path: Path) -> None:
    lines = "loop IN CNAME pool\npool IN CNAME loop\n"
    with updated_zones("knot", tmp_path / "knot", {"example.net": lines}) as zones:
        lookup = Lookup(resolvers=(("127.0.0.1", zones.port),), seconds=1)
        with pytest.raises(Misconfigured, match="on and on"):
            lookup.target("loop.example.net")


def test_a_server_without_a_route_says_nothing_about_the_record() -> None:
    at = dns.name.from_text(f"www.{ZONE}")
    nowhere = Lookup(resolvers=(("127.0.0.1", 9),), servers=(("100::1", 53),), seconds=0.2)
    seen = nowhere._seen(("100::1", 53), at, "x")
    assert seen is None or "does not answer" in seen


@pytest.mark.parametrize(
    "text, found",
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
    ],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert address(text) == found


def test_the_back_end_checks_a_delegation(ca: AcmeCa, tmp_path: Path) -> None:
    folder = str(tmp_path / "account")
    found = ca.backend(folder).check_delegation(f"moved.{ZONE}")
    assert (worst(found), found[-1].code) == (Verdict.PASS, "delegation.remove")
    (none,) = ca.backend(folder, dcv=None).check_delegation(f"moved.{ZONE}")
    assert none.verdict is Verdict.WARN


# A program of the site's own


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with acme_ca(tmp_path_factory.mktemp("ca"), kind="knot") as running:
        yield running


def test_a_program_changes_the_records(ca: AcmeCa, tmp_path: Path) -> None:
    # With nsupdate, as docs/cas-acme.md has it.
    log, script = tmp_path / "calls", tmp_path / "hook"
    script.write_text(
        f'#!/bin/sh\necho "$@" >>{log}\n'
        'case $2 in present) do="update add $3 60 TXT $4";; cleanup) do="update delete $3 TXT $4";; esac\n'
        f'printf "server 127.0.0.1 {ca.zones.port}\\nzone %s\\n%s\\nsend\\n" "$1" "$do" |\n'
        f'    nsupdate -y "hmac-sha256:certdesk:$(cat {ca.zones.key_file})"\n',
        encoding="ascii",
    )
    script.chmod(stat.S_IRWXU)
    dcv = {
        "driver": "hook",
        "program": [str(script), f"{ZONE}."],
        "resolvers": [f"127.0.0.1:{ca.resolver}"],
        "port": ca.zones.port,
    }
    backend = ca.backend(str(tmp_path / "account"), dcv=dcv)
    assert isinstance(settled(backend, csr_intent(f"hook.{ZONE}")), Issued)
    calls = [line.split(" ") for line in log.read_text(encoding="ascii").splitlines()]
    assert [call[1] for call in calls] == ["present", "cleanup"], "each once"
    assert calls[0][2:] == calls[1][2:]
    assert calls[0][2] == f"_acme-challenge.hook.{ZONE}."
    assert ca.zones.texts(f"_acme-challenge.hook.{ZONE}") == set()


@pytest.mark.parametrize(
    "script, error, told",
    [
        ("#!/bin/sh\necho first\necho 'no such zone' >&2\nexit 1\n", Misconfigured, "status 1: no such zone"),
        ("#!/bin/sh\necho busy\nexit 75\n", Unavailable, "status 75: busy"),
        ("#!/bin/sh\nexec sleep 60\n", Unavailable, "has not ended within 0.3 seconds"),
        ("", Misconfigured, "can't be run"),
    ],
)
def test_a_program_that_fails(script: str, error: type[Exception], told: str, tmp_path: Path) -> None:
    path = tmp_path / "hook"
    if script:
        path.write_text(script, encoding="ascii")
        path.chmod(stat.S_IRWXU)
    settings = {"driver": "hook", "program": [str(path)], "program_timeout": 0.3}
    dcv = read_dcv(where="dcv", settings=settings)
    with pytest.raises(error, match=told):
        dcv.driver.add(dns.name.from_text(f"_acme-challenge.{ZONE}"), "value")


# acme-dns


class AcmeDnsStandIn(ThreadingHTTPServer):
    """Takes updates as acme-dns documents its API, and hands them on to the name server."""

    def __init__(self, ca: AcmeCa) -> None:
        super().__init__(("127.0.0.1", 0), _Updates)
        self.ca, self.status, self.seen = ca, 200, list[dict[str, Any]]()


class _Updates(Quiet, BaseHTTPRequestHandler):
    server: AcmeDnsStandIn

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        who = (self.headers["X-Api-User"], self.headers["X-Api-Key"])
        status = self.server.status if who == ("a-user", "a-password") else 401
        if status == 200:
            self.server.seen.append(asked)
            driver = self.server.ca.backend()._config.dcv.driver  # type: ignore[union-attr]  # it is set
            driver.add(dns.name.from_text(f"{asked['subdomain']}.{DELEGATED}"), asked["txt"])
        self.send_response(status)
        self.end_headers()


def test_acme_dns(ca: AcmeCa, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.json"
    account = {
        "username": "a-user",
        "password": "a-password",
        "subdomain": "moved",
        "fulldomain": f"moved.{DELEGATED}",
        "allowfrom": [],
    }
    accounts.write_text(json.dumps({f"moved.{ZONE}": account}), encoding="utf-8")
    server: socketserver.BaseServer
    with answering(AcmeDnsStandIn(ca)) as server:
        dcv = {
            "driver": "acme-dns",
            "url": f"http://127.0.0.1:{server.server_address[1]}/",
            "accounts_file": str(accounts),
            "resolvers": [f"127.0.0.1:{ca.resolver}"],
            "port": ca.zones.port,
        }
        backend = ca.backend(str(tmp_path / "account"), dcv=dcv)
        assert isinstance(settled(backend, csr_intent(f"moved.{ZONE}")), Issued)
        assert len(server.seen) == 1, "a second update would push another value out"

        at, driver = dns.name.from_text(f"moved.{DELEGATED}"), read_dcv(where="dcv", settings=dcv).driver
        with pytest.raises(Misconfigured, match=r"No account in .* Register one"):
            driver.add(dns.name.from_text(f"other.{DELEGATED}"), "x")
        server.status = 500
        with pytest.raises(Unavailable, match="status 500"):
            driver.add(at, "x")
        accounts.write_text(json.dumps({"x": account | {"password": "wrong"}}), encoding="utf-8")
        with pytest.raises(Misconfigured, match="status 401"):
            driver.add(at, "x")
        accounts.write_text("[]", encoding="utf-8")
        with pytest.raises(Misconfigured, match="can't be read"):
            driver.add(at, "x")
    accounts.write_text(json.dumps({"x": account}), encoding="utf-8")
    with pytest.raises(Unavailable, match="can't be reached"):
        driver.add(at, "x")
