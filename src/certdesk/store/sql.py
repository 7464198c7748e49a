"""Statements of the hot paths as SQL, each under a name, and rows that are written by their columns' names.

The ORM builds a statement's text anew each time and makes an instance of each row, which costs several times
what the database does. Here a statement has one text for both databases, `%(name)s` where a value goes, and
answers with tuples. It runs on the driver itself (`native`). Reads outside the hot paths stay with the ORM.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS
from django.db.models import AutoField, BooleanField, DateTimeField, JSONField, Model
from django.db.models.base import ModelState

from certdesk.domain.errors import NotFound
from certdesk.domain.policy_limits import KeyUses
from certdesk.store.models import (
    AcmeAccount,
    AcmeAuthorization,
    AcmeChallenge,
    AcmeOrder,
    EabCredential,
    Organisation,
    Request,
)
from certdesk.store.native import change, fetch, own_connection

M = TypeVar("M", bound=Model)
_LATEST = 2**63 - 1
_AT_ONCE = 50
#: Values that both drivers take as they are.
_PLAIN = frozenset({int, str, bool, bytes, type(None)})
#: What SQLite calls by other names than PostgreSQL.
_IN_POSTGRESQL = {
    "json_group_array(": "json_agg(",
    "json_array(": "json_build_array(",
    "json_each(": "jsonb_array_elements_text(CAST(",
    ") AS each": " AS jsonb)) AS each(value)",
}


class Statement:
    """One statement. `kinds` are the types of the columns that it answers with, JSON as `list`.

    What goes in may be anything that a model's column holds: times, JSON and states too.
    """

    def __init__(self, text: str, *kinds: type) -> None:
        self._sqlite = text
        self._postgresql = re.sub(
            "|".join(map(re.escape, _IN_POSTGRESQL)), lambda found: _IN_POSTGRESQL[found[0]], text
        )
        self._converted = [(place, kind) for place, kind in enumerate(kinds) if kind in _READ]

    def rows(self, **values: object) -> list[list[Any]]:
        """All rows."""
        own = own_connection()
        is_sqlite = own.vendor == "sqlite"
        told = {name: _told(value, is_sqlite=is_sqlite) for name, value in values.items()}
        rows = [list(row) for row in fetch(own, self._sqlite if is_sqlite else self._postgresql, told)]
        for place, kind in self._converted:
            for row in rows:
                if row[place] is not None:
                    row[place] = _READ[kind](row[place])
        return rows

    def row(self, **values: object) -> list[Any] | None:
        """The first row, or None."""
        return next(iter(self.rows(**values)), None)

    def change(self, **values: object) -> int:
        """How many rows a statement that answers with none has changed."""
        own = own_connection()
        is_sqlite = own.vendor == "sqlite"
        told = {name: _told(value, is_sqlite=is_sqlite) for name, value in values.items()}
        return change(own, self._sqlite if is_sqlite else self._postgresql, told)


def put(model: type[Model], rows: Sequence[Mapping[str, object]]) -> list[int]:
    """Inserts rows of one table, all with the same columns; the numbers that the database gives them, if any.

    A column that is left out has to have a default in the database, or none.
    """
    own = own_connection()
    is_sqlite, numbers = own.vendor == "sqlite", list[int]()
    for start in range(0, len(rows), _AT_ONCE):
        few = rows[start : start + _AT_ONCE]
        sql, is_numbered = _insertion(model, tuple(few[0]), len(few))
        values = [_told(value, is_sqlite=is_sqlite) for row in few for value in row.values()]
        if is_numbered:
            # Both databases give the numbers in the order of the rows; Django's bulk_create counts on it too.
            numbers += [number for (number,) in fetch(own, sql, values)]
        else:
            change(own, sql, values)
    return numbers


def moment(value: datetime | str) -> datetime:
    """A time as SQLite keeps it (UTC, without saying so), or as it stands in PostgreSQL's JSON."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


