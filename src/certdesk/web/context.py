"""What every page shows around its content: names, navigation by role, the person's menu."""

from functools import cache
from importlib.metadata import version
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from certdesk.domain.actors import Action, Actor, RaRole, can
from certdesk.domain.settings import contact_link
from certdesk.services.system import runtime
from certdesk.store.models import User
from certdesk.store.selectors.requests import waiting_count
from certdesk.web.acme.rights import may_anywhere
from certdesk.web.actor import actor_of, signed_in_user

_RA_TITLES = {RaRole.OFFICER: "officer", RaRole.AUDITOR: "auditor", RaRole.OPERATOR: "operator"}
COUNTED = 99


def service(request: HttpRequest) -> dict[str, object]:
    """The context processor: `portal`, made when a template first asks for it."""
    return {"portal": SimpleLazyObject(lambda: _portal(request))}


def ra_name() -> str:
    """What the RA team is called."""
    return runtime.current().rules.ra


@cache
def _version() -> str:
    return version("certdesk")


def _portal(request: HttpRequest) -> dict[str, Any]:
    """Everything that the base layout needs."""
    rt = runtime.current()
    user = signed_in_user(request)
    actor = actor_of(request) if user is not None else None
    return {
        "service_name": rt.settings.service_name,
        "ra": rt.rules.ra,
        "ra_contact": contact_link(rt.settings.ra_contact),
        "support_url": rt.settings.support_url,
        "version": _version(),
        "demo": settings.CERTDESK.demo,
        "issuing_stopped": bool(rt.settings.issuing_stopped),
        "person": _person(user, actor, rt.rules.ra) if user is not None and actor is not None else None,
        "nav": _nav(actor, request.path_info) if actor is not None else [],
        "must_change_password": actor is not None and actor.must_change_password,
    }


def _person(user: User, actor: Actor, ra: str) -> dict[str, str]:
    """Who is signed in, as the menu shows it."""
    name = user.get_full_name() or user.username
    words = name.split()
    initials = f"{words[0][0]}{words[-1][0]}" if len(words) > 1 else name[:2]
    return {
        "username": user.username,
        "name": name,
        "initials": initials.upper(),
        "affiliation": _affiliation(actor, ra),
    }


def _affiliation(actor: Actor, ra: str) -> str:
    if actor.ra_role in _RA_TITLES:
        return f"{ra} {_RA_TITLES[actor.ra_role]}"
    if actor.must_change_password:
        return ""
    return ", ".join(actor.organisations)


def _nav(actor: Actor, path: str) -> list[tuple[str, str, str, bool]]:
    """The rooms in the header: name, address, how much waits there, and whether the page is in it."""
    if actor.must_change_password:
        return []
    rooms = [("Home", "/", "")]
    if can(actor, Action.REQUEST_DECIDE):
        waiting, _oldest = waiting_count(actor=actor)
        rooms.append(("Queue", "/queue/", _count(waiting)))
    if can(actor, Action.REQUEST_READ) or actor.memberships:
        rooms.append(("Certificates", "/requests/", ""))
        rooms.append(("Domains", "/domains/", ""))
        if may_anywhere(actor, Action.ACME_READ):
            rooms.append(("ACME", "/acme-clients/", ""))
        rooms.append(("Organisations" if actor.sees_everything else "Organisation", "/organisations/", ""))
    if can(actor, Action.SERVICE_OPERATE):
        rooms.append(("Service", "/service/", ""))
    elif can(actor, Action.FINDING_READ):
        rooms.append(("CAs", "/service/cas/reconciliation/", ""))
    if can(actor, Action.SERVICE_OPERATE) or can(actor, Action.AUDIT_READ):
        rooms.append(("Settings", "/settings/", ""))
    rooms.append(("Help", "/help/", ""))
    return [
        (label, href, count, path == href or (href != "/" and path.startswith(href)))
        for label, href, count in rooms
    ]


def _count(waiting: int) -> str:
    return f"{COUNTED}+" if waiting > COUNTED else str(waiting or "")
