"""The caller's own API tokens over REST."""

from dataclasses import asdict

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router
from pydantic import AwareDatetime, Field

from certdesk.api.auth import actor_of
from certdesk.api.inputs import Body, ShortText
from certdesk.api.schemas import Moment, Page, Row
from certdesk.domain.actors import Scope
from certdesk.services.people.tokens import create_token, revoke_token
from certdesk.store.selectors.tokens import TokenRow, get_token, list_tokens

router = Router(tags=["tokens"])


class TokenIn(Body):
    """A token to be made."""

    name: ShortText = Field(min_length=1, description="What uses it, such as “backup script”.")
    scopes: list[Scope] = Field(
        default_factory=list, max_length=len(Scope), description="Every token may read, whatever is named."
    )
    expires_at: AwareDatetime | None = Field(
        None, description="With `decide` or `manage` it is needed. A token that a token makes ends with it."
    )


class TokenOut(Row):
    """A token, without its secret."""

    id: int
    name: str
    scopes: list[Scope]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    revoked_by: str = Field(description="The username of the person who ended it.")


class NewTokenOut(TokenOut):
    """A new token; `token` is shown this once."""

    token: str


@router.get("/tokens", operation_id="listTokens", summary="List your tokens", response={200: Page[TokenOut]})
def index(request: HttpRequest) -> dict[str, list[TokenRow]]:
    """Your own tokens, without their secrets."""
    return {"items": list_tokens(actor=actor_of(request))}


@router.post("/tokens", operation_id="createToken", summary="Make a token", response={201: NewTokenOut})
def create(request: HttpRequest, body: TokenIn) -> dict[str, object]:
    """Makes a token, shown this once. It needs the scope `tokens`, and gives no more than it has."""
    actor = actor_of(request)
    secret = create_token(
        actor=actor, name=body.name, scopes=body.scopes, expires_at=body.expires_at, now=timezone.now()
    )
    return {**asdict(get_token(actor=actor, secret=secret)), "token": secret}


@router.delete(
    "/tokens/{int:token_id}",
    operation_id="revokeToken",
    summary="End one of your tokens",
    response={204: None},
)
def revoke(request: HttpRequest, token_id: int) -> None:
    """Ends a token at once, and those that it made."""
    revoke_token(actor=actor_of(request), token_id=token_id, now=timezone.now())
