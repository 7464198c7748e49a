"""A person's own API tokens: made, shown once, listed, ended."""

from datetime import datetime, timedelta
from functools import partial

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from certdesk.domain.errors import InvalidInput
from certdesk.services.people.tokens import create_token, list_scopes, revoke_token
from certdesk.store.selectors.tokens import TokenRow, list_tokens
from certdesk.web import times
from certdesk.web.account.forms import TokenForm
from certdesk.web.actor import actor_of
from certdesk.web.forms import finish, form_page, show_on


@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """The list, and the form that makes one. The new token is in this answer and nowhere else."""
    actor, now, secret = actor_of(request), timezone.now(), ""
    offered = partial(TokenForm, scopes=list_scopes(actor=actor))
    form = offered(request.POST or None)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        expires_at = now + timedelta(days=said["days"]) if said["days"] else None
        try:
            secret = create_token(
                actor=actor, name=said["name"], scopes=said["scopes"], expires_at=expires_at, now=now
            )
        except InvalidInput as error:
            fields = {"days" if name == "expires_at" else name: text for name, text in error.fields.items()}
            show_on(form, InvalidInput(error.detail, fields))
        else:
            form = offered()
    context = {
        "form": form,
        "secret": secret,
        "rows": [(row, *_look(row, now=now)) for row in list_tokens(actor=actor)],
    }
    return form_page(request, "account/tokens.html", context)


@require_POST
def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """Ends one of them at once."""
    revoke_token(actor=actor_of(request), token_id=token_id, now=timezone.now())
    return finish(request, "The token no longer works.", "account-tokens")


def _look(row: TokenRow, *, now: datetime) -> tuple[str, str]:
    """Icon and word."""
    if row.revoked_at:
        return "idle", f"Ended {times.day(row.revoked_at)} by {row.revoked_by}"
    is_over = row.expires_at is not None and row.expires_at <= now
    return ("idle", "Expired") if is_over else ("ok", "Works")
