"""Real name servers for tests: knot answers for zones that the test writes, unbound resolves and validates.

All of it lives on the loopback address, on ports of its own, below one temporary folder. The zones that are
signed have a trust anchor each, so that no root is needed.
"""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.name
import dns.node
import dns.query
import dns.rdataset
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm, DSDigest
from dns.message import make_query

from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.waiting import wait_until

_HOST = "127.0.0.1"
_START_SECONDS = 60
_STOP_SECONDS = 30
_KSK_FLAGS = 257
_LIFETIME = int(timedelta(days=2).total_seconds())

_SOA = "@ IN SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 60\n@ IN NS ns.{zone}.\nns IN A 127.0.0.1\n"


class NameServerFailed(AssertionError):
    """A server ended before it answered; the message holds its log."""


def missing_programs() -> tuple[str, ...]:
    """The programs that are not installed here, of the two that this needs."""
    return tuple(program for program in ("knotd", "unbound") if _find(program) is None)


def _find(program: str) -> str | None:
    # Debian keeps servers where only root's PATH looks.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Master-file lines for a zone, without its SOA and NS.

    `signed`: with DNSSEC, by a key made for it. `forged` lines replace those of the same name and type
    after signing, so that their signatures no longer match. `secret`: who knows it may change an unsigned
    zone while it is served (RFC 2136), with the TSIG key named after the zone (hmac-sha256, base64).
    """

    name: str
    lines: str = ""
    signed: bool = False
    forged: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class _Made:
    text: str
    anchor: str  # DS record in presentation form; empty for an unsigned zone


def _parsed(zone: Zone, lines: str, *, whole: bool) -> dns.zone.Zone:
    text = "$TTL 60\n" + (_SOA.format(zone=zone.name) if whole else "") + lines
    return dns.zone.from_text(text, origin=f"{zone.name}.", relativize=False, check_origin=whole)


def _make(zone: Zone) -> _Made:
    parsed = _parsed(zone, zone.lines, whole=True)
    if not zone.signed:
        return _Made(parsed.to_text(relativize=False), "")
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), Algorithm.ECDSAP256SHA256, flags=_KSK_FLAGS)
    dns.dnssec.sign_zone(parsed, keys=[(key, dnskey)], lifetime=_LIFETIME, dnskey_ttl=60)
    if zone.forged:
        for name, rdataset in _parsed(zone, zone.forged, whole=False).iterate_rdatasets():
            parsed.replace_rdataset(name, rdataset)
    anchor = dns.dnssec.make_ds(f"{zone.name}.", dnskey, DSDigest.SHA256)
    return _Made(parsed.to_text(relativize=False), f"{zone.name}. DS {anchor.to_text()}")


@dataclass(slots=True, kw_only=True)
class NameServers:
    """One authoritative and one recursive server, and what the second forwards where.

    `zones` are answered by knot. `lame` names are delegated to it without its knowing them (REFUSED);
    `slow` ones to a port where nobody answers.
    """

    zones: tuple[Zone, ...]
    lame: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    authoritative_port: int = 0
    recursive_port: int = 0
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="certdesk-dns-")))
    #: It takes questions by UDP and never answers one.
    _silent: socket.socket = field(default_factory=lambda: socket.socket(type=socket.SOCK_DGRAM))
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start both and return when both answer.

        Raises:
            NameServerFailed: when one ends instead.
        """
        self.authoritative_port, self.recursive_port = free_port(), free_port()
        self._silent.bind((_HOST, 0))
        made = {zone.name: _make(zone) for zone in self.zones}
        for name, one in made.items():
            (self.folder / f"{name}.zone").write_text(one.text, encoding="utf-8")
        self._run("knotd", "-c", self._knot_conf(), port=self.authoritative_port)
        self._run("unbound", "-d", "-p", "-c", self._unbound_conf(made), port=self.recursive_port)

    def stop(self) -> None:
        """End both and delete their folder; harmless when done twice."""
        for process in reversed(self._running):
            ended(process, seconds=_STOP_SECONDS)
        self._running.clear()
        self._silent.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path, port: int) -> None:
        path = _find(program)
        if path is None:
            raise NameServerFailed(f"{program} is not installed")
        log = self.folder / f"{program}.log"
        process = started([path, *arguments], log=log, cwd=self.folder)
        self._running.append(process)

        def answers() -> bool:
            if process.poll() is not None:
                raise NameServerFailed(log.read_text(encoding="utf-8", errors="replace"))
            with contextlib.suppress(dns.exception.DNSException, OSError):
                dns.query.udp(make_query(f"{self.zones[0].name}.", "SOA"), _HOST, 0.5, port)
                return True
            return False

        wait_until(answers, seconds=_START_SECONDS, what=f"{program} to answer on port {port}")

    def _knot_conf(self) -> Path:
        zones = "".join(
            f"  - domain: {zone.name}.\n    file: {self.folder}/{zone.name}.zone\n"
            + (f"    acl: {zone.name}\n" if zone.secret else "")
            for zone in self.zones
        )
        return self._write(
            "knot.conf",
            f"server:\n  rundir: {self.folder}\n  listen: {_HOST}@{self.authoritative_port}\n"
            "  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
            f"database:\n  storage: {self.folder}\n"
            "log:\n  - target: stderr\n    any: warning\n"
            "template:\n  - id: default\n    zonefile-sync: -1\n    journal-content: none\n"
            f"{_knot_rights(self.zones)}zone:\n{zones}",
        )

    def _unbound_conf(self, made: Mapping[str, _Made]) -> Path:
        ports = dict.fromkeys((*made, *self.lame), self.authoritative_port)
        ports |= dict.fromkeys(self.slow, self._silent.getsockname()[1])
        stubs = "".join(
            f'stub-zone:\n  name: "{name}."\n  stub-addr: {_HOST}@{port}\n' for name, port in ports.items()
        )
        anchors = "".join(f'  trust-anchor: "{one.anchor}"\n' for one in made.values() if one.anchor)
        return self._write(
            "unbound.conf",
            f"server:\n  interface: {_HOST}\n  port: {self.recursive_port}\n  num-threads: 1\n"
            f'  directory: "{self.folder}"\n  chroot: ""\n  username: ""\n  pidfile: ""\n  use-syslog: no\n'
            '  do-not-query-localhost: no\n  qname-minimisation: no\n  module-config: "validator iterator"\n'
            "  ede: yes\n  val-log-level: 0\n  so-rcvbuf: 0\n  so-sndbuf: 0\n  outgoing-range: 64\n"
            f"  access-control: 127.0.0.0/8 allow\n{anchors}"
            f"remote-control:\n  control-enable: no\n{stubs}",
        )

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


def _knot_rights(zones: tuple[Zone, ...]) -> str:
    """Knot's keys and rules for those zones that may be changed while they are served."""
    changed = [zone for zone in zones if zone.secret]
    if not changed:
        return ""
    keys = (f"  - id: {one.name}.\n    algorithm: hmac-sha256\n    secret: {one.secret}\n" for one in changed)
    rules = (f"  - id: {one.name}\n    key: {one.name}.\n    action: update\n" for one in changed)
    return f"key:\n{''.join(keys)}acl:\n{''.join(rules)}"


def many_txt(name: str, *, records: int) -> str:
    """Lines of TXT records that no UDP answer has room for."""
    return "".join(f'{name} IN TXT "{number:03}{"x" * 200}"\n' for number in range(records))
