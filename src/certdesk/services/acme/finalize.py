"""Finalizing an ACME order (RFC 8555 7.4): an issuance under the request that allows it.

Of any number of finalizes at once, one claims the order. Signing and recording what came are the engine's
(`services.issuance.engine`).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from certdesk.domain.acme.orders import OrderStatus
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, problem_of
from certdesk.domain.actors import Action
from certdesk.domain.csr.csr import Csr, PrivateKeyPasted, read_csr
from certdesk.domain.errors import BackendRefused, BadCsr, StateConflict
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import differences
from certdesk.domain.issuing.states import Event, IssuanceId, OrganisationId, UserId, Work
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.decide import Outcome
from certdesk.services.acme.accounts import actor_of, judged_now, must_be_able
from certdesk.services.acme.addresses import account_url
from certdesk.services.acme.orders import OrderView, get_order, order_view, own_order, wanted_by
from certdesk.services.issuance.caa import CaaSeen, look_at_caa, record_caa
from certdesk.services.issuance.engine import Claimed, issue
from certdesk.services.issuance.intents import claim_step, prepared, record_issuance
from certdesk.services.requests.entitlements import new_identity, record_request, subject_wanted
from certdesk.services.requests.preflight import (
    ACME,
    Subject,
    intent_of,
    judged,
    obstacles_under,
    rules_for,
    subject_of,
)
from certdesk.services.revocation.blocked_keys import block_pasted
from certdesk.services.system import runtime
from certdesk.services.system.sealing import csr_from_store
from certdesk.store import audit
from certdesk.store.db import point_last, write_transaction
from certdesk.store.models import AcmeAccount, AcmeOrder, Issuance, Request
from certdesk.store.selectors.facts import lock_organisation
from certdesk.store.sql import CLAIM_ORDER, request_now

#: Runs the rest while the client waits a moment, and goes on without it.
Aside = Callable[[Callable[[], None]], None]


def finalize(
    *,
    account: AcmeAccount,
    order_id: int,
    csr_der: bytes,
    spend: Callable[[], None],
    aside: Aside,
    clock: Callable[[], datetime],
) -> OrderView:
    """Finalizes an order: looks, judges and claims, and has it issued. The order as it is then.

    `spend` spends the request's nonce, in the transaction of the claim. An order that was finalized already
    with the same CSR comes back as it is. Raises AcmeRefused: orderNotReady, badCSR, badPublicKey,
    userActionRequired, rejectedIdentifier, caa, dns; 404 for a foreign order.
    """
    # 1. Look, before the transaction: the order, the CSR, CAA, and what would be signed.
    now = clock()
    must_be_able(account, Action.ACME_ORDER)
    order, authorizations = own_order(account, order_id)
    view = order_view(order, authorizations, now=now)
    if view.status in (OrderStatus.PROCESSING, OrderStatus.VALID):
        spend()
        return _repeated(order, view, csr_der)
    if view.status is not OrderStatus.READY:
        raise _not_ready(view)
    csr = _checked_csr(account, csr_der, order=view, now=now)
    subject = _subject(account, order, _request_of(order), csr)
    intent = intent_of(subject, now=now)
    backend = runtime.current().backend(intent.backend)
    try:
        intent = prepared(backend, intent)
    except BackendRefused as refused:
        raise AcmeRefused(ProblemType.BAD_CSR, refused.detail) from None
    caa = _look_at_caa(account, order, now=now)

    # 2. Judge under the lock what it rests on, claim the order and record the intent, in one transaction.
    issuance = None
    with write_transaction():
        spend()
        lock_organisation(
            OrganisationId(account.organisation_id),
            csr.key.spki_sha256,
            account.spki_sha256,
            f"request {order.request_id or f'of order {order_id}'}",
            shared=not rules_for(subject).daily_cap,
        )
        now = clock()
        # The claim comes first: a finalize that loses the race makes no request.
        if order.expires_at > now and CLAIM_ORDER.change(order=order.pk, now=now):
            names, profile_id = order.identifiers, order.profile_id
            found = judged_now(account, names=names, profile_id=profile_id, key=csr.key.spki_sha256, now=now)
            account = found.account
            if found.known.is_account_key:
                detail = "The CSR's key is that of an account. Make one for the certificate alone."
                raise AcmeRefused(ProblemType.BAD_CSR, detail)
            order.finalized_at, order.account = now, account
            request = _request_of(order)
            subject = replace(_subject(account, order, request, csr), caa=caa.answers, known=found.known)
            facts, decision = judged(subject, now=now)
            if request is None:
                against = decision.refusals + decision.manual_reasons + decision.pending
                if against or decision.outcome is not Outcome.AUTO:
                    raise problem_of(against)
                request = record_request(
                    subject=subject,
                    decision=decision,
                    actor=actor_of(account),
                    owner_id=UserId(account.credential.owner_id),
                    account_id=account.pk,
                    channel=ACME,
                    work=Work.CLAIMED,
                    detail="Passed every check; certificates are issued when an ACME client asks.",
                    identity=new_identity(wanted_by(account, subject.names, order.profile_id)),
                    notify=False,
                    then=((Event.CLAIM, claim_step(backend, intent)),),
                    now=now,
                )
                point_last(AcmeOrder, order.pk, request_id=request.pk)
            elif against := obstacles_under(request, subject, decision, now=now):
                raise problem_of(against)
            if differences(intent, facts, csr=csr, ends_at=request.term_ends_at):
                detail = "The organisation's data has just changed. Finalize the order again."
                raise AcmeRefused(ProblemType.SERVER_INTERNAL, detail, status=503)
            issuance = record_issuance(
                request=request,
                csr=csr,
                actor=actor_of(account),
                channel=ACME,
                intent=intent,
                order_id=order.pk,
                claimed_by=None if order.request_id is None else backend,
                now=now,
            )
            issuance.order = order
            data = {"request": request.pk, "issuance": issuance.pk, "csr_sha256": csr.sha256}
            audit.record(
                actor_of(account),
                "acme_order.finalize",
                order.pk,
                account.organisation_id,
                now=now,
                data=data,
            )
    if issuance is None:  # another finalize was faster: its CSR decides what this one is told
        order, authorizations = own_order(account, order_id)
        return _repeated(order, order_view(order, authorizations, now=clock()), csr_der)

    # 3. to 5. Sign or send outside any transaction, compare, record: at once, or beside the client's wait.
    already = Claimed(issuance=issuance, intent=intent, backend=backend)

    def go_on() -> None:
        with suppress(StateConflict):  # the worker has taken it over, and recorded what came
            issue(issuance_id=IssuanceId(issuance.pk), clock=clock, already=already)

    if backend.inline:
        go_on()
    else:
        aside(go_on)
    if order.certificate_id is not None:
        return order_view(order, authorizations, now=clock())
    return get_order(account=account, order_id=order_id, now=clock())


def _request_of(order: AcmeOrder) -> Request | None:
    """The request that allows an order, as it is now."""
    return None if order.request_id is None else request_now(order.request_id)


def _subject(account: AcmeAccount, order: AcmeOrder, request: Request | None, csr: Csr) -> Subject:
    """What is judged: the order's names in its own order, with this CSR."""
    names = tuple(map(DnsName, order.identifiers))
    if request is not None:
        return replace(subject_of(request, account.organisation, csr, channel=ACME), names=names)
    return replace(subject_wanted(wanted_by(account, names, order.profile_id)), csr=csr)


