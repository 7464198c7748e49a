"""Recording what many looks have brought: those of one organisation in one short transaction.

A transaction for each of a hundred looks costs more than the looks. What a look writes, and when it comes too
late, stays with the services of the methods (`validation_methods`, `persistent`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import structlog

from certdesk.dcv.base import Outcome
from certdesk.domain.errors import StateConflict
from certdesk.domain.requests import OrganisationId
from certdesk.store.db import write_transaction
from certdesk.store.selectors.facts import lock_organisation

log = structlog.get_logger()

Row = TypeVar("Row")

#: Others wait to write meanwhile: what one transaction holds takes some hundredths of a second.
AT_ONCE = 25


def record_outcomes(
    found: Sequence[tuple[Row, Outcome]],
    *,
    organisation_of: Callable[[Row], OrganisationId],
    record: Callable[[Row, Outcome], object],
) -> None:
    """Records each outcome, or nothing of it: with a crash it is looked at again when its lease is over.

    `record` writes in the caller's transaction, under the organisation's lock, and raises StateConflict
    before it has written anything when somebody was faster. Where it breaks over one, each of that
    transaction gets one of its own, so that the others are not lost with it.
    """
    for organisation_id, ones in _grouped(found, organisation_of):
        try:
            _record(organisation_id, ones, record)
        except Exception:  # one look that can't be recorded must not take others with it
            log.exception("dcv.batch_failed", organisation=organisation_id, looks=len(ones))
            for one in ones:
                _record_alone(organisation_id, one, record)


def _grouped(
    found: Iterable[tuple[Row, Outcome]], organisation_of: Callable[[Row], OrganisationId]
) -> Iterator[tuple[OrganisationId, list[tuple[Row, Outcome]]]]:
    by_organisation: dict[OrganisationId, list[tuple[Row, Outcome]]] = {}
    for row, outcome in found:
        by_organisation.setdefault(organisation_of(row), []).append((row, outcome))
    for organisation_id, ones in by_organisation.items():
        for start in range(0, len(ones), AT_ONCE):
            yield organisation_id, ones[start : start + AT_ONCE]


def _record(
    organisation_id: OrganisationId,
    ones: Iterable[tuple[Row, Outcome]],
    record: Callable[[Row, Outcome], object],
) -> None:
    with write_transaction():
        lock_organisation(organisation_id)
        for row, outcome in ones:
            try:
                record(row, outcome)
            except StateConflict:
                log.info(
                    "dcv.look_overtaken", organisation=organisation_id, method=outcome.record.method.value
                )


def _record_alone(
    organisation_id: OrganisationId, one: tuple[Row, Outcome], record: Callable[[Row, Outcome], object]
) -> None:
    try:
        _record(organisation_id, [one], record)
    except Exception:  # as above
        log.exception("dcv.record_failed", organisation=organisation_id)
