"""A made-up outside for tests of domain validation: what is published where, and name servers that fail.

No tests live here. The real methods have tests of their own; these stand in for them at the contract's edge.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from django.db import connections

from certdesk.dcv.base import Challenge, Network, NotValidated, Outcome, Problem, Record, Validated
from certdesk.dcv.fetch import Fetched, NotFetched
from certdesk.dcv.resolver import Answer
from certdesk.domain.validation.evidence import Method
from tests.integration.support import configured

ABSENT = Problem(code="dcv.persist.no_record", detail="There is no such record.", retry=True)
SERVFAIL = Problem(code="dcv.dns.servfail", detail="The name server fails.", acme_type="dns", retry=True)


class _Nobody:
    """A network in which whoever asks has made a mistake."""

    def lookup(self, name: str, kind: str) -> Answer:
        """No."""
        raise AssertionError(f"{kind} {name} was asked")

    def get(self, url: str, *, ip_address: str = "") -> Fetched | NotFetched:  # noqa: ARG002 - the protocol's
        """No."""
        raise AssertionError(f"{url} was asked")

    def connect_tls_alpn(self, host: str) -> bytes | NotFetched:
        """No."""
        raise AssertionError(f"{host} was asked")


NOWHERE = Network(resolver=_Nobody(), fetcher=_Nobody())


@dataclass(slots=True)
class Outside:
    """A validator whose network is two dictionaries. `looks` counts; `gate` holds looks up until it opens."""

    methods: ClassVar[frozenset[Method]] = frozenset(Method)
    published: set[tuple[str, str]] = field(default_factory=set)  # ADN, value
    persistent: dict[str, Method] = field(default_factory=dict)  # ADN → what the record allows
    problems: dict[str, Problem] = field(default_factory=dict)  # ADN → what goes wrong
    broken: bool = False
    meanwhile: Callable[[], object] | None = None  # what happens during the next look
    gate: threading.Event = field(default_factory=threading.Event)
    looks: list[Challenge] = field(default_factory=list)

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Whether it is there."""
        del network
        self.looks.append(challenge)
        self.gate.wait(timeout=30)
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
            connections.close_all()  # a look has a thread of its own
        if self.broken:
            raise RuntimeError("broken on our side")
        problem = self.problems.get(challenge.adn)
        if problem is None and (challenge.adn, challenge.expected) in self.published:
            return Validated(record=self._record(challenge, challenge.method, "it is there", now))
        if problem is None and challenge.adn in self.persistent and not challenge.expected:
            return Validated(record=self._record(challenge, self.persistent[challenge.adn], "there", now))
        seen = "nothing" if problem is None else "a failure"
        record = self._record(challenge, challenge.method, seen, now)
        return NotValidated(problem=problem or ABSENT, record=record)

    @staticmethod
    def _record(challenge: Challenge, method: Method, answered: str, now: datetime) -> Record:
        return Record(
            method=method,
            adn=challenge.adn,
            asked=f"TXT {challenge.adn}",
            answered=answered,
            at=now,
            details={"server": "192.0.2.1", "values": [answered]},
        )


@contextmanager
def outside() -> Iterator[Outside]:
    """Work with a made-up outside, for every method."""
    one = Outside()
    one.gate.set()
    with configured(validators=dict.fromkeys(Method, one), network=NOWHERE):
        yield one