#: What is read as something else than the driver gives.
_READ: Mapping[type, Callable[[Any], object]] = {datetime: moment, bool: bool, list: _json}


def _told(value: object, *, is_sqlite: bool) -> object:
    """A value as the driver gets it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, datetime):
        return str(value.astimezone(UTC).replace(tzinfo=None)) if is_sqlite else value
    if isinstance(value, Enum):
        return value.value
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else value


@functools.lru_cache(maxsize=200)
def _insertion(model: type[Model], columns: tuple[str, ...], rows: int) -> tuple[str, bool]:
    meta = model._meta  # noqa: SLF001 - Django's public API in spite of its name
    is_numbered = isinstance(meta.pk, AutoField)
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join([f"({', '.join(['%s'] * len(columns))})"] * rows)
    sql = f'INSERT INTO "{meta.db_table}" ({names}) VALUES {values}'  # noqa: S608 - no input
    return f'{sql} RETURNING "{meta.pk.column}"' if is_numbered else sql, is_numbered


# Models in statements: all their columns, and the instance that these describe.


def _columns(model: type[Model], alias: str) -> str:
    fields = model._meta.concrete_fields  # noqa: SLF001 - Django's public API in spite of its name
    return ", ".join(f'{alias}."{field.column}"' for field in fields)


def _kinds(*models: type[Model]) -> list[type]:
    kinds: dict[type, type] = {DateTimeField: datetime, BooleanField: bool, JSONField: list}
    fields = [field for model in models for field in model._meta.concrete_fields]  # noqa: SLF001 - as above
    return [kinds.get(type(field), object) for field in fields]


def _taken(model: type[M], row: list[Any]) -> M:
    """The instance that the row begins with; what follows stays in the row."""
    names = _names(model)
    made = model.__new__(model)  # as when it is unpickled: `__init__` looks at every column
    made.__dict__.update(zip(names, row, strict=False))
    made._state = ModelState()  # noqa: SLF001 - documented for `from_db`
    made._state.adding, made._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - as above
    del row[: len(names)]
    return made


@functools.cache
def _names(model: type[Model]) -> tuple[str, ...]:
    return tuple(field.attname for field in model._meta.concrete_fields)  # noqa: SLF001 - as above


# Who signs an ACME message.

_BLOCKED = """EXISTS (SELECT 1 FROM store_blockedkey b WHERE b.spki_sha256 = {key} AND b.ended_at IS NULL
    AND (b.organisation_id IS NULL OR b.organisation_id = {organisation}))"""
_ACCOUNT = Statement(
    f"""
SELECT {_columns(AcmeAccount, "a")}, {_columns(EabCredential, "c")}, {_columns(Organisation, "o")},
  {_BLOCKED.format(key="a.spki_sha256", organisation="a.organisation_id")},
  (SELECT MAX(id) FROM store_settingsversion)
FROM store_acmeaccount a
JOIN store_eabcredential c ON c.id = a.credential_id JOIN store_organisation o ON o.id = a.organisation_id
WHERE a.id = %(account)s""",  # noqa: S608 - no input
    *_kinds(AcmeAccount, EabCredential, Organisation),
    bool,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountNow:
    """An account with its credential and organisation, and what else is asked of the database with it."""

    account: AcmeAccount
    is_key_blocked: bool
    settings_version: int


def account_now(account_id: int) -> AccountNow | None:
    """An account as it is in the database at this moment; None where there is none."""
    row = _ACCOUNT.row(account=account_id)
    if row is None:
        return None
    account = _taken(AcmeAccount, row)
    account.credential, account.organisation = _taken(EabCredential, row), _taken(Organisation, row)
    return AccountNow(account=account, is_key_blocked=row[0], settings_version=row[1] or 0)


# What policy decides on.

_FACTS = Statement(
    f"""
