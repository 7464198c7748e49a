"""A real Apache with mod_md in a folder of its own: fetches certificates, serves them, says what failed.

Apache refuses to run as root, and its children need the folder too; under root it therefore runs as Debian's
account for web servers, below a folder that this account may enter.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.harness.processes import ended, started
from tests.harness.served import served_certificate

_MODULES = Path("/usr/lib/apache2/modules")
_LOADED = ("mpm_event", "authz_core", "ssl", "md")
_ACCOUNT = "www-data"
_STOP_SECONDS = 60
_LOG_END = 4000


def _find() -> str | None:
    # Debian keeps servers where only root's PATH looks.
    return shutil.which("apache2") or shutil.which("apache2", path="/usr/sbin")


def is_installed() -> bool:
    """Whether Apache and mod_md are here, where Debian puts them."""
    return _find() is not None and (_MODULES / "mod_md.so").exists()


@dataclass(slots=True, kw_only=True)
class Apache:
    """One server. `domains`: name → directives of its own; `directives` hold for all of them.

    `ca` is whom it trusts as ACME server. It listens on `tls_port` for the domains, and on `http_port` for
    mod_md's status.
    """

    domains: Mapping[str, str]
    directives: str
    ca: Path
    http_port: int
    tls_port: int
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="certdesk-apache-")))
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers, and begins to fetch certificates, some moments later."""
        (self.folder / "md").mkdir()
        shutil.copy(self.ca, self.folder / "ca.pem")
        (self.folder / "httpd.conf").write_text(self._conf(), encoding="utf-8")
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = {"user": _ACCOUNT, "group": _ACCOUNT, "extra_groups": ()}
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, _ACCOUNT, _ACCOUNT)
        command = [_find() or "apache2", "-d", str(self.folder), "-f", f"{self.folder}/httpd.conf"]
        log = self.folder / "start.log"
        self.process = started([*command, "-D", "FOREGROUND"], log=log, cwd=self.folder, **account)

    def restart(self) -> None:
        """Restart it gracefully: it then serves the certificates that it has fetched meanwhile."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        """End it and delete its folder."""
        if self.process is not None:
            ended(self.process, seconds=_STOP_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def status(self, domain: str) -> dict[str, Any]:
        """What mod_md says of one domain; empty while the server does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.http_port}/md-status/{domain}", timeout=5) as answer:
                return dict(json.load(answer))
        except (URLError, ConnectionError, TimeoutError):
            return {}

    def served(self, domain: str) -> bytes:
        """The certificate that it serves for a domain, DER; empty while there is none."""
        return served_certificate(self.tls_port, domain)

    def stored(self, domain: str, name: str) -> bytes:
        """A file of mod_md's about a domain whose certificate is in use: `privkey.pem`, `pubcert.pem`."""
        return (self.folder / "md/domains" / domain / name).read_bytes()

    @property
    def log(self) -> str:
        """The end of what it logged."""
        logs = (self.folder / name for name in ("start.log", "error.log"))
        return "".join(path.read_text(encoding="utf-8")[-_LOG_END:] for path in logs if path.exists())

    def _conf(self) -> str:
        modules = "".join(f"LoadModule {name}_module {_MODULES}/mod_{name}.so\n" for name in _LOADED)
        domains = "".join(
            f"<MDomainSet {name}>\n{own}\n</MDomainSet>\n"
            f"<VirtualHost 127.0.0.1:{self.tls_port}>\nServerName {name}\nSSLEngine on\n</VirtualHost>\n"
            for name, own in self.domains.items()
        )
        return (
            f"ServerName localhost\nListen 127.0.0.1:{self.http_port}\nListen 127.0.0.1:{self.tls_port}\n"
            f"PidFile {self.folder}/httpd.pid\nDefaultRuntimeDir {self.folder}\nMutex file:{self.folder}\n"
            f"ErrorLog {self.folder}/error.log\nLogLevel warn md:info\n{modules}"
            "SSLSessionCache none\nProtocols http/1.1 acme-tls/1\n"
            "<Location /md-status>\nSetHandler md-status\n</Location>\n"
            f"MDStoreDir {self.folder}/md\nMDCACertificateFile {self.folder}/ca.pem\nMDBaseServer off\n"
            f"MDPortMap 80:{self.http_port} 443:{self.tls_port}\n{self.directives}\n{domains}"
        )
