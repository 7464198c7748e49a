"""Terms over short certificates: the cap on a day, the series that fills a term, when one is renewed."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.acme.renewal import Window
from certdesk.domain.issuing.cas import UNLIMITED, CaLimits
from certdesk.domain.issuing.profiles import BACKDATE, BUILT_IN, validity
from certdesk.domain.issuing.terms import longest, renewal_at, series, tellings, usual_renewal
from certdesk.domain.rules import RULES, DatedRule, RuleId, begins_at, in_force

TLS = BUILT_IN["tls-server"]
PUBLIC = CaLimits(public=True)
SECOND = timedelta(seconds=1)
SEED = hashlib.sha256(b"a certificate").digest()


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[misc,arg-type]  # the parts of a time


@pytest.mark.parametrize(
    "when, days",
    [
        (at(2026, 3, 1), 398),
        (at(2026, 11, 27), 200),
        (at(2027, 3, 13, 23, 59, 59), 200),
        (at(2027, 3, 14), 100),  # it may be signed a day later, when the rule of 15 March holds
        (datetime(2027, 3, 13, 20, tzinfo=timezone(timedelta(hours=-4))), 100),
        (at(2027, 3, 15), 100),
        (at(2029, 3, 13), 100),
        (at(2029, 3, 15), 47),
        (at(2040, 2, 29), 47),
    ],
)
def test_a_public_certificate_lasts_as_long_as_the_rule_of_the_day_says(when: datetime, days: int) -> None:
    assert longest(TLS, PUBLIC, at=when) == timedelta(days=days)


def test_the_shortest_of_rule_profile_and_ca_counts() -> None:
    now = at(2026, 11, 27)
    assert longest(TLS, UNLIMITED, at=now) is None
    assert longest(replace(TLS, max_days=90), PUBLIC, at=now) == timedelta(days=90)
    assert longest(replace(TLS, max_days=90), CaLimits(max_days=30), at=now) == timedelta(days=30)
    assert longest(replace(TLS, max_days=300), replace(PUBLIC, max_days=250), at=now) == timedelta(days=200)
    assert longest(replace(TLS, max_days=90), CaLimits(max_days=30), at=now, by_ca=False) == timedelta(
        days=90
    )


def filled(now: datetime, years: int, limits: CaLimits, **profile: int) -> list[tuple[datetime, datetime]]:
    kind = replace(TLS, **profile)  # type: ignore[arg-type]  # days
    begins, ends = validity(kind, duration_years=years, now=now)
    return list(series(begins=begins, ends=ends, cap=lambda when: longest(kind, limits, at=when)))


def test_two_years_from_november_2026_under_a_public_ca() -> None:
    found = filled(at(2026, 11, 27, 10, 5), 2, PUBLIC)
    assert found[0] == (at(2026, 11, 27, 10), at(2027, 6, 15, 9, 59, 59))
    assert found[1][0].date() == at(2027, 4, 9).date()
    assert (len(found), found[-1][1]) == (10, at(2028, 11, 27, 9, 59, 59))


@pytest.mark.parametrize(
    "now, days, expected",
    [
        (at(2027, 1, 1), 365, 1),  # as long as the term
        (at(2027, 1, 1), 1000, 1),  # longer than it
        (at(2027, 1, 1), 364, 2),
        (at(2028, 1, 1), 365, 2),  # of 366 days
        (at(2028, 2, 29, 12), 365, 1),  # to 28 February
    ],
)
def test_a_cap_that_reaches_to_the_end_of_the_term_needs_one_certificate(
    now: datetime, days: int, expected: int
) -> None:
    assert len(filled(now, 1, CaLimits(max_days=days))) == expected


#: The rules that shorten what the one before allowed.
SHORTENING = [rule for rule in RULES if rule.id is RuleId.PUBLIC_VALIDITY][1:]
ANY_LIMITS = st.builds(CaLimits, max_days=st.none() | st.integers(1, 500), public=st.booleans())


@given(
    now=st.datetimes(
        min_value=datetime(2026, 3, 16),  # noqa: DTZ001 - hypothesis wants bounds without zone
        max_value=datetime(2033, 1, 1),  # noqa: DTZ001 - as above
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-11))]),
    ),
    years=st.sampled_from(TLS.term_years),
    limits=ANY_LIMITS,
)
def test_a_series_covers_its_term_and_no_more_and_each_overlaps_the_next(
    now: datetime, years: int, limits: CaLimits
) -> None:
    begins, ends = validity(TLS, duration_years=years, now=now)
    found = filled(now, years, limits)
    assert (found[0][0], found[-1][1]) == (begins, ends)
    assert all(not_after <= ends for _begin, not_after in found)
    for (earlier, until), (later, _end) in pairwise(found):
        assert earlier < later < until
        # A third of its life, less a moment, is left to install the next one.
        assert until - later >= (until - earlier) / 3
    for not_before, not_after in found:
        lasts = not_after - not_before + SECOND
        assert limits.max_days is None or lasts <= timedelta(days=limits.max_days)
        if limits.public:
            assert lasts <= timedelta(days=in_force(RuleId.PUBLIC_VALIDITY, not_before).value)
            assert lasts <= timedelta(days=in_force(RuleId.PUBLIC_VALIDITY, not_before + BACKDATE).value)
    again = (usual_renewal(*one) for one in found)
    assert [start for start, _end in found[1:]] == [moment - BACKDATE for moment in again][: len(found) - 1]


@given(st.integers(-3600 * 30, 3600 * 30), st.sampled_from(SHORTENING))
def test_what_is_asked_for_at_most_a_day_before_it_is_signed_keeps_the_rule(
    seconds: int, rule: DatedRule
) -> None:
    asked = begins_at(rule) + timedelta(seconds=seconds)
    most = longest(TLS, PUBLIC, at=asked)
    signed = asked + timedelta(hours=23)
    assert most is not None
    assert most <= timedelta(days=in_force(RuleId.PUBLIC_VALIDITY, signed).value)


BEGINS, ENDS = at(2027, 1, 1), at(2027, 4, 10, 23, 59, 59)


def test_without_a_word_of_the_ca_two_thirds_of_its_life_count() -> None:
    assert renewal_at(not_before=BEGINS, not_after=ENDS, seed=SEED) == at(2027, 3, 8, 15, 59, 59)


@given(st.binary(min_size=32, max_size=32), st.integers(-50, 150), st.integers(1, 40))
def test_the_ca_s_word_counts_earlier_or_later_but_never_to_the_very_end(
    seed: bytes, start: int, length: int
) -> None:
    window = Window(start=BEGINS + timedelta(days=start), end=BEGINS + timedelta(days=start + length))
    moment = renewal_at(not_before=BEGINS, not_after=ENDS, seed=seed, suggested=window)
    assert moment < ENDS - timedelta(days=9)
    if window.end < BEGINS + timedelta(days=90):
        assert window.start <= moment <= window.end


def test_an_operators_advice_counts_where_it_is_earlier() -> None:
    soon = Window(start=at(2027, 1, 10), end=at(2027, 1, 12))
    late = Window(start=at(2027, 4, 1), end=at(2027, 4, 2))
    by_ca = Window(start=at(2027, 2, 1), end=at(2027, 2, 2))
    told = {"not_before": BEGINS, "not_after": ENDS, "seed": SEED}
    assert soon.start <= renewal_at(**told, advised=soon) <= soon.end  # type: ignore[arg-type]  # of all types
    assert soon.start <= renewal_at(**told, suggested=by_ca, advised=soon) <= soon.end  # type: ignore[arg-type]  # as above
    assert renewal_at(**told, advised=late) == usual_renewal(BEGINS, ENDS)  # type: ignore[arg-type]  # as above


def test_people_are_told_again_as_the_end_comes_near() -> None:
    days = [(66, 1), (83, 1), (84, 2), (94, 2), (95, 3), (99, 3), (100, 4), (120, 4)]
    assert [tellings(BEGINS, ENDS, now=BEGINS + timedelta(days=day)) for day, _times in days] == [
        times for _day, times in days
    ]
