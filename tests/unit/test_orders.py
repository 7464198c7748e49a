"""ACME statuses follow from facts (RFC 8555 7.1.6): whatever the facts, the order of the RFC holds."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.acme.orders import (
    CHALLENGE_TYPES,
    AuthorizationFacts,
    AuthorizationStatus,
    ChallengeStatus,
    OrderFacts,
    OrderStatus,
    authorization_status,
    challenge_status,
    challenge_types,
    order_status,
    parse_identifiers,
)
from certdesk.domain.acme.problems import AcmeRefused, ProblemType
from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.names.identifiers import parse_dns_name
from certdesk.domain.validation.evidence import METHODS, Method

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
_times = st.integers(-5, 5).map(lambda hours: NOW + hours * HOUR)
_authorizations = st.builds(
    AuthorizationFacts,
    expires_at=_times,
    valid_until=st.none() | _times,
    is_failed=st.booleans(),
    is_deactivated=st.booleans(),
)
_orders = st.builds(
    OrderFacts,
    expires_at=_times,
    is_finalized=st.booleans(),
    has_certificate=st.booleans(),
    is_failed=st.booleans(),
)
_statuses = st.lists(st.sampled_from(AuthorizationStatus), max_size=5)


@given(_authorizations, _times)
def test_an_authorization_is_valid_only_while_its_proof_is(facts: AuthorizationFacts, now: datetime) -> None:
    status = authorization_status(facts, now=now)
    proven = facts.valid_until is not None and now < facts.valid_until
    ended = facts.is_failed or facts.is_deactivated
    assert (status is AuthorizationStatus.VALID) == (proven and not ended)
    if status is AuthorizationStatus.PENDING:
        assert facts.valid_until is None
        assert now < facts.expires_at


@given(_authorizations)
def test_what_has_ended_never_comes_back(facts: AuthorizationFacts) -> None:
    seen = [authorization_status(facts, now=NOW + hours * HOUR) for hours in range(-6, 7)]
    final = {AuthorizationStatus.INVALID, AuthorizationStatus.DEACTIVATED, AuthorizationStatus.EXPIRED}
    for before, after in pairwise(seen):
        if before in final:
            assert after is before


@given(_orders, _statuses, _times)
def test_an_order_is_ready_only_with_every_authorization_valid(
    facts: OrderFacts, statuses: list[AuthorizationStatus], now: datetime
) -> None:
    status = order_status(facts, statuses, now=now)
    if status is OrderStatus.READY:
        assert statuses
        assert set(statuses) == {AuthorizationStatus.VALID}
        assert now < facts.expires_at
        assert facts == OrderFacts(expires_at=facts.expires_at)
    if status is OrderStatus.PENDING:
        assert AuthorizationStatus.PENDING in statuses
    assert (status is OrderStatus.VALID) == facts.has_certificate
    assert (status is OrderStatus.PROCESSING) == (
        facts.is_finalized and not facts.has_certificate and not facts.is_failed
    )


@given(_orders, _statuses, _times)
def test_a_finalized_order_waits_for_no_authorization_any_more(
    facts: OrderFacts, statuses: list[AuthorizationStatus], now: datetime
) -> None:
    """Whatever lapses after the claim: the CA decides, and what it did is recorded."""
    if facts.is_finalized:
        assert order_status(facts, statuses, now=now) is order_status(facts, [], now=now)


def test_one_bad_authorization_among_good_ones_ends_the_order() -> None:
    facts = OrderFacts(expires_at=NOW + HOUR)
    valid = [AuthorizationStatus.VALID] * 3
    assert order_status(facts, valid, now=NOW) is OrderStatus.READY
    for other, expected in (
        (AuthorizationStatus.PENDING, OrderStatus.PENDING),
        (AuthorizationStatus.INVALID, OrderStatus.INVALID),
        (AuthorizationStatus.DEACTIVATED, OrderStatus.INVALID),
        (AuthorizationStatus.EXPIRED, OrderStatus.INVALID),
    ):
        assert order_status(facts, [*valid, other], now=NOW) is expected
    assert order_status(facts, valid, now=NOW + HOUR) is OrderStatus.INVALID


@pytest.mark.parametrize(
    "started, due, validated, expected",
    [
        (False, False, False, ChallengeStatus.PENDING),
        (True, True, False, ChallengeStatus.PROCESSING),
        (True, False, False, ChallengeStatus.INVALID),
        (True, False, True, ChallengeStatus.VALID),
    ],
)
def test_a_challenge_is_what_became_of_it(
    *, started: bool, due: bool, validated: bool, expected: ChallengeStatus
) -> None:
    assert (
        challenge_status(
            is_started=started, is_due=due, is_validated=validated, authorization=AuthorizationStatus.PENDING
        )
        is expected
    )


def test_a_wildcard_is_offered_only_what_reaches_below_a_name() -> None:
    offered = challenge_types("www.example.org", wildcard=True, available=Method)
    assert [kind.name for kind in offered] == ["dns-01", "dns-account-01", "dns-persist-01"]
    assert all(METHODS[kind.method].covers_subdomains for kind in offered)
    assert len(challenge_types("www.example.org", wildcard=False, available=Method)) == len(CHALLENGE_TYPES)
    assert challenge_types("www.example.org", wildcard=False, available=()) == ()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20), st.lists))
def test_anything_else_than_identifiers_is_refused_in_words(value: object) -> None:
    with pytest.raises(AcmeRefused) as caught:
        parse_identifiers(value)
    assert caught.value.detail


@given(st.text(max_size=60))
def test_a_name_is_taken_in_lower_case_or_refused_by_the_rfcs_types(text: str) -> None:
    asked = [{"type": "dns", "value": text}]
    try:
        parse_dns_name(text)
    except RejectedIdentifier:
        with pytest.raises(AcmeRefused) as caught:
            parse_identifiers(asked)
        assert caught.value.kind is ProblemType.REJECTED_IDENTIFIER
    else:
        assert parse_identifiers(asked) == (text.lower(),)


def test_a_name_twice_is_a_name() -> None:
    twice = [{"type": "dns", "value": name} for name in ("A.example.org", "b.example.org", "a.example.org")]
    assert parse_identifiers(twice) == ("a.example.org", "b.example.org")
