"""EAB credentials: what an organisation's ACME clients register with (RFC 8555 7.3.4).

The HMAC key is made here, stored encrypted, and shown to the organisation's managers and to RA officers.
Reading lists lives in `store.selectors.acme`.
"""

import base64
import hashlib
import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from django.db import IntegrityError
from django.db.models import Case, When

from certdesk.domain.acme.credentials import MAX_NAME, Limits, checked_limits
from certdesk.domain.actors import Action, Actor, OrgRole, can
from certdesk.domain.errors import (
    IdempotencyMismatch,
    InvalidInput,
    InvariantViolated,
    NotAuthorized,
    NotFound,
    StateConflict,
)
from certdesk.domain.issuing.states import OrganisationId, UserId
from certdesk.services.people.permissions import actor_now
from certdesk.services.system import runtime, sealing
from certdesk.services.system.text_input import storable
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import AcmeAccount, EabCredential, EabCredentialSeen, Membership
from certdesk.store.selectors.facts import lock_organisation, organisation_row

_PURPOSE = b"certdesk EAB HMAC keys v1"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialKey:
    """What a client is configured with. `hmac_key` is base64url without padding (RFC 8555 7.3.4).

    `replayed` when an earlier call with the same idempotency key had made the credential.
    """

    credential_id: int
    kid: str
    hmac_key: str = field(repr=False)
    replayed: bool = False


def create_credential(
    *,
    actor: Actor,
    organisation_id: OrganisationId,
    name: str,
    limits: Limits,
    idempotency_key: str = "",
    now: datetime,
) -> CredentialKey:
    """Makes a credential for an organisation; any number of accounts may use it unless `limits` say less.

    With `idempotency_key` the same person's same key makes the same credential.
    Raises NotFound for a foreign organisation, NotAuthorized for its applicants, InvalidInput,
    IdempotencyMismatch.
    """
    _may_manage(actor, organisation_id)
    name, limits = _named(name), checked_limits(limits, offered=runtime.current().profiles, now=now)
    organisation = organisation_row(organisation_id)
    # It ends by chance, or with what an idempotency key makes of it, so that the row itself is unique. A kid
    # is no secret; the HMAC key is, and that is always by chance.
    tail = secrets.token_hex(6)
    if idempotency_key:
        seed = f"{actor.user_id} {organisation_id} {idempotency_key}"
        tail = hashlib.sha256(seed.encode()).hexdigest()[:22]
    kid, key = f"{organisation.slug[:40]}-{tail}", _new_key()
    earlier = EabCredential.objects.filter(kid=kid).first() if idempotency_key else None
    if earlier is not None:
        return _replayed(actor, earlier, name, limits, now=now)
    try:
        with write_transaction():
            lock_organisation(organisation_id)
            actor = actor_now(actor)
            _may_manage(actor, organisation_id)
            owner = _answerable(actor, organisation_id)
            if owner is None:
                raise InvalidInput(
                    "The organisation has no people yet, and someone has to answer for its requests. "
                    "Add one first."
                )
            row = EabCredential.objects.create(
                organisation_id=organisation_id,
                name=name,
                kid=kid,
                key_sealed=sealing.sealed(key, purpose=_PURPOSE),
                owner_id=owner,
                created_by_id=_person(actor),
                created_at=now,
                **_columns(limits),
            )
            _note_seen(actor, row, "create", now=now)
            _record(actor, row, "acme_credential.create", now=now, data={"kid": kid, **_told(name, limits)})
    except IntegrityError:  # the same call at the same moment
        earlier = EabCredential.objects.filter(kid=kid).first()
        if earlier is None or not idempotency_key:
            raise
        return _replayed(actor, earlier, name, limits, now=now)
    return CredentialKey(credential_id=row.pk, kid=kid, hmac_key=key)


def change_credential(*, actor: Actor, credential_id: int, name: str, limits: Limits, now: datetime) -> None:
    """Names and limits a credential anew; accounts that exist go on, within the new limits.

    Raises as `create_credential` does, and StateConflict for a revoked one.
    """
    seen = _manageable(actor, credential_id)
    name, limits = _named(name), checked_limits(limits, offered=runtime.current().profiles, now=now)
    with write_transaction():
        row = _locked(actor, seen)
        _update(row, name=name, **_columns(limits))
        before = _told(row.name, limits_of(row))
        after = _told(name, limits)
        changed = {key: [before[key], after[key]] for key in after if before[key] != after[key]}
        _record(actor, row, "acme_credential.change", now=now, data={"changed": changed})


