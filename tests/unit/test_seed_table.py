"""docs/seed.md names every row of the seed with its acceptance tests; a row without one fails here."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    """scripts/seed.py, which is a program and in no package."""
    spec = importlib.util.spec_from_file_location("seed", ROOT / "scripts" / "seed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


seed = load()


@pytest.fixture(scope="module")
def found() -> list[Any]:
    """All tests of rows. Not read with this file, for every worker reads all files."""
    return list(seed.find_tests())


def test_every_row_has_an_acceptance_test_and_the_page_is_fresh() -> None:
    assert seed.check() == []


def test_the_rows_are_r1_to_r38() -> None:
    assert list(seed.ROWS) == list(range(1, 39))
    assert all(seed.ROWS.values())


@pytest.mark.parametrize(
    "name,rows",
    [
        ("test_r06_r09_the_current_one", {6, 9}),
        ("test_r4_unpadded", {4}),
        ("test_r38", {38}),
        ("test_reading", set()),
        ("test_r2d2", set()),
        ("help_r04", set()),
    ],
)
def test_rows_are_read_from_the_name(name: str, rows: set[int]) -> None:
    assert seed.rows_in(name) == rows


def test_a_row_without_an_acceptance_test_is_told(found: list[Any]) -> None:
    others = [test for test in found if 24 not in test.rows]
    only = [seed.Test(file="tests/integration/test_x.py", name="test_r24_x", rows=frozenset({24}))]
    (problem,) = seed.problems(others + only)
    assert problem.startswith("R24 has no acceptance test")
    assert "**none**" in seed.page(others, {})


def test_a_test_of_no_row_is_told(found: list[Any]) -> None:
    strange = seed.Test(file="tests/acceptance/test_x.py", name="test_r39_x", rows=frozenset({39}))
    assert seed.problems([*found, strange]) == ["A test is named after R39, which is no row."]


def test_a_row_passes_only_when_every_case_of_every_test_does() -> None:
    xml = """<testsuites><testsuite>
      <testcase name="test_r01_a[x]"/><testcase name="test_r01_a[y]"><failure message="no"/></testcase>
      <testcase name="test_r02_b"/><testcase name="test_r03_c"><skipped message="no browser"/></testcase>
    </testsuite></testsuites>"""
    statuses = seed.read_report(xml)
    assert statuses == {"test_r01_a": seed.FAILED, "test_r02_b": seed.PASSED, "test_r03_c": seed.FAILED}
    tests = [
        seed.Test(file="tests/acceptance/test_x.py", name=name, rows=seed.rows_in(name)) for name in statuses
    ]
    written = seed.page(tests, statuses)
    lines = {line.split(" ")[1]: line for line in written.splitlines() if line.startswith("| R")}
    assert lines["R1"].endswith(f"| {seed.FAILED} |")
    assert lines["R2"].endswith(f"| {seed.PASSED} |")
    assert lines["R4"].endswith("| **none** |")
    assert seed.without_status(written) == seed.without_status(seed.page(tests, {}))
