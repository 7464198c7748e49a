"""A real ACME CA: Let's Encrypt's Pebble, which refuses good nonces on purpose. Loopback only."""

import base64
import json
import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from tests.harness.acme_front import throw_away_tls
from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.waiting import wait_until

KID, HMAC = "kid-1", base64.urlsafe_b64encode(b"a key for external account binding").rstrip(b"=").decode()


@dataclass(slots=True, kw_only=True)
class Pebble:
    """One CA. `dns` answers its questions; without it every challenge succeeds. It forgets all at a restart.

    `days` is how long its certificates last; `alternates` counts further roots; `refused_nonces` and `reused`
    (valid authorizations, for further orders) are percentages.
    """

    folder: Path
    dns: int = 0
    eab: bool = False
    days: int = 90
    alternates: int = 0
    refused_nonces: int = 20
    reused: int = 0
    port: int = field(default_factory=free_port)
    management: int = field(default_factory=free_port)
    ca: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _context, self.ca = throw_away_tls(self.folder)

    @property
    def directory(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def log(self) -> str:
        return (self.folder / "pebble.log").read_text(encoding="utf-8")

    @property
    def issued(self) -> int:
        """How many certificates it has issued."""
        return self.log.count("Issued certificate serial")

    def start(self) -> None:
        """Start it and return when it answers."""
        config = self.folder / "pebble.json"
        bound = {"externalAccountBindingRequired": self.eab, "externalAccountMACKeys": {KID: HMAC}}
        told = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(self.folder / "front.pem"),
            "privateKey": str(self.folder / "front.key"),
            "httpPort": 1,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "certificateValidityPeriod": self.days * 86400 - 1,
            **(bound if self.eab else {}),
        }
        config.write_text(json.dumps({"pebble": told}), encoding="utf-8")
        resolver = [f"-dnsserver=127.0.0.1:{self.dns}"] if self.dns else []
        self._process = started(
            ["pebble", f"-config={config}", "-strict", *resolver],
            log=self.folder / "pebble.log",
            env={
                **os.environ,
                "PEBBLE_VA_NOSLEEP": "1",
                "PEBBLE_VA_ALWAYS_VALID": "0" if self.dns else "1",
                "PEBBLE_WFE_NONCEREJECT": str(self.refused_nonces),
                "PEBBLE_AUTHZREUSE": str(self.reused),
                "PEBBLE_ALTERNATE_ROOTS": str(self.alternates),
            },
        )
        wait_until(self._answers, what="Pebble to answer")

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        if self._process is not None:
            ended(self._process, seconds=10)

    def root(self, number: int) -> x509.Certificate:
        """The root of its first chain (0) or of an alternate one."""
        return x509.load_pem_x509_certificate(self._get(f"/roots/{number}"))

    def status(self, certificate: bytes) -> str:
        """What the CA holds of a certificate (DER): `Valid` or `Revoked`."""
        serial = x509.load_der_x509_certificate(certificate).serial_number
        return str(json.loads(self._get(f"/cert-status-by-serial/{serial:x}"))["Status"])

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            return bool(self._get("/roots/0"))
        except OSError:
            return False

    def _get(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca))
        url = f"https://127.0.0.1:{self.management}{path}"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            content: bytes = answer.read()
        return content


@contextmanager
def pebble_ca(folder: Path, **settings: object) -> Iterator[Pebble]:
    """A Pebble that runs until the block ends."""
    if is_missing():
        pytest.skip("Pebble is not installed (Debian: apt-get install pebble)")
    ca = Pebble(folder=folder, **settings)  # type: ignore[arg-type]  # the dataclass's own fields
    try:
        ca.start()
        yield ca
    finally:
        ca.stop()


def is_missing() -> bool:
    """Whether it is not installed here (Debian: pebble)."""
    return shutil.which("pebble") is None
