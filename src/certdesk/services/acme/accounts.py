"""ACME accounts (RFC 8555 7.3): registered with an EAB credential, which binds them to an organisation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction

from certdesk.domain.acme.credentials import Standing, account_obstacle, credential_obstacles
from certdesk.domain.acme.jws import AccountKey, Binding, has_valid_mac
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, malformed
from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.acme.credentials import hmac_key, limits_of
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import AcmeAccount, EabCredential
from certdesk.store.selectors.facts import adns_of, lock_organisation
from certdesk.store.selectors.keys import key_is_blocked
from certdesk.store.sql import AccountAndFacts, AccountNow, account_and_facts, account_now

MAX_CONTACTS = 10
MAX_CONTACT = 320
AT_ONCE = "An account's key was changed by another request at the same time. Send this again."
#: One answer for a wrong key, an unknown kid and an ended credential: nobody learns which credentials exist.
_NOT_BOUND = (
    "The external account binding does not fit a credential that is in use. Copy the key identifier and the "
    "HMAC key from the portal's ACME page again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An account, and whether it was made just now."""

    account: AcmeAccount
    is_new: bool


def account_by_id(account_id: int) -> AcmeAccount:
    """The account of a `kid`, with its credential and organisation.

    Raises AcmeRefused: accountDoesNotExist, or unauthorized for one that may not be used (any more).
    """
    if (found := account_now(account_id)) is None:
        raise AcmeRefused(ProblemType.ACCOUNT_DOES_NOT_EXIST, "There is no such account. Register first.")
    runtime.note_version(found.settings_version)
    _refuse(account_obstacle(account_standing(found)))
    return found.account


def account_by_key(key: AccountKey) -> AcmeAccount | None:
    """The account that a key signs for.

    Raises AcmeRefused: badPublicKey for a blocked key, unauthorized for an account that has ended.
    """
    found = AcmeAccount.objects.filter(spki_sha256=key.spki_sha256)
    row = found.select_related("credential", "organisation").first()
    _refuse_blocked(key, None if row is None else row.organisation_id)
    if row is not None:
        _refuse(account_obstacle(_standing(row)))
    return row


def register(
    *, key: AccountKey, binding: Binding | None, contacts: object, terms_agreed: bool, now: datetime
) -> Registered:
    """The account of a key, made with the binding where there is none yet.

    Raises AcmeRefused: externalAccountRequired, unauthorized, invalidContact, unsupportedContact,
    badPublicKey for a key that is known to be compromised.
    """
    if (existing := account_by_key(key)) is not None:
        return Registered(account=existing, is_new=False)
    checked = checked_contacts(contacts)
    if binding is None:
        raise AcmeRefused(
            ProblemType.EXTERNAL_ACCOUNT_REQUIRED,
            "An account needs an external account binding. A manager of your organisation makes one in the "
            "portal, under ACME.",
        )
    with write_transaction():
        try:
            with transaction.atomic():  # a savepoint: what is around it goes on
                made = _create(key, binding, checked, terms_agreed=terms_agreed, now=now)
                return Registered(account=made, is_new=True)
        except IntegrityError:  # the same key registered at the same moment
            existing = account_by_key(key)
        if existing is None:  # that one has yet another key by now
            raise malformed(AT_ONCE, status=409)
        return Registered(account=existing, is_new=False)


def update_contacts(*, account: AcmeAccount, contacts: object, now: datetime) -> None:
    """Replaces an account's contacts. Raises AcmeRefused as `register` does."""
    must_be_able(account, Action.ACME_ACCOUNT)
    checked = checked_contacts(contacts)
    with write_transaction():
        _change(account, contacts=checked)
        account.contacts = checked
        record(account, "acme_account.change", now=now, data={"contacts": checked})


def deactivate(*, account: AcmeAccount, now: datetime) -> None:
    """Ends an account for good (RFC 8555 7.3.6)."""
    must_be_able(account, Action.ACME_ACCOUNT)
    with write_transaction():
        _change(account, deactivated_at=now)
        account.deactivated_at = now
        record(account, "acme_account.deactivate", now=now)


