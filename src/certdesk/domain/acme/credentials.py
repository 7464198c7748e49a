"""What an EAB credential may be used for: names, profile, number of accounts, until when; and what stands
against an account that uses it. Pure.

A limit that is not set limits nothing; one that is set is a further gate beside policy, never instead of it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from certdesk.domain.acme.orders import identifier_type, refused_identifiers
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, Subproblem
from certdesk.domain.errors import InvalidInput, RejectedIdentifier
from certdesk.domain.names.identifiers import parse_dns_name, under_any

MAX_NAME = 100
MAX_SUFFIXES = 100
MAX_ACCOUNTS = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a credential. `suffixes`: these names and all below them; empty or None: no limit."""

    suffixes: tuple[str, ...] = ()
    profile_id: str = ""
    max_accounts: int | None = None
    expires_at: datetime | None = None

    def outside(self, names: Iterable[str]) -> tuple[str, ...]:
        if not self.suffixes:
            return ()
        return tuple(name for name in names if not under_any(name, self.suffixes))

    def has_room(self, accounts: int) -> bool:
        return self.max_accounts is None or accounts < self.max_accounts

    def is_over(self, *, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an account's right to order rests on, as it is at one moment.

    `profiles` are the ids of those that its organisation may use.
    """

    limits: Limits
    profiles: Collection[str]
    is_deactivated: bool
    is_key_blocked: bool
    is_credential_revoked: bool
    is_organisation_active: bool


def account_obstacle(standing: Standing) -> AcmeRefused | None:
    """Why the account may do nothing at all, or None. The answer is made, not raised."""
    if standing.is_deactivated:
        detail = "This account was deactivated. Register a new one."
    elif standing.is_credential_revoked:
        detail = "The credential that this account registered with was revoked. Ask a manager for a new one."
    elif not standing.is_organisation_active:
        detail = "This organisation may not request certificates at present."
    elif standing.is_key_blocked:
        detail = "The account's key is blocked as compromised. Register a new account with a new key."
    else:
        return None
    return AcmeRefused(ProblemType.UNAUTHORIZED, detail, status=401)


def credential_obstacles(
    standing: Standing, *, names: Sequence[str], profile_id: str, now: datetime
) -> AcmeRefused | None:
    """Why the account may not have these names under this profile, or None. The answer is made, not raised.

    It is asked in every step of an order, and again under the organisation's lock: what was ended, blocked
    or narrowed since the order was made counts.
    """
    if (ended := account_obstacle(standing)) is not None:
        return ended
    limits = standing.limits
    if limits.is_over(now=now):
        told = "The credential that this account registered with has expired. A manager can extend it."
        return AcmeRefused(ProblemType.UNAUTHORIZED, told)
    if profile_id not in standing.profiles or limits.profile_id not in ("", profile_id):
        told = "This profile is not on offer here. Leave “profile” out, or take one of the directory's."
        return AcmeRefused(ProblemType.INVALID_PROFILE, told)
    if outside := limits.outside(names):
        allowed = ", ".join(limits.suffixes)
        detail = f"The credential of this account is limited to {allowed}. A manager can change that."
        return refused_identifiers(
            [
                Subproblem(ProblemType.REJECTED_IDENTIFIER, f"{name}: {detail}", name, identifier_type(name))
                for name in outside
            ]
        )
    return None


def checked_limits(limits: Limits, *, offered: Collection[str], now: datetime) -> Limits:
    """The limits in their stored form: names in lower case, once each. Raises InvalidInput by field."""
    problems: dict[str, str] = {}
    names: dict[str, None] = {}
    for text in limits.suffixes:
        try:
            names[parse_dns_name(text.strip().removeprefix("*."), allow_wildcard=False)] = None
        except RejectedIdentifier as error:
            problems["suffixes"] = error.detail
    if len(names) > MAX_SUFFIXES:
        problems["suffixes"] = f"Give at most {MAX_SUFFIXES} names."
    if limits.profile_id and limits.profile_id not in offered:
        problems["profile"] = f"Choose one of: {', '.join(sorted(offered))}."
    if limits.max_accounts is not None and not 1 <= limits.max_accounts <= MAX_ACCOUNTS:
        problems["max_accounts"] = f"Give a number from 1 to {MAX_ACCOUNTS}, or leave it empty."
    if limits.is_over(now=now):
        problems["expires_at"] = "Choose a time in the future, or leave it empty."
    if problems:
        raise InvalidInput("The credential can't be limited like this.", problems)
    return replace(limits, suffixes=tuple(names))
