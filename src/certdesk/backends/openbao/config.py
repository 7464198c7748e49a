"""Settings of an OpenBao or Vault CA. Frozen, checked when made; credentials stay in their files."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from certdesk.domain.errors import Misconfigured

#: Whoever claims an issuance has ten seconds before another process looks what became of it.
_MOST_SECONDS = 9.0
_LONGEST_TITLE = 100
_VISIBLE = re.compile(r"[!-~]+")
_SEGMENTS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBaoConfig:
    """Where the PKI mount is, the role to sign under, its CA, and how to sign in: by token file or AppRole.

    `ca_file`: PEM of the CAs that the server's own certificate may come from, instead of the host's choice.
    `connect_seconds` and `total_seconds` are for one answer with its sign-in; `settle_seconds` is how long
    the server may still be at work on a request whose answer did not come (`default_max_request_duration`).
    """

    name: str
    address: str
    role: str
    mount: str = "pki"
    issuer: str = "default"
    title: str = ""
    namespace: str = ""
    token_file: Path | None = None
    role_id: str = ""
    secret_id_file: Path | None = None
    approle_mount: str = "approle"
    ca_file: Path | None = None
    connect_seconds: float = 3.0
    total_seconds: float = 8.0
    settle_seconds: float = 100.0

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        alone = "give scheme, host and port alone, such as https://bao.example:8200"
        try:
            parts = urlsplit(self.address)
            is_odd = parts.port == 0 or not _VISIBLE.fullmatch(self.address)
        except ValueError:  # an address or a port that is none
            raise self._wrong("address", alone) from None
        more = parts.path.strip("/") or parts.query or parts.fragment
        if not parts.hostname or more or "@" in parts.netloc or is_odd:
            raise self._wrong("address", alone)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise self._wrong("address", "use https; plain http is for this very host alone")
        for setting in ("mount", "role", "issuer", "approle_mount"):
            if not _SEGMENTS.fullmatch(getattr(self, setting)):
                raise self._wrong(setting, "give the path without slashes around it, such as pki")
        if "/" in self.role + self.issuer:
            raise self._wrong("role", "give the names of role and issuer, not their paths")
        if self.namespace and not _VISIBLE.fullmatch(self.namespace):
            raise self._wrong("namespace", "give its path in ASCII, without blanks")
        if len(self.title) > _LONGEST_TITLE or not self.title.isprintable():
            raise self._wrong("title", f"give one line of at most {_LONGEST_TITLE} characters")
        by_role = bool(self.role_id), self.secret_id_file is not None
        if (self.token_file is None) != all(by_role) or any(by_role) != all(by_role):
            raise self._wrong("token_file", "set it, or both role_id and secret_id_file, and not all three")
        if not 0 < self.connect_seconds < self.total_seconds <= _MOST_SECONDS:
            told = f"more than connect_seconds, and {_MOST_SECONDS:g} at most, after which others take over"
            raise self._wrong("total_seconds", told)
        if not self.settle_seconds >= 0:
            raise self._wrong("settle_seconds", "give how long the server may be at work on a request")

    def _wrong(self, setting: str, advice: str) -> Misconfigured:
        return Misconfigured(f"Back end {self.name}: the setting {setting} can't be used: {advice}.")


def read_config(*, name: str, settings: Mapping[str, object]) -> OpenBaoConfig:
    """The configuration from plain settings. Raises Misconfigured for unknown, missing or mistyped ones."""
    known = {one.name: one.type for one in fields(OpenBaoConfig) if one.name != "name"}
    if unknown := sorted(set(settings) - set(known)):
        raise Misconfigured(f"Back end {name}: unknown settings {', '.join(unknown)}. Remove them.")
    if missing := sorted({"address", "role"} - set(settings)):
        raise Misconfigured(f"Back end {name}: set {' and '.join(missing)}.")
    values: dict[str, object] = {}
    for key, value in settings.items():
        wants = known[key]
        if wants is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            values[key] = float(value)
        elif wants is str and isinstance(value, str) and value:
            values[key] = value
        elif wants not in (float, str) and isinstance(value, (str, Path)) and str(value):
            values[key] = Path(value)
        else:
            kind = "a number" if wants is float else "a text that is not empty"
            raise Misconfigured(f"Back end {name}: the setting {key} must be {kind}.")
    return OpenBaoConfig(name=name, **values)  # type: ignore[arg-type]  # each was looked at


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
