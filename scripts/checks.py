"""Writes docs/checks.md from the catalogue of checks, or (--check) says whether it is fresh."""

import sys
from pathlib import Path

from certdesk.domain.policy.catalogue import CATALOGUE, CheckInfo, Origin

PAGE = Path(__file__).resolve().parent.parent / "docs" / "checks.md"
_HEAD = [
    "| code | what it says | verdicts | rule | holds since | who can change it |",
    "|---|---|---|---|---|---|",
]


def _row(info: CheckInfo) -> str:
    verdicts = ", ".join(verdict.value for verdict in info.verdicts)
    since = info.rule_from.isoformat() if info.rule_from else "standing"
    return f"| `{info.code}` | {info.meaning} | {verdicts} | {info.rule} | {since} | {info.changed_by} |"


def _part(origin: Origin) -> list[str]:
    rows = [_row(info) for info in CATALOGUE.values() if info.origin is origin]
    return [f"## {origin}", "", *_HEAD, *rows, ""]


def page() -> str:
    """The whole of docs/checks.md."""
    lines = [
        "# Every check",
        "",
        "<!-- Written by scripts/checks.py from domain/policy/catalogue.py: run `make docs`. -->",
        "",
        "One list of checks explains every decision; preview, the request's page, the officer's page, the",
        "REST API and `certdesk request preview` show the same list in the same order, the gravest first.",
        "The codes are stable. The outcome follows from the gravest verdict:",
        "",
        "| verdict | means |",
        "|---|---|",
        "| `pass` | nothing stands in the way |",
        "| `not_checked` | it could not be looked at here; no pass, and stops nothing |",
        "| `warn` | worth a look; stops nothing |",
        "| `pending` | something has to happen first, such as a confirmation by e-mail; needs no officer |",
        "| `manual` | an RA officer decides |",
        "| `refuse` | the request can't be accepted as it is |",
        "",
        "A rule of the field names its clause in the Baseline Requirements (BR) or an RFC, and holds since",
        "its date; a rule marked *standing* has none, or is our own. The portal's help page “Checks and",
        "rules” says the same to its readers. What the policy file can change: [policy](policy.md).",
        "",
    ]
    for origin in Origin:
        lines += _part(origin)
    return "\n".join(lines)


def main() -> int:
    """Write the page, or compare it with the file.

    Returns:
        The exit status: 1 when the file is stale.
    """
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        print("docs/checks.md is fresh.")
        return 0
    print("docs/checks.md is stale: run make docs.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