SELECT
  (SELECT json_group_array(json_array(d.adn, v.method, v.validated_at, v.expires_at))
    FROM json_each(%(adns)s) AS each
    JOIN store_domain d ON d.organisation_id = %(own)s AND d.adn = each.value
    JOIN store_validationrecord v ON v.domain_id = d.id AND v.expires_at > %(now)s AND v.end_reason = ''),
  {_BLOCKED.format(key="%(key)s", organisation="%(own)s")},
  (SELECT MAX(request_id) FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id = %(own)s AND id < %(before)s),
  EXISTS (SELECT 1 FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id < %(own)s AND id < %(before)s),
  EXISTS (SELECT 1 FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id > %(own)s AND id < %(before)s)""",  # noqa: S608 - no input
    list,
    bool,
    int,
    bool,
    bool,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsNow:
    """Proofs as (domain, method, start, end), and what is known of a key."""

    proofs: tuple[tuple[str, str, datetime, datetime], ...]
    is_key_blocked: bool
    key_uses: KeyUses


def facts_now(
    organisation_id: int, *, adns: Sequence[str], key: str = "", before: int | None = None, now: datetime
) -> FactsNow:
    """The proofs of some domains that hold now, and where a key (its SHA-256) was met before `before`.

    One that was ended after `now` was read, while the lock was waited for, holds no longer. Later issuances
    don't count: who used a key first is not held up by somebody who sends it afterwards.
    """
    row = _FACTS.row(
        own=organisation_id, adns=list(adns), key=key, before=_LATEST if before is None else before, now=now
    )
    assert row is not None  # noqa: S101 - a statement without a table answers with one row
    proofs, is_key_blocked, earlier, lower, higher = row
    return FactsNow(
        proofs=tuple((adn, method, moment(start), moment(end)) for adn, method, start, end in proofs or ()),
        is_key_blocked=is_key_blocked,
        key_uses=KeyUses(earlier_request=earlier, elsewhere=lower or higher),
    )


# What an account has ordered.

_ORDER = Statement(
    f"""
SELECT {_columns(AcmeOrder, "o")}, {_columns(AcmeAuthorization, "a")}
FROM store_acmeorder o JOIN store_acmeauthorization a ON a.order_id = o.id
WHERE o.id = %(order)s AND o.account_id = %(account)s
ORDER BY a.id""",  # noqa: S608 - no input
    *_kinds(AcmeOrder, AcmeAuthorization),
)
_AUTHORIZATION = Statement(
    f"""
SELECT {_columns(AcmeOrder, "o")}, {_columns(AcmeAuthorization, "a")}, {_columns(AcmeChallenge, "c")}
FROM store_acmeauthorization a JOIN store_acmeorder o ON o.id = a.order_id
LEFT JOIN store_acmechallenge c ON c.authorization_id = a.id
WHERE a.id = %(authorization)s AND o.account_id = %(account)s""",  # noqa: S608 - no input
    *_kinds(AcmeOrder, AcmeAuthorization, AcmeChallenge),
)


def order_now(order_id: int, *, account_id: int) -> tuple[AcmeOrder, list[AcmeAuthorization]] | None:
    """An order of an account, and its authorizations in their order; None for any other."""
    rows = _ORDER.rows(order=order_id, account=account_id)
    if not rows:
        return None
    orders = [_taken(AcmeOrder, row) for row in rows]
    return orders[0], [_taken(AcmeAuthorization, row) for row in rows]


def authorization_now(
    authorization_id: int, *, account_id: int
) -> tuple[AcmeAuthorization, list[AcmeChallenge]] | None:
    """An authorization of an account, with its order, and the challenges that were answered."""
    rows = _AUTHORIZATION.rows(authorization=authorization_id, account=account_id)
    if not rows:
        return None
    orders = [_taken(AcmeOrder, row) for row in rows]
    authorization, *_same = [_taken(AcmeAuthorization, row) for row in rows]
    authorization.order = orders[0]
    return authorization, [_taken(AcmeChallenge, row) for row in rows if row[0] is not None]


# The requests under which some names may have a certificate, and whether one that comes may be handed out.

_MAY_COVER = f"""
SELECT {_columns(Request, "r")} FROM store_request r
WHERE r.organisation_id = %(own)s AND r.profile_id = %(profile)s AND r.state = 'approved'"""  # noqa: S608 - no input
_COVERING = Statement(
    f"""
