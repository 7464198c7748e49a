"""The first page after signing in: what awaits this person, by role."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from certdesk.domain.actors import Action, Actor, RaRole, can
from certdesk.domain.issuing.states import Status
from certdesk.store.keyset import Page
from certdesk.store.selectors.acme import has_usable_credential
from certdesk.store.selectors.operations import operations
from certdesk.store.selectors.organisations import list_organisations
from certdesk.store.selectors.requests import (
    Filters,
    RequestRow,
    count_requests,
    list_requests,
    waiting_count,
)
from certdesk.store.selectors.waiting import overdue_at_dns, overdue_count
from certdesk.web import times
from certdesk.web.acme.rights import may_manage
from certdesk.web.actor import actor_of, signed_in_user
from certdesk.web.context import ra_name
from certdesk.web.requests import rows
from certdesk.web.requests.listing import may_request, organisation_name, shows_organisation
from certdesk.web.status.views import ca_works

RECENT = 8
ACTIONS = 5
COUNTED = 100
NOON, EVENING = 12, 18


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What awaits the reader."""
    actor, ra = actor_of(request), ra_name()
    shows = can(actor, Action.REQUEST_READ) or bool(actor.memberships)
    recent = list_requests(actor=actor, filters=Filters(limit=RECENT)).rows if shows else []
    waiting = _action_needed(actor)
    context = {
        "greeting": _greeting(request),
        "summary": _summary(actor, ra, acts=bool(waiting.rows)),
        "action_needed": waiting.rows,
        "more_action_needed": bool(waiting.next_cursor),
        **_figures(actor),
        "is_auditor": actor.ra_role is RaRole.AUDITOR,
        "shows_requests": shows,
        "rows": rows.list_rows(
            recent, shows_organisation=shows_organisation(actor), ra=ra, now=timezone.now()
        ),
        "shows_organisation": shows_organisation(actor),
        "organisation_name": organisation_name(actor),
        "may_request": may_request(actor),
        "suggests_acme": _suggests_acme(actor),
    }
    return render(request, "home/home.html", context)


def _action_needed(actor: Actor) -> Page[RequestRow]:
    """What waits for the reader or a colleague to choose who confirms a domain."""
    if can(actor, Action.REQUEST_READ) or not actor.memberships:
        return Page(rows=[], next_cursor="", previous_cursor="")
    return list_requests(actor=actor, filters=Filters(action="needed", limit=ACTIONS))


def _suggests_acme(actor: Actor) -> bool:
    """Whether somebody who could make an ACME credential for an own organisation has none yet."""
    own = frozenset(one for one in actor.organisation_ids if may_manage(actor, one))
    return bool(own) and not has_usable_credential(organisations=own, now=timezone.now())


def _greeting(request: HttpRequest) -> str:
    hour = timezone.localtime().hour
    part = "morning" if hour < NOON else "afternoon" if hour < EVENING else "evening"
    user = signed_in_user(request)
    return f"Good {part}, {user.first_name or user.username}" if user else f"Good {part}"


def _count(actor: Actor, status: Status) -> int:
    return count_requests(actor=actor, filters=Filters(status=status), cap=COUNTED)


def _summary(actor: Actor, ra: str, *, acts: bool) -> str:
    if can(actor, Action.REQUEST_DECIDE):
        waiting, _oldest = waiting_count(actor=actor)
        return f"{times.counted(waiting, 'request')} to decide." if waiting else "Nothing to decide."
    if actor.ra_role is RaRole.AUDITOR:
        return "You can read everything and change nothing."
    if actor.ra_role is RaRole.OPERATOR:
        return _service_summary(actor)
    if not actor.memberships:
        return f"You don’t belong to an organisation yet. Ask {ra} to add you."
    waiting = _count(actor, Status.WAITING_FOR_APPROVAL)
    yours = "Some requests need your attention." if acts else "Nothing needs your attention."
    if waiting:
        return f"{ra} is reviewing {times.counted(waiting, 'request')} of your organisation. {yours}"
    return yours


def _service_summary(actor: Actor) -> str:
    if not ca_works():
        return "One CA can’t be used at the moment. Requests wait, and continue when it can."
    failed = operations(actor=actor, now=timezone.now()).jobs_failed
    return f"The CAs work; {times.counted(failed, 'job')} failed." if failed else "The service works."


def _figures(actor: Actor) -> dict[str, object]:
    """The figures on an officer's or an operator's tiles: what waits, and for how long the oldest has."""
    now = timezone.now()
    if can(actor, Action.SERVICE_OPERATE):
        found = operations(actor=actor, now=now)
        moments = [at for at in (found.issuances.oldest_at, found.jobs.oldest_at) if at]
        return {
            "is_operator": True,
            "due": found.issuances.due + found.jobs.due,
            "due_for": now - min(moments) if moments else None,
            "jobs_failed": found.jobs_failed,
        }
    if not can(actor, Action.REQUEST_DECIDE):
        return {}
    waiting, oldest = waiting_count(actor=actor)
    return {
        "is_officer": True,
        "waiting": waiting,
        "waited": now - oldest if oldest else None,
        "unvetted": sum(row.vetted_at is None for row in list_organisations(actor=actor)),
        "late_at_ca": overdue_count(actor=actor, now=now),
        "late_at_dns": overdue_at_dns(actor=actor, now=now),
    }