def change_key(*, account: AcmeAccount, new: AccountKey, now: datetime) -> None:
    """Gives an account another key (RFC 8555 7.3.5).

    Raises KeyInUse when the new key has an account already, AcmeRefused (badPublicKey) for a blocked one.
    """
    must_be_able(account, Action.ACME_ACCOUNT)
    with write_transaction():
        lock_organisation(OrganisationId(account.organisation_id), new.spki_sha256)
        refuse_ended(account)
        _refuse_blocked(new, account.organisation_id)
        holder = AcmeAccount.objects.filter(spki_sha256=new.spki_sha256).values_list("id", flat=True)
        if (taken := holder.first()) is not None:
            raise KeyInUse(account_id=taken)
        mine = AcmeAccount.objects.filter(
            id=account.pk, thumbprint=account.thumbprint, deactivated_at__isnull=True
        )
        try:
            with transaction.atomic():  # a savepoint: who has the key is asked afterwards
                changed = mine.update(thumbprint=new.thumbprint, jwk=new.jwk, spki_sha256=new.spki_sha256)
        except IntegrityError:  # an account of another organisation got the key at the same moment
            if (taken := holder.first()) is not None:
                raise KeyInUse(account_id=taken) from None
            changed = 0
        if not changed:
            raise malformed(AT_ONCE, status=409)
        data = {"from": account.thumbprint, "to": new.thumbprint}
        record(account, "acme_account.change_key", now=now, data=data)
    account.thumbprint, account.jwk, account.spki_sha256 = new.thumbprint, new.jwk, new.spki_sha256


class KeyInUse(AcmeRefused):
    """The new key of a key change has an account already; the answer names it (RFC 8555 7.3.5)."""

    def __init__(self, *, account_id: int) -> None:
        super().__init__(ProblemType.MALFORMED, "The new key has an account already.", status=409)
        self.account_id = account_id


def actor_of(account: AcmeAccount) -> Actor:
    """The account as an actor. It acts for its organisation, as `can` has it, until it has ended."""
    has_ended = account_obstacle(_standing(account)) is not None
    return Actor(
        label=f"ACME account {account.pk} ({account.credential.name})",
        acme_for=None if has_ended else OrganisationId(account.organisation_id),
    )


def must_be_able(account: AcmeAccount, action: Action) -> None:
    """Raises AcmeRefused (unauthorized) unless the account may do this for its organisation."""
    if not can(actor_of(account), action, organisation_id=OrganisationId(account.organisation_id)):
        raise AcmeRefused(ProblemType.UNAUTHORIZED, "This account may not do this.", status=401)


def refuse_obstacles(account: AcmeAccount, *, names: Sequence[str], profile_id: str, now: datetime) -> None:
    """Raises AcmeRefused when the account, as the caller has read it, may not have these names."""
    _refuse(credential_obstacles(_standing(account), names=names, profile_id=profile_id, now=now))


def judged_now(
    account: AcmeAccount, *, names: Sequence[str], profile_id: str, key: str = "", now: datetime
) -> AccountAndFacts:
    """The account as it is now, for a caller that holds the organisation's lock, and what policy decides on.

    `key` is the SHA-256 of a certificate's key. Raises AcmeRefused as `refuse_obstacles` does.
    """
    found = account_and_facts(account.pk, adns=adns_of(names), key=key, now=now)
    runtime.note_version(found.settings_version)
    _refuse_changed(account, found.account)
    _refuse(credential_obstacles(account_standing(found), names=names, profile_id=profile_id, now=now))
    return found


def refuse_ended(account: AcmeAccount) -> None:
    """Raises AcmeRefused (unauthorized) for an account that may do nothing by now, under the lock.

    Nor for a key that was the account's when it signed, and is no longer.
    """
    found = _account_now(account.pk)
    _refuse_changed(account, found.account)
    _refuse(account_obstacle(account_standing(found)))


def standing_now(account_id: int) -> Standing:
    """What stands for and against an account in the database at this moment."""
    return account_standing(_account_now(account_id))


def _account_now(account_id: int) -> AccountNow:
    if (found := account_now(account_id)) is None:
        raise InvariantViolated("an account is never deleted, and this one is not there")
    runtime.note_version(found.settings_version)
    return found


def _refuse_changed(signed: AcmeAccount, now: AcmeAccount) -> None:
    if now.thumbprint != signed.thumbprint:
        told = "The account's key has just been changed. Sign with the new one."
        raise AcmeRefused(ProblemType.UNAUTHORIZED, told, status=401)


def account_standing(found: AccountNow) -> Standing:
    """What stands for and against an account that was read with its key's block."""
    return _standing(found.account, is_key_blocked=found.is_key_blocked)


def is_valid(account: AcmeAccount) -> bool:
    """Whether the account may be used."""
    return account_obstacle(_standing(account)) is None


