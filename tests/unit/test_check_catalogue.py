"""The catalogue of checks is complete, and everybody is told one list in one order."""

import ast
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.csr.csr import read_csr
from certdesk.domain.errors import BadCsr, BadKey
from certdesk.domain.findings import Check, Verdict, as_record
from certdesk.domain.policy.catalogue import CATALOGUE, Origin, explained, stored
from certdesk.domain.policy.decide import Facts, decide
from certdesk.domain.policy.in_force import CaaMode, Handling, Rules
from tests.unit.test_policy import NOW
from tests.unit.test_policy_limits import ANY_RULES, MORE_FACTS

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
#: Checks of back ends and of certificates that came back: nobody's request is judged by them.
ELSEWHERE = ("backend.", "delegation.", "issuance.")
MAKERS = {"Check", "_refuse"}


def _made(path: Path) -> Iterator[str]:
    """The codes of the checks that a module makes, as far as they are written out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "_reject":
                yield from (f"names.{text}" for text in _texts(node.args[:1]))
            elif node.func.id in MAKERS:
                given_by_name = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                yield from (text for text in _texts([*node.args[:2], *given_by_name]) if _is_code(text))


def _texts(nodes: Iterable[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _is_code(text: str) -> bool:
    return "." in text and text.replace(".", "").replace("_", "").isalpha() and text.islower()


def _sources() -> list[Path]:
    folders = ("domain", "services", "backends", "store")
    found = [path for folder in folders for path in (ROOT / "src" / "certdesk" / folder).rglob("*.py")]
    return [path for path in found if path.name != "check_catalogue.py"]


def test_every_check_in_the_code_is_in_the_catalogue() -> None:
    made = {code for path in _sources() for code in _made(path) if not code.startswith(ELSEWHERE)}
    assert {"csr.readable", "names.idna", "key.known", "caa.forbids", "certificate.lint"} <= made
    assert not made - CATALOGUE.keys()


def test_every_check_in_the_catalogue_is_in_the_code() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in _sources())
    idle = [code for code in CATALOGUE if f'"{code}"' not in text and f'"{code[6:]}"' not in text]
    assert not idle


def _findings() -> list[Check]:
    found: list[Check] = []
    for kind in ("good", "bad"):
        for case in json.loads((VECTORS / f"{kind}.json").read_text(encoding="utf-8")):
            try:
                found += read_csr((VECTORS / kind / case["file"]).read_bytes()).findings
            except (BadCsr, BadKey):
                continue
    return found


def test_csrs_are_checked_as_the_catalogue_says() -> None:
    found = _findings()
    assert len({check.code for check in found}) > 20
    for check in explained(found):
        info = CATALOGUE[check.code]
        assert info.origin is Origin.CSR
        assert check.verdict in info.verdicts, check
        assert (check.rule, check.changed_by) == (info.rule, info.changed_by), check


@given(MORE_FACTS, ANY_RULES)
def test_policy_decides_as_the_catalogue_says(facts: Facts, rules: Rules) -> None:
    facts = replace(facts, csr_findings=())
    for check in decide(facts, rules, now=NOW).checks:
        info = CATALOGUE[check.code]
        assert check.verdict in info.verdicts, check
        assert check.changed_by in (info.changed_by, *info.changed_by.split(" or ")), check
        assert check.rule_from == (info.rule_from.isoformat() if info.rule_from else "")


@pytest.mark.parametrize("info", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_each_entry_can_be_read_by_a_person(info: object) -> None:
    told = CATALOGUE[getattr(info, "code", "")]
    assert told.meaning.endswith(".")
    assert told.rule
    assert told.changed_by
    assert told.verdicts
    assert told.rule_from is None or date(2010, 1, 1) < told.rule_from <= datetime.now(UTC).date()


CHECKS = st.lists(
    st.builds(
        Check,
        code=st.sampled_from(sorted(CATALOGUE)),
        verdict=st.sampled_from(Verdict),
        message=st.text(max_size=3),
        seen=st.text(max_size=3),
    )
)


@given(CHECKS)
def test_the_gravest_comes_first_and_nothing_is_lost(checks: list[Check]) -> None:
    told = explained(checks)
    order = list(Verdict)
    grades = [order.index(check.verdict) for check in told]
    assert grades == sorted(grades, reverse=True)
    bare = [replace(check, rule="", changed_by="", rule_from="") for check in told]
    assert sorted(bare, key=repr) == sorted(checks, key=repr)
    for verdict in Verdict:
        same = [check for check in bare if check.verdict is verdict]
        assert same == [check for check in checks if check.verdict is verdict]


@given(CHECKS)
def test_a_stored_list_is_told_as_it_was(checks: list[Check]) -> None:
    told = explained(checks)
    assert explained(told) == told
    assert stored(json.loads(json.dumps([as_record(check) for check in told]))) == told


def test_a_list_of_an_older_version_can_still_be_told() -> None:
    (told,) = stored([{"code": "key.strength", "verdict": "pass", "message": "Strong."}])
    assert (told.message, told.seen, told.rule_from) == ("Strong.", "", "2024-11-15")
    assert (told.rule, told.changed_by) == ("Key quality (BR 6.1.1.3, BR 6.1.5)", "applicant")


def test_the_words_of_a_policy_are_ordered_from_mild_to_strict() -> None:
    """`Handling` and `CaaMode` are listed mildest first, as documentation and tests take them."""
    assert list(Handling) == ["auto", "manual", "refuse"]
    assert list(CaaMode) == ["off", "warn", "require"]
