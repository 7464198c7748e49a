"""When ACME clients renew (RFC 9773): the window, what an order replaces, and an operator's advice."""

import binascii
from dataclasses import asdict, dataclass
from datetime import datetime

from cryptography import x509
from django.db.models import Q

from certdesk.domain.acme.jws import decoded
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, malformed
from certdesk.domain.acme.renewal import Window, renewal_identifier, renewal_window
from certdesk.domain.actors import Action, Actor, can, require
from certdesk.domain.errors import InvalidInput, NotFound
from certdesk.domain.issuing.certificates import UNREADABLE
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.acme.accounts import actor_of
from certdesk.services.system.text_input import storable
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import AcmeAccount, AcmeOrder, Certificate, Renewal, RenewalAdvice

MAX_REASON = 500
_UNKNOWN = "There is no such certificate here."


@dataclass(frozen=True, slots=True)
class Matching:
    """Which certificates an advice is about: all that fit every part that is given (issuer as RFC 4514)."""

    issuer: str = ""
    profile_id: str = ""
    spki_sha256: str = ""
    certificate_id: int | None = None


def replaced_certificate(*, account: AcmeAccount, identifier: object, names: tuple[str, ...]) -> Certificate:
    """The certificate that an order replaces (RFC 9773 5): of the same organisation, with a name in common.

    Raises AcmeRefused: malformed, alreadyReplaced.
    """
    if not isinstance(identifier, str):
        raise malformed("“replaces” is the text that names a certificate (RFC 9773 4.1).")
    row = _by_identifier(identifier)
    may = row is not None and can(
        actor_of(account), Action.ACME_ORDER, organisation_id=OrganisationId(row.request.organisation_id)
    )
    if row is None or not may or not row.names.filter(name__in=names).exists():
        told = "“replaces” names no certificate of this account with a name in common with the order."
        raise malformed(told)
    if AcmeOrder.objects.filter(replaces=row, certificate__isnull=False).exists():
        told = "This certificate was replaced already. Order without “replaces”."
        raise AcmeRefused(ProblemType.ALREADY_REPLACED, told)
    return row


def identifier_of(row: Certificate) -> str:
    """The unique identifier of a certificate (RFC 9773 4.1); empty for one that has none."""
    try:
        return renewal_identifier(x509.load_der_x509_certificate(bytes(row.der)))
    except UNREADABLE:
        return ""


def renewal_info(*, identifier: str) -> Window:
    """When to renew a certificate; anybody may ask. Raises AcmeRefused (404) for one that is not ours."""
    row = _by_identifier(identifier)
    if row is None:
        raise AcmeRefused(ProblemType.MALFORMED, _UNKNOWN, status=404)
    return renewal_window(
        not_before=row.not_before,
        not_after=row.not_after,
        seed=bytes.fromhex(row.sha256),
        revoked_at=row.revoked_at,
        advised=advised_window(row),
    )


def advised_window(row: Certificate) -> Window | None:
    """The earliest advice that is about a certificate, in whole: each certificate has a place of its own."""
    advice = (
        RenewalAdvice.objects.filter(withdrawn_at__isnull=True, issued_before__gt=row.created_at)
        .filter(Q(issuer="") | Q(issuer=row.issuer))
        .filter(Q(profile_id="") | Q(profile_id=row.request.profile_id))
        .filter(Q(spki_sha256="") | Q(spki_sha256=row.spki_sha256))
        .filter(Q(certificate__isnull=True) | Q(certificate_id=row.pk))
        .order_by("starts_at", "id")
        .first()
    )
    if advice is None:
        return None
    return Window(start=advice.starts_at, end=advice.ends_at, explanation_url=advice.explanation_url)


def advise_renewal(
    *,
    actor: Actor,
    starts_at: datetime,
    ends_at: datetime,
    reason: str,
    matching: Matching,
    explanation_url: str = "",
    now: datetime,
) -> int:
    """Moves the renewal of all certificates that match forward, spread over the time given (RFC 9773 4.2).

    It holds for what was issued until now. Returns its number; raises NotAuthorized, InvalidInput.
    """
    require(actor, Action.SERVICE_OPERATE, "Only an operator moves renewals forward.")
    reason = storable(reason, field="reason", limit=MAX_REASON)
    problems = {}
    if not reason:
        problems["reason"] = "Say why; people who look after the certificates may ask."
    if ends_at <= starts_at or ends_at <= now:
        problems["ends_at"] = "Choose an end in the future, after the start."
    if explanation_url and not explanation_url.startswith("https://"):
        problems["explanation_url"] = "Give an address that starts with https://, or none."
    if problems:
        raise InvalidInput("The renewals can't be moved like this.", problems)
    with write_transaction():
        row = RenewalAdvice.objects.create(
            **asdict(matching),
            issued_before=now,
            starts_at=starts_at,
            ends_at=ends_at,
            explanation_url=explanation_url,
            reason=reason,
            by=actor.label,
            at=now,
        )
        # What we renew ourselves is looked at from then on.
        ours = Renewal.objects.filter(next_attempt_at__gt=starts_at, certificate__created_at__lt=now)
        for column, wanted in asdict(matching).items():
            if wanted:
                place = {"profile_id": "request__profile_id", "certificate_id": "id"}.get(column, column)
                ours = ours.filter(**{f"certificate__{place}": wanted})
        ours.update(next_attempt_at=starts_at)
        times = {"starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat()}
        data = {**asdict(matching), **times, "reason": reason}
        audit.record(actor, "renewal_advice.create", row.pk, now=now, data=data)
    return row.pk


def withdraw_advice(*, actor: Actor, advice_id: int, now: datetime) -> None:
    """Lets certificates be renewed at their usual time again. Raises NotAuthorized, NotFound."""
    require(actor, Action.SERVICE_OPERATE, "Only an operator moves renewals forward.")
    with write_transaction():
        ended = RenewalAdvice.objects.filter(id=advice_id, withdrawn_at__isnull=True).update(withdrawn_at=now)
        if not ended:
            raise NotFound("There is no such advice that still holds.")
        audit.record(actor, "renewal_advice.withdraw", advice_id, now=now)


def _by_identifier(identifier: str) -> Certificate | None:
    """The certificate of a unique identifier (RFC 9773 4.1), in its one spelling."""
    try:
        serial = int.from_bytes(decoded(identifier.partition(".")[2]), "big")
    except (ValueError, binascii.Error):
        return None
    found = Certificate.objects.select_related("request").filter(serial=f"{serial:x}", withheld=False)
    return next((row for row in found[:10] if identifier_of(row) == identifier), None)
