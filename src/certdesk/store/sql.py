"""The statements of the hot paths as SQL, each under a name, and what they answer (ADR 18).

One text for both databases, `%(name)s` where a value goes, read by `store.driver`. What is asked of the same
moment stands in one statement. Reads outside the hot paths stay with the ORM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from certdesk.domain.errors import InvariantViolated, NotFound
from certdesk.domain.issuing.states import FINAL, Status
from certdesk.domain.policy.limits import KeyUses
from certdesk.store.driver import Statement, columns_of, first, kinds_of, moment, taken
from certdesk.store.models import (
    AcmeAccount,
    AcmeAuthorization,
    AcmeChallenge,
    AcmeOrder,
    Certificate,
    EabCredential,
    IssuerChain,
    Organisation,
    Request,
)

_LATEST = 2**63 - 1
_FAILED = ", ".join(f"'{status}'" for status in sorted(FINAL - {Status.ISSUED}))

# What policy decides on.

_BLOCKED = """EXISTS (SELECT 1 FROM store_blockedkey b WHERE b.spki_sha256 = {key} AND b.ended_at IS NULL
    AND (b.organisation_id IS NULL OR b.organisation_id = {own}))"""
_ACCOUNT_COLUMNS = (
    f"{columns_of(AcmeAccount, 'a')}, {columns_of(EabCredential, 'c')}, {columns_of(Organisation, 'g')}"
)
_ACCOUNT_KINDS = kinds_of(AcmeAccount, EabCredential, Organisation)
_ACCOUNT_ROWS = """store_acmeaccount a
JOIN store_eabcredential c ON c.id = a.credential_id JOIN store_organisation g ON g.id = a.organisation_id"""
#: The proofs of some domains, and what is known of a key.
_FACTS_COLUMNS = """
  (SELECT json_group_array(json_array(d.adn, v.method, v.validated_at, v.expires_at))
    FROM store_domain d JOIN store_validationrecord v ON v.domain_id = d.id
    WHERE d.organisation_id = {own} AND d.adn IN (SELECT each.value FROM json_each(%(adns)s) AS each)
      AND v.expires_at > %(now)s AND v.end_reason = ''{but}),
  {blocked},
  (SELECT request_id FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id = {own} AND id < %(before)s ORDER BY id DESC LIMIT 1),
  EXISTS (SELECT 1 FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id < {own} AND id < %(before)s),
  EXISTS (SELECT 1 FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id > {own} AND id < %(before)s),
  EXISTS (SELECT 1 FROM store_acmeaccount WHERE spki_sha256 = %(key)s)"""
_FACTS_KINDS = (list, bool, int, bool, bool, bool)


#: By people who made, rotated or revealed a credential: such a check by hand proves nothing for what it
#: orders, for nobody decides what they could have asked for.
_BUT_BY_HANDS_ON = """
    AND NOT (v.method = 'manual_ownership' AND EXISTS (SELECT 1 FROM store_eabcredentialseen s
      WHERE s.credential_id = c.id AND s.user_id = v.validated_by_id))"""


def _facts_columns(own: str, but: str = "") -> str:
    return _FACTS_COLUMNS.format(own=own, but=but, blocked=_BLOCKED.format(key="%(key)s", own=own))


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsNow:
    """Proofs as (domain, method, start, end), and what is known of a key."""

    proofs: tuple[tuple[str, str, datetime, datetime], ...]
    is_key_blocked: bool
    key_uses: KeyUses
    is_account_key: bool


def _facts(row: Sequence[Any]) -> FactsNow:
    proofs, is_key_blocked, earlier, lower, higher, is_account_key = row
    return FactsNow(
        proofs=tuple((adn, method, moment(start), moment(end)) for adn, method, start, end in proofs or ()),
        is_key_blocked=is_key_blocked,
        key_uses=KeyUses(earlier_request=earlier, elsewhere=lower or higher),
        is_account_key=is_account_key,
    )


_FACTS = Statement(f"SELECT {_facts_columns('%(own)s')}", *_FACTS_KINDS)


def facts_now(
    organisation_id: int, *, adns: Sequence[str], key: str = "", before: int | None = None, now: datetime
) -> FactsNow:
    """The proofs of some domains that hold now, and where a key (its SHA-256) was met before `before`.

    One that was ended after `now` was read, while the lock was waited for, holds no longer. Later issuances
    don't count: who used a key first is not held up by somebody who sends it afterwards.
    """
    row = _FACTS.row(own=organisation_id, adns=list(adns), key=key, before=before or _LATEST, now=now)
    assert row is not None  # noqa: S101 - a statement without a table answers with one row
    return _facts(row)


# Who signs an ACME message, and what stands for and against it.

_SETTINGS = "(SELECT MAX(id) FROM store_settingsversion)"
_ACCOUNT = Statement(
    f"""
