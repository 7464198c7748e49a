"""Every error has a stable code of its own, for machines, and a detail that is kept for people."""

import inspect
from itertools import pairwise

import pytest

from certdesk.domain import errors
from certdesk.domain.errors import (
    BackendError,
    CertdeskError,
    InvalidInput,
    InvariantViolated,
    PolicyRefused,
    RateLimited,
    Refused,
    StateConflict,
)

CLASSES = [
    found
    for _name, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, CertdeskError) and found.__module__ == errors.__name__
]

#: The contract: clients and documentation name these. A new class adds a line, and no line ever changes.
CODES = {
    "CertdeskError": "error",
    "Refused": "refused",
    "BadCsr": "csr.unreadable",
    "BadKey": "key.refused",
    "RejectedIdentifier": "names.rejected",
    "InvalidInput": "input.invalid",
    "NotAuthorized": "not_authorized",
    "MissingScope": "token.scope",
    "NotFound": "not_found",
    "StateConflict": "state_conflict",
    "IdempotencyMismatch": "idempotency_mismatch",
    "PolicyRefused": "policy.refused",
    "RateLimited": "rate_limited",
    "BackendError": "backend",
    "Unavailable": "backend.unavailable",
    "Postponed": "backend.postponed",
    "BackendRefused": "backend.refused",
    "OutcomeUnknown": "backend.outcome_unknown",
    "Misconfigured": "backend.misconfigured",
    "InvariantViolated": "internal",
}


def test_the_codes_are_the_published_ones() -> None:
    assert {found.__name__: found.code for found in CLASSES} == CODES


def test_no_two_errors_share_a_code() -> None:
    codes = sorted(found.code for found in CLASSES)
    assert all(one != two for one, two in pairwise(codes))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: str(kind.__name__))
def test_an_error_keeps_its_detail_and_belongs_to_exactly_one_family(kind: type[CertdeskError]) -> None:
    error = kind("what to do")
    assert (error.detail, str(error)) == ("what to do", "what to do")
    families = [f for f in (Refused, BackendError, InvariantViolated) if isinstance(error, f)]
    assert len(families) == (0 if kind is CertdeskError else 1)


def test_a_more_exact_code_belongs_to_one_error_alone() -> None:
    assert StateConflict("x", code="state_conflict.stale").code == "state_conflict.stale"
    assert StateConflict("x").code == "state_conflict"


def test_what_an_error_carries_beside_its_detail() -> None:
    assert InvalidInput("x", fields={"a": "b"}).fields == {"a": "b"}
    assert InvalidInput("x").fields == {}
    assert PolicyRefused("x", checks=(1,)).checks == (1,)
    assert RateLimited("x", retry_after=5).retry_after == 5
