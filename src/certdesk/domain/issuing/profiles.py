"""Certificate profiles: what a kind of certificate contains and how long it may run (BR 7.1.2.7).

A profile never changes under its version: certificates and intents record which one they follow. Those that
a service offers are in its runtime: the two built in, or what its file says (`domain.issuing.cas`).
No clock and no encoding of certificates lives here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from certdesk.domain.csr.keys import MAX_RSA_BITS, MIN_RSA_BITS
from certdesk.domain.errors import InvalidInput, InvariantViolated
from certdesk.domain.policy.in_force import USUAL_KEY_TYPES, KeyType, Rules

SERVER_AUTH, CLIENT_AUTH = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"

#: A relying party's clock may be slow, so a certificate begins a little before it is signed (BR 7.1.2.7
#: allows 48 hours). The term is counted from that beginning, so nothing runs longer than was asked for.
BACKDATE = timedelta(minutes=5)
#: No public certificate, and so no key in one, could last longer when the rules began to shorten them.
SAME_KEY_DAYS = 398


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of certificate.

    `key_usage` maps a key type ("rsa", "ec") to the key usages of RFC 5280 4.2.1.3 by name;
    `eku` holds dotted OIDs; `term_years` are the choices that an applicant has. `ip_addresses`: whether
    names may be IP addresses as well (RFC 8738). `max_days` ends certificates before their term.
    `same_key_days` is for how long a key that was met first may be certified again without a person's doing,
    0 for never. `cas` are
    the CAs to ask, in this order, None for the service's default, and `fail_over` says whether one that does
    not answer is passed over; `organisations` (by their slugs) may use
    it, None for all. `common_name` and `organisation` say whether these stand in the subject.
    """

    id: str
    version: int
    title: str
    eku: tuple[str, ...]
    key_usage: Mapping[str, frozenset[str]] = field(hash=False)
    term_years: tuple[int, ...]
    ip_addresses: bool = False
    max_days: int | None = None
    same_key_days: int = SAME_KEY_DAYS
    key_types: tuple[KeyType, ...] = USUAL_KEY_TYPES
    rsa_min_bits: int = MIN_RSA_BITS
    rsa_max_bits: int = MAX_RSA_BITS
    common_name: bool = True
    organisation: bool = True
    organisations: frozenset[str] | None = None
    cas: tuple[str, ...] | None = None
    fail_over: bool = False

    def is_for(self, organisation: str) -> bool:
        """Whether an organisation (its slug) may use it."""
        return self.organisations is None or organisation in self.organisations

    def within(self, rules: Rules) -> Rules:
        """The rules, narrowed to the keys that the profile takes."""
        own = (self.key_types, self.rsa_min_bits, self.rsa_max_bits)
        if own == (USUAL_KEY_TYPES, MIN_RSA_BITS, MAX_RSA_BITS) and set(rules.key_types) <= set(own[0]):
            return rules
        return replace(
            rules,
            key_types=tuple(kind for kind in rules.key_types if kind in self.key_types),
            rsa_min_bits=max(rules.rsa_min_bits, self.rsa_min_bits),
            rsa_max_bits=min(rules.rsa_max_bits, self.rsa_max_bits),
        )


#: Only RSA key transport enciphers a key; an EC key in TLS does nothing but sign (BR 7.1.2.7.11), and so does
#: a client's.
SERVER_KEY_USAGE: Mapping[str, frozenset[str]] = MappingProxyType(
    {"rsa": frozenset({"digital_signature", "key_encipherment"}), "ec": frozenset({"digital_signature"})}
)
CLIENT_KEY_USAGE: Mapping[str, frozenset[str]] = MappingProxyType(
    {"rsa": frozenset({"digital_signature"}), "ec": frozenset({"digital_signature"})}
)

_TLS_SERVER = Profile(
    id="tls-server",
    version=1,
    title="TLS server",
    eku=(SERVER_AUTH,),
    key_usage=SERVER_KEY_USAGE,
    term_years=(1, 2, 3),
)
_TLS_SERVER_IP = replace(
    _TLS_SERVER, id="tls-server-ip", version=1, title="TLS server, IP addresses too", ip_addresses=True
)

#: What is offered where no file says otherwise.
BUILT_IN: Mapping[str, Profile] = MappingProxyType({one.id: one for one in (_TLS_SERVER, _TLS_SERVER_IP)})


def profile(profile_id: str, among: Mapping[str, Profile] = BUILT_IN) -> Profile:
    """The profile of this id. Raises InvalidInput when there is none."""
    try:
        return among[profile_id]
    except KeyError:
        offered = ", ".join(sorted(among))
        advice = f"Choose one of the profiles on offer: {offered}."
        told = f"There is no profile “{profile_id}”. {advice}"
        raise InvalidInput(told, {"profile": advice}) from None


def no_longer_offered(profile_id: str, version: int) -> Profile:
    """Stands in for a profile, or a version of one, of which no more is known: nothing is issued under it."""
    years = tuple(range(1, 100))  # whatever a request's term is, that is not what is wrong
    return Profile(id=profile_id, version=version, title=profile_id, eku=(), key_usage={}, term_years=years)


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
    longest: timedelta | None = None,
    now: datetime,
) -> tuple[datetime, datetime]:
    """When a certificate under a term begins and ends; never after the term, where it has begun.

    `lifetime` is how long certificates last whose clients renew them, `longest` what `terms.longest` allows.
    Without them one fills the term, or the days that the profile has for one.
    """
    not_before, not_after = validity(profile, duration_years=duration_years, now=now)
    own = None if profile.max_days is None else timedelta(days=profile.max_days)
    for most in (lifetime, longest, own):
        if most is not None:
            not_after = min(not_after, not_before + most - timedelta(seconds=1))
    return not_before, not_after if term_ends_at is None else min(not_after, term_ends_at)
