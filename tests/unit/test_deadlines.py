"""How long a proof counts for private and for public CAs, on both sides of each date (BR 4.2.1, 3.2.2.4)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.rules import RuleId
from certdesk.domain.validation.deadlines import (
    EMAIL_METHODS,
    Authority,
    deadlines_of,
    method_ends_at,
    private_deadline,
    public_deadline,
)
from certdesk.domain.validation.evidence import Method, Validation

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MARCH_2027 = datetime(2027, 3, 15, tzinfo=UTC)
MARCH_2028 = datetime(2028, 3, 15, tzinfo=UTC)
MARCH_2029 = datetime(2029, 3, 15, tzinfo=UTC)


def proof(at: datetime, method: Method = Method.DNS_TXT, *, days: int = 398) -> Validation:
    return Validation(adn="example.ac.uk", method=method, validated_at=at, expires_at=at + days * DAY)


def until(at: datetime, method: Method = Method.DNS_TXT, *, days: int = 398) -> datetime:
    found = public_deadline(proof(at, method, days=days), now=at)
    assert found is not None
    assert found.authority is Authority.PUBLIC
    return found.until


@pytest.mark.parametrize(
    "at,expected",
    [
        # 200 days end before the rule of 2027 begins, or just as it does
        (MARCH_2027 - 201 * DAY, MARCH_2027 - DAY),
        (MARCH_2027 - 200 * DAY, MARCH_2027),
        # older than 100 days when it begins: it ends with the rule's first moment
        (MARCH_2027 - 199 * DAY, MARCH_2027),
        (MARCH_2027 - 100 * DAY, MARCH_2027),
        # younger than that: 100 days from the proof
        (MARCH_2027 - 100 * DAY + SECOND, MARCH_2027 + SECOND),
        (MARCH_2027 - SECOND, MARCH_2027 + 100 * DAY - SECOND),
        (MARCH_2027, MARCH_2027 + 100 * DAY),
        # the same in 2029, with 10 days
        (MARCH_2029 - 100 * DAY, MARCH_2029),
        (MARCH_2029 - 50 * DAY, MARCH_2029),
        (MARCH_2029 - 10 * DAY + SECOND, MARCH_2029 + SECOND),
        (MARCH_2029, MARCH_2029 + 10 * DAY),
    ],
)
def test_a_proof_by_dns_ends_when_the_rule_of_the_day_says(at: datetime, expected: datetime) -> None:
    assert until(at) == expected


def test_a_coming_rule_that_ends_a_proof_sooner_is_named() -> None:
    at = MARCH_2027 - 50 * DAY
    found = public_deadline(proof(at), now=at)
    assert found is not None
    assert (found.today, found.until) == (at + 200 * DAY, at + 100 * DAY)
    assert found.because is not None
    assert (found.because.id, found.because.value) == (RuleId.PUBLIC_DCV_REUSE, 100)
    afterwards = public_deadline(proof(at), now=MARCH_2027)
    assert afterwards is not None
    assert afterwards.today == afterwards.until
    assert afterwards.because is None


def test_what_ends_before_any_change_is_not_flagged() -> None:
    at = MARCH_2027 - 201 * DAY
    assert deadlines_of([proof(at)], now=at).flags == ()


@pytest.mark.parametrize("method", sorted(EMAIL_METHODS))
def test_email_ends_for_public_cas_in_2028_and_earlier_proofs_with_it(method: Method) -> None:
    assert method_ends_at(method) == MARCH_2028
    assert until(MARCH_2028 - 101 * DAY, method) == MARCH_2028 - DAY
    assert until(MARCH_2028 - 99 * DAY, method) == MARCH_2028
    assert until(MARCH_2028 - SECOND, method) == MARCH_2028
    late = public_deadline(proof(MARCH_2028 + DAY, method), now=MARCH_2028 + DAY)
    assert late is not None
    assert not late.is_open(now=MARCH_2028 + DAY)
    assert late.today == late.until


def test_only_email_has_an_end_of_its_own() -> None:
    assert {m for m in Method if method_ends_at(m)} == EMAIL_METHODS


def test_email_is_flagged_today_with_the_date_and_what_to_do() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    found = deadlines_of([proof(now, Method.EMAIL_CONSTRUCTED)], now=now)
    flags = {flag.code: flag for flag in found.flags}
    assert flags["method.ends"].on == MARCH_2028
    assert "15 March 2028" in flags["method.ends"].message
    assert "persistent DNS record" in flags["method.ends"].to_do
    assert flags["proof.shortened"].on == now + 111 * DAY == MARCH_2027  # 100 days are over by then
    later = deadlines_of([proof(now, Method.EMAIL_CONSTRUCTED)], now=MARCH_2028)
    assert [flag.code for flag in later.flags] == ["method.ended"]


@pytest.mark.parametrize("method", [Method.DNS_PERSIST, Method.DNS_PERSIST_WILDCARD])
def test_a_persistent_record_counts_ten_days_for_public_cas(method: Method) -> None:
    """BR 3.2.2.4.22: whatever the general reuse period is."""
    for at in (MARCH_2027 - 30 * DAY, MARCH_2027 - DAY, MARCH_2029 + DAY):
        assert until(at, method) == at + 10 * DAY


def test_our_own_end_comes_first_where_it_is_sooner() -> None:
    at = MARCH_2027 + DAY
    assert until(at, days=7) == at + 7 * DAY


def test_an_officers_check_counts_for_private_cas_alone() -> None:
    at = MARCH_2027
    by_hand = proof(at, Method.MANUAL_OWNERSHIP)
    assert public_deadline(by_hand, now=at) is None
    found = deadlines_of([by_hand], now=at)
    assert found.public is None
    assert found.private is not None
    assert found.private.until == at + 398 * DAY


def test_for_private_cas_the_record_says_how_long_within_398_days() -> None:
    at = MARCH_2027
    assert private_deadline(proof(at, days=90), now=at).until == at + 90 * DAY
    assert private_deadline(proof(at, days=999), now=at).until == at + 398 * DAY


def test_each_kind_of_ca_has_the_proof_that_lasts_longest_for_it() -> None:
    now = MARCH_2027 + DAY
    by_hand = proof(now - DAY, Method.MANUAL_OWNERSHIP)
    old, new = proof(now - 90 * DAY, days=90), proof(now - 20 * DAY, days=90)
    future = proof(now + DAY)
    found = deadlines_of([old, by_hand, new, future], now=now)
    assert found.private is not None
    assert found.private.until == by_hand.expires_at
    assert found.public is not None
    assert found.public.until == new.expires_at
    assert deadlines_of([future], now=now).private is None
    assert deadlines_of([], now=now).public is None


PROVING = [m for m in Method if m is not Method.MANUAL_OWNERSHIP]


def most_days(method: Method, moment: datetime) -> int:
    """The figures of the BR, written down a second time."""
    if method in (Method.DNS_PERSIST, Method.DNS_PERSIST_WILDCARD):
        return 10
    if method in EMAIL_METHODS and moment >= MARCH_2028:
        return 0
    return 10 if moment >= MARCH_2029 else 100 if moment >= MARCH_2027 else 200


@given(
    at=st.datetimes(datetime(2026, 4, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - zoned here
    method=st.sampled_from(PROVING),
    days=st.integers(1, 398),
)
def test_the_deadline_is_the_first_moment_that_no_rule_covers(
    at: datetime, method: Method, days: int
) -> None:
    end = until(at, method, days=days)
    lengths = {days, most_days(method, at), 10, 100, 200}
    turns = sorted({at, MARCH_2027, MARCH_2028, MARCH_2029, *(at + n * DAY for n in lengths)})
    shut = [
        moment
        for moment in turns
        if moment >= at and moment >= at + min(days, most_days(method, moment)) * DAY
    ]
    assert end == shut[0]


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


@pytest.mark.parametrize(
    "method,validated,ends",
    [
        # BR 4.2.1: 200 days until 2027-03-15, then 100, from 2029-03-15 10.
        (Method.DNS_TXT, _day(2026, 4, 1), _day(2026, 10, 18)),
        (Method.DNS_TXT, _day(2026, 11, 24), _day(2027, 3, 15)),  # 111 days old on the day of the change
        (Method.DNS_TXT, _day(2027, 1, 1), _day(2027, 4, 11)),  # 100 days, which the new rule gives it
        (Method.DNS_TXT, _day(2027, 4, 1), _day(2027, 7, 10)),
        (Method.DNS_TXT, _day(2029, 3, 14), _day(2029, 3, 24)),
        (Method.DNS_TXT, _day(2028, 12, 24), _day(2029, 3, 15)),
        # BR 3.2.2.4.22: 10 days.
        (Method.DNS_PERSIST, _day(2026, 11, 24), _day(2026, 12, 4)),
        (Method.DNS_PERSIST_WILDCARD, _day(2026, 11, 24), _day(2026, 12, 4)),
        # SC-090: e-mail ends on 2028-03-15 and takes its proofs with it.
        (Method.EMAIL_CONSTRUCTED, _day(2028, 1, 1), _day(2028, 3, 15)),
        (Method.EMAIL_CONSTRUCTED, _day(2028, 3, 14), _day(2028, 3, 15)),
        (Method.EMAIL_CONSTRUCTED, _day(2028, 4, 1), _day(2028, 4, 1)),
    ],
)
def test_the_day_on_which_a_proof_ends(method: Method, validated: datetime, ends: datetime) -> None:
    assert until(validated, method) == ends
