"""Keys that are not certified: whoever had the private one, or an officer, or their own organisation said so.

A block takes effect on others, so it needs proof; what is only claimed binds the claimant (`KeyProof`).
"""

from datetime import datetime

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.csr.csr import PrivateKeyPasted, key_of
from certdesk.domain.errors import InvalidInput, StateConflict
from certdesk.services.people.permissions import actor_now
from certdesk.services.system.text_input import storable
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import BlockedKey, KeyProof
from certdesk.store.selectors.facts import lock_names
from certdesk.store.selectors.keys import blocked_key, key_is_blocked

MAX_REASON = 200


def block_key(
    spki_sha256: str,
    *,
    proof: KeyProof,
    reason: str,
    organisation_id: int | None = None,
    actor: Actor,
    now: datetime,
) -> None:
    """Blocks a public key, by the SHA-256 of its SubjectPublicKeyInfo in hex, unless it is blocked already.

    With `organisation_id` it is blocked for that organisation alone; a claim always is.
    """
    with write_transaction():
        lock_names(spki_sha256)
        if key_is_blocked(spki_sha256=spki_sha256, organisation_id=organisation_id):
            return
        BlockedKey.objects.create(
            spki_sha256=spki_sha256,
            organisation_id=organisation_id,
            proof=proof,
            reason=reason,
            by=actor.label,
            at=now,
        )
        data = {"proof": proof.value, "reason": reason}
        audit.record(actor, "key.block", spki_sha256, organisation_id, now=now, data=data)


def block_pasted(pasted: PrivateKeyPasted, *, actor: Actor, now: datetime) -> None:
    """Blocks the keys whose private part was sent to us and proven. Of the private key nothing is kept."""
    reason = "The private key was sent to the service."
    for spki_sha256 in pasted.spki_sha256:
        block_key(spki_sha256, proof=KeyProof.POSSESSION, reason=reason, actor=actor, now=now)


def block_by_hand(*, actor: Actor, evidence: bytes, reason: str, now: datetime) -> int:
    """Blocks, for everybody, the key of a CSR or certificate, a public key, or a leaked private one; returns
    the block's number.

    Raises NotAuthorized for everybody but officers, BadCsr for what holds no key that can be read.
    """
    require(actor, Action.KEY_BLOCK, "Only RA officers block and unblock keys.")
    reason = _reason(reason, limit=MAX_REASON)
    shown: tuple[str, ...]
    try:
        shown, proof = (key_of(evidence),), KeyProof.OFFICER
    except PrivateKeyPasted as pasted:
        if not pasted.spki_sha256:
            raise
        shown, proof = pasted.spki_sha256, KeyProof.POSSESSION
    with write_transaction():
        require(actor_now(actor), Action.KEY_BLOCK, "Only RA officers block and unblock keys.")
        lock_names(*shown)
        for key in shown:
            block_key(key, proof=proof, reason=reason, actor=actor, now=now)
    return BlockedKey.objects.filter(spki_sha256=shown[0], organisation=None).latest("id").pk


def unblock_key(*, actor: Actor, blocked_id: int, reason: str, now: datetime) -> None:
    """Ends a block; the row stays. Raises NotFound, NotAuthorized, InvalidInput without a reason, and
    StateConflict for one that was ended already.
    """
    held = blocked_key(actor=actor, blocked_id=blocked_id, now=now)
    require(actor, Action.KEY_BLOCK, "Only RA officers block and unblock keys.")
    reason = _reason(reason)
    with write_transaction():
        lock_names(held.spki_sha256)
        require(actor_now(actor), Action.KEY_BLOCK, "Only RA officers block and unblock keys.")
        if not BlockedKey.objects.filter(id=blocked_id, ended_at__isnull=True).update(
            ended_at=now, ended_by=actor.label, ended_reason=reason
        ):
            raise StateConflict("This key was unblocked already.")
        data = {"block": blocked_id, "reason": reason}
        audit.record(actor, "key.unblock", held.spki_sha256, held.organisation_id, now=now, data=data)


def _reason(text: str, *, limit: int = 4000) -> str:
    text = storable(text, field="reason", limit=limit)
    if not text:
        advice = "Write what you saw; an auditor relies on it."
        raise InvalidInput(f"A reason is needed. {advice}", {"reason": advice})
    return text