SELECT * FROM ({_MAY_COVER} AND r.id IN (
    SELECT c.request_id FROM store_certificate c JOIN store_certificatename n ON n.certificate_id = c.id
    WHERE n.name = %(name)s)
  ORDER BY r.id DESC LIMIT %(issued)s) AS issued
UNION ALL
SELECT * FROM ({_MAY_COVER} AND r.status <> 'issued' AND r.channel = 'acme'
    AND EXISTS (SELECT 1 FROM json_each(r.names) AS each WHERE each.value = %(name)s)
  ORDER BY r.id DESC LIMIT %(fresh)s) AS fresh""",  # noqa: S608 - no input
    *_kinds(Request),
)


_REQUEST = Statement(
    f"SELECT {_columns(Request, 'r')} FROM store_request r WHERE r.id = %(request)s",  # noqa: S608 - no input
    *_kinds(Request),
)


def request_now(request_id: int) -> Request:
    """A request as it is in the database at this moment. Raises NotFound."""
    row = _REQUEST.row(request=request_id)
    if row is None:
        raise NotFound("There is no such request.")
    return _taken(Request, row)


def covering_requests(organisation_id: int, *, profile_id: str, name: str, most: int) -> list[Request]:
    """The newest approved requests with a certificate for a name, and those for it still without any."""
    rows = _COVERING.rows(own=organisation_id, profile=profile_id, name=name, issued=most, fresh=most)
    return [_taken(Request, row) for row in rows]


#: How an issuance and what it belongs to stand; the last two are set where account or credential has ended.
ARRIVAL = Statement(
    f"""
SELECT r.state, r.status, r.version, i.organisation_id, g.is_active,
  {_BLOCKED.format(key="i.spki_sha256", organisation="i.organisation_id")},
  {_BLOCKED.format(key="a.spki_sha256", organisation="i.organisation_id")},
  a.deactivated_at, c.revoked_at
FROM store_issuance i JOIN store_request r ON r.id = i.request_id
JOIN store_organisation g ON g.id = i.organisation_id
LEFT JOIN store_acmeorder o ON o.id = i.order_id LEFT JOIN store_acmeaccount a ON a.id = o.account_id
LEFT JOIN store_eabcredential c ON c.id = a.credential_id
WHERE i.id = %(issuance)s""",  # noqa: S608 - no input
    str,
    str,
    int,
    int,
    bool,
    bool,
    bool,
)
#: Counts an order in its account's present hour, unless that is full or too many are unfinished.
COUNT_ORDER = Statement(
    """
UPDATE store_acmeaccount SET last_used_at = %(now)s, window_orders = window_orders + 1
WHERE id = %(account)s AND window_started_at > %(hour_ago)s AND window_orders < %(most)s
  AND (SELECT COUNT(*) FROM (SELECT 1 FROM store_acmeorder
    WHERE account_id = %(account)s AND finalized_at IS NULL AND expires_at > %(now)s
    LIMIT %(most_pending)s) AS pending) < %(most_pending)s"""
)
CLAIM_ORDER = Statement(
    "UPDATE store_acmeorder SET finalized_at = %(now)s "
    "WHERE id = %(order)s AND finalized_at IS NULL AND problem IS NULL"
)
SPEND = Statement(
    "INSERT INTO store_usednonce (nonce, expires_at) VALUES (%(nonce)s, %(expires_at)s) "
    "ON CONFLICT DO NOTHING"
)
