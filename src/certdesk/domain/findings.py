"""One check and its verdict: the same list is preview, officer's page, REST answer and ACME problem."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a check says about a request, mildest first.

    PENDING wants no RA officer, only something that has not happened yet, such as a confirmation by mail.
    """

    PASS = "pass"
    WARN = "warn"
    PENDING = "pending"
    MANUAL = "manual"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule applied once.

    `code` is stable (`names.outside_trusted_suffix`); `message` tells a person what was found and
    what to do; `seen` is what was looked at; `rule` is the source of the rule (BR or RFC clause,
    S1 to S11, R1 to R38); `changed_by` says who can change the verdict ("applicant", "RA officer", …).
    """

    code: str
    verdict: Verdict
    message: str
    seen: str = ""
    rule: str = ""
    changed_by: str = ""


def worst(checks: Iterable[Check]) -> Verdict:
    """The gravest verdict of all checks; an empty list is MANUAL, for nothing was looked at."""
    order = list(Verdict)
    found = [order.index(check.verdict) for check in checks]
    return order[max(found)] if found else Verdict.MANUAL
