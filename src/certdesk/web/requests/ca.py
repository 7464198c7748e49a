"""What an officer does about a request at the CA: send it again, ask now."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from certdesk.domain.errors import StateConflict
from certdesk.services.recovery import poll_now, retry_request
from certdesk.web.actor import actor_of
from certdesk.web.requests.stale import seen_version
from certdesk.web.requests.views import render_request


@require_POST
def retry(request: HttpRequest, number: int) -> HttpResponse:
    """Sends a request that the CA rejected there again."""
    actor, note = actor_of(request), request.POST.get("note", "")
    seen = seen_version(request) if "version" in request.POST else None
    try:
        retry_request(actor=actor, number=number, note=note, seen_version=seen, now=timezone.now())
    except StateConflict as error:
        return render_request(request, actor, number, conflict=error, typed={"Note": note})
    messages.success(request, f"Request {number} goes to the CA again, after its checks.")
    return redirect("requests-show", number=number)


@require_POST
def poll(request: HttpRequest, number: int) -> HttpResponse:
    """Has the CA asked at once."""
    poll_now(actor=actor_of(request), number=number, now=timezone.now())
    messages.success(request, "We are asking the CA now. The status below changes as soon as it answers.")
    return redirect("requests-show", number=number)
