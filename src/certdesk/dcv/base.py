"""What every validation method offers, and what it is given. No method's own ways live here, and no Django.

A validator is handed a challenge, the network and the time. A proof that is not there is a result, never
an exception: a validator raises only when *we* are broken. It never decides how long a proof
counts: that is a dated rule of the domain.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from certdesk.dcv.fetch import Fetcher, NotFetched
from certdesk.dcv.resolver import Resolver
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.validation.evidence import METHODS, Method

#: The characters that 112 random bits take at least, in base64url (BR 3.2.2.4).
MIN_EXPECTED = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What has to be found, and where.

    `adn` is the name whose control is shown, without a wildcard label; for HTTP and TLS-ALPN one FQDN.
    `wildcard`: whether `*.adn` is wanted. `token` is the file's or ACME challenge's public part, `expected`
    the value that has to be found (for ACME the key authorization, RFC 8555 8.1; the validator derives
    digests from it). `account_uri` and `issuers` matter to methods that are bound to an account (RFC 8657,
    dns-persist-01, dns-account-01); `thumbprints` are those of the keys that the account has or had, the
    present one first, and `hash_prefix` begins its hashed URIs (draft dns-persist-02).
    """

    method: Method
    adn: str
    expected: str = field(repr=False)
    token: str = ""
    wildcard: bool = False
    account_uri: str = ""
    issuers: tuple[str, ...] = ()
    thumbprints: tuple[str, ...] = ()
    hash_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The outside as a validator may see it: a resolver and the one SSRF-safe fetcher."""

    resolver: Resolver
    fetcher: Fetcher


@dataclass(frozen=True, slots=True)
class Record:
    """What was asked, of whom, and what came back: JSON, kept whatever the outcome, no secrets.

    `adn` is the name whose control the outcome is about: a parent of the challenge's where the method allows.
    """

    method: Method
    adn: str
    asked: str
    answered: str
    at: datetime
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a proof was not found: a stable code (`dcv.dns.servfail`, …) and what to do.

    `retry` says that the same check may succeed later by itself (propagation, time-out). `acme_type` is the
    last part of the RFC 8555 6.7 error type: `dns`, `connection`, `tls`, `unauthorized`, `incorrectResponse`,
    `caa`, `malformed`.
    """

    code: str
    detail: str
    acme_type: str = "unauthorized"
    retry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """The proof was found. `method` in the record may be narrower than the one asked (dns-persist)."""

    record: Record


@dataclass(frozen=True, slots=True)
class NotValidated:
    """The proof was not found, with the reason and the evidence of having looked."""

    problem: Problem
    record: Record


Outcome = Validated | NotValidated


class Validator(Protocol):
    """A validation method; entry points of `certdesk.dcv_methods` name one each."""

    @property
    def methods(self) -> frozenset[Method]:
        """Those that it checks; a class attribute does."""

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Looks for the proof. Time-outs, SERVFAIL and unknown values are NotValidated."""


def require_sound(challenge: Challenge, methods: Collection[Method], *, secret: bool = True) -> None:
    """The challenge is one that these methods can check; a weak one would be our own bug.

    Raises: InvariantViolated for another method's challenge, a name with a wildcard label in it, or (with
        `secret`) too short an expected value: an empty one would be found anywhere.
    """
    if challenge.method not in methods:
        raise InvariantViolated(f"a challenge for {challenge.method} was given to another method")
    if not challenge.adn or "*" in challenge.adn or challenge.adn != challenge.adn.lower():
        raise InvariantViolated(f"{challenge.adn!r} is not a name whose control can be shown")
    if secret and len(challenge.expected) < MIN_EXPECTED:
        raise InvariantViolated("the value to be found is too short to prove anything")


def refused_wildcard(challenge: Challenge, *, now: datetime) -> NotValidated | None:
    """The refusal where a wildcard is asked of a method that proves one FQDN only (BR 3.2.2.4.18 to .20)."""
    if not challenge.wildcard or METHODS[challenge.method].covers_subdomains:
        return None
    return NotValidated(
        Problem(
            code="dcv.wildcard",
            detail=f"This method can't show control of *.{challenge.adn}. Use a DNS method for wildcards.",
        ),
        Record(method=challenge.method, adn=challenge.adn, asked="nothing", answered="not asked", at=now),
    )


def not_fetched(failed: NotFetched) -> Problem:
    """Why nothing could be looked at, as the problem of a validation."""
    dns = failed.code.startswith("fetch.dns.") or failed.code == "fetch.no_address"
    tls = failed.code in ("fetch.tls", "fetch.alpn")
    kind = "dns" if dns else "tls" if tls else "connection"
    return Problem(code=f"dcv.{failed.code}", detail=failed.detail, acme_type=kind, retry=failed.retry)
