"""Where one is signed in, and signing out there."""

from allauth.account import views as allauth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from certdesk.services.people.sessions import end_other_sessions, end_session, list_sessions
from certdesk.web.account.forms import ResetPasswordForm
from certdesk.web.account.known import known_accounts, take_try
from certdesk.web.actor import actor_of
from certdesk.web.forms import finish


class PasswordReset(allauth.PasswordResetView):  # type: ignore[misc] # allauth ships no types
    """Asks for a reset mail. A browser that has signed in before has tries of its own."""

    def form_valid(self, form: ResetPasswordForm) -> HttpResponse:
        """Queues the mail; the answer tells nothing of who exists."""
        name = next(known_accounts(self.request), None)
        if name is None or take_try(self.request, name=name, what="reset") is None:
            answer: HttpResponse = super().form_valid(form)
            return answer
        form.save(self.request)
        return redirect(self.get_success_url())


@require_safe
def sessions(request: HttpRequest) -> HttpResponse:
    """Every place where the person is signed in."""
    actor = actor_of(request)
    rows = list_sessions(
        user_id=actor.user_id or 0, current_key=request.session.session_key or "", now=timezone.now()
    )
    return render(request, "usersessions/usersession_list.html", {"rows": rows})


@require_POST
def end_one(request: HttpRequest, session_id: int) -> HttpResponse:
    """Signs out in one place; here as well, if that is the one."""
    end_session(actor=actor_of(request), session_id=session_id, now=timezone.now())
    return finish(request, "That browser is signed out.", "account-sessions")


@require_POST
def end_others(request: HttpRequest) -> HttpResponse:
    """Signs out everywhere else."""
    ended = end_other_sessions(
        actor=actor_of(request), current_key=request.session.session_key or "", now=timezone.now()
    )
    told = "You are signed out everywhere else." if ended else "You were not signed in anywhere else."
    return finish(request, told, "account-sessions")
