"""The caller's own API tokens over REST."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router

from certdesk.api import inputs, render
from certdesk.api.auth import actor_of
from certdesk.api.openapi import describe
from certdesk.api.schemas import NewTokenOut, TokenIn, TokensOut
from certdesk.services.tokens import create_token, revoke_token
from certdesk.store.selectors.tokens import get_token, list_tokens

router = Router(tags=["tokens"])


@router.get(
    "/tokens",
    operation_id="listTokens",
    summary="List your tokens",
    response={200: TokensOut},
    openapi_extra=describe(),
)
def index(request: HttpRequest) -> HttpResponse:
    """Your own tokens, without their secrets."""
    items = [render.token_json(row) for row in list_tokens(actor=actor_of(request))]
    return render.answer({"items": items, "next_cursor": None})


@router.post(
    "/tokens",
    operation_id="createToken",
    summary="Make a token",
    response={201: NewTokenOut},
    openapi_extra=describe(403, body=TokenIn),
)
def create(request: HttpRequest) -> HttpResponse:
    """Makes a token, shown this once. It needs the scope `tokens`, and gives no more than it has."""
    actor = actor_of(request)
    body = inputs.read_body(request, TokenIn)
    secret = create_token(
        actor=actor, name=body.name, scopes=body.scopes, expires_at=body.expires_at, now=timezone.now()
    )
    row = get_token(actor=actor, secret=secret)
    return render.answer({**render.token_json(row), "token": secret}, status=201)


@router.delete(
    "/tokens/{int:token_id}",
    operation_id="revokeToken",
    summary="End one of your tokens",
    response={204: None},
    openapi_extra=describe(403, 404),
)
def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """Ends a token at once, and those that it made."""
    revoke_token(actor=actor_of(request), token_id=token_id, now=timezone.now())
    return HttpResponse(status=204)
