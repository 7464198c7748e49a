"""DNS as validation methods and CAA see it: injected, never global. Answers and faults are values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Status(StrEnum):
    """How a look-up ended. Anything but OK and the two kinds of "nothing there" refuses."""

    OK = "ok"
    NO_DATA = "no_data"  # the name exists, the type does not
    NO_NAME = "no_name"  # NXDOMAIN
    SERVFAIL = "servfail"
    BOGUS = "bogus"  # DNSSEC says that somebody lies
    TIMEOUT = "timeout"
    REFUSED = "refused"
    MALFORMED = "malformed"
    CNAME_LOOP = "cname_loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One look-up: its status, the records' values in presentation form, and where they came from.

    `values` of TXT are the joined character-strings; of CAA `flags tag "value"`; of A and AAAA addresses; of
    CNAME the target without its last dot. `chain` holds the CNAMEs followed. `authenticated` is the AD bit
    of a validating resolver, or the outcome of own validation.
    """

    status: Status
    values: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    authenticated: bool = False
    server: str = ""


class Resolver(Protocol):
    """Asks the DNS. Never raises for what the DNS does; follows CNAMEs to the asked type."""

    def lookup(self, name: str, kind: str) -> Answer:
        """The answer for a name and a type such as `TXT`, `CAA`, `A`, `AAAA`, `CNAME`."""
