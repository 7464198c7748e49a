"""Profiles and how long a certificate runs."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.errors import InvalidInput, InvariantViolated
from certdesk.domain.issuing.profiles import BACKDATE, BUILT_IN, profile, validity

TLS = profile("tls-server")


def test_only_rsa_enciphers_keys() -> None:
    assert "key_encipherment" in TLS.key_usage["rsa"]
    assert TLS.key_usage["ec"] == {"digital_signature"}
    assert TLS.eku == ("1.3.6.1.5.5.7.3.1",)


def test_an_unknown_profile_names_those_on_offer() -> None:
    with pytest.raises(InvalidInput, match="tls-server") as caught:
        profile("code-signing")
    assert "profile" in caught.value.fields


def test_a_year_ends_one_second_before_its_beginning_comes_round() -> None:
    begins, ends = validity(TLS, duration_years=1, now=datetime(2026, 11, 23, 10, 5, 0, 999, tzinfo=UTC))
    assert begins == datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)
    assert ends == datetime(2027, 11, 23, 9, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("years,ends", [(1, (2029, 2, 28)), (2, (2030, 2, 28)), (3, (2031, 2, 28))])
def test_a_leap_day_ends_with_february(years: int, ends: tuple[int, int, int]) -> None:
    _, not_after = validity(TLS, duration_years=years, now=datetime(2028, 2, 29, 12, tzinfo=UTC))
    assert (not_after.year, not_after.month, not_after.day) == ends


@pytest.mark.parametrize("years", [0, 4, -1, 100])
def test_other_terms_are_not_on_offer(years: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        validity(TLS, duration_years=years, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert "duration_years" in caught.value.fields


def test_a_time_without_zone_is_our_bug() -> None:
    with pytest.raises(InvariantViolated):
        validity(TLS, duration_years=1, now=datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


@given(
    now=st.datetimes(
        min_value=datetime(2024, 1, 1),  # noqa: DTZ001 - hypothesis wants bounds without zone
        max_value=datetime(2090, 1, 1),  # noqa: DTZ001 - as above
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-7))]),
    ),
    years=st.sampled_from(TLS.term_years),
)
def test_no_term_is_exceeded_and_it_begins_before_it_is_signed(now: datetime, years: int) -> None:
    begins, ends = validity(TLS, duration_years=years, now=now)
    assert timedelta(0) <= now - begins - BACKDATE < timedelta(seconds=1)
    assert begins.microsecond == ends.microsecond == 0
    assert begins.tzinfo == ends.tzinfo == UTC
    inclusive = ends - begins + timedelta(seconds=1)
    assert timedelta(days=365 * years) <= inclusive <= timedelta(days=365 * years + 1)


def test_every_profile_is_filed_under_its_id() -> None:
    assert all(profile(key).id == key for key in BUILT_IN)
