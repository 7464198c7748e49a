"""ACME's dns-01 (RFC 8555 8.4) and dns-account-01 (draft-ietf-acme-dns-account-label; BR 3.2.2.4.21).

Both look for the digest of the key authorization; the second below a label that is the account's own, so that
several accounts can hold records at once.
"""

import base64
import hashlib
from datetime import datetime
from typing import ClassVar

from certdesk.dcv.base import Challenge, Network, Outcome, require_sound
from certdesk.dcv.dns.record import judge
from certdesk.dcv.look import look
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.validation.evidence import Method

_LABEL = "_acme-challenge"
_ACCOUNT_OCTETS = 10


def txt_digest(key_authorization: str) -> str:
    """What the TXT record has to hold: base64url of the SHA-256 of the key authorization, unpadded."""
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def account_label(account_uri: str) -> str:
    """The account's label: an underscore and the first ten octets of its URL's SHA-256 in base32."""
    digest = hashlib.sha256(account_uri.encode("ascii")).digest()
    return "_" + base64.b32encode(digest[:_ACCOUNT_OCTETS]).decode().lower()


class AcmeDnsValidator:
    """`_acme-challenge.<ADN>` has the digest as a TXT record."""

    methods: ClassVar[frozenset[Method]] = frozenset({Method.ACME_DNS})

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Looks once, through whatever CNAME the owner has put there."""
        require_sound(challenge, self.methods)
        found = look(network.resolver, f"{_LABEL}.{challenge.adn}", "TXT")
        return judge(found, challenge=challenge, value=txt_digest(challenge.expected), now=now)


class AcmeDnsAccountValidator:
    """`_<account>._acme-challenge.<ADN>` has the digest as a TXT record."""

    methods: ClassVar[frozenset[Method]] = frozenset({Method.ACME_DNS_ACCOUNT})

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Looks once. Raises InvariantViolated for a challenge without an account."""
        require_sound(challenge, self.methods)
        if not challenge.account_uri:
            raise InvariantViolated("dns-account-01 needs the account's URL")
        name = f"{account_label(challenge.account_uri)}.{_LABEL}.{challenge.adn}"
        found = look(network.resolver, name, "TXT")
        return judge(found, challenge=challenge, value=txt_digest(challenge.expected), now=now)
