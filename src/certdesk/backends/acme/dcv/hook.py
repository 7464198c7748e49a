"""Records added and removed by a program of the site's own, called as lego calls its `exec` programs.

`PROGRAM present NAME VALUE` adds, `PROGRAM cleanup NAME VALUE` removes; the name ends with a dot. The program
may be called twice with the same, and removes nothing but this value. Exit status 0 means that it is done,
75 (EX_TEMPFAIL) that it may work later; what it writes last is shown to the operator.
"""

import os
import subprocess
from dataclasses import dataclass

import dns.name

from certdesk.domain.errors import Misconfigured, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """`program` is the program and what comes before the action among its arguments."""

    program: tuple[str, ...]
    seconds: float = 60.0

    @property
    def title(self) -> str:
        return f"the program {self.program[0]}"

    def add(self, name: dns.name.Name, value: str) -> None:
        self._run("present", name, value)

    def remove(self, name: dns.name.Name, value: str) -> None:
        self._run("cleanup", name, value)

    def _run(self, action: str, name: dns.name.Name, value: str) -> None:
        command = [*self.program, action, name.to_text(), value]
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own program, and no shell
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{self.program[0]} has not ended within {self.seconds:g} seconds.") from error
        except OSError as error:
            raise Misconfigured(f"{self.program[0]} can't be run: {error}") from error
        said = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "it says nothing")
        told = f"{self.program[0]} {action} ended with status {done.returncode}: {last[:300]}"
        if done.returncode == os.EX_TEMPFAIL:
            raise Unavailable(told)
        if done.returncode != os.EX_OK:
            raise Misconfigured(told)
