"""The dated figures of the field."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.rules import RULES, RuleId, in_force


@pytest.mark.parametrize(
    "rule_id,day,value",
    [
        (RuleId.PUBLIC_DCV_REUSE, (2026, 3, 14), 398),
        (RuleId.PUBLIC_DCV_REUSE, (2026, 3, 15), 200),
        (RuleId.PUBLIC_DCV_REUSE, (2027, 3, 14), 200),
        (RuleId.PUBLIC_DCV_REUSE, (2027, 3, 15), 100),
        (RuleId.PUBLIC_DCV_REUSE, (2040, 1, 1), 10),
        (RuleId.PUBLIC_DCV_REUSE, (2029, 3, 14), 100),
        (RuleId.PUBLIC_DCV_REUSE, (2029, 3, 15), 10),
        (RuleId.PRIVATE_OWNERSHIP_REUSE, (2026, 11, 23), 398),
        (RuleId.RANDOM_VALUE_LIFE, (2026, 11, 23), 30),
    ],
)
def test_the_figure_of_the_day(rule_id: RuleId, day: tuple[int, int, int], value: int) -> None:
    assert in_force(rule_id, datetime(*day, tzinfo=UTC)).value == value


def test_a_rule_begins_at_midnight_utc_wherever_one_is() -> None:
    just_begun = datetime(2026, 3, 14, 20, 0, tzinfo=timezone(timedelta(hours=-4)))
    assert in_force(RuleId.PUBLIC_DCV_REUSE, just_begun).value == 200
    assert in_force(RuleId.PUBLIC_DCV_REUSE, just_begun - timedelta(seconds=1)).value == 398


def test_every_rule_holds_today_and_has_a_source() -> None:
    assert all(rule.source for rule in RULES)
    for rule_id in RuleId:
        assert in_force(rule_id, datetime(2026, 11, 23, tzinfo=UTC)).id == rule_id


def test_unknown_rules_early_days_and_times_without_zone_are_our_bug() -> None:
    with pytest.raises(InvariantViolated):
        in_force("no.such.rule", datetime(2026, 11, 23, tzinfo=UTC))
    with pytest.raises(InvariantViolated):
        in_force(RuleId.PUBLIC_DCV_REUSE, datetime(1999, 1, 1, tzinfo=UTC))
    with pytest.raises(InvariantViolated):
        in_force(RuleId.PUBLIC_DCV_REUSE, datetime(2026, 11, 23))  # noqa: DTZ001 - the point of the test