def checked_contacts(value: object) -> list[str]:
    """The contacts of a payload: mailto addresses alone. Raises AcmeRefused."""
    if value is None:
        return []
    if not isinstance(value, list) or any(not isinstance(one, str) for one in value):
        raise malformed("“contact” is a list of texts such as mailto:webmaster@example.ac.uk.")
    if len(value) > MAX_CONTACTS:
        raise AcmeRefused(ProblemType.INVALID_CONTACT, f"Give at most {MAX_CONTACTS} contacts.")
    return [_contact(one) for one in value]


def _contact(text: str) -> str:
    if not text.lower().startswith("mailto:"):
        raise AcmeRefused(ProblemType.UNSUPPORTED_CONTACT, "Only contacts of the kind mailto: are supported.")
    address = text[len("mailto:") :]
    local, at, domain = address.rpartition("@")
    plain = address.isprintable() and address.isascii() and not set(address) & set('?,%<>" ')
    if not (plain and at and local and "." in domain and len(address) <= MAX_CONTACT) or "@" in local:
        raise AcmeRefused(
            ProblemType.INVALID_CONTACT, "A contact is one plain e-mail address after mailto:, without more."
        )
    return f"mailto:{address}"


def record(
    account: AcmeAccount, action: str, *, now: datetime, data: Mapping[str, object] | None = None
) -> None:
    """One audit event about an account, by the account itself."""
    audit.record(actor_of(account), action, account.pk, account.organisation_id, now=now, data=data)


def _standing(account: AcmeAccount, *, is_key_blocked: bool = False) -> Standing:
    """Of an account as it was read; a blocked key was refused when it was."""
    return Standing(
        limits=limits_of(account.credential),
        profiles=runtime.current().profiles_for(account.organisation.slug),
        is_deactivated=account.deactivated_at is not None,
        is_key_blocked=is_key_blocked,
        is_credential_revoked=account.credential.revoked_at is not None,
        is_organisation_active=account.organisation.is_active,
    )


def _refuse(obstacle: AcmeRefused | None) -> None:
    if obstacle is not None:
        raise obstacle


def _create(
    key: AccountKey, binding: Binding, contacts: list[str], *, terms_agreed: bool, now: datetime
) -> AcmeAccount:
    known = EabCredential.objects.select_related("organisation")
    # No database is asked for what no credential is called, such as NUL.
    found = known.filter(kid=binding.kid) if binding.kid.isprintable() else known.none()
    if (home := found.values_list("organisation_id", flat=True).first()) is not None:
        lock_organisation(OrganisationId(home), key.spki_sha256)
    credential = found.filter(revoked_at__isnull=True).first()
    if credential is None or not has_valid_mac(binding, hmac_key(credential)):
        raise AcmeRefused(ProblemType.UNAUTHORIZED, _NOT_BOUND, status=401)
    limits = limits_of(credential)
    if limits.is_over(now=now):
        raise AcmeRefused(ProblemType.UNAUTHORIZED, _NOT_BOUND, status=401)
    _refuse_blocked(key, credential.organisation_id)
    if limits.max_accounts is not None:
        used = AcmeAccount.objects.filter(credential=credential, deactivated_at__isnull=True).count()
        if not limits.has_room(used):
            raise AcmeRefused(
                ProblemType.UNAUTHORIZED,
                f"This credential is for {limits.max_accounts} accounts, and all of them exist. "
                "Deactivate one, or ask a manager for another credential.",
            )
    row = AcmeAccount(
        credential=credential,
        organisation=credential.organisation,
        thumbprint=key.thumbprint,
        jwk=key.jwk,
        spki_sha256=key.spki_sha256,
        contacts=contacts,
        terms_agreed=terms_agreed,
        binding=dict(binding.flattened),
        created_at=now,
        last_used_at=now,
        window_started_at=now,
    )
    _refuse(account_obstacle(_standing(row)))
    row.save(force_insert=True)
    data = {"credential": credential.kid, "thumbprint": key.thumbprint, "contacts": contacts}
    record(row, "acme_account.create", now=now, data=data)
    return row


def _refuse_blocked(key: AccountKey, organisation_id: int | None) -> None:
    if key_is_blocked(spki_sha256=key.spki_sha256, organisation_id=organisation_id):
        raise AcmeRefused(ProblemType.BAD_PUBLIC_KEY, "This key is blocked as compromised. Make a new one.")


def _change(account: AcmeAccount, **changes: object) -> None:
    lock_organisation(OrganisationId(account.organisation_id))
    refuse_ended(account)
    if not AcmeAccount.objects.filter(id=account.pk, deactivated_at__isnull=True).update(**changes):
        raise AcmeRefused(ProblemType.UNAUTHORIZED, "This account was deactivated.", status=401)
