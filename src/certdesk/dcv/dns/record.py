"""One exact value among the records at one name: what every method of this folder comes down to (V5)."""

import hmac
from datetime import datetime

from certdesk.dcv.base import Challenge, NotValidated, Outcome, Problem, Record, Validated
from certdesk.dcv.look import Look, digest


def judge(found: Look, *, challenge: Challenge, value: str, now: datetime) -> Outcome:
    """Whether a record is exactly the value. Several records may stand there; the others do not matter."""
    record = Record(
        method=challenge.method,
        adn=challenge.adn,
        asked=found.asked,
        answered=found.answered,
        at=now,
        details={"expected": digest(value), **found.details(secrets={value, challenge.expected})},
    )
    if (fault := found.fault()) is not None:
        return NotValidated(problem=fault, record=record)
    if any(hmac.compare_digest(value.encode(), there.encode()) for there in found.answer.values):
        return Validated(record=record)
    if found.answer.values:
        told = (
            f"The {found.kind} record at {found.name} has another value than the one to be shown. "
            "Compare them; old records may stay beside the new one."
        )
        problem = Problem(code="dcv.dns.other_value", detail=told, acme_type="incorrectResponse", retry=True)
    else:
        told = (
            f"There is no {found.kind} record at {found.name}. Add it, and wait until all name "
            "servers have it."
        )
        problem = Problem(code="dcv.dns.no_record", detail=told, acme_type="dns", retry=True)
    return NotValidated(problem=problem, record=record)
