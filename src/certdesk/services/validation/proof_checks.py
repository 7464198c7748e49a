"""Checking proofs on the network: many at once, outside any transaction, with faults as results.

What comes is recorded for one organisation in one short transaction: one for each of a hundred checks costs
more than the checks. What a check writes, and when it comes too late, stays with the services of the methods
(`by_publication`, `persistent`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import datetime
from typing import Protocol, TypeVar

import structlog

from certdesk.dcv.base import Challenge, NotValidated, Outcome, Problem, Record, Validated
from certdesk.domain.errors import InvariantViolated, StateConflict
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.names.identifiers import is_under
from certdesk.domain.validation.evidence import METHODS, Method
from certdesk.services.system import runtime
from certdesk.store.db import write_transaction
from certdesk.store.models import Domain
from certdesk.store.selectors.facts import lock_organisation

log = structlog.get_logger()

#: Checks wait for others: this many at once cost little, and a hundred names take as long as the slowest few.
AT_ONCE = 64
#: Others wait to write meanwhile: what one transaction holds takes some hundredths of a second.
IN_A_TRANSACTION = 25


class _OfDomain(Protocol):
    """A challenge, or a record that is watched."""

    @property
    def domain(self) -> Domain:
        """Whose proof it is."""


Row = TypeVar("Row", bound=_OfDomain)


def check_all(
    rows: Sequence[Row],
    challenge_of: Callable[[Row], Challenge],
    record: Callable[[Row, Outcome], object],
    *,
    clock: Callable[[], datetime],
) -> None:
    """Checks all at once and records what has come, then the next: the slow hold up nobody.

    The threads use no database. A row whose challenge can't be made is left out and logged: its lease puts it
    off. For `record` see `record_outcomes`.
    """
    if not rows:
        return
    rt, challenges = runtime.current(), list[tuple[Row, Challenge]]()
    for row in rows:
        try:
            challenges.append((row, challenge_of(row)))
        except Exception:  # one that breaks holds up no other
            log.exception("dcv.challenge_broken", row=str(row))
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(rows)), thread_name_prefix="check") as pool:
        running = {pool.submit(_check, challenge, rt, clock=clock): row for row, challenge in challenges}
        pending = set(running)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            record_outcomes([(running[one], one.result()) for one in done], record)


def check_proof(challenge: Challenge, *, clock: Callable[[], datetime]) -> Outcome:
    return _check(challenge, runtime.current(), clock=clock)


def proven(outcome: Validated, challenge: Challenge, *, allowed: frozenset[Method]) -> Record:
    """The record of a proof, which has to be about what was challenged and by a method that was asked for.

    Raises InvariantViolated otherwise: the ADN that was challenged is the one granted, and no other. A proof
    at a name above it is one too, where the method reaches down.
    """
    record = outcome.record
    below = METHODS[record.method].covers_subdomains and is_under(challenge.adn, record.adn)
    if record.method not in allowed or not (record.adn == challenge.adn or below):
        raise InvariantViolated("a validator answered about something else than it was asked")
    return record


def record_outcomes(found: Sequence[tuple[Row, Outcome]], record: Callable[[Row, Outcome], object]) -> None:
    """Records each outcome, or nothing of it: with a crash it is checked again when its lease is over.

    `record` writes in the caller's transaction, under the organisation's lock, and raises StateConflict
    before it has written anything when somebody was faster. Where it breaks over one, each of that
    transaction gets one of its own, so that the others are not lost with it.
    """
    by_organisation: dict[OrganisationId, list[tuple[Row, Outcome]]] = {}
    for row, outcome in found:
        number = OrganisationId(row.domain.organisation_id)
        by_organisation.setdefault(number, []).append((row, outcome))
    for number, ones in by_organisation.items():
        for start in range(0, len(ones), IN_A_TRANSACTION):
            batch = ones[start : start + IN_A_TRANSACTION]
            if not _is_recorded(number, batch, record):
                for one in batch:
                    _is_recorded(number, [one], record)


def _is_recorded(
    organisation_id: OrganisationId,
    ones: Sequence[tuple[Row, Outcome]],
    record: Callable[[Row, Outcome], object],
) -> bool:
    try:
        with write_transaction():
            lock_organisation(organisation_id)
            for row, outcome in ones:
                try:
                    record(row, outcome)
                except StateConflict:
                    method = outcome.record.method.value
                    log.info("dcv.check_overtaken", organisation=organisation_id, method=method)
    except Exception:  # one check that can't be recorded must not take others with it
        log.exception("dcv.record_failed", organisation=organisation_id, checks=len(ones))
        return False
    return True


def _check(challenge: Challenge, rt: runtime.Runtime, *, clock: Callable[[], datetime]) -> Outcome:
    validator = rt.validators.get(challenge.method)
    code, detail = "dcv.unavailable", "This method is not set up here."
    if validator is not None and rt.network is not None:
        try:
            return validator.validate(challenge, network=rt.network, now=clock())
        except Exception:  # plug-in boundary: a method that breaks proves nothing, and stops no other check
            log.exception("dcv.check_failed", method=challenge.method.value, adn=challenge.adn)
            code, detail = "dcv.failed", "The check failed on our side. It is tried again."
    record = Record(method=challenge.method, adn=challenge.adn, asked="", answered=detail, at=clock())
    return NotValidated(problem=Problem(code=code, detail=detail, retry=True), record=record)
