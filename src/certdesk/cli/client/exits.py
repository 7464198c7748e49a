"""How the client commands end: exit codes, and failures as one line on stderr."""

from enum import IntEnum
from typing import IO, Any

import click


class Exit(IntEnum):
    """Exit codes; 2 is click's own, for wrong usage, and 75 is EX_TEMPFAIL of sysexits.h."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    NEEDS_APPROVAL = 5
    RETRY_LATER = 75


class Failure(click.ClickException):
    """Something did not work; the message says what to do. `status` is HTTP's and `problem` the
    problem's code, where the service answered.
    """

    def __init__(self, message: str, *, code: Exit = Exit.FAILED, status: int = 0, problem: str = "") -> None:
        super().__init__(printable(message))
        self.code = code
        self.status = status
        self.problem = problem

    @property
    def exit_code(self) -> int:  # type: ignore[override] # click sets it once for a class; ours differ
        """The exit code, as click asks for it."""
        return self.code

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes the message to stderr."""
        click.echo(f"certdesk: {self.message}", file=file, err=file is None)


def printable(text: str) -> str:
    """The text without control characters: what others wrote must not steer this terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
