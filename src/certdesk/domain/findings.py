"""One check and its verdict: the same list is preview, officer's page, REST answer and ACME problem."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum


class Verdict(StrEnum):
    """What a check says about a request, mildest first.

    NOT_CHECKED is no pass: it could not be looked at here, which alone stops nothing and is said.
    PENDING wants no RA officer, only something that has not happened yet, such as a confirmation by mail.
    """

    PASS = "pass"
    NOT_CHECKED = "not_checked"
    WARN = "warn"
    PENDING = "pending"
    MANUAL = "manual"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule applied once.

    `code` is stable (`names.outside_trusted_suffix`); `message` tells a person what was found and
    what to do; `seen` is what was looked at. `names` are those of the request that it is about, if any; they
    are not stored. The rest is filled in by `check_catalogue.explained` unless a check knows better: `rule`
    names the clause, `rule_from` is the ISO date from which it holds, empty for a standing one, `changed_by`
    says who can change the verdict ("applicant", "RA officer", …).
    """

    code: str
    verdict: Verdict
    message: str
    seen: str = ""
    rule: str = ""
    changed_by: str = ""
    rule_from: str = ""
    names: tuple[str, ...] = field(default=(), compare=False)


#: What asks nothing of anybody.
QUIET = frozenset({Verdict.PASS, Verdict.NOT_CHECKED})

_FIELDS = tuple(one.name for one in fields(Check) if one.name != "names")
_GRAVITY = {verdict: grade for grade, verdict in enumerate(Verdict)}


def worst(checks: Iterable[Check]) -> Verdict:
    """The gravest verdict of all checks; an empty list is MANUAL, for nothing was looked at."""
    return max((check.verdict for check in checks), key=_GRAVITY.__getitem__, default=Verdict.MANUAL)


def as_record(check: Check) -> dict[str, str]:
    """A check as it is stored and as REST tells it."""
    return {name: str(getattr(check, name)) for name in _FIELDS}


def from_record(record: Mapping[str, str]) -> Check:
    """The check that was stored; what an older version did not store is empty."""
    return Check(
        verdict=Verdict(record["verdict"]),
        names=(),
        **{name: record.get(name, "") for name in _FIELDS if name != "verdict"},
    )


def gravest_first(checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks with what needs attention on top; within one verdict they keep their order."""
    return tuple(sorted(checks, key=lambda check: -_GRAVITY[check.verdict]))
