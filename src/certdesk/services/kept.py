"""Certificates as they are kept: handed out, or withheld and revoked at once. In the caller's transaction."""

import base64
import hashlib
from datetime import datetime

from django.db.models import Exists, OuterRef

from certdesk.domain.actors import SYSTEM
from certdesk.domain.certificates import Issued, certificate_facts
from certdesk.domain.errors import StateConflict
from certdesk.domain.requests import State, Status
from certdesk.domain.revocation import RevocationReason
from certdesk.store.models import Certificate, CertificateName, Issuance, IssuerChain, Revocation
from certdesk.store.prepared import Prepared, insert, insert_all
from certdesk.store.selectors.keys import blocks_on
from certdesk.store.transitions import Standing

_CHAIN = Prepared(lambda sha256: IssuerChain.objects.filter(sha256=sha256).values_list("id"), str)

_NOW = Prepared(
    lambda issuance: (
        Issuance.objects.filter(id=issuance)
        .annotate(
            blocked=Exists(blocks_on(OuterRef("spki_sha256"), OuterRef("organisation_id"))),
            account_blocked=Exists(
                blocks_on(OuterRef("order__account__spki_sha256"), OuterRef("organisation_id"))
            ),
        )
        .values_list(
            "request__state",
            "request__status",
            "request__version",
            "organisation_id",
            "organisation__is_active",
            "blocked",
            "account_blocked",
            "order__account__deactivated_at",
            "order__account__credential__revoked_at",
        )
    ),
    int,
)


def permission_now(issuance: Issuance) -> tuple[Standing, str]:
    """Where the request stands, and why a certificate that comes now may not be handed out (or nothing)."""
    row = _NOW.row(issuance.pk)
    if row is None:
        raise StateConflict("The issuance is gone.")
    state, status, version, organisation_id, active, blocked, account_blocked, deactivated, revoked = row
    at = Standing(state=State(state), status=Status(status), version=version, organisation_id=organisation_id)
    reasons = (
        ("The request allows no certificates any more.", at.state is not State.APPROVED),
        ("The organisation is disabled.", not active),
        ("The key has been blocked.", blocked),
        ("The ACME account's key has been blocked.", account_blocked),
        ("The ACME account has been deactivated.", deactivated is not None),
        ("The account's credential has been revoked.", revoked is not None),
    )
    return at, next((why for why, holds in reasons if holds), "")


def keep(issuance: Issuance, issued: Issued, *, now: datetime) -> Certificate:
    """The certificate with its names and chain, to be handed out."""
    certificate = _stored(issuance, issued, withheld=False, now=now)
    names = certificate_facts(issued.chain[0]).names
    insert_all(CertificateName(certificate=certificate, name=name) for name in names)
    return certificate


def is_kept(issued: Issued) -> bool:
    """Whether it is a certificate that we have already, so that it can't be the new one."""
    facts = certificate_facts(issued.chain[0])
    return Certificate.objects.filter(issuer=facts.issuer, serial=facts.serial_hex).exists()


def withhold(issuance: Issuance, issued: Issued, reason: str, *, now: datetime) -> bytes | None:
    """Keeps a certificate that nobody may have, and has it revoked; its bytes where it can't be read."""
    leaf = issued.chain[0] if issued.chain else None
    if leaf is None:
        return None
    try:
        known = is_kept(issued)
    except ValueError:
        return leaf
    if known:
        return leaf
    certificate = _stored(issuance, issued, withheld=True, now=now)
    Revocation.objects.create(
        certificate=certificate,
        reason=RevocationReason.PRIVILEGE_WITHDRAWN,
        note=reason,
        actor=SYSTEM.label,
        requested_at=now,
        next_attempt_at=now,
    )
    return None


def _stored(issuance: Issuance, issued: Issued, *, withheld: bool, now: datetime) -> Certificate:
    facts = certificate_facts(issued.chain[0])
    certificate = Certificate(
        request_id=issuance.request_id,
        issuance=issuance,
        withheld=withheld,
        issuer_chain_id=_chain_id(issued.chain[1:]),
        der=facts.der,
        sha256=facts.sha256,
        issuer=facts.issuer,
        serial=facts.serial_hex,
        spki_sha256=facts.spki_sha256,
        not_before=facts.not_before,
        not_after=facts.not_after,
        created_at=now,
    )
    return insert(certificate)


def _chain_id(chain: tuple[bytes, ...]) -> int:
    sha256 = hashlib.sha256(b"".join(chain)).hexdigest()
    known = _CHAIN.row(sha256)
    if known is not None:
        return int(known[0])
    row, _new = IssuerChain.objects.get_or_create(
        sha256=sha256, defaults={"certificates": [base64.b64encode(der).decode() for der in chain]}
    )
    return row.pk
