"""What a validation record reaches, and until when: by label, downwards, never beyond its time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.validation import evidence
from certdesk.domain.validation.evidence import (
    METHODS,
    Method,
    MethodFacts,
    Validation,
    covering,
    ownership_expiry,
)

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def _validation(adn: str = "example.ac.uk", *, begins: int = -30, ends: int = 30) -> Validation:
    return Validation(
        adn=adn,
        method=Method.MANUAL_OWNERSHIP,
        validated_at=NOW + timedelta(days=begins),
        expires_at=NOW + timedelta(days=ends),
    )


@pytest.fixture
def exact_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a method that proves one FQDN would be (V4: HTTP, say)."""
    facts = MethodFacts(title="One name", covers_subdomains=False, source="test")
    monkeypatch.setattr(evidence, "METHODS", {Method.MANUAL_OWNERSHIP: facts})


@pytest.mark.parametrize(
    "name",
    ["example.ac.uk", "www.example.ac.uk", "a.b.c.example.ac.uk", "*.example.ac.uk", "*.b.example.ac.uk"],
)
def test_ownership_reaches_the_domain_and_all_below(name: str) -> None:
    assert _validation().covers(name)


@pytest.mark.parametrize(
    "name",
    [
        "ac.uk",
        "notexample.ac.uk",
        "example.ac.uk.evil.example",
        "example.ac",
        "xample.ac.uk",
        "*.ac.uk",
        "www.example.ac.uk.",
        "",
    ],
)
def test_ownership_reaches_nothing_above_or_beside(name: str) -> None:
    assert not _validation().covers(name)


@pytest.mark.parametrize("name", ["www.example.ac.uk", "*.example.ac.uk", "ac.uk"])
@pytest.mark.usefixtures("exact_only")
def test_a_proof_of_one_name_reaches_that_name_alone(name: str) -> None:
    """BR 3.2.2.4.19: no wildcard and no name below follows from a proof of one FQDN."""
    assert _validation().covers("example.ac.uk")
    assert not _validation().covers(name)


def test_a_proof_counts_from_its_moment_until_just_before_its_end() -> None:
    one = _validation()
    assert one.is_current(now=one.validated_at)
    assert one.is_current(now=one.expires_at - MOMENT)
    assert not one.is_current(now=one.expires_at)
    assert not one.is_current(now=one.validated_at - MOMENT)


def test_the_longest_lasting_current_proof_is_the_one_named() -> None:
    lapsed, short, long = _validation(ends=0), _validation(ends=1), _validation(ends=2)
    future, elsewhere = _validation(begins=1, ends=99), _validation("other.ac.uk", ends=99)
    found = covering("www.example.ac.uk", [short, lapsed, long, future, elsewhere], now=NOW)
    assert found is long


def test_no_proof_no_cover() -> None:
    assert covering("www.example.ac.uk", [], now=NOW) is None
    assert covering("www.example.ac.uk", [_validation(ends=0), _validation(begins=1)], now=NOW) is None


@given(st.integers(min_value=1, max_value=398), st.integers(min_value=-500, max_value=500))
def test_an_ownership_check_lasts_exactly_its_days(days: int, age: int) -> None:
    begun = NOW - timedelta(days=age)
    one = Validation(
        adn="example.ac.uk",
        method=Method.MANUAL_OWNERSHIP,
        validated_at=begun,
        expires_at=ownership_expiry(validated_at=begun, days=days),
    )
    assert one.is_current(now=NOW) is (0 <= age < days)


def test_every_method_says_what_it_reaches() -> None:
    assert set(METHODS) == set(Method)
    assert all(facts.title and facts.source for facts in METHODS.values())
