"""Writes docs/states.md from the transition table, or (--check) says whether it is fresh."""

import sys
from pathlib import Path

from certdesk.domain.requests import FINAL, TRANSITIONS, Event, State, Status, public_status, status_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "states.md"


def _picture() -> list[str]:
    first = [
        f"    [*] --> {state}: {Event.CREATE}" for state in (Status.WAITING_FOR_APPROVAL, Status.ACCEPTED)
    ]
    moves = [f"    {before} --> {after}: {event}" for (before, event), after in TRANSITIONS.items()]
    last = [f"    {state} --> [*]" for state in State if state in FINAL]
    return ["```mermaid", "stateDiagram-v2", *first, *moves, *last, "```"]


def _states() -> list[str]:
    rows = [
        f"| `{state}` | {status_text(state, ra='JTAG')} | `{public_status(state)}` | "
        f"{'yes' if state in FINAL else 'no'} |"
        for state in State
    ]
    return ["| state | shown as | in the REST API | ended |", "|---|---|---|---|", *rows]


def _moves() -> list[str]:
    rows = [f"| `{before}` | `{event}` | `{after}` |" for (before, event), after in TRANSITIONS.items()]
    return ["| from | event | to |", "|---|---|---|", *rows]


def page() -> str:
    """The whole of docs/states.md."""
    lines = [
        "# States of a request",
        "",
        "<!-- Written by scripts/states.py from certdesk.domain.requests. Do not edit: run `make docs`. -->",
        "",
        "The table `TRANSITIONS` is the whole machine: what is not in it cannot happen. Only",
        '`certdesk.store.transitions.advance` writes a state, by compare-and-swap. "JTAG" stands for the',
        "configured name of the RA team. Why a claim is a state of its own:",
        "[ADR 2](adr/0002-submitting-is-a-state.md).",
        "",
        *_picture(),
        "",
        "## What people see",
        "",
        *_states(),
        "",
        "## Every move",
        "",
        f"A new request starts (`{Event.CREATE}`) in `{Status.ACCEPTED}` or",
        f"`{Status.WAITING_FOR_APPROVAL}`, as policy decides.",
        "",
        *_moves(),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or compare it with the file.

    Returns:
        The exit status: 1 when the file is stale.
    """
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        print("docs/states.md is fresh.")
        return 0
    print("docs/states.md is stale: run make docs.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
