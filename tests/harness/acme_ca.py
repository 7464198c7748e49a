"""What a request at a real ACME CA needs: Pebble, a name server that takes updates, and a resolver."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.conformance import server_intent
from certdesk.domain.issuing.certificates import Accepted, Intent, Outcome
from certdesk.domain.issuing.profiles import BUILT_IN, CLIENT_AUTH, SERVER_AUTH, Profile
from tests.harness.acme_client import make_csr
from tests.harness.acme_proxy import AcmeProxy
from tests.harness.acme_servers import AcmeServer, StartServer
from tests.harness.pebble import HMAC, KID, Pebble, pebble_ca
from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.updated_zones import UpdatedZones, program, updated_zones
from tests.harness.waiting import wait_until

ZONE, DELEGATED = "example.ac.uk", "acme.example.org"
#: One name is validated elsewhere by a CNAME, one in a zone of its own.
ZONES = {
    ZONE: f"_acme-challenge.moved IN CNAME moved.{DELEGATED}.\n_acme-challenge.own IN NS ns\n",
    DELEGATED: "",
    f"_acme-challenge.own.{ZONE}": "",
}
#: The profiles, for clients as well: Pebble 2.4 and Caddy certify nothing else.
FOR_CLIENTS_TOO: Mapping[str, Profile] = MappingProxyType(
    {name: replace(one, eku=(SERVER_AUTH, CLIENT_AUTH)) for name, one in BUILT_IN.items()}
)
_PAUSE = 0.02


class PatientBackend(AcmeBackend):
    """One that is asked again after a moment, not at once: the CA at the other end is a real one."""

    def poll(self, intent: Intent, handle: str) -> Outcome:
        """As always."""
        outcome = super().poll(intent, handle)
        if isinstance(outcome, Accepted):
            threading.Event().wait(_PAUSE)
        return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeCa:
    """The CA with its DNS; `settings` are those of a back end for it, each with a folder of its own."""

    server: AcmeServer
    zones: UpdatedZones
    resolver: int
    folder: Path
    running: Pebble | None = None

    @property
    def pebble(self) -> Pebble:
        """The server, where it is a Pebble."""
        assert self.running is not None
        return self.running

    def settings(self, folder: str = "account", **changes: object) -> dict[str, object]:
        """What an operator would write; a setting that is None is left out."""
        hmac = self.folder / "eab.hmac"
        hmac.write_text(self.server.hmac, encoding="ascii")
        bound = {"eab_kid": self.server.kid, "eab_hmac_file": str(hmac)} if self.server.kid else {}
        told = {
            "title": "Pebble",
            "directory_url": self.server.directory,
            "folder": str(self.folder / folder),
            "ca_file": str(self.server.ca),
            "contact": ["mailto:ra@example.ac.uk"],
            "terms_agreed": True,
            "timeout": 10,
            "dcv": self.dcv(),
            **bound,
            **changes,
        }
        return {key: value for key, value in told.items() if value is not None}

    def dcv(self, **changes: object) -> dict[str, object]:
        """The section for validation by RFC 2136."""
        return {
            "driver": "rfc2136",
            "resolvers": [f"127.0.0.1:{self.resolver}"],
            "port": self.zones.port,
            "server": self.zones.address,
            "key_name": "certdesk",
            "key_file": str(self.zones.key_file),
            **changes,
        }

    def behind(self, proxy: AcmeProxy, *, folder: Path | str, **changes: Any) -> AcmeBackend:
        """A back end, as another process opens it, which reaches the CA by a proxy alone."""
        told = {"directory_url": proxy.directory, "ca_file": str(proxy.ca), "title": "The CA"}
        return self.backend(**{**told, "folder": str(folder), **changes})

    def backend(
        self,
        folder: str = "account",
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        **changes: Any,
    ) -> AcmeBackend:
        """The back end, opened anew."""
        found = PatientBackend.from_settings(name="pebble", settings=self.settings(folder, **changes))
        found._clock = clock
        return found


def csr_intent(
    *names: str, key: ec.EllipticCurvePrivateKey | None = None, csr_names: tuple[str, ...] = ()
) -> Intent:
    """An intent whose CSR asks for its names, or for `csr_names` instead."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    intent = server_intent(now=datetime.now(UTC), names=names, key=key.public_key())
    return replace(intent, csr_der=make_csr(*(csr_names or names), key=key))


@contextmanager
def acme_ca(folder: Path, *, kind: str = "bind", **settings: object) -> Iterator[AcmeCa]:
    """Pebble, which validates through a resolver, and the name server of `kind`; `settings` are Pebble's."""
    with (
        updated_zones(kind, folder / kind, ZONES) as zones,
        resolver_of(zones, folder / "unbound") as resolver,
        pebble_ca(folder / "pebble", dns=resolver, **settings) as pebble,
    ):
        kid, hmac = (KID, HMAC) if pebble.eab else ("", "")
        server = AcmeServer(directory=pebble.directory, ca=pebble.ca, kid=kid, hmac=hmac)
        yield AcmeCa(server=server, zones=zones, resolver=resolver, folder=folder, running=pebble)


@contextmanager
def at_server(start: StartServer, folder: Path) -> Iterator[AcmeCa]:
    """Another CA, such as `caddy_ca`, with bind as the name server."""
    with (
        updated_zones("bind", folder / "bind", ZONES) as zones,
        resolver_of(zones, folder / "unbound") as resolver,
        start(folder / "ca", resolver=resolver) as server,
    ):
        yield AcmeCa(server=server, zones=zones, resolver=resolver, folder=folder)


@contextmanager
def resolver_of(zones: UpdatedZones, folder: Path) -> Iterator[int]:
    """An unbound that asks this name server alone and forgets at once; its port."""
    if not program("unbound"):
        pytest.skip("unbound is not installed (Debian: apt-get install unbound)")
    folder.mkdir(parents=True)
    port = free_port()
    stubs = "".join(
        f'stub-zone:\n  name: "{zone}."\n  stub-addr: 127.0.0.1@{zones.port}\n' for zone in zones.zones
    )
    config = folder / "unbound.conf"
    config.write_text(
        f"server:\n  interface: 127.0.0.1\n  port: {port}\n  num-threads: 1\n"
        f'  directory: "{folder}"\n  chroot: ""\n  username: ""\n  pidfile: ""\n  use-syslog: no\n'
        '  do-not-query-localhost: no\n  qname-minimisation: no\n  module-config: "iterator"\n'
        "  cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n  access-control: 127.0.0.0/8 allow\n"
        f"remote-control:\n  control-enable: no\n{stubs}",
        encoding="ascii",
    )
    process = started([program("unbound"), "-d", "-p", "-c", config], log=folder / "unbound.log", cwd=folder)
    try:
        one = replace(zones, port=port)
        wait_until(one._answers, what="unbound to answer")
        yield port
    finally:
        ended(process, seconds=20)