SELECT {_ACCOUNT_COLUMNS}, {_BLOCKED.format(key="a.spki_sha256", own="a.organisation_id")}, {_SETTINGS}
FROM {_ACCOUNT_ROWS} WHERE a.id = %(account)s""",  # noqa: S608 - no input
    *_ACCOUNT_KINDS,
    bool,
    int,
)
_ACCOUNT_AND_FACTS = Statement(
    f"""
SELECT {_ACCOUNT_COLUMNS}, {_BLOCKED.format(key="a.spki_sha256", own="a.organisation_id")}, {_SETTINGS},
  {_facts_columns("a.organisation_id", _BUT_BY_HANDS_ON)}
FROM {_ACCOUNT_ROWS} WHERE a.id = %(account)s""",  # noqa: S608 - no input
    *_ACCOUNT_KINDS,
    bool,
    int,
    *_FACTS_KINDS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountNow:
    """An account with its credential and organisation, and what else is asked of the database with it."""

    account: AcmeAccount
    is_key_blocked: bool
    settings_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountAndFacts(AccountNow):
    """The same, and what policy decides on, of one moment: without checks by hands on the credential."""

    known: FactsNow


def account_now(account_id: int) -> AccountNow | None:
    """An account as it is in the database at this moment; None where there is none."""
    row = _ACCOUNT.row(account=account_id)
    if row is None:
        return None
    account = _account(row)
    return AccountNow(account=account, is_key_blocked=row[0], settings_version=row[1] or 0)


def account_and_facts(
    account_id: int, *, adns: Sequence[str], key: str = "", before: int | None = None, now: datetime
) -> AccountAndFacts:
    """An account that has to be there, and of the same moment what policy decides on."""
    row = _ACCOUNT_AND_FACTS.row(
        account=account_id, adns=list(adns), key=key, before=before or _LATEST, now=now
    )
    if row is None:
        raise InvariantViolated("an account is never deleted, and this one is not there")
    account = _account(row)
    is_key_blocked, version, *facts = row
    return AccountAndFacts(
        account=account,
        is_key_blocked=is_key_blocked,
        settings_version=version or 0,
        known=_facts(facts),
    )


def _account(row: list[Any]) -> AcmeAccount:
    account = taken(AcmeAccount, row)
    account.credential, account.organisation = taken(EabCredential, row), taken(Organisation, row)
    return account


# What an account has ordered.

_ORDER = Statement(
    f"""
SELECT {columns_of(AcmeOrder, "o")}, {columns_of(AcmeAuthorization, "a")}
FROM store_acmeorder o JOIN store_acmeauthorization a ON a.order_id = o.id
WHERE o.id = %(order)s AND o.account_id = %(account)s
ORDER BY a.id""",  # noqa: S608 - no input
    *kinds_of(AcmeOrder, AcmeAuthorization),
)
_AUTHORIZATION = Statement(
    f"""
