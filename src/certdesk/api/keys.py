"""Blocked keys over REST: officers block and unblock, auditors read."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router

from certdesk.api import inputs, render
from certdesk.api.auth import actor_of
from certdesk.api.key_schemas import (
    BlockedKeyOut,
    BlockedKeysOut,
    BlockedKeysQuery,
    BlockKeyIn,
    UnblockKeyIn,
)
from certdesk.api.openapi import describe
from certdesk.services.keys import block_by_hand, unblock_key
from certdesk.store.selectors.keys import BlockedRow, blocked_key, list_blocked

router = Router(tags=["keys"])


@router.get(
    "/blocked-keys",
    operation_id="listBlockedKeys",
    summary="List blocked keys",
    response={200: BlockedKeysOut},
    openapi_extra=describe(404, 422),
)
def index(request: HttpRequest, query: Query[BlockedKeysQuery]) -> HttpResponse:
    """Newest first, ended ones too. For officers and auditors."""
    found = list_blocked(
        actor=actor_of(request),
        query=query.key,
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
        now=timezone.now(),
    )
    shown = found[: query.limit]
    return render.page(
        map(_json, shown),
        path="/blocked-keys",
        query={"key": query.key, "limit": str(query.limit)},
        next_cursor=str(shown[-1].id) if len(found) > query.limit else "",
    )


@router.post(
    "/blocked-keys",
    operation_id="blockKey",
    summary="Block a key",
    response={200: BlockedKeyOut},
    openapi_extra=describe(403, body=BlockKeyIn),
)
def block(request: HttpRequest) -> HttpResponse:
    """No certificate is issued for it, for anybody, until an officer unblocks it. Answers with the block."""
    actor, now = actor_of(request), timezone.now()
    body = inputs.read_body(request, BlockKeyIn)
    number = block_by_hand(actor=actor, evidence=body.evidence.encode(), reason=body.reason, now=now)
    return render.answer(_json(blocked_key(actor=actor, blocked_id=number, now=now)))


@router.post(
    "/blocked-keys/{int:blocked_id}/unblock",
    operation_id="unblockKey",
    summary="Unblock a key",
    response={200: BlockedKeyOut},
    openapi_extra=describe(403, 404, 409, body=UnblockKeyIn),
)
def unblock(request: HttpRequest, blocked_id: int) -> HttpResponse:
    """Ends a block; who did it and why stays on record."""
    actor, now = actor_of(request), timezone.now()
    blocked_key(actor=actor, blocked_id=blocked_id, now=now)  # who may not see it learns nothing of it
    body = inputs.read_body(request, UnblockKeyIn)
    unblock_key(actor=actor, blocked_id=blocked_id, reason=body.reason, now=now)
    return render.answer(_json(blocked_key(actor=actor, blocked_id=blocked_id, now=now)))


def _json(row: BlockedRow) -> render.Json:
    return {
        "id": row.id,
        "spki_sha256": row.spki_sha256,
        "organisation": row.organisation_name,
        "reason": row.reason,
        "proof": row.proof,
        "by": row.by,
        "at": render.moment(row.at),
        "certificates_in_use": row.certificates,
        "ended_at": render.moment(row.ended_at),
        "ended_by": row.ended_by,
        "ended_reason": row.ended_reason,
    }
