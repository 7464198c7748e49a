"""Looking for proofs on the network: many at once, outside any transaction, with faults as results.

Nothing is read from or written to the database here, so the threads need no connections.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import datetime
from typing import TypeVar

import structlog

from certdesk.dcv.base import Challenge, NotValidated, Outcome, Problem, Record, Validated
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.evidence import METHODS, Method
from certdesk.domain.identifiers import is_under
from certdesk.services import runtime

log = structlog.get_logger()

Row = TypeVar("Row")

#: Looks wait for others: this many at once cost little, and a hundred names take as long as the slowest few.
AT_ONCE = 64


def look_at_all(
    challenges: Sequence[Challenge], *, clock: Callable[[], datetime]
) -> Iterator[list[tuple[int, Outcome]]]:
    """What became of each challenge, with its place among them: all that has come, then the next; the slow
    hold up nobody.
    """
    if not challenges:
        return
    rt = runtime.current()
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(challenges)), thread_name_prefix="look") as pool:
        looks = {pool.submit(_look, one, rt, clock=clock): place for place, one in enumerate(challenges)}
        pending = set(looks)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield [(looks[look], look.result()) for look in done]


def challenges_of(rows: Iterable[Row], make: Callable[[Row], Challenge]) -> tuple[list[Row], list[Challenge]]:
    """Rows and the challenge of each. One that can't be made is logged, and holds up no other."""
    found: list[tuple[Row, Challenge]] = []
    for row in rows:
        try:
            found.append((row, make(row)))
        except Exception:  # a row that breaks is not looked at; its lease puts it off
            log.exception("dcv.challenge_broken", row=str(row))
    return [row for row, _challenge in found], [challenge for _row, challenge in found]


def look_at(challenge: Challenge, *, clock: Callable[[], datetime]) -> Outcome:
    """What became of one challenge."""
    return _look(challenge, runtime.current(), clock=clock)


def proven(outcome: Validated, challenge: Challenge, *, allowed: frozenset[Method]) -> Record:
    """The record of a proof, which has to be about what was challenged and by a method that was asked for.

    Raises InvariantViolated otherwise: the ADN that was challenged is the one granted, and no other (V3). A
    proof at a name above it is one too, where the method reaches down.
    """
    record = outcome.record
    below = METHODS[record.method].covers_subdomains and is_under(challenge.adn, record.adn)
    if record.method not in allowed or not (record.adn == challenge.adn or below):
        raise InvariantViolated("a validator answered about something else than it was asked")
    return record


def _look(challenge: Challenge, rt: runtime.Runtime, *, clock: Callable[[], datetime]) -> Outcome:
    validator = rt.validators.get(challenge.method)
    if validator is None or rt.network is None:
        return _ours(challenge, "dcv.unavailable", "This method is not set up here.", now=clock())
    try:
        return validator.validate(challenge, network=rt.network, now=clock())
    except Exception:  # plug-in boundary: a method that breaks proves nothing, and stops nobody else's look
        log.exception("dcv.look_failed", method=challenge.method.value, adn=challenge.adn)
        detail = "The check failed on our side. It is tried again."
        return _ours(challenge, "dcv.failed", detail, now=clock())


def _ours(challenge: Challenge, code: str, detail: str, *, now: datetime) -> NotValidated:
    record = Record(method=challenge.method, adn=challenge.adn, asked="", answered=detail, at=now)
    return NotValidated(problem=Problem(code=code, detail=detail, retry=True), record=record)
