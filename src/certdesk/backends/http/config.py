"""Settings that every CA behind an HTTP API has, and how settings of a section become a configuration."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlsplit

from certdesk.domain.errors import Misconfigured

#: Whoever claims an issuance has ten seconds before another process looks what became of it.
_MOST_SECONDS = 9.0
_LONGEST_TITLE = 100
_VISIBLE = re.compile(r"[!-~]+")

_Config = TypeVar("_Config", bound="ServerConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where the API is, whom to trust for it, how long to wait.

    `ca_file`: PEM of the CAs that the server's own certificate may come from, instead of the host's choice.
    `connect_seconds` and `total_seconds` are for one act with all that it asks; `settle_seconds` is how long
    the CA may still be at work on a request whose answer did not come.
    """

    name: str
    address: str
    title: str = ""
    ca_file: Path | None = None
    connect_seconds: float = 3.0
    total_seconds: float = 8.0
    settle_seconds: float = 100.0

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        alone = "give scheme, host and port alone, such as https://ca.example.ac.uk"
        try:
            parts = urlsplit(self.address)
            is_odd = parts.port == 0 or not _VISIBLE.fullmatch(self.address)
        except ValueError:  # an address or a port that is none
            raise self.wrong("address", alone) from None
        more = parts.path.strip("/") or parts.query or parts.fragment
        if not parts.hostname or more or "@" in parts.netloc or is_odd:
            raise self.wrong("address", alone)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise self.wrong("address", "use https; plain http is for this very host alone")
        if len(self.title) > _LONGEST_TITLE or not self.title.isprintable():
            raise self.wrong("title", f"give one line of at most {_LONGEST_TITLE} characters")
        if not 0 < self.connect_seconds < self.total_seconds <= _MOST_SECONDS:
            told = f"more than connect_seconds, and {_MOST_SECONDS:g} at most, after which others take over"
            raise self.wrong("total_seconds", told)
        if not self.settle_seconds >= 0:
            raise self.wrong("settle_seconds", "give how long the CA may be at work on a request")

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """The files that nobody else on this machine should read."""
        found = [getattr(self, one.name) for one in fields(self) if one.name not in ("ca_file", "chain_file")]
        return tuple(value for value in found if isinstance(value, Path))

    def refuse_unprintable(self, *settings: str) -> None:
        """Raises Misconfigured where a text that goes into a header is not visible ASCII."""
        for setting in settings:
            if not _VISIBLE.fullmatch(getattr(self, setting)):
                raise self.wrong(setting, "give it in ASCII, without blanks")

    def wrong(self, setting: str, advice: str) -> Misconfigured:
        return Misconfigured(f"Back end {self.name}: the setting {setting} can't be used: {advice}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig(ServerConfig):
    """Of a vendor's API. `chain_file`: PEM of the issuing CA and those above it.

    Without one the chain shows with the first certificate.
    """

    chain_file: Path | None = None


def read_config(kind: type[_Config], *, name: str, settings: Mapping[str, object]) -> _Config:
    """The configuration from plain settings. Raises Misconfigured for unknown, missing or mistyped ones."""
    known = {one.name: one for one in fields(kind) if one.name != "name"}
    if unknown := sorted(set(settings) - set(known)):
        raise Misconfigured(f"Back end {name}: unknown settings {', '.join(unknown)}. Remove them.")
    needed = {key for key, one in known.items() if one.default is MISSING and one.default_factory is MISSING}
    if missing := sorted(needed - set(settings)):
        raise Misconfigured(f"Back end {name}: set {' and '.join(missing)}.")
    values: dict[str, object] = {}
    for key, value in settings.items():
        wants = known[key].type
        values[key] = _typed(wants, value)
        if values[key] is None:
            raise Misconfigured(f"Back end {name}: the setting {key} must be {_KINDS.get(wants, 'a path')}.")
    return kind(name=name, **values)  # type: ignore[arg-type]  # each was looked at


_NUMBERS, _TEXTS = tuple[int, ...], Mapping[str, str]
_KINDS: Mapping[object, str] = {
    str: "a text that is not empty",
    bool: "true or false",
    int: "a whole number above nought",
    float: "a number",
    _NUMBERS: "a list of whole numbers above nought",
    _TEXTS: "a table of texts",
}


def _typed(wants: object, value: object) -> object:
    """The value as the field has it, or None where it is of another kind."""
    if wants is bool:
        return value if isinstance(value, bool) else None
    if wants is str:
        return value if isinstance(value, str) and value else None
    if wants is float:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if wants is int:
        return value if _is_count(value) else None
    if wants == _NUMBERS:
        return tuple(value) if isinstance(value, list) and value and all(map(_is_count, value)) else None
    if wants == _TEXTS:
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            return None
        return MappingProxyType(dict(value))
    return Path(value) if isinstance(value, (str, Path)) and str(value) else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
