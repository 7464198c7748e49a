"""The people of the RA: an operator gives new passwords, takes lost second factors away, stops accounts."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from certdesk.domain.actors import Actor, RaRole
from certdesk.services.organisations import IssuedPassword
from certdesk.store.selectors.people import RaPerson, list_ra_people
from certdesk.web import times
from certdesk.web.accounts import act_on, disabled_note
from certdesk.web.actor import actor_of
from certdesk.web.context import crumbs, ra_name

ROLES = {RaRole.OFFICER: "Officer", RaRole.AUDITOR: "Auditor", RaRole.OPERATOR: "Operator"}


@require_safe
def people(request: HttpRequest) -> HttpResponse:
    """Everybody of the RA."""
    return _render(request, actor_of(request))


@require_POST
@never_cache
def account(request: HttpRequest, user_id: int) -> HttpResponse:
    """Does something about one account."""
    actor = actor_of(request)
    list_ra_people(actor=actor)  # whoever may not see the page learns nothing by its forms
    done = act_on(actor=actor, user_id=user_id, act=request.POST.get("act", ""), now=timezone.now())
    if done.issued is not None:
        return _render(request, actor, issued=done.issued)
    messages.success(request, done.message)
    return redirect("service-people")


def _render(request: HttpRequest, actor: Actor, *, issued: IssuedPassword | None = None) -> HttpResponse:
    context = {
        "crumbs": crumbs(("Service", reverse("service")), (f"People of {ra_name()}", "")),
        "people": [_row(row, actor) for row in list_ra_people(actor=actor)],
        "issued": issued,
    }
    return render(request, "staff/people.html", context)


def _row(row: RaPerson, actor: Actor) -> dict[str, object]:
    return {
        "name": row.name or row.username,
        "username": row.username,
        "email": row.email,
        "role": ROLES[row.role],
        "account_disabled": not row.is_active,
        "disabled_note": disabled_note(row.disabled),
        "has_factor": row.has_second_factor,
        "seen": times.day(row.last_login_at) if row.last_login_at else "Never",
        "is_self": row.user_id == actor.user_id,
        "account_href": reverse("service-person", args=[row.user_id]),
    }
