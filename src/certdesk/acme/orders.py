"""Orders, authorizations and challenges (RFC 8555 7.4, 7.5)."""

from django.utils import timezone

from certdesk.acme.background import run_for_a_moment
from certdesk.acme.edge import Call, signed
from certdesk.acme.problems import answer_of
from certdesk.acme.render import Reply, authorization_answer, challenge_answer, order_answer
from certdesk.domain.acme.orders import parse_identifiers
from certdesk.domain.acme.problems import malformed
from certdesk.services.acme import challenges as acme_validation
from certdesk.services.acme import finalize as acme_finalize
from certdesk.services.acme import orders as services
from certdesk.services.acme.renewal import replaced_certificate
from certdesk.store.db import write_transaction


@signed(durable=False)
def new_order(call: Call) -> Reply:
    """Makes an order; one that a human has to decide about is refused and names the request."""
    body = call.body()
    if body.get("notBefore") is not None or body.get("notAfter") is not None:
        raise malformed("“notBefore” and “notAfter” are set by the profile here. Leave them out.")
    profile = body.get("profile", "")
    if not isinstance(profile, str):
        raise malformed("“profile” is the name of one of the directory's profiles.")
    kind = services.ordered_profile(call.owner, profile, now=call.now)
    names = parse_identifiers(body.get("identifiers"), ip_addresses=kind.ip_addresses)
    replaces = None
    if body.get("replaces") is not None:
        replaces = replaced_certificate(account=call.owner, identifier=body["replaces"], names=names)
    made = services.new_order(
        account=call.owner, names=names, profile_id=kind.id, replaces=replaces, now=call.now
    )
    # A refusal is an answer, not an error: the request that was made in the order's place stays.
    return answer_of(made.problem) if isinstance(made, services.Refusal) else order_answer(made, status=201)


@signed(own_transactions=True)
def order(call: Call, number: int) -> Reply:
    """One of the account's orders."""
    call.only_reads()
    call.spend()
    return order_answer(services.get_order(account=call.owner, order_id=number, now=call.now))


@signed(own_transactions=True)
def finalize(call: Call, number: int) -> Reply:
    """Issues: one service looks, judges, claims, signs outside any transaction, and records."""
    view = acme_finalize.finalize(
        account=call.owner,
        order_id=number,
        csr_der=call.der("csr", "PKCS#10 request"),
        spend=call.spend,
        aside=run_for_a_moment,
        clock=timezone.now,
    )
    return order_answer(view)


@signed(own_transactions=True)
def authorization(call: Call, number: int) -> Reply:
    """One of the account's authorizations, read or given up (RFC 8555 7.5.2)."""
    if not call.envelope.payload:
        call.spend()
        found = services.get_authorization(account=call.owner, authorization_id=number, now=call.now)
        return authorization_answer(found)
    if call.body().get("status") != "deactivated":
        raise malformed("“status” can only become “deactivated”.")
    with write_transaction():
        call.spend()
        found = services.deactivate_authorization(account=call.owner, authorization_id=number, now=call.now)
    return authorization_answer(found)


@signed(own_transactions=True)
def challenge(call: Call, number: int, kind: str) -> Reply:
    """Reads a challenge, or says that its proof is in place: then it is looked at, at once if it is quick."""
    if not call.envelope.payload:
        call.spend()
        found = acme_validation.get_challenge(
            account=call.owner, authorization_id=number, type_name=kind, now=call.now
        )
        return challenge_answer(found)
    call.body()
    with write_transaction(durable=False):
        call.spend()
        answered = acme_validation.answer_challenge(
            account=call.owner, authorization_id=number, type_name=kind, now=call.now
        )
    look = answered.look
    if look is None:
        return challenge_answer(answered.view)
    run_for_a_moment(lambda: _look(look))
    return challenge_answer(acme_validation.view_of(look, now=timezone.now()))


def _look(look: acme_validation.Look) -> None:
    outcome = acme_validation.take_look(look, now=timezone.now())
    acme_validation.record_look(look, outcome, now=timezone.now())
