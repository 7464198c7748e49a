"""Certificate profiles: what a kind of certificate contains and how long it may run (BR 7.1.2.7).

A profile never changes under its version: certificates and intents record which one they follow.
No clock and no encoding of certificates lives here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from certdesk.domain.errors import InvalidInput, InvariantViolated

SERVER_AUTH = "1.3.6.1.5.5.7.3.1"

#: A relying party's clock may be slow, so a certificate begins a little before it is signed (BR 7.1.2.7
#: allows 48 hours). The term is counted from that beginning, so nothing runs longer than was asked for.
BACKDATE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of certificate.

    `key_usage` maps a key type ("rsa", "ec") to the key usages of RFC 5280 4.2.1.3 by name;
    `eku` holds dotted OIDs; `term_years` are the choices that an applicant has. `ip_addresses`: whether
    names may be IP addresses as well (RFC 8738).
    """

    id: str
    version: int
    title: str
    eku: tuple[str, ...]
    key_usage: Mapping[str, frozenset[str]]
    term_years: tuple[int, ...]
    ip_addresses: bool = False


_TLS_SERVER = Profile(
    id="tls-server",
    version=1,
    title="TLS server",
    eku=(SERVER_AUTH,),
    # Only RSA key transport enciphers a key; an EC key in TLS does nothing but sign (BR 7.1.2.7.11).
    key_usage=MappingProxyType(
        {"rsa": frozenset({"digital_signature", "key_encipherment"}), "ec": frozenset({"digital_signature"})}
    ),
    term_years=(1, 2, 3),
)
_TLS_SERVER_IP = replace(
    _TLS_SERVER, id="tls-server-ip", version=1, title="TLS server, IP addresses too", ip_addresses=True
)

PROFILES: Mapping[str, Profile] = MappingProxyType({one.id: one for one in (_TLS_SERVER, _TLS_SERVER_IP)})


def profile(profile_id: str) -> Profile:
    """The profile of this id. Raises InvalidInput when there is none."""
    try:
        return PROFILES[profile_id]
    except KeyError:
        offered = ", ".join(sorted(PROFILES))
        advice = f"Choose one of the profiles on offer: {offered}."
        told = f"There is no profile “{profile_id}”. {advice}"
        raise InvalidInput(told, {"profile": advice}) from None


def allows_ip_addresses(profile_id: str) -> bool:
    """Whether names may be IP addresses under the profile of this id; False where there is none."""
    found = PROFILES.get(profile_id)
    return found is not None and found.ip_addresses


def validity(profile: Profile, *, duration_years: int, now: datetime) -> tuple[datetime, datetime]:
    """When a certificate of this term begins and ends: aware UTC, whole seconds.

    The end is the last second that is still valid (RFC 5280 4.1.2.5), so one year from 10:00:00 ends
    at 09:59:59. Years are calendar years; a term from 29 February ends with 28 February.

    Raises: InvalidInput for a term that is not on offer; InvariantViolated for a `now` without a zone.
    """
    if now.tzinfo is None:
        raise InvariantViolated("validity was asked for at a time without a zone")
    if duration_years not in profile.term_years:
        offered = ", ".join(str(years) for years in profile.term_years)
        advice = f"Choose a duration of {offered} years."
        told = f"A duration of {duration_years} years is not on offer. {advice}"
        raise InvalidInput(told, {"duration_years": advice})
    not_before = now.astimezone(UTC).replace(microsecond=0) - BACKDATE
    year = not_before.year + duration_years
    try:
        ends = not_before.replace(year=year)
    except ValueError:  # 29 February becomes 28 February, so that no term is exceeded
        ends = not_before.replace(year=year, day=28)
    return not_before, ends - timedelta(seconds=1)


def certificate_validity(
    profile: Profile,
    *,
    duration_years: int,
    term_ends_at: datetime | None,
    lifetime: timedelta | None = None,
    now: datetime,
) -> tuple[datetime, datetime]:
    """When a certificate under a term begins and ends; never after the term, where it has begun.

    `lifetime` is how long certificates last whose clients renew them; without it one fills the term.
    """
    not_before, not_after = validity(profile, duration_years=duration_years, now=now)
    if lifetime is not None:
        not_after = min(not_after, not_before + lifetime - timedelta(seconds=1))
    return not_before, not_after if term_ends_at is None else min(not_after, term_ends_at)
