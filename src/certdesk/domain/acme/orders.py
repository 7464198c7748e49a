"""ACME orders (RFC 8555 7.1.6), computed: statuses follow from facts and are never stored.

Also what may be ordered: identifiers, and the challenges that each of them can be proven by. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from certdesk.domain.acme.problems import AcmeRefused, ProblemType, Subproblem, malformed
from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.names.identifiers import DnsName, is_ip_address, parse_dns_name, quoted
from certdesk.domain.names.ip_addresses import parse_ip_name
from certdesk.domain.validation.evidence import METHODS, Method

MAX_IDENTIFIERS = 100
#: How long a client has from its order to finalize; authorizations live as long.
ORDER_LIFE = timedelta(days=7)
NOT_A_NAME = 253


class OrderStatus(StrEnum):
    """RFC 8555 7.1.6."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


class AuthorizationStatus(StrEnum):
    """RFC 8555 7.1.6."""

    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"


class ChallengeStatus(StrEnum):
    """RFC 8555 7.1.6."""

    PENDING = "pending"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationFacts:
    """What is known of an authorization. `valid_until` is None while nothing is proven."""

    expires_at: datetime
    valid_until: datetime | None = None
    is_failed: bool = False
    is_deactivated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFacts:
    """What is known of an order, beside its authorizations."""

    expires_at: datetime
    is_finalized: bool = False
    has_certificate: bool = False
    is_failed: bool = False


def authorization_status(facts: AuthorizationFacts, *, now: datetime) -> AuthorizationStatus:
    """The status: what ended it first, then what is proven, then what its time says."""
    if facts.is_deactivated:
        return AuthorizationStatus.DEACTIVATED
    if facts.is_failed:
        return AuthorizationStatus.INVALID
    if facts.valid_until is not None:
        return AuthorizationStatus.VALID if now < facts.valid_until else AuthorizationStatus.EXPIRED
    return AuthorizationStatus.PENDING if now < facts.expires_at else AuthorizationStatus.EXPIRED


def order_status(
    facts: OrderFacts, authorizations: Iterable[AuthorizationStatus], *, now: datetime
) -> OrderStatus:
    """The status. A certificate or a failure is final; a finalized order waits for nobody but the CA.

    An order without authorizations is invalid: nothing was to be proven, so nothing may be issued.
    """
    if facts.has_certificate:
        return OrderStatus.VALID
    if facts.is_failed:
        return OrderStatus.INVALID
    if facts.is_finalized:
        return OrderStatus.PROCESSING
    found = set(authorizations)
    if (
        now >= facts.expires_at
        or not found
        or found - {AuthorizationStatus.PENDING, AuthorizationStatus.VALID}
    ):
        return OrderStatus.INVALID
    return OrderStatus.READY if found == {AuthorizationStatus.VALID} else OrderStatus.PENDING


def challenge_status(
    *, is_started: bool, is_due: bool, is_validated: bool, authorization: AuthorizationStatus
) -> ChallengeStatus:
    """The status of a challenge: one that was answered is processing as long as another look is due."""
    if is_validated:
        return ChallengeStatus.VALID
    if is_started:
        return ChallengeStatus.PROCESSING if is_due else ChallengeStatus.INVALID
    return (
        ChallengeStatus.PENDING if authorization is AuthorizationStatus.PENDING else ChallengeStatus.INVALID
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeType:
    """A kind of challenge. `method` is what proves a plain name by it; `ip_addresses`: or one (RFC 8738)."""

    name: str
    method: Method
    ip_addresses: bool = False


CHALLENGE_TYPES: Mapping[str, ChallengeType] = {
    kind.name: kind
    for kind in (
        ChallengeType(name="http-01", method=Method.ACME_HTTP, ip_addresses=True),
        ChallengeType(name="dns-01", method=Method.ACME_DNS),
        ChallengeType(name="tls-alpn-01", method=Method.ACME_TLS_ALPN, ip_addresses=True),
        ChallengeType(name="dns-account-01", method=Method.ACME_DNS_ACCOUNT),
        ChallengeType(name="dns-persist-01", method=Method.DNS_PERSIST_WILDCARD),
    )
}


def challenge_types(name: str, *, wildcard: bool, available: Iterable[Method]) -> tuple[ChallengeType, ...]:
    """What a name can be proven by here: for a wildcard only what reaches below the name (BR 3.2.2.4)."""
    methods = frozenset(available)
    address = is_ip_address(name)
    return tuple(
        kind
        for kind in CHALLENGE_TYPES.values()
        if kind.method in methods
        and (not wildcard or METHODS[kind.method].covers_subdomains)
        and (not address or kind.ip_addresses)
    )


def identifier_type(name: str) -> str:
    """The identifier type of a name (RFC 8555 9.7.7, RFC 8738)."""
    return "ip" if is_ip_address(name) else "dns"


def parse_identifiers(value: object, *, ip_addresses: bool = False) -> tuple[DnsName, ...]:
    """The names of an order in its own order, in lower case, once each.

    `ip_addresses`: whether the order's profile certifies them (RFC 8738). Raises AcmeRefused: malformed for
    what is no list of identifiers; unsupportedIdentifier for types that the profile does not have (IP
    addresses perhaps); rejectedIdentifier for names that may not be certified and for text that is no IP
    address. With a subproblem for each name when there are several.
    """
    if not isinstance(value, list) or not value:
        raise malformed("“identifiers” is a list with at least one identifier.")
    if len(value) > MAX_IDENTIFIERS:
        told = f"The order has {len(value)} identifiers; at most {MAX_IDENTIFIERS} fit into a certificate."
        raise AcmeRefused(ProblemType.REJECTED_IDENTIFIER, told, status=400)
    names: dict[DnsName, None] = {}
    problems: list[Subproblem] = []
    for one in value:
        if not isinstance(one, dict):
            raise malformed("Each of “identifiers” is an object with “type” and “value”.")
        kind, text = one.get("type"), one.get("value")
        if not isinstance(kind, str) or not isinstance(text, str):
            raise malformed("Each identifier has a “type” and a “value”, both of them text.")
        what = "IP addresses are not certified here" if kind == "ip" else f"There is no type {quoted(kind)}"
        types = "“dns” or “ip”" if ip_addresses else "“dns”"
        problem = ProblemType.UNSUPPORTED_IDENTIFIER, f"{what}. Use identifiers of the type {types}."
        try:
            address = parse_ip_name(text) if kind == "ip" else None
            if kind == "dns" or (address is not None and ip_addresses):
                names[address or parse_dns_name(text)] = None
                continue
        except RejectedIdentifier as error:
            problem = ProblemType.REJECTED_IDENTIFIER, error.detail
        name, type_ = text[:NOT_A_NAME], kind[:NOT_A_NAME]
        problems.append(Subproblem(type=problem[0], detail=problem[1], name=name, identifier_type=type_))
    if problems:
        raise refused_identifiers(problems)
    return tuple(names)


def refused_identifiers(problems: Sequence[Subproblem]) -> AcmeRefused:
    """One error for one or more names that can't be had (RFC 8555 6.7.1)."""
    kinds = {problem.type for problem in problems}
    kind = problems[0].type if len(kinds) == 1 else ProblemType.COMPOUND
    detail = problems[0].detail
    if len(problems) > 1:
        detail = f"{len(problems)} of the names can't be certified; see “subproblems”. The first: {detail}"
    return AcmeRefused(kind, detail, subproblems=problems, status=400)
