"""The people of the RA: an operator gives new passwords, takes lost second factors away, stops accounts."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from certdesk.domain.actors import Actor
from certdesk.services.people.organisations import IssuedPassword
from certdesk.store.selectors.people import list_ra_people
from certdesk.web.accounts import act_on, disabled_note
from certdesk.web.actor import actor_of
from certdesk.web.context import ra_name
from certdesk.web.forms import finish


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
    if isinstance(done, IssuedPassword):
        return _render(request, actor, issued=done)
    return finish(request, done, "service-people")


def _render(request: HttpRequest, actor: Actor, *, issued: IssuedPassword | None = None) -> HttpResponse:
    context = {
        "crumbs": [("Service", reverse("service")), (f"People of {ra_name()}", "")],
        "people": [(row, disabled_note(row.disabled)) for row in list_ra_people(actor=actor)],
        "own_id": actor.user_id,
        "issued": issued,
    }
    return render(request, "staff/people.html", context)
