"""Which views anybody may open. Everything else wants a signed-in person: deny by default."""

from collections.abc import Callable

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseBase

View = Callable[..., HttpResponseBase]

#: Rooms with doors of their own: bearer tokens, JWS, or public by their nature.
OTHER_ROOMS = ("/api/", "/acme/", "/ca/", "/ocsp", "/healthz", "/readyz", "/metrics", "/.well-known/")
#: What somebody with an issued password may open before changing it.
BEFORE_CHANGE = frozenset(
    {"account_change_password", "account_set_password", "account_logout", "account_login"}
)


def public(view: View) -> View:
    """Marks a view that needs no sign-in."""
    marked: View = login_not_required(view)
    return marked


def is_public(view: View) -> bool:
    """Whether a view was marked as needing no sign-in."""
    return getattr(view, "login_required", True) is False


def in_other_room(request: HttpRequest) -> bool:
    """Whether the address belongs to a surface that admits by its own means."""
    return request.path_info.startswith(OTHER_ROOMS)
