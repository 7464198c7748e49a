"""Looks for a persistent record at the name and, where such a record may cover it, at its parents."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from certdesk.dcv.look import Look, look
from certdesk.dcv.persist.record import LABEL, Grant, Rejected, RejectedReason, accepted_uris, parse_record
from certdesk.domain.errors import InvariantViolated, RejectedIdentifier
from certdesk.domain.names.identifiers import authorization_domain_names
from certdesk.domain.validation.evidence import Method

_MAX_ISSUERS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One ADN's records: the widest grant among them, or the most telling rejection."""

    adn: str
    look: Look
    grant: Grant | None
    rejected: Rejected | None


class PersistValidator:
    """`_validation-persist.<ADN>` names one of our issuer names and the account.

    Below the ADN, and for a wildcard, only with `policy=wildcard` (draft 5, 6). The outcome says by its
    method how far it reaches, and by `adn` where the record stood; `details` has `persist_until` and `ttl`.
    """

    methods: ClassVar[frozenset[Method]] = frozenset({Method.DNS_PERSIST, Method.DNS_PERSIST_WILDCARD})

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Climbs from the name to its registrable domain; the first record that counts ends it.

        Raises: InvariantViolated for a challenge without account or issuer names.
        """
        require_sound(challenge, self.methods, secret=False)
        if not challenge.account_uri or not 1 <= len(challenge.issuers) <= _MAX_ISSUERS:
            raise InvariantViolated("a persistent record needs an account and one to ten issuer names")
        looked: list[_Found] = []
        try:  # the name and its parents, up to the domain that was registered
            places: Sequence[str] = authorization_domain_names(challenge.adn)
        except RejectedIdentifier:
            places = (challenge.adn,)
        for adn in places:
            found = _find(adn, challenge, network=network, now=now)
            looked.append(found)
            fault = found.look.fault()
            if fault is not None:  # what we can't see might forbid nothing, and proves nothing
                return NotValidated(problem=fault, record=_record(challenge, looked, now=now))
            if found.grant is not None:
                return Validated(record=_record(challenge, looked, now=now))
        record = _record(challenge, looked, now=now)
        return NotValidated(problem=_problem(challenge, looked), record=record)


def _find(adn: str, challenge: Challenge, *, network: Network, now: datetime) -> _Found:
    found = look(network.resolver, f"{LABEL}.{adn}", "TXT")
    issuers = {issuer.lower().rstrip(".") for issuer in challenge.issuers}
    uris = accepted_uris(
        prefix=challenge.hash_prefix,
        domain=adn,
        thumbprints=challenge.thumbprints,
        account_uri=challenge.account_uri,
    )
    read = [parse_record(text, issuers=issuers, account_uris=uris, now=now) for text in found.answer.values]
    below = challenge.wildcard or adn != challenge.adn
    rejected = [one for one in read if isinstance(one, Rejected)]
    grants = [one for one in read if isinstance(one, Grant) and (one.wildcard or not below)]

    def reach(grant: Grant) -> tuple[bool, bool, float]:
        """Of several records the one for everything below, then the one that lasts longest."""
        until = grant.persist_until
        return grant.wildcard, until is None, until.timestamp() if until else 0.0

    return _Found(
        adn=adn,
        look=found,
        grant=max(grants, key=reach, default=None),
        rejected=max(rejected, key=lambda one: one.reason, default=None),
    )


def _record(challenge: Challenge, looked: list[_Found], *, now: datetime) -> Record:
    """The evidence of all look-ups; the last one decided."""
    last = looked[-1]
    grant = last.grant
    details: dict[str, object] = {"looked": [dict(one.look.details()) for one in looked]}
    if grant is not None:
        details |= {
            "issuer": grant.issuer,
            "account_uri": grant.account_uri,
            "persist_until": grant.persist_until.isoformat() if grant.persist_until else None,
            "ttl": last.look.answer.ttl,
        }
    narrow = challenge.method if grant is None else Method.DNS_PERSIST
    method = Method.DNS_PERSIST_WILDCARD if grant is not None and grant.wildcard else narrow
    adn, asked = challenge.adn if grant is None else last.adn, "; ".join(one.look.asked for one in looked)
    return Record(method, adn, asked, last.look.answered, now, details)


_PROBLEMS: dict[RejectedReason, tuple[str, str]] = {
    RejectedReason.NOT_A_RECORD: ("not_a_record", "malformed"),
    RejectedReason.OTHER_ISSUER: ("other_issuer", "unauthorized"),
    RejectedReason.MALFORMED: ("malformed", "malformed"),
    RejectedReason.OTHER_ACCOUNT: ("other_account", "unauthorized"),
    RejectedReason.EXPIRED: ("expired", "unauthorized"),
}


def _problem(challenge: Challenge, looked: list[_Found]) -> Problem:
    """The most telling reason of all that was seen (draft 9.3.1)."""
    rejections = [(one.rejected.reason, one) for one in looked if one.rejected is not None]
    where = looked[0].look.name
    if not rejections and any(one.look.answer.values for one in looked):
        told = (
            f"A record that covers this needs policy=wildcard: it is about more than {looked[-1].adn} "
            f"alone. Add it, or put a record at {where}."
        )
        return Problem(code="dcv.persist.policy", detail=told, retry=True)
    if not rejections:
        wildcard = " with policy=wildcard" if challenge.wildcard else ""
        told = f"There is no TXT record at {where}{wildcard}. Add the one that we show you."
        return Problem(code="dcv.persist.no_record", detail=told, retry=True)
    reason, found = max(rejections, key=lambda pair: pair[0])
    code, acme_type = _PROBLEMS[reason]
    why = found.rejected.why if found.rejected else ""
    told, retry = (
        f"The record at {found.look.name} does not count: {why}.",
        reason is not RejectedReason.EXPIRED,
    )
    return Problem(code=f"dcv.persist.{code}", detail=told, acme_type=acme_type, retry=retry)