def rotate_credential(
    *, actor: Actor, credential_id: int, end_accounts: bool = False, now: datetime
) -> CredentialKey:
    """Gives a credential a new HMAC key: the old one registers nobody any more, accounts that exist go on.

    With `end_accounts` they end as well: anyone who had the old key may have registered one of them.
    Raises NotFound, NotAuthorized, StateConflict for a revoked one.
    """
    seen, key = _manageable(actor, credential_id), _new_key()
    with write_transaction():
        row = _locked(actor, seen)
        _update(row, key_sealed=sealing.sealed(key, purpose=_PURPOSE), rotated_at=now)
        _note_seen(actor, row, "rotate", now=now)
        _record(actor, row, "acme_credential.rotate", now=now)
        alive = AcmeAccount.objects.filter(credential=row, deactivated_at__isnull=True).order_by("id")
        for account in alive if end_accounts else ():
            _end(actor, account, now=now)
    return CredentialKey(credential_id=row.pk, kid=row.kid, hmac_key=key)


def revoke_credential(*, actor: Actor, credential_id: int, now: datetime) -> None:
    """Ends a credential and every account that registered with it; certificates stay as they are.

    Raises NotFound, NotAuthorized, StateConflict for one that was revoked before.
    """
    seen = _manageable(actor, credential_id)
    with write_transaction():
        row = _locked(actor, seen)
        _update(row, revoked_at=now)
        _record(actor, row, "acme_credential.revoke", now=now)


def reveal_key(*, actor: Actor, credential_id: int, now: datetime) -> CredentialKey:
    """The HMAC key once more, for configuring another client; that it was shown is recorded.

    Raises NotFound, NotAuthorized, StateConflict for a revoked one.
    """
    seen = _manageable(actor, credential_id)
    with write_transaction():
        row = _locked(actor, seen)
        if row.revoked_at is not None:
            raise StateConflict("This credential was revoked; make a new one.")
        _note_seen(actor, row, "reveal", now=now)
        _record(actor, row, "acme_credential.reveal", now=now)
    return CredentialKey(credential_id=row.pk, kid=row.kid, hmac_key=hmac_key(row))


def end_account(*, actor: Actor, account_id: int, now: datetime) -> None:
    """Ends one account for good, as its client could by itself; its credential goes on.

    Raises NotFound, NotAuthorized, StateConflict for one that was ended before.
    """
    account = AcmeAccount.objects.filter(id=account_id).first()
    if account is None or not can(
        actor, Action.ORGANISATION_READ, organisation_id=OrganisationId(account.organisation_id)
    ):
        raise NotFound("There is no such account.")
    _may_manage(actor, OrganisationId(account.organisation_id))
    with write_transaction():
        lock_organisation(OrganisationId(account.organisation_id))
        _may_manage(actor_now(actor), OrganisationId(account.organisation_id))
        _end(actor, account, now=now)


def take_over(
    *,
    actor: Actor,
    organisation_id: OrganisationId,
    leaver_id: int,
    successor_id: UserId | None = None,
    now: datetime,
) -> None:
    """Gives the leaver's credentials of an organisation another owner, in the caller's transaction.

    Without a successor that is the actor or a manager, as when a credential is made. Where nobody is left
    the owner stays. The keys stay as they are: `rotate_credential` is for them.
    """
    owned = EabCredential.objects.filter(
        organisation_id=organisation_id, owner_id=leaver_id, revoked_at__isnull=True
    )
    if successor_id is None:
        successor_id = _answerable(actor, organisation_id, but=leaver_id)
    for row in owned if successor_id is not None else ():
        EabCredential.objects.filter(id=row.pk, owner_id=leaver_id).update(owner_id=successor_id)
        _record(actor, row, "acme_credential.take_over", now=now, data={"owner": [leaver_id, successor_id]})


def hmac_key(row: EabCredential) -> str:
    """The key in clear, base64url without padding: for checking a binding, never for a page."""
    return sealing.opened(row.key_sealed, purpose=_PURPOSE)


