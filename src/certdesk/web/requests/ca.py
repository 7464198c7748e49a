"""What an officer does about a request at the CA: send it again, ask now; and its wait so far (R24)."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import StateConflict
from certdesk.domain.requests import Status
from certdesk.domain.waiting import AWAITING_CA
from certdesk.services.recovery import poll_now, retry_request
from certdesk.store.selectors.requests import RequestDetail
from certdesk.store.selectors.waiting import waiting_for_ca
from certdesk.web import times
from certdesk.web.actor import actor_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CaView:
    """The wait for the CA as the page shows it, and what the reader may do; empty where there is nothing."""

    since: str = ""
    since_iso: str = ""
    elapsed: str = ""
    usual: str = ""
    poll_href: str = ""
    retry_href: str = ""
    version: int = 0


def ca_view(actor: Actor, detail: RequestDetail, *, now: datetime) -> CaView | None:
    """What the page says about the CA; None when it concerns nobody."""
    officer = can(actor, Action.REQUEST_DECIDE)
    waiting = waiting_for_ca(request=detail, now=now)
    retries = officer and detail.status is Status.REJECTED_BY_CA and detail.requester_id != actor.user_id
    if waiting is None and not retries:
        return None
    polls = officer and waiting is not None and detail.status in AWAITING_CA
    return CaView(
        since=times.at(waiting.since) if waiting else "",
        since_iso=times.iso(waiting.since) if waiting else "",
        elapsed=times.lasted(waiting.elapsed) if waiting else "",
        usual=times.lasted(waiting.usual) if waiting and waiting.usual else "",
        poll_href=reverse("requests-poll", args=[detail.number]) if polls else "",
        retry_href=reverse("requests-retry", args=[detail.number]) if retries else "",
        version=detail.version,
    )


@require_POST
def retry(request: HttpRequest, number: int) -> HttpResponse:
    """Sends a request that the CA rejected there again (R28)."""
    seen = request.POST.get("version", "")
    if seen and not (seen.isascii() and seen.isdigit()):
        raise StateConflict("This page is out of date. Look at the request again.")
    retry_request(
        actor=actor_of(request),
        number=number,
        note=request.POST.get("note", ""),
        seen_version=int(seen) if seen else None,
        now=timezone.now(),
    )
    messages.success(request, f"Request {number} goes to the CA again, after its checks.")
    return redirect("requests-show", number=number)


@require_POST
def poll(request: HttpRequest, number: int) -> HttpResponse:
    """Has the CA asked at once."""
    poll_now(actor=actor_of(request), number=number, now=timezone.now())
    messages.success(request, "The CA is being asked now. The status below changes as soon as it answers.")
    return redirect("requests-show", number=number)
