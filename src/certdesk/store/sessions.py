"""Sessions of the portal in the database, as Django keeps them; each page reads one."""

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.models import Session
from django.utils import timezone

from certdesk.store.driver import first


class SessionStore(DatabaseStore):
    """Django's own, but for how a session is found."""

    def _get_session_from_db(self) -> Session | None:
        key = self.session_key or ""
        found = first(Session, session_key=key) if key.isascii() and key.isalnum() else None
        if found is None or found.expire_date <= timezone.now():
            self._session_key = None
            return None
        return found