SELECT {columns_of(AcmeOrder, "o")}, {columns_of(AcmeAuthorization, "a")}, {columns_of(AcmeChallenge, "c")}
FROM store_acmeauthorization a JOIN store_acmeorder o ON o.id = a.order_id
LEFT JOIN store_acmechallenge c ON c.authorization_id = a.id
WHERE a.id = %(authorization)s AND o.account_id = %(account)s""",  # noqa: S608 - no input
    *kinds_of(AcmeOrder, AcmeAuthorization, AcmeChallenge),
)


def order_now(order_id: int, *, account_id: int) -> tuple[AcmeOrder, list[AcmeAuthorization]] | None:
    """An order of an account, and its authorizations in their order; None for any other."""
    rows = _ORDER.rows(order=order_id, account=account_id)
    if not rows:
        return None
    orders = [taken(AcmeOrder, row) for row in rows]
    return orders[0], [taken(AcmeAuthorization, row) for row in rows]


def authorization_now(
    authorization_id: int, *, account_id: int
) -> tuple[AcmeAuthorization, list[AcmeChallenge]] | None:
    """An authorization of an account, with its order, and the challenges that were answered."""
    rows = _AUTHORIZATION.rows(authorization=authorization_id, account=account_id)
    if not rows:
        return None
    orders = [taken(AcmeOrder, row) for row in rows]
    authorization, *_same = [taken(AcmeAuthorization, row) for row in rows]
    authorization.order = orders[0]
    return authorization, [taken(AcmeChallenge, row) for row in rows if row[0] is not None]


#: A certificate that an account has ordered: names and profile of the order, certificate, what stands above.
ORDERED = Statement(
    """
SELECT o.identifiers, o.profile_id, c.der, h.certificates
FROM store_acmeorder o JOIN store_certificate c ON c.id = o.certificate_id
JOIN store_issuerchain h ON h.id = c.issuer_chain_id
WHERE o.certificate_id = %(certificate)s AND +o.account_id = %(account)s""",
    *(list, str, bytes, list),
)

# The requests under which some names may have a certificate, and whether one that comes may be handed out.

_MAY_COVER = f"""
SELECT {columns_of(Request, "r")} FROM store_request r
WHERE r.organisation_id = %(own)s AND r.profile_id = %(profile)s AND r.state = 'approved'"""  # noqa: S608 - no input
_COVERING = Statement(
    f"""
SELECT * FROM ({_MAY_COVER} AND r.id IN (
    SELECT c.request_id FROM store_certificate c JOIN store_certificatename n ON n.certificate_id = c.id
    WHERE n.name = %(name)s)
  ORDER BY r.id DESC LIMIT %(issued)s) AS issued
UNION ALL
SELECT * FROM ({_MAY_COVER} AND r.channel = 'acme' AND NOT (r.status = 'issued')
    AND EXISTS (SELECT 1 FROM json_each(r.names) AS each WHERE each.value = %(name)s)
  ORDER BY r.id DESC LIMIT %(fresh)s) AS fresh""",  # noqa: S608 - no input
    *kinds_of(Request),
)


def request_now(request_id: int) -> Request:
    """A request as it is in the database at this moment. Raises NotFound."""
    row = first(Request, id=request_id)
    if row is None:
        raise NotFound("There is no such request.")
    return row


#: A request for its page, and of its own CSR what is shown; an ACME client's come with its orders.
_SHOWN = Statement(
    f"""
SELECT {columns_of(Request, "r")}, {columns_of(Organisation, "g")},
  u.username, i.csr_subject, i.key, i.csr_der, i.csr_sha256
FROM store_request r JOIN store_organisation g ON g.id = r.organisation_id
JOIN store_user u ON u.id = r.requester_id
LEFT JOIN store_issuance i ON r.channel <> 'acme' AND i.id = (
  SELECT MIN(id) FROM store_issuance WHERE request_id = r.id AND order_id IS NULL)
WHERE r.id = %(request)s""",  # noqa: S608 - no input
    *(*kinds_of(Request, Organisation), str, list, str, bytes, str),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShown:
    """A request with its organisation and the name of whoever asked; of its CSR, if any, what is shown."""

    request: Request
    organisation: Organisation
    requester: str
    subject: tuple[tuple[str, str], ...]
    key: str
    csr_der: bytes
    csr_sha256: str


def request_shown(request_id: int) -> RequestShown | None:
    """A request for its page; None where there is none."""
    row = _SHOWN.row(request=request_id)
    if row is None:
        return None
    request, organisation = taken(Request, row), taken(Organisation, row)
    requester, subject, key, csr_der, csr_sha256 = row
    return RequestShown(
        request=request,
        organisation=organisation,
        requester=requester,
        subject=tuple((name, value) for name, value in subject or ()),
        key=key or "",
        csr_der=bytes(csr_der or b""),
        csr_sha256=csr_sha256 or "",
    )


_CERTIFICATES = Statement(
    f"""