def _look_at_caa(account: AcmeAccount, order: AcmeOrder, *, now: datetime) -> CaaSeen:
    """What CAA says of the order's names; kept at once, for a refusal has no transaction that would."""
    seen = look_at_caa(
        organisation_id=OrganisationId(account.organisation_id),
        profile_id=order.profile_id,
        names=order.identifiers,
        account_uri=account_url(account.pk),
        now=now,
    )
    if seen.new:
        with write_transaction():
            record_caa(
                seen, organisation_id=account.organisation_id, request_id=order.request_id, order_id=order.pk
            )
    return seen


def _repeated(order: AcmeOrder, view: OrderView, csr_der: bytes) -> OrderView:
    """A finalize whose answer got lost is sent again with the same CSR; another CSR comes too late."""
    sent = Issuance.objects.filter(order_id=order.pk).values_list("csr_der", flat=True).first()
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
        csr = read_csr(der, ip_addresses=runtime.current().profile(order.profile_id).ip_addresses)
    except PrivateKeyPasted as pasted:
        block_pasted(pasted, actor=actor_of(account), now=now)
        raise AcmeRefused(ProblemType.BAD_CSR, pasted.detail) from None
    except BadCsr as error:
        raise AcmeRefused(ProblemType.BAD_CSR, error.detail) from None
    if bytes(csr.der) != der:
        raise AcmeRefused(ProblemType.BAD_CSR, "“csr” is base64url of one PKCS#10 request in DER.")
    if set(csr.names) != set(order.names):
        raise AcmeRefused(
            ProblemType.BAD_CSR,
            f"The CSR is for {', '.join(csr.names[:5])}; the order is for {', '.join(order.names[:5])}. "
            "They have to be the same.",
        )
    if refused := [check for check in csr.findings if check.verdict is Verdict.REFUSE]:
        raise problem_of(refused)
    return csr
