"""What a driver offers, and a driver together with the look at what it has done."""

from dataclasses import dataclass
from typing import Protocol

import dns.name

from certdesk.backends.acme.dcv.lookup import Lookup


class Driver(Protocol):
    """Changes TXT records. Doing the same again does no harm.

    `name` is what a person would change: where `_acme-challenge.www.example.org` is a CNAME, its target.
    Raises: Unavailable when it may work later; Misconfigured when somebody has to act.
    """

    @property
    def title(self) -> str:
        """What people read, such as “RFC 2136 at 192.0.2.53:53”."""

    def add(self, name: dns.name.Name, value: str) -> None:
        """Adds this value, and leaves others at the same name alone."""

    def remove(self, name: dns.name.Name, value: str) -> None:
        """Removes this value, and no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dcv:
    """How names are validated at the CA: who changes the records, and who looks whether they are there."""

    driver: Driver
    lookup: Lookup
