"""What a CA allows in a time: token buckets, counted before it is asked. What was spent is in the journal.

A bucket holds so many tokens and gives each back after its share of the period, as those of Let's Encrypt do:
of 5 in 7 days, one every 33.6 hours. Pure; times are seconds since 1970.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import IPv6Network

from certdesk.backends.acme.reading import Settings
from certdesk.domain.errors import Misconfigured, RejectedIdentifier
from certdesk.domain.names.identifiers import is_ip_address, registrable_domain

#: A hundredth of a second: what sums of shares may differ by.
_ABOUT = 0.01
_LIMIT = re.compile(r"([1-9][0-9]{0,6}) per ([1-9][0-9]{0,3})([hd])")


class Kind(StrEnum):
    """What is counted, by the name of its setting. An order spends the first three, a failure the last."""

    ORDERS = "orders"
    DOMAIN = "certificates_per_domain"
    NAMES = "certificates_per_names"
    FAILURES = "failures_per_name"


#: https://letsencrypt.org/docs/rate-limits/ as of June 2025.
_PRESETS: Mapping[str, Mapping[str, str]] = {
    "letsencrypt": {
        Kind.ORDERS: "300 per 3h",
        Kind.DOMAIN: "50 per 7d",
        Kind.NAMES: "5 per 7d",
        Kind.FAILURES: "5 per 1h",
    }
}
#: What a limit is of, for one subject and for any.
_OF = {
    Kind.ORDERS: ("order", "", ""),
    Kind.DOMAIN: ("certificate", " for names under {subject}", " for each registered domain"),
    Kind.NAMES: ("certificate", " for exactly these names", " for exactly the same names"),
    Kind.FAILURES: ("failed validation", " of {subject}", " of each name"),
}
KNOWN = ("preset", "exempt_renewals", *Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many in a period of seconds."""

    count: int
    period: float

    def full_until(self, spent: Iterable[float]) -> float:
        """When the bucket is full again, if no more is spent; `spent` are moments, oldest first."""
        until = -math.inf
        for at in spent:
            until = max(until, at) + self.period / self.count
        return until

    def next_at(self, spent: Iterable[float]) -> float:
        """From when on one more fits."""
        return self.full_until(spent) + self.period / self.count - self.period - _ABOUT

    def used(self, spent: Iterable[float], *, now: float) -> int:
        """How many tokens are missing."""
        missing = (self.full_until(spent) - now) * self.count / self.period
        return max(0, math.ceil(missing - _ABOUT)) if missing > 0 else 0

    def words(self, kind: Kind, *, subject: str = "") -> str:
        """Such as `5 certificates for exactly these names in 7 days`; without a subject for any."""
        noun, of_one, of_any = _OF[kind]
        hours = round(self.period / 3600)
        number, unit = (hours // 24, "day") if hours % 24 == 0 else (hours, "hour")
        what = noun + ("" if self.count == 1 else "s")
        about = of_one.format(subject=subject) if subject else of_any
        return f"{self.count} {what}{about} in {number} {unit}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One limit for one thing: an account (the empty text), a domain, a set of names, a name."""

    kind: Kind
    subject: str
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a CA, each of them optional. `exempt_renewals`: whether the CA counts no renewals."""

    of: Mapping[Kind, Limit]
    exempt_renewals: bool = False

    def for_order(self, names: tuple[str, ...], *, renews: bool, replaces: bool) -> list[Bucket]:
        """What an order for these names spends or, for failures, has to find unspent.

        `renews`: there is a certificate for just these names. `replaces`: the order names it (RFC 9773 5).
        """
        exempt: set[Kind] = set()
        if self.exempt_renewals and replaces:
            exempt = set(Kind)
        elif self.exempt_renewals and renews:
            exempt = {Kind.ORDERS, Kind.DOMAIN}
        subjects: dict[Kind, list[str]] = {
            Kind.FAILURES: sorted({name.removeprefix("*.") for name in names}),
            Kind.NAMES: [" ".join(sorted(names))],
            Kind.DOMAIN: sorted({_domain(name) for name in names}),
            Kind.ORDERS: [""],
        }
        return [
            Bucket(kind=kind, subject=subject, limit=limit)
            for kind, limit in self.of.items()
            if kind not in exempt
            for subject in subjects[kind]
        ]


def read_limits(*, where: str, section: Mapping[str, object] | None) -> Limits | None:
    """The limits of a section `limits`; None without one. Raises Misconfigured."""
    if section is None:
        return None
    given = Settings(where, section, known=KNOWN)
    preset = given.text("preset", default="")
    if preset and preset not in _PRESETS:
        raise Misconfigured(f"{where}: there is no preset “{preset}”; there is {', '.join(_PRESETS)}.")
    told = {kind: given.text(kind, default=_PRESETS.get(preset, {}).get(kind, "")) for kind in Kind}
    limits = {kind: _limit(f"{where}: {kind}", text) for kind, text in told.items() if text}
    exempt = given.flag("exempt_renewals") if "exempt_renewals" in section else bool(preset)
    return Limits(of=limits, exempt_renewals=exempt)


def moment(at: float) -> str:
    """A moment for people, to the minute that begins after it."""
    return f"{datetime.fromtimestamp(math.ceil(at / 60) * 60, UTC):%-d %B %Y, %H:%M} UTC"


def _limit(where: str, text: str) -> Limit:
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise Misconfigured(f"{where} must be a limit such as “50 per 7d” or “300 per 3h”.")
    unit = timedelta(hours=1) if found[3] == "h" else timedelta(days=1)
    return Limit(count=int(found[1]), period=(int(found[2]) * unit).total_seconds())


def _domain(name: str) -> str:
    """What the limit for domains is about; for Let's Encrypt also an IPv4 address, an IPv6 network of /64."""
    if not is_ip_address(name):
        try:
            return registrable_domain(name)
        except RejectedIdentifier:  # of one label, at a CA of one's own
            return name
    return str(IPv6Network((name, 64), strict=False)) if ":" in name else name
