"""What CAA records were found to say of a request's names (V6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.caa import Code
from certdesk.domain.policy_limits import CaaAnswer
from certdesk.store.models import CaaCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """An answer, and the question that it was given to: issuers, account, validation method."""

    question: Mapping[str, object]
    answer: CaaAnswer


def stored_answers(*, request_id: int, since: datetime) -> dict[str, StoredAnswer]:
    """The newest answer about each name of a request that is not older than `since`."""
    rows = CaaCheck.objects.filter(request_id=request_id, at__gte=since).order_by("at", "id")
    return {row.name: StoredAnswer(question=row.question, answer=_answer(row)) for row in rows}


def _answer(row: CaaCheck) -> CaaAnswer:
    return CaaAnswer(
        name=row.name,
        permits=row.allowed,
        answered=Code(row.code).is_answer,
        detail=str(row.evidence["detail"]),
        found=tuple(row.records),
        to_add=str(row.evidence["to_add"]),
        at=row.at,
    )
