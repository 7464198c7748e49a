"""How many wrong codes one address may try on the pages that nobody signs in for.

Codes can't be guessed anyway. Right ones cost nothing, and a browser that has signed in before is not kept
out by others at its address.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from allauth.account.adapter import get_adapter
from allauth.core.internal.ratelimit import consume
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from certdesk.domain.errors import NotFound, RateLimited
from certdesk.web.account.known import known_accounts

WRONG, SECONDS = 100, 600


def address_of(request: HttpRequest) -> str:
    """The visitor's address, behind a proxy as well; empty where it can't be told."""
    try:
        return str(get_adapter().get_client_ip(request))
    except PermissionDenied:  # allauth's way of saying that no address was sent
        return ""


@contextmanager
def counting_wrong_codes(request: HttpRequest) -> Iterator[None]:
    """Counts what ends in NotFound. Raises RateLimited beyond the limit."""
    key = next(known_accounts(request), address_of(request))
    rates = {"codes": f"{WRONG}/{SECONDS}s/key"}
    usage = consume(request, app="certdesk", action="codes", config=rates, key=key, limit_get=True)
    if usage is None:
        raise RateLimited("Too many wrong codes were tried from here.", retry_after=SECONDS)
    try:
        yield
    except NotFound:
        raise
    except BaseException:
        usage.rollback()
        raise
    usage.rollback()
