"""Between signing in and the portal: how long a session lasts, the required second factor, too many tries.

The forced change of an issued password is in `certdesk.web.middleware`, which comes before the
second factor: first a password that nobody else knows, then the factor.
"""

from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from certdesk.domain.actors import RaRole
from certdesk.services.people.second_factor import is_last, is_missing, is_required
from certdesk.services.people.sessions import ABSOLUTE, idle_limit, note_use
from certdesk.store.models import User
from certdesk.web.access import BEFORE_CHANGE, View, in_other_room, is_public
from certdesk.web.actor import signed_in_user
from certdesk.web.middleware import Middleware
from certdesk.web.times import lasted

#: Unix times in the session: when it began, and when it was last used.
BEGAN, SEEN = "certdesk_began", "certdesk_seen"
#: A session's use is noted once in so many seconds, so that reading pages writes next to nothing.
NOTED_EVERY = 60
#: What somebody may open who still has to add a second factor.
BEFORE_ENROLMENT = BEFORE_CHANGE | {
    "mfa_index",
    "mfa_activate_totp",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "mfa_view_recovery_codes",
    "mfa_download_recovery_codes",
    "account_reauthenticate",
}
#: Ways to take a factor away.
REMOVALS = frozenset({"mfa_deactivate_totp", "mfa_remove_webauthn"})
#: Seconds after which another try can succeed: the longest window of ACCOUNT_RATE_LIMITS that applies.
RETRY_LOCKED, RETRY_BUSY = 300, 60
LOCKED = frozenset({"too_many_login_attempts", "rate_limited"})


class SessionLimitsMiddleware(Middleware):
    """Ends sessions that were left alone or lasted too long."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = None if in_other_room(request) else signed_in_user(request)
        if user is not None:
            why = _ended_because(request, user)
            if why:
                logout(request)
                messages.info(request, f"You were signed out {why}. Sign in again to go on.")
            else:
                # A page that asks for news by itself is no use of the session: nobody may
                # be there.
                moment = timezone.now()
                now = int(moment.timestamp())
                if BEGAN not in request.session:
                    start_session(request)
                elif (
                    now - request.session[SEEN] >= NOTED_EVERY
                    and request.headers.get("X-Requested-With") != "fetch"
                ):
                    request.session[SEEN] = now
                    note_use(session_key=request.session.session_key or "", now=moment)
        return self.get_response(request)


class SecondFactorMiddleware(Middleware):
    """Leads officers and operators to the pages where they add a second factor, and nowhere else."""

    def process_view(
        self, request: HttpRequest, view: View, _args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Stops a request before its view, or lets it pass with None."""
        user = None if in_other_room(request) else signed_in_user(request)
        if user is None or not is_required(RaRole(user.ra_role)):
            return None
        name = request.resolver_match.url_name if request.resolver_match else None
        if is_missing(user_id=user.pk, ra_role=RaRole(user.ra_role)):
            return None if is_public(view) or name in BEFORE_ENROLMENT else redirect("mfa_index")
        if name in REMOVALS and is_last(user_id=user.pk, passkey_id=kwargs.get("pk")):
            messages.error(request, "Your role needs a second factor. Add another one before removing this.")
            return redirect("mfa_index")
        return None


class TooManyAttemptsMiddleware(Middleware):
    """Says 429 and when to come back wherever a limit was reached, on forms too."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code == 429 and not response.has_header("Retry-After"):  # noqa: PLR2004 - HTTP
            response["Retry-After"] = str(RETRY_BUSY)
        return response

    def process_template_response(self, request: HttpRequest, response: TemplateResponse) -> TemplateResponse:
        """Marks a page whose form was refused for too many attempts."""
        del request
        form = (response.context_data or {}).get("form")
        if isinstance(form, BaseForm) and form.is_bound and _codes(form) & LOCKED:
            response.status_code = 429
            response["Retry-After"] = str(RETRY_LOCKED)
        return response


def start_session(request: HttpRequest) -> None:
    """Notes when the session that was just signed in began."""
    now = int(timezone.now().timestamp())
    request.session[BEGAN] = request.session[SEEN] = now


def _ended_because(request: HttpRequest, user: User) -> str:
    now = timezone.now().timestamp()
    began, seen = request.session.get(BEGAN, now), request.session.get(SEEN, now)
    idle = idle_limit(RaRole(user.ra_role))
    if now - began >= ABSOLUTE.total_seconds():
        return f"after {lasted(ABSOLUTE)}"
    if now - seen >= idle.total_seconds():
        return f"because nothing happened for {lasted(idle)}"
    return ""


def _codes(form: BaseForm) -> set[str]:
    errors = [error for found in form.errors.as_data().values() for error in found]
    return {error.code for error in errors if error.code}
