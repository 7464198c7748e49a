"""Writes docs/seed.md: each row of the seed, the tests that carry its number, and whether they pass.

    scripts/seed.py          writes the page; the statuses of the last --run stay
    scripts/seed.py --run    runs the acceptance tests of the rows first, and writes their statuses
    scripts/seed.py --check  says whether a row has no acceptance test, or the page other tests than there are

Tests are found by their names, `test_r06_r09_…`, without importing anything.
"""

import argparse
import ast
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "seed.md"
ACCEPTANCE = "tests/acceptance"
UNKNOWN, PASSED, FAILED = "not run", "passed", "**failed**"

#: The rows in a few words of our own.
ROWS: Mapping[int, str] = {
    1: "Help links to the CA's support page; each field to its help",
    2: "An FAQ ships; the RA edits it",
    3: "Help pages, and all of them, as PDF",
    4: "Domain control by e-mail",
    5: "A help page on domain control",
    6: "Change one's password at any time",
    7: "Minimum length is a setting, from 3 up; 15 or 8 by default",
    8: "An issued password has to be changed first",
    9: "… giving the current one",
    10: "Choose a CSR file, PEM or DER; drag and drop",
    11: "Or paste it; a pasted path is answered; the command line takes one",
    12: "How to make a CSR, per server software",
    13: "1, 2 or 3 years: the term, and how long a certificate lasts",
    14: "Server software: required, editable list with Other, drives install and form",
    15: "Preview: everything the CSR says, every check with its verdict",
    16: "A preview has no side effects",
    17: "Confirm: explicit, once, byte for byte what was previewed",
    18: "A request has ID, requester, organisation, time",
    19: "Nothing to the CA before checks or approval; then one order",
    20: "The list: all of the own organisation, none of another's",
    21: "Request ID: a unique, lasting, searchable number",
    22: "Common names: the FQDN, or the first DNS name",
    23: "Accepted by CA without a human, within 30 seconds",
    24: "Slow CA: polled beyond a day, times shown, staff alerted",
    25: "One status, in the seed's words; second line; history",
    26: "Accepted for automatic processing means what it says",
    27: "Accepted by CA only on its acknowledgement; order id kept",
    28: "Rejected by CA keeps and shows the reason",
    29: "Rejected by the RA: details are given, mailed and shown",
    30: "A name outside the trusted suffixes waits for a human",
    31: "Officers have a queue with evidence fields",
    32: "Approval goes on with the same request",
    33: "Ownership is remembered per organisation and domain",
    34: "Ownership is validated again; lapses; reminders before",
    35: "An organisation's first request always waits",
    36: "Available only when stored, matching and chaining",
    37: "A .zip with leaf, chain and root, never a key; other forms",
    38: "Sign-in everywhere but the public rooms; everybody belongs somewhere",
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Test:
    """A test function, and the rows in its name."""

    file: str
    name: str
    rows: frozenset[int]

    @property
    def is_acceptance(self) -> bool:
        """Whether it plays against a whole service, or the services with a clock of its own."""
        return self.file.startswith(ACCEPTANCE)


def rows_in(name: str) -> frozenset[int]:
    """The rows in a name: {6, 9} for `test_r06_r09_the_current_one`, none for `test_reading`."""
    found = re.match(r"test((?:_r\d{1,2})+)(?:_|$)", name)
    return frozenset(int(number) for number in re.findall(r"\d+", found[1])) if found else frozenset()


def find_tests(root: Path = ROOT) -> list[Test]:
    """Every test that carries the number of a row, by file and in the file's order."""
    return [test for path in sorted((root / "tests").rglob("test_*.py")) for test in _in_file(path, root)]


def _in_file(path: Path, root: Path) -> Iterator[Test]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and rows_in(node.name):
            yield Test(file=str(path.relative_to(root)), name=node.name, rows=rows_in(node.name))


def problems(tests: list[Test]) -> list[str]:
    """What is missing: rows without an acceptance test, and tests of rows that there are not."""
    covered = {row for test in tests if test.is_acceptance for row in test.rows}
    named = {row for test in tests for row in test.rows}
    return [
        *(f"R{row} has no acceptance test ({ROWS[row]})." for row in sorted(set(ROWS) - covered)),
        *(f"A test is named after R{row}, which is no row." for row in sorted(named - set(ROWS))),
    ]


def page(tests: list[Test], statuses: Mapping[str, str]) -> str:
    """The whole of docs/seed.md; `statuses` are by the test's name."""
    lines = [
        "# The seed, row by row",
        "",
        "<!-- Written by scripts/seed.py from the names of the tests. Do not edit: run `make docs`. -->",
        "",
        "Each row of the seed has acceptance tests that carry its number: they play over HTTP, in a browser",
        "or on the command line against a running `certdesk serve --demo`. A row passes when all of them do",
        "(`scripts/seed.py --run`); “others” counts further tests of the row, such as those of what takes",
        "hours to years, which have a clock of their own.",
        "`tests/unit/test_seed_table.py` fails when a row has none.",
        "",
        "| row | in short | acceptance tests | others | status |",
        "|---|---|---|---|---|",
    ]
    lines += [_line(row, tests, statuses) for row in ROWS]
    lines += ["", "## The tests", ""]
    for row in ROWS:
        own = [test for test in tests if test.is_acceptance and row in test.rows]
        lines += [f"### R{row}", ""]
        lines += [f"- `{test.name}` in {test.file}: {statuses.get(test.name, UNKNOWN)}" for test in own]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: int, tests: list[Test], statuses: Mapping[str, str]) -> str:
    own = [test for test in tests if row in test.rows]
    acceptance = [test for test in own if test.is_acceptance]
    told = {statuses.get(test.name, UNKNOWN) for test in acceptance}
    status = next((s for s in (FAILED, UNKNOWN) if s in told), PASSED) if told else "**none**"
    others = len(own) - len(acceptance)
    return f"| R{row} | {ROWS[row]} | {len(acceptance)} | {others or ''} | {status} |"


