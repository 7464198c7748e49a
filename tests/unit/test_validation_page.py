"""docs/validation.md says of each method what the code says."""

import re
from pathlib import Path

from certdesk.domain.rules import RULES, RuleId
from certdesk.domain.validation.evidence import METHODS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "validation.md").read_text(encoding="utf-8")
ROWS = {
    row[0]: row for row in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|(.*)\|$", PAGE, re.MULTILINE)
}


def test_every_method_has_its_row_with_reach_and_source() -> None:
    assert set(ROWS) == {method.value for method in METHODS}
    for method, facts in METHODS.items():
        _name, _found, reaches, source, _ends = ROWS[method.value]
        assert source.startswith(facts.source)
        assert reaches == ("the ADN and all below" if facts.covers_subdomains else "that FQDN alone")


def test_the_dates_of_the_page_are_those_of_the_rules() -> None:
    begins = {
        rule.from_date.isoformat()
        for rule in RULES
        if rule.id in (RuleId.PUBLIC_EMAIL_DCV, RuleId.PUBLIC_PERSPECTIVES) and rule.from_date.year > 2000
    }
    assert all(day in PAGE for day in begins)
