"""`certdesk certificate check`: how long a certificate still runs, as monitoring plug-ins say it.

A file, a folder of ours, a request number, or what a server presents (`host` or `host:port`). What can be
judged without a network is judged by `judge` alone; time and certificate are passed in.
"""

import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path

from certdesk.cli.client import keys
from certdesk.cli.client.exits import printable

HTTPS = 443
SECONDS_A_DAY = 86_400


class Level(IntEnum):
    """Exit codes of the monitoring plug-in guidelines."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one look."""

    level: Level
    text: str
    days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Days left at which to warn, and to cry."""

    warning: int
    critical: int


#: Which state counts most when there are several; not knowing is worse than a warning.
_GRAVITY = (Level.OK, Level.WARNING, Level.UNKNOWN, Level.CRITICAL)


def judge(leaf: keys.Leaf, *, now: datetime, limits: Limits, host: str = "") -> Verdict:
    """How long it still runs, whether it has begun, and whether it is for the host that presented it."""
    days = int((leaf.not_after - now).total_seconds() // SECONDS_A_DAY)
    name = host or (leaf.names[0] if leaf.names else f"serial {leaf.serial}")
    ends = f"{leaf.not_after:%Y-%m-%d %H:%M} UTC"
    if now > leaf.not_after:
        return Verdict(level=Level.CRITICAL, text=f"{name} expired on {ends}", days=days)
    if now < leaf.not_before:
        begins = f"{leaf.not_before:%Y-%m-%d %H:%M} UTC"
        return Verdict(level=Level.CRITICAL, text=f"{name} is not valid before {begins}", days=days)
    if host and not covers(leaf.names, host):
        shown = ", ".join(leaf.names[:3]) or "no name at all"
        return Verdict(level=Level.CRITICAL, text=f"{name} presents a certificate for {shown}", days=days)
    level = Level.OK
    if days < limits.critical:
        level = Level.CRITICAL
    elif days < limits.warning:
        level = Level.WARNING
    left = "1 day" if days == 1 else f"{days} days"
    return Verdict(level=level, text=f"{name} ends in {left} ({ends})", days=days)


def covers(names: tuple[str, ...], host: str) -> bool:
    """Whether one of the names is the host's; an asterisk stands for one whole label (RFC 9525 6.3)."""
    host = host.lower().rstrip(".")
    above = host.partition(".")[2]
    return any(name.lower() in (host, f"*.{above}" if above else host) for name in names)


def check_file(path: Path, *, now: datetime, limits: Limits) -> Verdict:
    """A certificate in PEM or DER; of a chain, the first; of a folder, its `cert.pem`."""
    path = path / "cert.pem" if path.is_dir() else path
    try:
        leaf = keys.read_leaf(path.read_bytes())
    except (OSError, ValueError) as error:
        return Verdict(level=Level.UNKNOWN, text=f"{path} can't be read: {error}")
    return judge(leaf, now=now, limits=limits)


def check_server(
    host: str, port: int, *, now: datetime, limits: Limits, ca_file: Path | None, seconds: float
) -> Verdict:
    """What a server presents. With `ca_file`, it has to chain to one of the CAs in it as well."""
    where = f"{host}:{port}"
    try:
        der = _presented(host, port, ca_file=ca_file, seconds=seconds)
        leaf = keys.read_leaf(der)
    except ssl.SSLCertVerificationError as error:
        return Verdict(level=Level.CRITICAL, text=f"{where}: {error.verify_message}")
    except (OSError, ValueError) as error:  # ssl's and the resolver's errors are OSErrors
        return Verdict(level=Level.CRITICAL, text=f"{where} does not answer with TLS: {error}")
    return judge(leaf, now=now, limits=limits, host=host)


def line(verdicts: list[Verdict], *, limits: Limits) -> tuple[Level, str]:
    """The worst of several, and the text that monitoring shows: the worst first, then figures."""
    ordered = sorted(verdicts, key=lambda verdict: _GRAVITY.index(verdict.level), reverse=True)
    said = "; ".join(printable(verdict.text).replace("|", "/").replace("\n", " ") for verdict in ordered)
    figures = [verdict.days for verdict in verdicts if verdict.days is not None]
    data = f" | days={min(figures)};{limits.warning};{limits.critical}" if figures else ""
    return ordered[0].level, f"CERTIFICATE {ordered[0].level.name} - {said}{data}"


def host_and_port(target: str) -> tuple[str, int]:
    """`host`, `host:port` or `[address]:port`. Raises ValueError for a port that is none."""
    host, colon, port = target.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = target, ""
    number = int(port) if port else HTTPS
    if not 0 < number < 65_536:  # noqa: PLR2004 - 16 bits
        raise ValueError(f"{port} is not a port")
    return host.strip("[]"), number


def _presented(host: str, port: int, *, ca_file: Path | None, seconds: float) -> bytes:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.check_hostname = False  # `judge` says it in clearer words
    if ca_file is None:
        context.verify_mode = ssl.CERT_NONE  # only looked at: nothing is sent or believed
    with (
        socket.create_connection((host, port), timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""
