"""A random value in a TXT record, or as a label of a CNAME's target, below the ADN (BR 3.2.2.4.7).

The label begins with an underscore, as the rule wants it, so that nobody gets it as a host name.
"""

from datetime import datetime
from typing import ClassVar

from certdesk.dcv.base import Challenge, Network, Outcome, require_sound
from certdesk.dcv.dns.record import judge
from certdesk.dcv.look import look
from certdesk.domain.evidence import Method

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
