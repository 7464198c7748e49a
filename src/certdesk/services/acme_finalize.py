"""Finalizing an ACME order (RFC 8555 7.4): the first half of the issuing cycle, up to the recorded intent.

Of any number of finalizes at once, one claims the order. Signing and recording what came follow in
`acme_issuance`. Nothing is signed here.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime

from certdesk.backends.base import Backend
from certdesk.domain.acme_problems import AcmeRefused, ProblemType
from certdesk.domain.certificates import Intent, server_subject
from certdesk.domain.csr import Csr, PrivateKeyPasted, read_csr
from certdesk.domain.errors import BackendRefused, BadCsr
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.identifiers import DnsName
from certdesk.domain.orders import OrderStatus
from certdesk.domain.policy import Decision, Facts, Outcome, content_digest
from certdesk.domain.policy_limits import CAA_UNKNOWN
from certdesk.domain.profiles import profile
from certdesk.domain.requests import OrganisationId, RequestId, State
from certdesk.domain.settings import OTHER
from certdesk.services import runtime
from certdesk.services.acme_accounts import actor_of
from certdesk.services.acme_orders import OrderView, order_view, own_order, wanted_by
from certdesk.services.acme_validation import account_uri
from certdesk.services.caa import CaaSeen, look_at_caa, record_caa
from certdesk.services.entitlements import (
    certificate_validity,
    entitled_until,
    obstacles_to,
    record_entitlement,
    term_years,
    under_request,
)
from certdesk.services.intents import LEASE, record_intent
from certdesk.services.intents import prepared as prepared_intent
from certdesk.services.keys import block_pasted
from certdesk.services.preflight import Subject, judged
from certdesk.services.sealing import csr_from_store
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import AcmeAccount, AcmeOrder, IssuanceAttempt, Request
from certdesk.store.prepared import Prepared, Swap
from certdesk.store.selectors.facts import Asked, lock_organisation, organisation_row

_CLAIM = Swap(
    AcmeOrder, where=("id",), null=("finalized_at", "problem"), to=("finalized_at", "next_attempt_at")
)
_UNDER = Swap(AcmeOrder, where=("id",), to=("request",))
_HOLDER = Prepared(lambda key: AcmeAccount.objects.filter(spki_sha256=key).values_list("id")[:1], str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalization:
    """An order that may be finalized: read, linted, and nothing written yet."""

    account: AcmeAccount
    order: AcmeOrder
    csr: Csr
    intent: Intent
    backend: Backend
    caa: CaaSeen


def prepare(
    *, account: AcmeAccount, order_id: int, csr_der: bytes, now: datetime
) -> Finalization | OrderView:
    """Looks at everything that can be looked at before the claim; an order that is finalized already with
    the same CSR comes back as it is.

    Raises AcmeRefused: orderNotReady, badCSR, badPublicKey, userActionRequired; 404 for a foreign order.
    """
    order = own_order(account, order_id)
    order.account = account
    view = order_view(order, now=now)
    if view.status in (OrderStatus.PROCESSING, OrderStatus.VALID):
        return _repeated(order, view, csr_der)
    if view.status is not OrderStatus.READY:
        raise _not_ready(view)
    csr = _checked_csr(account, csr_der, order=view, now=now)
    rt = runtime.current()
    backend = rt.backend(rt.default_backend)
    intent = _intent(account, order, csr, backend, now=now)
    try:
        intent = prepared_intent(backend, intent)
    except BackendRefused as refused:
        raise AcmeRefused(ProblemType.BAD_CSR, refused.detail) from None
    caa = _look_at_caa(account, order, now=now)
    return Finalization(account=account, order=order, csr=csr, intent=intent, backend=backend, caa=caa)


def claim(prepared: Finalization, *, now: datetime) -> IssuanceAttempt | None:
    """Claims the order and records the intent, in the caller's transaction or its own.

    Policy and validations are judged again, on what will be signed. None when another finalize was faster.
    Raises AcmeRefused (userActionRequired, rejectedIdentifier) when it may not be signed any more.
    """
    account, order = prepared.account, prepared.order
    with write_transaction():
        lock_organisation(OrganisationId(account.organisation_id))
        # The claim comes first: whoever loses the race makes no request.
        if order.expires_at <= now or not _CLAIM((order.pk,), (now, now + LEASE)):
            return None
        request = _entitlement(prepared, now=now)
        if order.request_id is None:
            _UNDER((order.pk,), (request.pk,))
        attempt = record_intent(RequestId(request.pk), prepared.intent, order_id=order.pk, now=now)
        audit.record(
            actor=actor_of(account),
            action="acme_order.finalize",
            object_type="acme_order",
            object_id=order.pk,
            organisation_id=account.organisation_id,
            now=now,
            data={"request": request.pk, "csr_sha256": prepared.csr.sha256},
        )
    return attempt


def _look_at_caa(account: AcmeAccount, order: AcmeOrder, *, now: datetime) -> CaaSeen:
    """What CAA says of the order's names; kept at once, for a refusal has no transaction that would."""
    seen = look_at_caa(
        organisation_id=OrganisationId(account.organisation_id),
        profile_id=order.profile_id,
        names=order.identifiers,
        account_uri=account_uri(account),
        now=now,
    )
    if seen.new:
        with write_transaction():
            record_caa(
                seen,
                organisation_id=account.organisation_id,
                request_id=order.request_id,
                order_id=order.pk,
            )
    return seen


