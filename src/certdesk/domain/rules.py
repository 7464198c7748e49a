"""The figures of the field that change by date, each with its source. Data only; no clock lives here.

BR = CA/Browser Forum TLS Baseline Requirements. Re-check the source before changing a figure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import IntEnum, StrEnum

from certdesk.domain.errors import InvariantViolated


class RuleId(StrEnum):
    """Names of the dated rules; the unit of the value is the last word."""

    PUBLIC_DCV_REUSE = "public.dcv_reuse.days"
    PERSISTENT_DNS_REUSE = "public.persistent_dns_reuse.days"
    PRIVATE_OWNERSHIP_REUSE = "private.ownership_reuse.days"
    RANDOM_VALUE_LIFE = "dcv.random_value_life.days"
    CAA_AGE = "caa.age.hours"
    PUBLIC_EMAIL_DCV = "public.email_dcv.allowance"
    PUBLIC_PERSPECTIVES = "public.remote_perspectives.number"
    PUBLIC_PERSPECTIVE_REGIONS = "public.remote_perspectives.regions"
    BACKDATING = "certificate.backdating.hours"
    PUBLIC_VALIDITY = "public.validity.days"


class Allowance(IntEnum):
    """What a rule about a method says; in proofs and issuance, FORBIDDEN voids earlier proofs too."""

    FORBIDDEN = 0
    DISCOURAGED = 1
    ALLOWED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedRule:
    """One figure that holds from 00:00 UTC of `from_date` until the next one of the same id begins."""

    id: RuleId
    from_date: date
    value: int
    source: str


#: Older than this program: a rule without a date of its own.
STANDING = date(2000, 1, 1)


def _steps(rule_id: RuleId, source: str, *steps: tuple[date, int]) -> Iterable[DatedRule]:
    return (DatedRule(id=rule_id, from_date=start, value=value, source=source) for start, value in steps)


RULES: tuple[DatedRule, ...] = (
    *_steps(
        RuleId.PUBLIC_DCV_REUSE,
        "BR 4.2.1",
        (date(2021, 10, 1), 398),
        (date(2026, 3, 15), 200),
        (date(2027, 3, 15), 100),
        (date(2029, 3, 15), 10),
    ),
    *_steps(RuleId.PERSISTENT_DNS_REUSE, "BR 3.2.2.4.22", (STANDING, 10)),
    *_steps(RuleId.PRIVATE_OWNERSHIP_REUSE, "the RA's own", (STANDING, 398)),
    *_steps(RuleId.RANDOM_VALUE_LIFE, "BR 3.2.2.4", (STANDING, 30)),
    *_steps(RuleId.CAA_AGE, "BR 3.2.2.8", (STANDING, 8)),
    *_steps(
        RuleId.PUBLIC_EMAIL_DCV,
        "SC-090, BR 3.2.2.4.4, .13, .14",
        (STANDING, Allowance.ALLOWED),
        (date(2026, 3, 15), Allowance.DISCOURAGED),
        (date(2028, 3, 15), Allowance.FORBIDDEN),
    ),
    *_steps(
        RuleId.PUBLIC_PERSPECTIVES,
        "BR 3.2.2.9",
        (STANDING, 0),
        (date(2025, 3, 15), 2),
        (date(2026, 3, 15), 3),
        (date(2026, 6, 15), 4),
        (date(2026, 12, 15), 5),
    ),
    *_steps(RuleId.PUBLIC_PERSPECTIVE_REGIONS, "BR 3.2.2.9", (STANDING, 1), (date(2026, 3, 15), 2)),
    *_steps(RuleId.BACKDATING, "BR 7.1.2.7", (STANDING, 48)),
    *_steps(
        RuleId.PUBLIC_VALIDITY,
        "BR 6.3.2",
        (date(2020, 9, 1), 398),
        (date(2026, 3, 15), 200),
        (date(2027, 3, 15), 100),
        (date(2029, 3, 15), 47),
    ),
)


def in_force(rule_id: RuleId | str, now: datetime) -> DatedRule:
    """The rule of this name that holds at `now` (aware).

    Raises: InvariantViolated when no such rule holds then, or `now` has no zone.
    """
    if now.tzinfo is None:
        raise InvariantViolated("a dated rule was asked for at a time without a zone")
    today = now.astimezone(UTC).date()
    begun = [rule for rule in RULES if rule.id == rule_id and rule.from_date <= today]
    if not begun:
        raise InvariantViolated(f"no rule {rule_id} is in force on {today.isoformat()}")
    return max(begun, key=lambda rule: rule.from_date)


def begins_at(rule: DatedRule) -> datetime:
    return datetime.combine(rule.from_date, time(), tzinfo=UTC)