def written_statuses() -> dict[str, str]:
    """The statuses on the page as it is."""
    if not PAGE.exists():
        return {}
    found = re.findall(r"^- `(\w+)` in \S+: (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(found)


def run(tests: list[Test]) -> dict[str, str]:
    """Run the acceptance tests of the rows; a test with several cases passes when all of them do."""
    files = sorted({test.file for test in tests if test.is_acceptance})
    names = sorted({test.name for test in tests if test.is_acceptance})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--durations=12", f"--junitxml={report}", *files]
        command += ["-n", "auto", "--dist", "loadfile", "-k", " or ".join(names)]
        subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603 - our own tests; their report tells
        return read_report(report.read_text(encoding="utf-8"))


def read_report(xml: str) -> dict[str, str]:
    """Test → status from pytest's report; anything but a pass, a skip too, counts as failed."""
    cases: dict[str, list[bool]] = defaultdict(list)
    for case in ET.fromstring(xml).iter("testcase"):  # noqa: S314 - written by pytest a moment ago
        name = str(case.get("name")).partition("[")[0]
        cases[name].append(not any(case.findall(tag) for tag in ("failure", "error", "skipped")))
    return {name: PASSED if all(passed) else FAILED for name, passed in cases.items()}


def without_status(text: str) -> str:
    """The page as far as the acceptance tests' names go."""
    text = re.sub(r"^(\| R\d+ .*\| )[^|]*\|[^|]*\|$", r"\1|", text, flags=re.MULTILINE)
    return re.sub(r"^(- `\w+` in \S+:) .*$", r"\1", text, flags=re.MULTILINE)


def check() -> list[str]:
    """What is wrong; empty when every row has its test and the page names them all."""
    tests = find_tests()
    found = problems(tests)
    written = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if without_status(written) != without_status(page(tests, {})):
        found.append("docs/seed.md is stale: run make docs.")
    return found


def main() -> int:
    """Write the page, run the tests for it, or check it.

    Returns:
        The exit status: 1 when a row has no test, the page is stale, or a test that ran has failed.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    if asked.check:
        found = check()
        print("\n".join(found) or "docs/seed.md is fresh.", file=sys.stderr if found else sys.stdout)
        return 1 if found else 0
    tests = find_tests()
    statuses = run(tests) if asked.run else written_statuses()
    PAGE.write_text(page(tests, statuses), encoding="utf-8")
    missing = problems(tests)
    print("\n".join(missing) or f"{PAGE.relative_to(ROOT)} is written.")
    return 1 if missing or FAILED in statuses.values() else 0


if __name__ == "__main__":
    raise SystemExit(main())
