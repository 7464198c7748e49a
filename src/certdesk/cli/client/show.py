"""What people read: checks, requests, lists. Data goes to stdout, talk to stderr; colour is never alone."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from certdesk.cli.client.exits import printable

Json = dict[str, Any]
#: A text, or one with its style.
Cell = str | tuple[str, str]

#: A pipe has no width of its own; lines there are not folded.
PIPE_WIDTH = 400
_SIGNS = {
    "pass": ("[ok]", "green"),
    "not_checked": ("[unchecked]", "dim"),
    "warn": ("[warning]", "yellow"),
    "pending": ("[waiting]", "cyan"),
    "manual": ("[officer]", "cyan"),
    "refuse": ("[REFUSED]", "bold red"),
}
_DECISIONS = {
    "auto": "would be accepted for automatic processing",
    "manual": "would wait for manual approval",
    "refuse": "would be refused",
}


def talk(line: str) -> None:
    """Says something to the person, not to the next program."""
    click.echo(printable(line), err=True)


def as_json(value: object) -> None:
    """Data for the next program."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def preview(told: Json) -> None:
    """Everything that a CSR says and what would become of it."""
    facts(
        [
            ("Decision", _DECISIONS.get(str(told["decision"]), str(told["decision"]))),
            *_content(told),
            ("Certificate", f"{told['term']['not_before']} to {told['term']['not_after']}"),
        ]
    )
    checks(told["checks"])


def request(told: Json) -> None:
    """A whole request."""
    facts(
        [
            ("Request ID", str(told["id"])),
            ("Status", str(told["status_text"])),
            ("", f"{'Action needed. ' if told['action_needed'] else ''}{told['detail']}"),
            *_content(told),
            ("Asked by", f"{told['requester']}, {told['created_at']}"),
            *(
                ("Certificate", f"serial {c['serial']}, {c['not_before']} to {c['not_after']}")
                for c in told["certificates"]
            ),
            *([("Newest one is", told["certificate_status"])] if told["certificate_status"] else []),
            *_renewal(told["term"]),
        ]
    )
    checks(told["checks"])
    table(
        ("WHEN", "WHAT", "WHO", "NOTE"),
        ((e["at"], e["event"], e["actor"], e["note"]) for e in told["events"]),
    )


def certificate(told: Json) -> None:
    """A certificate and how it stands."""
    revocation = told["revocation"] or {}
    asked = (
        f"{revocation['reason']}, asked by {revocation['actor']}, {revocation['requested_at']}"
        if revocation
        else ""
    )
    facts(
        [
            ("Number", str(told["id"])),
            ("Status", str(told["status"])),
            ("Names", ", ".join(told["names"])),
            ("Organisation", str(told["organisation"])),
            ("Request ID", str(told["request"])),
            ("Valid", f"{told['not_before']} to {told['not_after']}"),
            ("Serial", str(told["serial"])),
            ("Issued by", str(told["issuer"])),
            ("SHA-256", str(told["sha256"])),
            *([("Revocation", f"{revocation['outcome']}: {asked}")] if revocation else []),
            *([("", str(revocation["detail"]))] if revocation.get("detail") else []),
        ]
    )


def checks(found: Iterable[Json]) -> None:
    """Every check with its verdict and what stands behind it, readable without colour."""
    rows: list[tuple[Cell, Cell]] = []
    for check in found:
        sign = _SIGNS.get(str(check["verdict"]), (f"[{check['verdict']}]", ""))
        # What was seen, the rule and since when it holds, and who can change the verdict.
        since = f", since {check['rule_from']}" if check.get("rule_from") else ""
        parts = (
            f"Seen: {check['seen']}" if check.get("seen") else "",
            f"Rule: {check['rule']}{since}" if check.get("rule") else "",
            f"Who can change it: {check['changed_by']}" if check.get("changed_by") else "",
        )
        rows += [
            (sign, f"{check['message']} ({check['code']})"),
            ("", (" · ".join(part for part in parts if part), "dim")),
        ]
    _print(rows)


def caa(found: Sequence[Json]) -> None:
    """What CAA records said of names when they were last looked up, and what to add where they forbid."""
    if not found:
        return
    table(
        ("CAA OF", "LOOKED UP", "FROM", "WHAT IT SAYS", "RECORD TO ADD"),
        ((a["name"], a["at"], ", ".join(a["servers"]), a["detail"], a["to_add"]) for a in found),
    )


def table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """A table on stdout."""
    _print(((str(cell) for cell in row) for row in rows), heads=heads)


def _content(told: Json) -> list[tuple[str, str]]:
    return [
        ("Names", ", ".join(told["names"])),
        ("Subject", ", ".join(f"{a['name']}={a['value']}" for a in told["subject"])),
        ("Key", str(told["key"])),
        ("CSR SHA-256", str(told["csr_sha256"])),
        ("Organisation", str(told["organisation"])),
        ("Server", str(told["server_software"])),
        ("Term", _term(told["term"])),
    ]


def _renewal(told: Json) -> list[tuple[str, str]]:
    """What stands in the way of the next certificate, and what helps."""
    if not told.get("problem"):
        return []
    helps = "Send a new CSR." if told["needs_csr"] else "It is tried again automatically."
    return [("Not renewed", f"{told['problem']} {helps}")]


def _term(told: Json) -> str:
    """Such as `2 years, until 2028-11-27, about 9 certificates, the next on 2027-04-09`."""
    years, many, next_at = told["duration_years"], told.get("certificates") or 0, told.get("next_at")
    parts = ["1 year" if years == 1 else f"{years} years"]
    if told.get("ends_at"):
        parts.append(f"until {told['ends_at'][:10]}")
    if many > 1:
        parts.append(f"about {many} certificates")
    if next_at:
        parts.append(f"the next {'was due ' if told['problem'] else ''}on {next_at[:10]}")
    return ", ".join(parts)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Names with their values, one to a line."""
    _print(((name, "bold"), value) for name, value in pairs)
    click.echo()


def _print(rows: Iterable[Iterable[Cell]], *, heads: Sequence[str] = ()) -> None:
    """Prints a table; without heads, its first column is never folded."""
    from rich.console import Console  # noqa: PLC0415 - slow to load, and most commands print no table
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    made = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(heads), header_style="bold")
    for number, head in enumerate(heads or ("", "")):
        made.add_column(head, overflow="fold", no_wrap=number == 0 and not heads)
    for row in rows:
        cells = (cell if isinstance(cell, tuple) else (cell, "") for cell in row)
        made.add_row(*(Text(printable(text), style=style) for text, style in cells))
    console = Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as written:
        console.print(made)
    # Rich fills every line up to the width of the table, a nuisance for people who copy or grep it.
    click.echo("\n".join(line.rstrip() for line in written.get().splitlines()))