SELECT {columns_of(Certificate, "c")}, {columns_of(IssuerChain, "h")}
FROM store_certificate c JOIN store_issuerchain h ON h.id = c.issuer_chain_id
WHERE c.request_id = %(request)s AND NOT c.withheld ORDER BY c.id DESC""",  # noqa: S608 - no input
    *kinds_of(Certificate, IssuerChain),
)
#: From, until and revoked at, of the newest certificate of each of some requests.
NEWEST_DATES = Statement(
    """
SELECT c.request_id, c.not_before, c.not_after, c.revoked_at FROM store_certificate c
WHERE c.id IN (SELECT MAX(n.id) FROM json_each(%(requests)s) AS each
  JOIN store_certificate n ON n.request_id = CAST(each.value AS bigint) AND NOT n.withheld
  GROUP BY n.request_id)""",
    *(int, datetime, datetime, datetime),
)
#: The newest certificate of a request, with what stands above it, and whose it is.
NEWEST_FILES = Statement(
    """
SELECT r.organisation_id, r.common_names, c.not_after, c.der, h.certificates
FROM store_certificate c JOIN store_issuerchain h ON h.id = c.issuer_chain_id
JOIN store_request r ON r.id = c.request_id
WHERE c.request_id = %(request)s AND NOT c.withheld ORDER BY c.id DESC LIMIT 1""",
    *(int, str, datetime, bytes, list),
)
#: What the same person has sent before, and has not come to nothing.
SENT_BEFORE = Statement(
    f"""
SELECT id, status FROM store_request
WHERE requester_id = %(user)s AND submission_digest = %(digest)s AND created_at > %(since)s
  AND status NOT IN ({_FAILED})
ORDER BY id DESC LIMIT 1"""  # noqa: S608 - no input
)


def certificates_shown(request_id: int) -> list[Certificate]:
    """The certificates of a request that are handed out, newest first, each with what stands above it."""
    made = []
    for row in _CERTIFICATES.rows(request=request_id):
        certificate = taken(Certificate, row)
        certificate.issuer_chain = taken(IssuerChain, row)
        made.append(certificate)
    return made


def covering_requests(organisation_id: int, *, profile_id: str, name: str, most: int) -> list[Request]:
    """The newest approved requests with a certificate for a name, and those for it still without any."""
    rows = _COVERING.rows(own=organisation_id, profile=profile_id, name=name, issued=most, fresh=most)
    return [taken(Request, row) for row in rows]


# Whether a certificate that comes may be handed out.

_ARRIVAL = Statement(
    f"""
SELECT r.state, r.status, r.version, {columns_of(Organisation, "g")},
  {_BLOCKED.format(key="i.spki_sha256", own="i.organisation_id")}, {_SETTINGS},
  (SELECT id FROM store_issuerchain WHERE sha256 = %(chain)s),
  {_facts_columns("i.organisation_id", _BUT_BY_HANDS_ON)},
  {columns_of(AcmeAccount, "a")}, {columns_of(EabCredential, "c")},
  {_BLOCKED.format(key="a.spki_sha256", own="i.organisation_id")}
FROM store_issuance i JOIN store_request r ON r.id = i.request_id
JOIN store_organisation g ON g.id = i.organisation_id
LEFT JOIN store_acmeorder o ON o.id = i.order_id LEFT JOIN store_acmeaccount a ON a.id = o.account_id
LEFT JOIN store_eabcredential c ON c.id = a.credential_id
WHERE i.id = %(issuance)s""",  # noqa: S608 - no input
    *(str, str, int, *kinds_of(Organisation), bool, int, int, *_FACTS_KINDS),
    *(*kinds_of(AcmeAccount, EabCredential), bool),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What an issuance belongs to, and how that stands; `account` is None without an ACME order.

    `chain_id` is the number of the chain that came with the certificate, if it is known.
    """

    state: str
    status: str
    version: int
    organisation: Organisation
    is_key_blocked: bool
    settings_version: int
    chain_id: int | None
    known: FactsNow
    account: AccountNow | None


