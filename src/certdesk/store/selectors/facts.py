"""The facts that policy decides on, read inside the caller's transaction."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from certdesk.domain.errors import existing
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.decide import OrganisationFacts
from certdesk.domain.validation.evidence import Method, Validation, proving_names
from certdesk.store.driver import first, own_connection
from certdesk.store.models import Organisation, StoppedName
from certdesk.store.sql import LOCK, LOCK_NAMES, LOCK_SHARED, FactsNow, facts_now

_DIGEST = re.compile("[0-9a-f]{64}")


def lock_organisation(organisation_id: OrganisationId, *names: str, shared: bool = False) -> None:
    """Makes every other decision about this organisation wait for the end of the transaction, and every other
    about what the names stand for, whoever's it is. SQLite's one writer needs no lock.

    A name is the SHA-256 of a key, or anything that may be done once only, such as `request 44`. `shared` is
    for asking and issuing: these don't wait for one another, and none of them is under way while a permission
    or a proof ends or comes. The organisation comes first, and names are locked in one order by everybody.
    """
    if own_connection().vendor != "sqlite":
        (LOCK_SHARED if shared else LOCK).rows(organisation=organisation_id, numbers=_numbers(names))


def lock_names(*names: str) -> None:
    """The same for names alone."""
    if names and own_connection().vendor != "sqlite":
        LOCK_NAMES.rows(numbers=_numbers(names))


def _numbers(names: Iterable[str]) -> list[int]:
    """Positive numbers of 60 bits; an organisation's is negative."""
    digests = (name if _DIGEST.fullmatch(name) else sha256(name.encode()).hexdigest() for name in names)
    return sorted({int(digest[:15], 16) for digest in digests})


def organisation_row(organisation_id: OrganisationId) -> Organisation:
    """The organisation's row. Raises NotFound."""
    return existing(first(Organisation, id=organisation_id), "There is no such organisation.")


def organisation_facts(row: Organisation, *, names: Iterable[str], now: datetime) -> OrganisationFacts:
    """What policy knows of an organisation, as far as it can matter to some names."""
    return known_facts(row, names=names, now=now)[0]


def adns_of(names: Iterable[str]) -> list[str]:
    """The authorization domain names that could prove some names."""
    return sorted({adn for name in names for adn in proving_names(name)})


def known_facts(
    row: Organisation,
    *,
    names: Iterable[str],
    key: str = "",
    before: int | None = None,
    known: FactsNow | None = None,
    now: datetime,
) -> tuple[OrganisationFacts, FactsNow]:
    """The same, and with it what is known of a key (its SHA-256), in one statement.

    `known` is that where it was read in this transaction, under the lock, with something else.

    Proofs that have lapsed prove nothing and are left out, and so are those of other names: one that is
    proven by each ACME order would make every later order dearer.
    """
    found = known or facts_now(row.pk, adns=adns_of(names), key=key, before=before, now=now)
    proofs = tuple(
        Validation(adn=adn, method=Method(method), validated_at=start, expires_at=end)
        for adn, method, start, end in found.proofs
    )
    return replace(described(row), validations=proofs), found


def stopped_names(organisation_id: int, names: Sequence[DnsName]) -> tuple[tuple[DnsName, int], ...]:
    """Those of the names that the RA has stopped a request for, with its number, as often as it did.

    A wildcard and what it stands for are stopped together.
    """
    rows = StoppedName.objects.filter(organisation_id=organisation_id).order_by("request_id")
    stopped = [(name, _wildcard(name), number) for name, number in rows.values_list("name", "request_id")]
    return tuple(
        (name, number)
        for name in names
        for one, above, number in stopped
        if name in (one, above) or one == _wildcard(name)
    )


def _wildcard(name: str) -> str:
    return f"*.{name.partition('.')[2]}"


def described(row: Organisation) -> OrganisationFacts:
    """The organisation without its proofs: enough for what an approval is about, not for a decision."""
    return OrganisationFacts(
        id=row.pk,
        legal_name=row.legal_name,
        vetted=row.vetted_at is not None,
        active=row.is_active,
        country=row.country,
        locality=row.locality,
        has_approved_request=row.first_approved_at is not None,
    )
