"""Blocked keys over REST: officers block and unblock, auditors read."""

from typing import Annotated, Literal

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema
from pydantic import Field, StringConstraints

from certdesk.api.auth import actor_of
from certdesk.api.inputs import Body, Hex, Limit, NumberCursor, Text
from certdesk.api.schemas import Moment, Page, ProblemOut, Row, numbered_page
from certdesk.services.revocation.blocked_keys import block_by_hand, unblock_key
from certdesk.store.selectors.keys import BlockedRow, blocked_key, list_blocked

router = Router(tags=["keys"])


class BlockKeyIn(Body):
    """A key that is not to be certified, and why."""

    evidence: Annotated[str, StringConstraints(max_length=65_536)] = Field(
        description="A CSR, a certificate, a public key or a leaked private key, PEM. Nothing of it is kept."
    )
    reason: Text = Field(min_length=1, description="What you saw, and where; at most 200 characters.")


class UnblockKeyIn(Body):
    """Why a key may be certified again."""

    reason: Text = Field(min_length=1, description="It stays on record.")


class BlockedKeysQuery(Schema):
    """How the list of blocked keys is narrowed."""

    key: Hex = Field(
        "", description="The beginning of the SHA-256 of the key's SubjectPublicKeyInfo, in hex."
    )
    limit: Limit = 50
    cursor: NumberCursor = ""


class BlockedKeyOut(Row):
    """A block, in force until `ended_at` is set. `organisation` null: it is for everybody."""

    id: int
    spki_sha256: str
    organisation: str | None = Field(validation_alias="organisation_name")
    reason: str
    proof: Literal["possession", "officer", "claim"] = Field(
        description="`possession`: the reporter had the private key; `officer`: an officer decided; "
        "`claim`: the organisation says so of its own key, and the block is for it alone."
    )
    by: str
    at: Moment
    certificates_in_use: int = Field(validation_alias="certificates")
    ended_at: Moment | None
    ended_by: str
    ended_reason: str


@router.get(
    "/blocked-keys",
    operation_id="listBlockedKeys",
    summary="List blocked keys",
    response={200: Page[BlockedKeyOut], 404: ProblemOut},
)
def index(request: HttpRequest, response: HttpResponse, query: Query[BlockedKeysQuery]) -> object:
    """Newest first, ended ones too. For officers and auditors."""
    found = list_blocked(
        actor=actor_of(request),
        query=query.key,
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
        now=timezone.now(),
    )
    return numbered_page(request, response, found, query.limit)


@router.post("/blocked-keys", operation_id="blockKey", summary="Block a key", response={200: BlockedKeyOut})
def block(request: HttpRequest, body: BlockKeyIn) -> BlockedRow:
    """No certificate is issued for it, for anybody, until an officer unblocks it. Answers with the block."""
    actor, now = actor_of(request), timezone.now()
    number = block_by_hand(actor=actor, evidence=body.evidence.encode(), reason=body.reason, now=now)
    return blocked_key(actor=actor, blocked_id=number, now=now)


@router.post(
    "/blocked-keys/{int:blocked_id}/unblock",
    operation_id="unblockKey",
    summary="Unblock a key",
    response={200: BlockedKeyOut, 409: ProblemOut},
)
def unblock(request: HttpRequest, blocked_id: int, body: UnblockKeyIn) -> BlockedRow:
    """Ends a block; who did it and why stays on record."""
    actor, now = actor_of(request), timezone.now()
    blocked_key(actor=actor, blocked_id=blocked_id, now=now)  # who may not see it learns nothing of it
    unblock_key(actor=actor, blocked_id=blocked_id, reason=body.reason, now=now)
    return blocked_key(actor=actor, blocked_id=blocked_id, now=now)
