"""Where an invitation leads: a person chooses the first password and signs in with it.

Opening the link changes nothing, for mail scanners open it too; its form does.
"""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from certdesk.domain.errors import InvalidInput, NotFound
from certdesk.services.mail.account import invited_person
from certdesk.services.people import accounts as people
from certdesk.web.access import public
from certdesk.web.account.forms import InvitationForm, hint
from certdesk.web.dcv.throttle import counting_wrong_codes
from certdesk.web.dcv.views import kept_to_itself
from certdesk.web.forms import finish, form_page


@public
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """The form that accepts an invitation. One that no longer works says how to go on."""
    try:
        with counting_wrong_codes(request):
            return kept_to_itself(_answer(request, token))
    except NotFound:
        return kept_to_itself(render(request, "account/invitation_gone.html", status=404))


def _answer(request: HttpRequest, token: str) -> HttpResponse:
    now = timezone.now()
    person = invited_person(token=token, now=now)
    form = InvitationForm(request.POST or None)
    form.fields["password1"].help_text = hint(person)
    if request.method == "POST" and form.is_valid():
        try:
            people.accept_invitation(token=token, new=form.cleaned_data["password1"], now=now)
        except InvalidInput as error:
            form.add_error("password1", error.fields["new"])
        else:
            return finish(request, f"Your password is set. Sign in as {person.username}.", "account_login")
    context = {"form": form, "username": person.username}
    return form_page(request, "account/invitation.html", context)