def _repeated(order: AcmeOrder, view: OrderView, csr_der: bytes) -> OrderView:
    """A finalize whose answer got lost is sent again with the same CSR; another CSR comes too late."""
    sent = order.attempts_made.order_by("-id").values_list("csr_der", flat=True).first()
    if sent is None or csr_from_store(bytes(sent)) != csr_der:
        raise _not_ready(view)
    return view


def _not_ready(view: OrderView) -> AcmeRefused:
    return AcmeRefused(
        ProblemType.ORDER_NOT_READY, f"The order is {view.status}; only one that is ready can be finalized."
    )


def _checked_csr(account: AcmeAccount, der: bytes, *, order: OrderView, now: datetime) -> Csr:
    """The CSR, with exactly the order's names and a key that is nobody's account key (RFC 8555 7.4, 11.1)."""
    try:
        csr = read_csr(der, ip_addresses=profile(order.profile_id).ip_addresses)
    except PrivateKeyPasted as pasted:
        block_pasted(pasted, actor=actor_of(account), now=now)
        raise AcmeRefused(ProblemType.BAD_CSR, pasted.detail) from None
    except BadCsr as error:
        raise AcmeRefused(ProblemType.BAD_CSR, error.detail) from None
    if bytes(csr.der) != der:
        raise AcmeRefused(ProblemType.BAD_CSR, "“csr” is base64url of one PKCS#10 request in DER.")
    refused = [check.message for check in csr.findings if check.verdict is Verdict.REFUSE]
    if refused:
        raise AcmeRefused(ProblemType.BAD_CSR, " ".join(refused[:3]))
    if set(csr.names) != set(order.names):
        raise AcmeRefused(
            ProblemType.BAD_CSR,
            f"The CSR is for {', '.join(csr.names[:5])}; the order is for {', '.join(order.names[:5])}. "
            "They have to be the same.",
        )
    if _HOLDER.row(csr.key.spki_sha256) is not None:
        raise AcmeRefused(
            ProblemType.BAD_CSR,
            "The CSR's key is that of an account. Make one for the certificate alone.",
        )
    return csr


def _intent(account: AcmeAccount, order: AcmeOrder, csr: Csr, backend: Backend, *, now: datetime) -> Intent:
    kind = profile(order.profile_id)
    ends_at = entitled_until(order.request, kind, now=now)
    not_before, not_after = certificate_validity(kind, ends_at=ends_at, now=now)
    names, organisation = tuple(order.identifiers), account.organisation
    return Intent(
        idempotency_key=secrets.token_hex(16),
        backend=backend.name,
        profile_id=kind.id,
        profile_version=kind.version,
        csr_der=csr.der,
        spki_der=csr.key.spki_der,
        names=names,
        subject=server_subject(
            names=names,
            organisation=organisation.legal_name,
            country=organisation.country,
            locality=organisation.locality,
        ),
        not_before=not_before,
        not_after=not_after,
    )


def _entitlement(prepared: Finalization, *, now: datetime) -> Request:
    """The request under which this may be signed now, made on the spot where policy needs no human (W2)."""
    account, order = prepared.account, prepared.order
    organisation = organisation_row(OrganisationId(account.organisation_id))
    account.organisation = organisation  # as it is under the lock
    request = None if order.request_id is None else Request.objects.get(id=order.request_id)
    kind = profile(order.profile_id)
    subject = Subject(
        csr=prepared.csr,
        organisation=organisation,
        profile=kind,
        request=request,
        caa=prepared.caa.answers,
    )
    asked = Asked(duration_years=term_years(), server_software=OTHER)
    facts, decision = judged(subject, asked=asked, now=now)
    if request is None:
        obstacles = obstacles_to(decision, waived=(), is_signing=True)
        if obstacles or decision.outcome is not Outcome.AUTO:
            raise _may_not(obstacles)
        return _new_entitlement(account, order, facts, decision, now=now)
    entitled = under_request(request, facts.organisation, now=now)
    if entitled is None or prepared.intent.not_after > entitled.ends_at:
        raise AcmeRefused(
            ProblemType.USER_ACTION_REQUIRED,
            f"Request {request.pk} does not allow this any more. Order again to see what is needed.",
        )
    if obstacles := obstacles_to(decision, waived=entitled.waived, is_signing=True):
        raise _may_not(obstacles)
    return request


def _new_entitlement(
    account: AcmeAccount, order: AcmeOrder, facts: Facts, decision: Decision, *, now: datetime
) -> Request:
    """The request that policy accepts on the spot: about the names, whatever key comes with the next one."""
    names = tuple(DnsName(name) for name in order.identifiers)
    return record_entitlement(
        wanted_by(account, names, order.profile_id),
        decision,
        content=content_digest(replace(facts, csr_sha256="", names=names)),
        actor=actor_of(account),
        state=State.ACCEPTED,
        now=now,
    )


def _may_not(obstacles: tuple[Check, ...]) -> AcmeRefused:
    detail = " ".join(check.message for check in obstacles[:3])
    codes = {check.code for check in obstacles}
    if "caa.forbids" in codes:
        return AcmeRefused(ProblemType.CAA, detail)
    if codes == {CAA_UNKNOWN}:  # the order stays ready, and may be finalized once the DNS answers
        return AcmeRefused(ProblemType.DNS, detail)
    if any(check.verdict is Verdict.REFUSE for check in obstacles):
        return AcmeRefused(ProblemType.REJECTED_IDENTIFIER, detail)
    return AcmeRefused(ProblemType.USER_ACTION_REQUIRED, f"{detail} Order again to see what is needed.")
