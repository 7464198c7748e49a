"""EAB credentials and ACME accounts as an actor may see them, and who knows whose key: never an HMAC key."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.actors import Action, Actor, RaRole, can
from certdesk.domain.errors import NotFound, existing
from certdesk.domain.issuing.states import OrganisationId, UserId
from certdesk.store.copied import copied
from certdesk.store.keyset import MAX_ID
from certdesk.store.models import AcmeAccount, AuditEvent, EabCredential, EabCredentialSeen, Membership
from certdesk.store.selectors.keys import blocks_on
from certdesk.store.selectors.visible import visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Somebody who made, rotated or revealed a credential. `knows_key`: since it was rotated last.

    `has_left`: the person can no longer look after it, being disabled, or neither of the organisation nor an
    RA officer.
    """

    user_id: UserId
    username: str
    knows_key: bool
    has_left: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRow:
    """A credential. `owner` is told what its requests wait for; `accounts` counts those still usable."""

    id: int
    organisation_id: OrganisationId
    organisation: str
    organisation_slug: str
    name: str
    kid: str
    limits: Limits
    owner: str
    created_by: str
    created_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None
    accounts: int
    last_used_at: datetime | None
    seen_by: tuple[Seen, ...]

    @property
    def leavers(self) -> tuple[str, ...]:
        """Who knows the key of today and has left: reason enough to rotate it."""
        known = self.seen_by if self.revoked_at is None else ()
        return tuple(one.username for one in known if one.knows_key and one.has_left)

    def is_usable(self, *, now: datetime) -> bool:
        """Whether a client may register with it now; room for one more account aside."""
        return self.revoked_at is None and not self.limits.is_over(now=now)


class AccountStatus(StrEnum):
    """Whether an account may be used, and if not, what ended it."""

    VALID = "valid"
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"  # with its credential
    SUSPENDED = "suspended"  # with its organisation
    BLOCKED = "blocked"  # its key is known as compromised


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """An ACME account. `last_problem` is what the last refusal told its client; empty for none."""

    id: int
    credential_id: int
    credential: str
    organisation_id: OrganisationId
    organisation: str
    organisation_slug: str
    status: AccountStatus
    thumbprint: str
    contacts: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime
    deactivated_at: datetime | None
    last_problem: str
    last_problem_at: datetime | None


def former_thumbprints(*, account_id: int) -> tuple[str, ...]:
    """Thumbprints of the keys that an account had, the latest first; the audit log is what keeps them."""
    changes = AuditEvent.objects.filter(
        object_type="acme_account", object_id=str(account_id), action="acme_account.change_key"
    )
    return tuple(data["from"] for data in changes.order_by("-seq").values_list("data", flat=True))


def find_credentials(
    *,
    actor: Actor,
    organisation_id: OrganisationId | None = None,
    query: str = "",
    before: int | None = None,
    limit: int = 50,
) -> list[CredentialRow]:
    """The newest credentials that the actor may see, with an id below `before` only; none is no error.

    `query` is part of a name, of a kid or of the organisation's name.
    """
    if not query.isprintable():  # no name holds such a character, and no database takes all of them
        return []
    condition = visible(actor, Action.ACME_READ)
    if organisation_id is not None:
        condition &= Q(organisation_id=organisation_id)
    if before is not None:
        condition &= Q(id__lt=before)
    if query:
        condition &= (
            Q(name__icontains=query) | Q(kid__icontains=query) | Q(organisation__legal_name__icontains=query)
        )
    return _rows(condition, limit=limit)


def credentials_seen_by(
    *, actor: Actor, user_id: int, organisation_id: OrganisationId
) -> list[CredentialRow]:
    """An organisation's credentials in use that a person made, rotated or revealed; none is no error."""
    seen = EabCredentialSeen.objects.filter(user_id=user_id).values("credential_id")
    own = Q(organisation_id=organisation_id, revoked_at__isnull=True, id__in=seen)
    return _rows(visible(actor, Action.ACME_READ) & own)


def hands_on(*, request_id: int) -> frozenset[UserId]:
    """Who made, rotated or revealed the credential of the ACME account that asked for a request.

    They do not decide about it. Nobody for a request that a person made.
    """
    found = EabCredentialSeen.objects.filter(credential__accounts__requests=request_id)
    return frozenset(UserId(one) for one in found.values_list("user_id", flat=True))


def askers(accounts: Iterable[int | None]) -> dict[int | None, str]:
    """ACME accounts as the requesters that they are; what is None stays out."""
    wanted = {one for one in accounts if one is not None}
    if not wanted:  # as for most pages of requests: nothing is asked
        return {}
    found = AcmeAccount.objects.filter(id__in=wanted)
    names = "id", "credential__name", "credential__created_by__username"
    return {
        number: f"ACME account {number} (credential “{credential}”, made by {maker})"
        for number, credential, maker in found.values_list(*names)
    }


