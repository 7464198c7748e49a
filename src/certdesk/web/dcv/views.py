"""The public page that confirms control of a domain: opening it changes nothing, its button does."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from certdesk.dcv.email_challenge import normalised_code
from certdesk.domain.errors import NotFound
from certdesk.services.validation.by_email import Challenge, confirm_by_email, open_challenge
from certdesk.web.access import public
from certdesk.web.dcv.throttle import address_of, counting_wrong_codes

METHODS = ("GET", "HEAD", "POST")
NAMES_SHOWN = 10


@public
@require_http_methods(METHODS)
def enter(request: HttpRequest) -> HttpResponse:
    """The form for a code that was copied from the mail."""
    if request.method != "POST":
        return kept_to_itself(render(request, "dcv/enter.html"))
    try:
        with counting_wrong_codes(request):
            code = normalised_code(request.POST.get("code", "")[:200])
    except NotFound:
        return _gone(request)
    return kept_to_itself(redirect("dcv-confirm", code=code))


@public
@require_http_methods(METHODS)
def confirm(request: HttpRequest, code: str) -> HttpResponse:
    """What a code would confirm; a POST confirms it. Every code that is no good gets the same page."""
    try:
        with counting_wrong_codes(request):
            if request.method != "POST":
                challenge = open_challenge(code=code, now=timezone.now())
                return kept_to_itself(render(request, "dcv/confirm.html", _context(challenge)))
            challenge = confirm_by_email(code=code, remote_address=address_of(request), now=timezone.now())
    except NotFound:
        return _gone(request)
    return kept_to_itself(render(request, "dcv/done.html", _context(challenge)))


def _context(challenge: Challenge) -> dict[str, object]:
    names = challenge.facts.names
    more = max(len(names) - NAMES_SHOWN, 0)
    return {"challenge": challenge, "facts": challenge.facts, "names": names[:NAMES_SHOWN], "more": more}


def _gone(request: HttpRequest) -> HttpResponse:
    return kept_to_itself(render(request, "dcv/gone.html", status=404))


def kept_to_itself(response: HttpResponse) -> HttpResponse:
    """No copy, and no address with a code to anybody, not even in our own pages' Referer.

    `no-referrer` would also make browsers send `Origin: null` with the form, which Django's protection
    against forgery refuses; `strict-origin` says who we are and never where.
    """
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "strict-origin"
    return response
