"""Sessions of the portal: listed, ended, and how long they may last."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from allauth.usersessions.models import UserSession

from certdesk.domain.actors import Actor, RaRole
from certdesk.domain.errors import NotAuthorized, existing
from certdesk.store import audit
from certdesk.store.db import write_transaction

ABSOLUTE = timedelta(hours=12)
IDLE = timedelta(hours=2)
IDLE_RA = timedelta(minutes=30)  # whoever decides for others leaves an open desk sooner
_BROWSERS = (
    ("Edge", r"Edg(?:e|A|iOS)?/"),
    ("Opera", r"OPR/"),
    ("Firefox", r"Firefox/|FxiOS/"),
    ("Chromium", r"Chrome/|CriOS/|Chromium/"),
    ("Safari", r"Safari/"),
)
_SYSTEMS = (
    ("Android", r"Android"),
    ("iPhone or iPad", r"iPhone|iPad"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux|X11"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    id: int
    browser: str
    address: str
    started_at: datetime
    last_seen_at: datetime
    is_current: bool


def idle_limit(ra_role: RaRole) -> timedelta:
    """How long a person of this role may leave a session alone."""
    return IDLE if ra_role is RaRole.NONE else IDLE_RA


def list_sessions(*, user_id: int, current_key: str, now: datetime) -> list[SessionRow]:
    """Where the person is signed in, this browser first, then by last use. Ended ones are not among them."""
    rows = UserSession.objects.filter(user_id=user_id, created_at__gt=now - ABSOLUTE)
    found = [
        SessionRow(
            id=row.pk,
            browser=browser_name(row.user_agent),
            address=row.ip,
            started_at=row.created_at,
            last_seen_at=row.last_seen_at,
            is_current=row.session_key == current_key,
        )
        for row in rows
        if row.exists()
    ]
    return sorted(found, key=lambda row: (not row.is_current, -row.last_seen_at.timestamp()))


def end_session(*, actor: Actor, session_id: int, now: datetime) -> None:
    """Signs the actor out in one place. Raises NotFound."""
    found = UserSession.objects.filter(id=session_id, user_id=actor.user_id or 0)
    row = existing(found.first(), "There is no such session.")
    with write_transaction():
        row.end()
        data = {"sessions": 1}
        audit.record(actor, "session.end", actor.user_id, object_type="user", now=now, data=data)


def end_other_sessions(*, actor: Actor, current_key: str, now: datetime) -> int:
    """Signs the actor out everywhere but here; returns in how many places."""
    if actor.user_id is None:
        raise NotAuthorized("Sign in first.")
    with write_transaction():
        ended = drop_sessions(user_id=actor.user_id, but=current_key)
        if ended:
            data = {"sessions": ended}
            audit.record(actor, "session.end", actor.user_id, object_type="user", now=now, data=data)
    return ended


def drop_sessions(*, user_id: int, but: str = "") -> int:
    """Deletes a person's sessions in the caller's transaction, all or all but one; returns how many."""
    rows = list(UserSession.objects.filter(user_id=user_id).exclude(session_key=but))
    for row in rows:
        row.end()
    return len(rows)


def note_use(*, session_key: str, now: datetime) -> None:
    UserSession.objects.filter(session_key=session_key).update(last_seen_at=now)


def browser_name(user_agent: str) -> str:
    """What a person calls the browser, such as “Firefox on Linux”; the header may claim anything."""
    browser = next((name for name, sign in _BROWSERS if re.search(sign, user_agent)), "Unknown browser")
    system = next((name for name, sign in _SYSTEMS if re.search(sign, user_agent)), "")
    return f"{browser} on {system}" if system else browser
