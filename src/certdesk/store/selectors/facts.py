"""The facts that policy decides on, read inside the caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from certdesk.domain.errors import existing
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.decide import OrganisationFacts
from certdesk.domain.validation.evidence import Method, Validation, proving_names
from certdesk.store.driver import first, own_connection, swap
from certdesk.store.models import Organisation, StoppedName
from certdesk.store.sql import LOCK_KEYS, FactsNow, facts_now


def lock_organisation(organisation_id: OrganisationId, *keys: str) -> None:
    """Makes every other decision about this organisation, and about these keys, wait for the end of the
    transaction.

    A write to the row is the lock on PostgreSQL; SQLite's one writer needs none.
    """
    if own_connection().vendor != "sqlite":
        swap(Organisation, {"id": organisation_id}, {}, counted=("lock_version",))
        lock_keys(*keys)


def lock_keys(*keys: str) -> None:
    """Makes every other decision about these keys (their SHA-256) wait for the end of the transaction.

    A key may be blocked, or used, by another organisation. Comes after the organisation's lock. Two keys are
    locked in one order by everybody.
    """
    if keys and own_connection().vendor != "sqlite":
        LOCK_KEYS.rows(keys=sorted({int(key[:15], 16) for key in keys}))


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