def arrival_now(issuance_id: int, *, adns: Sequence[str], chain: str, now: datetime) -> Arrival:
    """How things stand when a certificate comes, with a chain whose SHA-256 is `chain`, in one statement."""
    row = _ARRIVAL.row(issuance=issuance_id, adns=list(adns), key="", before=_LATEST, chain=chain, now=now)
    if row is None:
        raise InvariantViolated("an issuance is never deleted, and this one is not there")
    state, status, version = row[:3]
    del row[:3]
    organisation = taken(Organisation, row)
    is_key_blocked, settings_version, chain_id, *facts = row[: 3 + len(_FACTS_KINDS)]
    del row[: 3 + len(_FACTS_KINDS)]
    account = None
    if row[0] is not None:
        owner = taken(AcmeAccount, row)
        owner.credential, owner.organisation = taken(EabCredential, row), organisation
        account = AccountNow(account=owner, is_key_blocked=row[0], settings_version=settings_version or 0)
    return Arrival(
        state=state,
        status=status,
        version=version,
        organisation=organisation,
        is_key_blocked=is_key_blocked,
        settings_version=settings_version or 0,
        chain_id=chain_id,
        known=_facts(facts),
        account=account,
    )


# Statements that change a row.

#: Counts an order in its account's present hour, unless that is full or too many are unfinished.
COUNT_ORDER = Statement(
    """
UPDATE store_acmeaccount SET last_used_at = %(now)s, window_orders = window_orders + 1
WHERE id = %(account)s AND window_started_at > %(hour_ago)s AND window_orders < %(most)s
  AND (SELECT COUNT(*) FROM (SELECT 1 FROM store_acmeorder
    WHERE account_id = %(account)s AND finalized_at IS NULL AND expires_at > %(now)s
    LIMIT %(most_pending)s) AS pending) < %(most_pending)s"""
)
#: Claims an order whose authorizations are all valid at this moment.
CLAIM_ORDER = Statement(
    """
UPDATE store_acmeorder SET finalized_at = %(now)s
WHERE id = %(order)s AND finalized_at IS NULL AND problem IS NULL
  AND EXISTS (SELECT 1 FROM store_acmeauthorization a WHERE a.order_id = %(order)s)
  AND NOT EXISTS (SELECT 1 FROM store_acmeauthorization a WHERE a.order_id = %(order)s
    AND (a.valid_until IS NULL OR a.valid_until <= %(now)s
      OR a.failed_at IS NOT NULL OR a.deactivated_at IS NOT NULL))"""
)
SPEND = Statement(
    "INSERT INTO store_usednonce (nonce, expires_at) VALUES (%(nonce)s, %(expires_at)s) "
    "ON CONFLICT DO NOTHING"
)
#: Begins an account's next hour of orders.
COUNT_ANEW = Statement(
    "UPDATE store_acmeaccount SET window_started_at = %(now)s, window_orders = 1, last_used_at = %(now)s "
    "WHERE id = %(account)s AND window_started_at <= %(hour_ago)s"
)

# Where a request stands, and its newest issuance.

STANDING = Statement(
    "SELECT state, status, version, organisation_id FROM store_request WHERE id = %(request)s"
)
NEWEST = Statement(
    "SELECT id, state FROM store_issuance WHERE request_id = %(request)s ORDER BY id DESC LIMIT 1"
)
#: The issuances of an organisation that wait for a validation: nothing is due for them.
IDLE = Statement(
    "SELECT i.id, i.request_id FROM store_issuance i "
    "JOIN store_request r ON r.id = i.request_id AND r.state = 'approved' "
    "WHERE i.organisation_id = %(organisation)s AND i.state = 'waiting' AND i.next_attempt_at IS NULL"
)
#: On PostgreSQL, one after the other, until the transaction ends.
_NAMES = "SELECT pg_advisory_xact_lock(CAST(each.value AS bigint)) FROM json_each(%(numbers)s) AS each"
LOCK_NAMES = Statement(_NAMES)
LOCK = Statement(f"SELECT pg_advisory_xact_lock(-CAST(%(organisation)s AS bigint)) UNION ALL {_NAMES}")
LOCK_SHARED = Statement(
    f"SELECT pg_advisory_xact_lock_shared(-CAST(%(organisation)s AS bigint)) UNION ALL {_NAMES}"
)
