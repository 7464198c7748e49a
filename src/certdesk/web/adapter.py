"""How allauth behaves here: nobody signs up alone, and a changed password ends the duty to change it (R8)."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest
from django.utils import timezone

from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import User
from certdesk.store.selectors.people import actor_for_user


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc] # allauth ships no types for its adapters
    """The one adapter; managers and officers make the accounts."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never: every person belongs to an organisation or to the RA (R38)."""
        del request
        return False

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """On to the portal, which may just have opened (R8)."""
        del request
        return "/"

    def set_password(self, user: User, password: str) -> None:
        """Stores a password that the person chose, with its audit row (R6, R8, L1)."""
        with write_transaction():
            user.must_change_password = False
            user.set_password(password)
            user.save(update_fields=["password", "must_change_password"])
            audit.record(
                actor=actor_for_user(user),
                action="password.change",
                object_type="user",
                object_id=user.pk,
                now=timezone.now(),
            )
