"""What happens beside a sign-in and beside a change of second factors: noted, audited, sessions ended."""

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_removed, authenticator_reset
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest
from django.utils import timezone

from certdesk.services import people
from certdesk.store.models import User
from certdesk.web.account.middleware import start_session


def connect() -> None:
    """Connects every receiver; once, however often it is called."""
    user_logged_in.connect(_signed_in, dispatch_uid="certdesk.signed_in")
    authenticator_added.connect(_added, dispatch_uid="certdesk.added")
    authenticator_removed.connect(_removed, dispatch_uid="certdesk.removed")
    authenticator_reset.connect(_renewed, dispatch_uid="certdesk.renewed")


def _signed_in(request: HttpRequest | None = None, **_rest: Any) -> None:
    if request is not None:
        start_session(request)


def _added(request: HttpRequest, user: User, authenticator: Authenticator, **_rest: Any) -> None:
    _record(request, user, authenticator, event="add")


def _removed(request: HttpRequest, user: User, authenticator: Authenticator, **_rest: Any) -> None:
    _record(request, user, authenticator, event="remove")


def _renewed(request: HttpRequest, user: User, authenticator: Authenticator, **_rest: Any) -> None:
    _record(request, user, authenticator, event="renew")


def _record(request: HttpRequest, user: User, authenticator: Authenticator, *, event: str) -> None:
    people.record_second_factor(
        user_id=user.pk,
        event=event,
        kind=str(authenticator.type),
        but_session=request.session.session_key or "",
        now=timezone.now(),
    )
