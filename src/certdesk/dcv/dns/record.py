"""One exact value among the records at one name: what every method of this folder comes down to (V5)."""

import hmac
from datetime import datetime
from typing import ClassVar

from certdesk.dcv.base import (
    Challenge,
    Network,
    NotValidated,
    Outcome,
    Problem,
    Record,
    Validated,
    require_sound,
)
from certdesk.dcv.look import Look, digest, look
from certdesk.domain.validation.evidence import Method


def judge(found: Look, *, challenge: Challenge, value: str, now: datetime) -> Outcome:
    """Whether a record is exactly the value. Several records may stand there; the others do not matter."""
    details = {"expected": digest(value), **found.details(secrets={value, challenge.expected})}
    record = Record(challenge.method, challenge.adn, found.asked, found.answered, now, details)
    if (fault := found.fault()) is not None:
        return NotValidated(problem=fault, record=record)
    if any(hmac.compare_digest(value.encode(), there.encode()) for there in found.answer.values):
        return Validated(record=record)
    if found.answer.values:
        told = (
            f"The {found.kind} record at {found.name} has another value than the one to be shown. "
            "Compare them; old records may stay beside the new one."
        )
        problem = Problem(code="dcv.dns.other_value", detail=told, acme_type="incorrectResponse", retry=True)
    else:
        told = (
            f"There is no {found.kind} record at {found.name}. Add it, and wait until all name "
            "servers have it."
        )
        problem = Problem(code="dcv.dns.no_record", detail=told, acme_type="dns", retry=True)
    return NotValidated(problem=problem, record=record)


#: Begins with an underscore, as the rule wants it (BR 3.2.2.4.7), so that nobody gets it as a host name.
LABEL = "_certdesk-challenge"


class TxtTokenValidator:
    """`_certdesk-challenge.<ADN>` has a TXT record that is the expected value and nothing else."""

    methods: ClassVar[frozenset[Method]] = frozenset({Method.DNS_TXT})

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Looks once, through whatever CNAME the owner has put there."""
        require_sound(challenge, self.methods)
        found = look(network.resolver, f"{LABEL}.{challenge.adn}", "TXT")
        return judge(found, challenge=challenge, value=challenge.expected, now=now)


class CnameTokenValidator:
    """`_certdesk-challenge.<ADN>` is an alias of the expected name, in whose labels the random value is.

    `expected` is that whole name, such as `<random>.dcv.example.net`. Names have no case.
    """

    methods: ClassVar[frozenset[Method]] = frozenset({Method.DNS_CNAME})

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Looks at the alias itself; whether its target exists does not matter."""
        require_sound(challenge, self.methods)
        found = look(network.resolver, f"{LABEL}.{challenge.adn}", "CNAME")
        return judge(found, challenge=challenge, value=challenge.expected.lower().removesuffix("."), now=now)
