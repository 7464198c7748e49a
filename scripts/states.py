"""Writes docs/states.md from the two transition tables, or (--check) says whether it is fresh."""

import sys
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from certdesk.domain.issuing.states import (
    DONE,
    FINAL,
    ISSUANCE_TRANSITIONS,
    NEEDS_NO_CERTIFICATE,
    REQUEST_TRANSITIONS,
    Event,
    State,
    Status,
    Work,
    status_of,
    status_text,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "states.md"
_Place = TypeVar("_Place", bound=StrEnum)


def _machine(
    table: Mapping[tuple[_Place, Event], _Place], *, first: Collection[_Place], last: Collection[_Place]
) -> list[str]:
    """A picture and every move of one table."""
    return [
        "```mermaid",
        "stateDiagram-v2",
        *(f"    [*] --> {state}: {Event.CREATE}" for state in first),
        *(f"    {before} --> {after}: {event}" for (before, event), after in table.items()),
        *(f"    {state} --> [*]" for state in last),
        "```",
        "",
        "| from | event | to |",
        "|---|---|---|",
        *(f"| `{before}` | `{event}` | `{after}` |" for (before, event), after in table.items()),
        "",
    ]


def _derived() -> list[str]:
    """The status for every state, newest issuance and certificate; what leads to the same is one row."""
    rows = dict[tuple[State, bool, Status], list[str]]()
    for state in State:
        for has_certificate in (False, True):
            for newest in (None, *Work):
                status = status_of(state, newest, has_certificate=has_certificate)
                rows.setdefault((state, has_certificate, status), []).append(f"`{newest or 'none'}`")
    return [
        "| request | certificate | newest issuance | status |",
        "|---|---|---|---|",
        *(
            f"| `{state}` | {'yes' if certified else 'no'} | "
            f"{'any' if len(works) == len(Work) + 1 else ', '.join(works)} | `{status}` |"
            for (state, certified, status), works in rows.items()
        ),
        "",
    ]


def _statuses() -> list[str]:
    return [
        "| status | shown as | ended |",
        "|---|---|---|",
        *(
            f"| `{status}` | {status_text(status, ra='JTAG')} | {'yes' if status in FINAL else 'no'} |"
            for status in Status
        ),
    ]


def page() -> str:
    """The whole of docs/states.md."""
    undoing = ", ".join(f"`{event}`" for event in Event if event in NEEDS_NO_CERTIFICATE)
    lines = [
        "# States of a request and of its issuances",
        "",
        "<!-- Written by scripts/states.py from domain/issuing/states.py: run `make docs`. -->",
        "",
        "A request is what somebody asked for and what was decided about it; an issuance is one CSR on its",
        "way to one certificate. Each has a table, and what is not in it cannot happen. Only",
        "`certdesk.store.transitions` writes a state, by compare-and-swap, and with it the status that",
        'people read. "JTAG" stands for the configured name of the RA team. Why a claim is a state of its',
        "own: [ADR 2](adr/0002-submitting-is-a-state.md).",
        "",
        "## The decision about a request",
        "",
        f"A new request starts (`{Event.CREATE}`) in `{State.APPROVED}` or",
        f"`{State.WAITING_FOR_APPROVAL}`, as policy decides. Once there is a certificate, {undoing}",
        "can't follow: the request can only be ended.",
        "",
        *_machine(
            REQUEST_TRANSITIONS,
            first=(State.WAITING_FOR_APPROVAL, State.APPROVED),
            last=(State.REJECTED, State.WITHDRAWN, State.ENDED),
        ),
        "## The work of an issuance",
        "",
        *_machine(ISSUANCE_TRANSITIONS, first=(Work.WAITING,), last=[work for work in Work if work in DONE]),
        "## The status that follows",
        "",
        "It follows from the request's state, from whether it has a certificate, and from its newest",
        "issuance; it is never decided on.",
        "",
        *_derived(),
        "## What people see",
        "",
        "The REST API has the same words in `status`.",
        "",
        *_statuses(),
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
