"""What an issuance leaves: a certificate handed out, or withheld and revoked at once; an ACME order's end.

All of it in the caller's transaction.
"""

import base64
import hashlib
from datetime import datetime, timedelta

from certdesk.backends.base import Backend, SuggestsRenewal
from certdesk.domain.acme.problems import ProblemType, problem_json
from certdesk.domain.actors import SYSTEM, Actor
from certdesk.domain.issuing.certificates import CertificateFacts, Issued, certificate_facts
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.issuing.states import Work
from certdesk.domain.issuing.terms import renewal_at
from certdesk.services.acme.orders import note_problem
from certdesk.services.issuance.intents import CLIENT, RENEWAL
from certdesk.store import audit, jobs
from certdesk.store.db import point_last, put_last
from certdesk.store.driver import insert
from certdesk.store.models import (
    AcmeOrder,
    Certificate,
    CertificateName,
    Issuance,
    IssuerChain,
    Renewal,
    Revocation,
)

#: How often a CA is asked when it wants a certificate to be renewed, unless it says itself (RFC 9773 4.3.2).
ASK_CA_EVERY = timedelta(hours=12)


def keep(
    issuance: Issuance, issued: Issued, facts: CertificateFacts, *, chain_id: int | None, now: datetime
) -> Certificate:
    """The certificate with its names and chain, to be handed out; `facts` are those of the chain's first.

    `chain_id` is the number of what stands above it, where that is here already.
    """
    certificate = _stored(issuance, issued, facts, withheld=False, chain_id=chain_id, now=now)
    put_last(CertificateName, [{"certificate_id": certificate.pk, "name": name} for name in facts.names])
    return certificate


def follow_up(issuance: Issuance, certificate: Certificate, backend: Backend, *, now: datetime) -> None:
    """Gives an ACME order its certificate; has any other one that ends before its term renewed in time.

    A CA that says when to renew is asked for that. Of a renewal people are told.
    """
    if issuance.order_id is not None:
        point_last(AcmeOrder, issuance.order_id, certificate_id=certificate.pk)
        if issuance.order is not None:
            issuance.order.certificate_id = certificate.pk
        return  # its client renews
    if issuance.channel == CLIENT:
        return
    if issuance.channel == RENEWAL:
        jobs.enqueue("mail_renewed", due_at=now, certificate_id=certificate.pk)
    ends_at = issuance.request.term_ends_at
    if ends_at is None or certificate.not_after >= ends_at:
        return
    due_at = renewal_at(
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        seed=bytes.fromhex(certificate.sha256),
    )
    first = min(due_at, now + ASK_CA_EVERY) if isinstance(backend, SuggestsRenewal) else due_at
    insert(Renewal(certificate=certificate, due_at=due_at, next_attempt_at=first))


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
