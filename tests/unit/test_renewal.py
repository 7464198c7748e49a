"""Renewal windows (RFC 9773): the same each time, spread, earlier when an operator says so."""

import hashlib
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.acme.renewal import Window, renewal_window

BEGINS = datetime(2026, 11, 24, tzinfo=UTC)
SEEDS = [hashlib.sha256(str(number).encode()).digest() for number in range(500)]


@given(st.binary(min_size=32, max_size=32), st.integers(1, 400))
def test_a_window_lies_in_the_last_half_of_a_certificate_s_life(seed: bytes, days: int) -> None:
    ends = BEGINS + timedelta(days=days)
    window = renewal_window(not_before=BEGINS, not_after=ends, seed=seed)
    assert BEGINS + (ends - BEGINS) / 2 < window.start < window.end < ends
    assert window == renewal_window(not_before=BEGINS, not_after=ends, seed=seed)


def test_a_thousand_servers_of_one_day_do_not_renew_on_one_day() -> None:
    ends = BEGINS + timedelta(days=90)
    starts = [renewal_window(not_before=BEGINS, not_after=ends, seed=seed).start for seed in SEEDS]
    days = {start.date() for start in starts}
    assert len(days) >= 7
    assert max(starts.count(start) for start in starts) < 5


def test_an_operators_advice_counts_where_it_is_earlier_and_is_spread_too() -> None:
    ends = BEGINS + timedelta(days=90)
    soon = Window(
        start=BEGINS + timedelta(days=2), end=BEGINS + timedelta(days=4), explanation_url="https://x/"
    )
    found = [renewal_window(not_before=BEGINS, not_after=ends, seed=s, advised=soon) for s in SEEDS]
    assert all(soon.start <= window.start < window.end <= soon.end for window in found)
    assert {window.explanation_url for window in found} == {"https://x/"}
    assert len({window.start.replace(minute=0, second=0) for window in found}) > 20
    late = Window(start=ends, end=ends + timedelta(days=1))
    assert renewal_window(not_before=BEGINS, not_after=ends, seed=SEEDS[0], advised=late) == renewal_window(
        not_before=BEGINS, not_after=ends, seed=SEEDS[0]
    )


def test_a_revoked_certificate_is_to_be_renewed_at_once() -> None:
    revoked_at = BEGINS + timedelta(days=1)
    window = renewal_window(
        not_before=BEGINS, not_after=BEGINS + timedelta(days=90), seed=SEEDS[0], revoked_at=revoked_at
    )
    assert window.start < window.end <= revoked_at
