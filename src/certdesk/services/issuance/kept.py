"""What an issuance leaves: a certificate handed out, or withheld and revoked at once; an ACME order's end.

All of it in the caller's transaction.
"""

import base64
import hashlib
from datetime import datetime

from certdesk.domain.acme.problems import ProblemType, problem_json
from certdesk.domain.actors import SYSTEM, Actor
from certdesk.domain.issuing.certificates import CertificateFacts, Issued, certificate_facts
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.issuing.states import Work
from certdesk.services.acme.orders import note_problem
from certdesk.store import audit
from certdesk.store.db import put_last
from certdesk.store.driver import insert
from certdesk.store.models import AcmeOrder, Certificate, CertificateName, Issuance, IssuerChain, Revocation


def keep(
    issuance: Issuance, issued: Issued, facts: CertificateFacts, *, chain_id: int | None, now: datetime
) -> Certificate:
    """The certificate with its names and chain, to be handed out; `facts` are those of the chain's first.

    `chain_id` is the number of what stands above it, where that is here already.
    """
    certificate = _stored(issuance, issued, facts, withheld=False, chain_id=chain_id, now=now)
    put_last(CertificateName, [{"certificate_id": certificate.pk, "name": name} for name in facts.names])
    return certificate


def chain_sha256(issued: Issued) -> str:
    """By which the chain above a certificate is known again."""
    return hashlib.sha256(b"".join(issued.chain[1:])).hexdigest()


def is_kept(facts: CertificateFacts) -> bool:
    """Whether it is a certificate that we have already, so that it can't be the new one."""
    return Certificate.objects.filter(issuer=facts.issuer, serial=facts.serial_hex).exists()


def withhold(issuance: Issuance, issued: Issued, reason: str, *, now: datetime) -> bytes | None:
    """Keeps a certificate that nobody may have, and has it revoked; its bytes where it can't be read."""
    leaf = issued.chain[0] if issued.chain else None
    if leaf is None:
        return None
    try:
        facts = certificate_facts(leaf)
    except ValueError:
        return leaf
    if is_kept(facts):
        return leaf
    certificate = _stored(issuance, issued, facts, withheld=True, chain_id=None, now=now)
    Revocation.objects.create(
        certificate=certificate,
        reason=RevocationReason.PRIVILEGE_WITHDRAWN,
        note=reason,
        actor=SYSTEM.label,
        requested_at=now,
        next_attempt_at=now,
    )
    return None


def end_order(issuance: Issuance, reason: str, *, now: datetime) -> None:
    """The order of an issuance that came to no certificate is invalid, in the caller's transaction."""
    order = issuance.order
    if order is None:
        return
    detail = f"The CA refused: {reason}" if issuance.state == Work.REFUSED else reason
    problem = problem_json(ProblemType.SERVER_INTERNAL, detail)
    AcmeOrder.objects.filter(id=order.pk, certificate__isnull=True).update(problem=problem)
    note_problem(order.account, detail, now=now)
    data = {"state": issuance.state, "reason": reason, "request": issuance.request_id}
    actor = Actor(label=issuance.asked_by)
    audit.record(actor, "acme_order.fail", order.pk, issuance.organisation_id, now=now, data=data)


def _stored(
    issuance: Issuance,
    issued: Issued,
    facts: CertificateFacts,
    *,
    withheld: bool,
    chain_id: int | None,
    now: datetime,
) -> Certificate:
    if chain_id is None:
        encoded = [base64.b64encode(der).decode() for der in issued.chain[1:]]
        row, _new = IssuerChain.objects.get_or_create(
            sha256=chain_sha256(issued), defaults={"certificates": encoded}
        )
        chain_id = row.pk
    certificate = Certificate(
        request_id=issuance.request_id,
        organisation_id=issuance.organisation_id,
        issuance=issuance,
        withheld=withheld,
        issuer_chain_id=chain_id,
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