def limits_of(row: EabCredential) -> Limits:
    return Limits(tuple(row.suffixes), row.profile_id, row.max_accounts, row.expires_at)


def _new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=").decode()


def _replayed(actor: Actor, row: EabCredential, name: str, limits: Limits, *, now: datetime) -> CredentialKey:
    if row.created_by_id != actor.user_id or (row.name, limits_of(row)) != (name, limits):
        told = "This Idempotency-Key was used for another credential, or it was changed since. Use a new key."
        raise IdempotencyMismatch(told)
    return replace(reveal_key(actor=actor, credential_id=row.pk, now=now), replayed=True)


def _named(name: str) -> str:
    name = storable(name, field="name", limit=MAX_NAME)
    if not name or not name.isprintable():
        raise InvalidInput(
            "Give the credential a name.", {"name": "Say what uses it, such as “web servers”."}
        )
    return name


def _columns(limits: Limits) -> dict[str, object]:
    return {**asdict(limits), "suffixes": list(limits.suffixes)}


def _told(name: str, limits: Limits) -> dict[str, object]:
    ends = limits.expires_at.isoformat() if limits.expires_at else None
    return {"name": name, **_columns(limits), "expires_at": ends}


def _may_manage(actor: Actor, organisation_id: OrganisationId) -> None:
    if not can(actor, Action.ORGANISATION_READ, organisation_id=organisation_id):
        raise NotFound("There is no such organisation.")
    if not can(actor, Action.ACME_MANAGE, organisation_id=organisation_id):
        raise NotAuthorized("Only managers of the organisation and RA officers look after ACME credentials.")


def _manageable(actor: Actor, credential_id: int) -> EabCredential:
    row = EabCredential.objects.filter(id=credential_id).first()
    if row is None or not can(
        actor, Action.ORGANISATION_READ, organisation_id=OrganisationId(row.organisation_id)
    ):
        raise NotFound("There is no such credential.")
    _may_manage(actor, OrganisationId(row.organisation_id))
    return row


def _locked(actor: Actor, seen: EabCredential) -> EabCredential:
    """The credential as it is under its organisation's lock, if the actor may manage it still."""
    lock_organisation(OrganisationId(seen.organisation_id))
    return _manageable(actor_now(actor), seen.pk)


def _answerable(actor: Actor, organisation_id: OrganisationId, *, but: int = 0) -> UserId | None:
    """The actor, or for an RA officer a manager of the organisation, else anybody there."""
    if organisation_id in actor.memberships and actor.user_id not in (None, but):
        return actor.user_id
    people = Membership.objects.filter(organisation_id=organisation_id, is_active=True, user__is_active=True)
    managers_first = people.exclude(user_id=but).order_by(
        Case(When(role=OrgRole.MANAGER, then=0), default=1), "id"
    )
    found = managers_first.values_list("user_id", flat=True).first()
    return None if found is None else UserId(found)


def _person(actor: Actor) -> UserId:
    if actor.user_id is None:
        raise InvariantViolated("a credential is made and seen by people, who answer for what it asks")
    return actor.user_id


def _note_seen(actor: Actor, row: EabCredential, how: str, *, now: datetime) -> None:
    EabCredentialSeen.objects.create(credential=row, user_id=_person(actor), how=how, at=now)


def _end(actor: Actor, account: AcmeAccount, *, now: datetime) -> None:
    mine = AcmeAccount.objects.filter(id=account.pk, deactivated_at__isnull=True)
    if not mine.update(deactivated_at=now):
        raise StateConflict("This account was deactivated already.")
    audit.record(actor, "acme_account.deactivate", account.pk, account.organisation_id, now=now)


def _update(row: EabCredential, **changes: object) -> None:
    """Changes a credential that is in use, by compare-and-swap."""
    if not EabCredential.objects.filter(id=row.pk, revoked_at__isnull=True).update(**changes):
        raise StateConflict("This credential was revoked; make a new one.")


def _record(
    actor: Actor, row: EabCredential, action: str, *, now: datetime, data: dict[str, object] | None = None
) -> None:
    audit.record(actor, action, row.pk, row.organisation_id, now=now, data=data)