def has_usable_credential(*, organisations: frozenset[OrganisationId], now: datetime) -> bool:
    """Whether any of these organisations has a credential that a client can register with."""
    found = EabCredential.objects.filter(organisation_id__in=organisations, revoked_at__isnull=True)
    return found.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now)).exists()


def get_credential(*, actor: Actor, credential_id: int) -> CredentialRow:
    """One credential. Raises NotFound for a foreign or missing one."""
    rows = _rows(Q(id=min(credential_id, MAX_ID)))
    if not rows or not can(actor, Action.ACME_READ, organisation_id=rows[0].organisation_id):
        raise NotFound("There is no such credential.")
    return rows[0]


def find_accounts(
    *,
    actor: Actor,
    credential_id: int | None = None,
    organisation_id: OrganisationId | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[AccountRow]:
    """The newest accounts that the actor may see, with an id below `before` only; none is no error."""
    wanted = {"credential_id": credential_id, "organisation_id": organisation_id, "id__lt": before}
    given = {name: value for name, value in wanted.items() if value is not None}
    found = _accounts().filter(visible(actor, Action.ACME_READ), **given)
    return [_account(row) for row in found.order_by("-id")[:limit]]


def get_account(*, actor: Actor, account_id: int) -> AccountRow:
    """One account. Raises NotFound for a foreign or missing one."""
    found = _accounts().filter(visible(actor, Action.ACME_READ), id=min(account_id, MAX_ID))
    row = existing(found.first(), "There is no such account.")
    return _account(row)


def _accounts() -> QuerySet[AcmeAccount]:
    blocked = blocks_on(OuterRef("spki_sha256"), OuterRef("organisation_id"))
    return AcmeAccount.objects.select_related("credential", "organisation").annotate(
        is_key_blocked=Exists(blocked)
    )


def _rows(condition: Q, *, limit: int | None = None) -> list[CredentialRow]:
    found = EabCredential.objects.filter(condition).select_related("organisation", "created_by", "owner")
    rows = list(found.order_by("-id")[:limit])
    numbers = [row.pk for row in rows]
    # Accounts that may still be used, and when any of a credential's was used last.
    usable = Count("id", filter=Q(deactivated_at__isnull=True))
    accounts_of = AcmeAccount.objects.filter(credential_id__in=numbers).values("credential_id").order_by()
    counted = accounts_of.annotate(usable=usable, used_at=Max("last_used_at"))
    usage = {one["credential_id"]: (one["usable"], one["used_at"]) for one in counted}
    seen, made = _seen(numbers), []
    for row in rows:
        accounts, used_at = usage.get(row.pk, (0, None))
        made.append(
            copied(
                CredentialRow,
                row,
                organisation=row.organisation.legal_name,
                organisation_slug=row.organisation.slug,
                limits=copied(Limits, row, suffixes=tuple(row.suffixes)),
                owner=row.owner.username,
                created_by=row.created_by.username,
                accounts=accounts,
                last_used_at=used_at,
                seen_by=seen[row.pk],
            )
        )
    return made


def _seen(credentials: list[int]) -> dict[int, tuple[Seen, ...]]:
    """Credential → who has had its key in hand, each person once."""
    here = Membership.objects.filter(
        user_id=OuterRef("user_id"), organisation_id=OuterRef("credential__organisation_id"), is_active=True
    )
    found = (
        EabCredentialSeen.objects.filter(credential_id__in=credentials)
        .annotate(belongs=Exists(here))
        .order_by("user__username")
        .values_list(
            *("credential_id", "user_id", "user__username", "user__is_active", "user__ra_role", "belongs"),
            "credential__rotated_at",
        )
        .annotate(last=Max("at"))
    )
    seen: dict[int, tuple[Seen, ...]] = dict.fromkeys(credentials, ())
    for number, user_id, username, is_active, ra_role, belongs, rotated_at, last in found:
        one = Seen(
            user_id=UserId(user_id),
            username=username,
            knows_key=rotated_at is None or last >= rotated_at,
            has_left=not (is_active and (belongs or ra_role == RaRole.OFFICER)),
        )
        seen[number] += (one,)
    return seen


def _account(row: AcmeAccount) -> AccountRow:
    return copied(
        AccountRow,
        row,
        credential=row.credential.name,
        organisation=row.organisation.legal_name,
        organisation_slug=row.organisation.slug,
        status=_status(row),
        contacts=tuple(row.contacts),
    )


def _status(row: AcmeAccount) -> AccountStatus:
    """In the order in which `domain.acme.credentials` refuses."""
    if row.deactivated_at is not None:
        return AccountStatus.DEACTIVATED
    if row.credential.revoked_at is not None:
        return AccountStatus.REVOKED
    if not row.organisation.is_active:
        return AccountStatus.SUSPENDED
    return AccountStatus.BLOCKED if row.__dict__["is_key_blocked"] else AccountStatus.VALID
