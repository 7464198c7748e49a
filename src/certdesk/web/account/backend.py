"""Who is signed in: an account with what it may do, in one read."""

from allauth.account.auth_backends import AuthenticationBackend

from certdesk.store.models import User
from certdesk.store.selectors.people import user_and_actor
from certdesk.web.actor import keep_actor


class Backend(AuthenticationBackend):  # type: ignore[misc] # allauth has no types
    """allauth's own, but for how the account of a session is found."""

    def get_user(self, user_id: int) -> User | None:
        """The account, while it is active."""
        found = user_and_actor(user_id)
        if found is None or not self.user_can_authenticate(found[0]):
            return None
        keep_actor(*found)
        return found[0]
