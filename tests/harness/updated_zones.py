"""Real name servers whose zones are changed by dynamic update (RFC 2136) under a TSIG key: bind and knot.

Their configuration is what docs/cas-acme.md shows. Loopback only.
"""

import base64
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import pytest

from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.waiting import wait_until

KEY_NAME, SECRET = "certdesk", base64.b64encode(b"a TSIG key of the tests' own....").decode()
#: The name server has its name in the first zone: bind wants no underscore above a host.
_SOA = "$TTL 60\n@ IN SOA ns.{first}. hostmaster.{first}. 1 3600 600 86400 60\n@ IN NS ns.{first}.\n"

_BIND = """\
options {{
    directory "{folder}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file "{folder}/named.pid";
    session-keyfile "{folder}/session.key";
    recursion no;
    dnssec-validation no;
}};
controls {{ }};
key "certdesk" {{ algorithm hmac-sha256; secret "{secret}"; }};
{zones}"""
_BIND_ZONE = """\
zone "{zone}" {{
    type primary;
    file "{folder}/{zone}.zone";
    update-policy {{ grant certdesk zonesub TXT; }};
}};
"""
_KNOT = """\
server:
  rundir: "{folder}"
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: "{folder}"
log:
  - target: stderr
    any: warning
key:
  - id: certdesk
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: certdesk
    key: certdesk
    action: update
    update-type: [TXT]
template:
  - id: default
    zonefile-sync: -1
    journal-content: none
zone:
{zones}"""
_KNOT_ZONE = '  - domain: "{zone}"\n    file: "{folder}/{zone}.zone"\n    acl: certdesk\n'


@dataclass(slots=True, kw_only=True)
class UpdatedZones:
    """One server. `zones` maps a zone's name to master-file lines beside its SOA and NS."""

    kind: str
    folder: Path
    zones: Mapping[str, str]
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def key_file(self) -> Path:
        return self.folder / "tsig.secret"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return when it answers for its first zone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key_file.write_text(SECRET, encoding="ascii")
        first = next(iter(self.zones))
        for zone, lines in self.zones.items():
            host = "ns IN A 127.0.0.1\n" if zone == first else ""
            text = _SOA.format(first=first) + host + lines
            (self.folder / f"{zone}.zone").write_text(text, encoding="ascii")
        whole, part = (_BIND, _BIND_ZONE) if self.kind == "bind" else (_KNOT, _KNOT_ZONE)
        zones = "".join(part.format(zone=zone, folder=self.folder) for zone in self.zones)
        config = self.folder / f"{self.kind}.conf"
        told = whole.format(folder=self.folder, port=self.port, secret=SECRET, zones=zones)
        config.write_text(told, encoding="ascii")
        command = [program(self.kind), *(("-g", "-c") if self.kind == "bind" else ("-c",)), config]
        self._process = started(command, log=self.folder / "server.log", cwd=self.folder)
        wait_until(self._answers, what=f"{self.kind} to answer")

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        if self._process is not None:
            ended(self._process, seconds=20)

    def texts(self, name: str) -> set[str]:
        """The TXT values at a name."""
        answer = self._ask(name, dns.rdatatype.TXT)
        rrsets = [one for one in answer.answer if one.rdtype == dns.rdatatype.TXT]
        return {b"".join(one.strings).decode() for rrset in rrsets for one in rrset}

    def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", timeout=2, port=self.port)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "server.log").read_text(encoding="utf-8")
        try:
            return all(self._ask(zone, dns.rdatatype.SOA).answer for zone in self.zones)
        except (OSError, dns.exception.Timeout):
            return False


@contextmanager
def updated_zones(kind: str, folder: Path, zones: Mapping[str, str]) -> Iterator[UpdatedZones]:
    """A server, `bind` or `knot`, that runs until the block ends."""
    if not program(kind):
        pytest.skip(f"{kind} is not installed (Debian: apt-get install bind9 knot)")
    server = UpdatedZones(kind=kind, folder=folder, zones=zones)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def program(kind: str) -> str:
    """The server's program; empty where it is not installed."""
    name = {"bind": "named", "knot": "knotd"}.get(kind, kind)
    # Debian keeps servers where only root's PATH looks.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin") or ""
