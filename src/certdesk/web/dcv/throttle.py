"""How often one address may use the pages that nobody signs in for (A10). Codes can't be guessed anyway."""

from allauth.account.adapter import get_adapter
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from certdesk.domain.errors import RateLimited

CALLS, SECONDS = 30, 60


def address_of(request: HttpRequest) -> str:
    """The visitor's address, behind a proxy as well; empty where it can't be told."""
    try:
        return str(get_adapter().get_client_ip(request))
    except PermissionDenied:  # allauth's way of saying that no address was sent
        return ""


def count_call(request: HttpRequest) -> None:
    """Counts one call. Raises RateLimited beyond the limit."""
    key = f"certdesk-dcv-{address_of(request)}"
    if cache.add(key, 1, SECONDS):
        return
    try:
        calls = cache.incr(key)
    except ValueError:  # it has just run out
        cache.set(key, 1, SECONDS)
        return
    if calls > CALLS:
        raise RateLimited("Too many codes were tried from here.", retry_after=SECONDS)
