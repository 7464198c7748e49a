"""How waiting is put into words, and what counts as usual."""

from datetime import timedelta

import pytest

from certdesk.domain.issuing.waiting import usual_time, waiting_phrase

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    "elapsed,usual,text",
    [
        (2 * HOUR, 2.5 * HOUR, "Waiting for 2 hours; this CA usually takes 2 to 3 hours."),
        (2 * HOUR, 2 * HOUR, "Waiting for 2 hours; this CA usually takes about 2 hours."),
        (59.9 * MINUTE, HOUR, "Waiting for 59 minutes; this CA usually takes about 1 hour."),
        (26 * HOUR, 1.5 * HOUR, "Waiting for 1 day; this CA usually takes 1 to 2 hours."),
        (MINUTE, timedelta(seconds=3), "Waiting for 1 minute; this CA usually takes less than a minute."),
        (timedelta(0), None, "Waiting for less than a minute."),
        (-HOUR, None, "Waiting for less than a minute."),
    ],
)
def test_waiting_is_told_in_whole_units(elapsed: timedelta, usual: timedelta | None, text: str) -> None:
    assert waiting_phrase(elapsed=elapsed, usual=usual) == text


def test_usual_is_the_median_so_that_one_bad_day_does_not_count() -> None:
    assert usual_time([HOUR, 2 * HOUR, 200 * HOUR]) == 2 * HOUR


def test_a_chance_hit_is_not_yet_usual() -> None:
    assert usual_time([HOUR, HOUR]) is None
    assert usual_time([]) is None
