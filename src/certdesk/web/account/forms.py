"""The account's forms: allauth's where ours differ, and our own for invitations and tokens.

The services decide, the words are ours, nothing tells who exists.
"""

from collections.abc import Set as AbstractSet
from typing import Any, ClassVar

from allauth.account import forms as allauth
from allauth.core import context
from allauth.core.internal.ratelimit import clear
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, generate_totp_secret
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone

from certdesk.domain.actors import Scope
from certdesk.domain.errors import InvalidInput, InvariantViolated
from certdesk.services.people import accounts as people
from certdesk.services.people.passwords import minimum_for
from certdesk.services.people.second_factor import opened, sealed
from certdesk.services.people.tokens import MAX_NAME, SCOPE_TITLES, count_tokens
from certdesk.store.models import User
from certdesk.store.selectors.people import actor_for_user
from certdesk.web.account.known import account_name, is_known, take_try
from certdesk.web.forms import PortalForm

#: The service's words for a field → the form's.
_FIELDS = {"current": "oldpassword", "new": "password1"}


def hint(user: User | None) -> str:
    """What the page says about a new password."""
    return f"At least {minimum_for(user)} characters."


class ChangePasswordForm(allauth.ChangePasswordForm):  # type: ignore[misc] # allauth ships no types
    """Current and new password, and what becomes of the API tokens, where there are any."""

    tokens = forms.ChoiceField(label="API tokens", required=False, initial="end", widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = hint(self.user)
        count = count_tokens(user_id=self.user.pk, now=timezone.now())
        if not count:
            del self.fields["tokens"]
            return
        those = f"my {count} API tokens" if count > 1 else "my API token"
        self.fields["tokens"].choices = [("end", f"End {those} as well"), ("keep", f"Keep {those}")]

    def clean_oldpassword(self) -> str:
        """As typed: the service checks it, once."""
        return str(self.cleaned_data["oldpassword"])

    def clean(self) -> dict[str, Any]:
        """Has the service change the password once everything else is right, for it may still refuse."""
        cleaned: dict[str, Any] = super().clean()
        if not self.errors:
            self._change(cleaned)
        return cleaned

    def save(self) -> None:
        """Done already, by the service."""

    def _change(self, cleaned: dict[str, Any]) -> None:
        try:
            people.change_password(
                actor=actor_for_user(self.user),
                current=cleaned["oldpassword"],
                new=cleaned["password1"],
                ends_tokens=cleaned.get("tokens") != "keep",
                now=timezone.now(),
            )
        except InvalidInput as error:
            for field, message in error.fields.items():
                self.add_error(_FIELDS[field], ValidationError(message))
        else:
            self.user.refresh_from_db(fields=["password", "must_change_password"])


class ResetPasswordForm(allauth.ResetPasswordForm):  # type: ignore[misc] # as above
    """Asks for a reset mail, and takes as long for an address that nobody has."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "E-mail address"

    def clean_email(self) -> str:
        """As typed; nothing is looked up here."""
        return str(self.cleaned_data["email"])

    def save(self, request: HttpRequest, **_rest: Any) -> str:
        """Queues the mail."""
        del request
        email = str(self.cleaned_data["email"])
        people.request_password_reset(email=email, now=timezone.now())
        return email


class ResetPasswordKeyForm(allauth.ResetPasswordKeyForm):  # type: ignore[misc] # as above
    """A new password by a mailed link; the adapter hands it to the service."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = hint(self.user)


class CodeForm(AuthenticateForm):  # type: ignore[misc] # as above
    """The second factor's code. A thief of the password can't use up the tries of the owner's browser."""

    def clean_code(self) -> str:
        """Checks it, as one of the tries left."""
        request, name = context.request, account_name(self.user.username)
        mine = take_try(request, name=name, what="code") if is_known(request, name) else None
        if mine is not None:
            clear(request, app="allauth.account", action="login_failed", key=f"mfa-auth-user-{self.user.pk}")
        code: str = super().clean_code()
        if mine is not None:
            mine.rollback()
        return code


class ActivateTotpForm(ActivateTOTPForm):  # type: ignore[misc] # as above
    """An authenticator app. Its secret waits in the session until the first code, encrypted there too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].label = "Code from the app"
        self.fields["code"].widget.attrs |= {"inputmode": "numeric", "placeholder": ""}
        waiting = str(self.secret)
        self.secret: str = _opened(waiting) if self.is_bound else waiting
        context.request.session[SECRET_SESSION_KEY] = sealed(self.secret)


def _opened(stored: str) -> str:
    """The waiting secret; a new one where none was waiting, which no code fits."""
    try:
        return opened(stored)
    except InvariantViolated:
        return str(generate_totp_secret())


class InvitationForm(PortalForm):
    """The password that an invited person chooses."""

    help_entries: ClassVar = {"password1": "/help/password/#new", "password2": "/help/password/#new-again"}

    password1 = forms.CharField(
        label="New password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        error_messages={"required": "Choose a password."},
    )
    password2 = forms.CharField(
        label="New password again",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        error_messages={"required": "Type the password once more."},
    )

    def clean(self) -> dict[str, Any]:
        """Both are the same."""
        said = self.cleaned_data
        if len(said) == len(self.fields) and said["password1"] != said["password2"]:
            self.add_error("password2", "The two are not the same. Type both again.")
        return said


class TokenForm(PortalForm):
    """A new API token: what uses it, what it may do, and for how long."""

    help_entries: ClassVar = {
        "name": "/help/api/#token-name",
        "scopes": "/help/api/#token-scopes",
        "days": "/help/api/#token-end",
    }
    id_format = "id_token_%s"

    name = forms.CharField(
        label="Name",
        max_length=MAX_NAME,
        help_text="What uses it, such as “backup script”.",
        error_messages={"required": "Say what uses it, such as “backup script”."},
    )
    days = forms.TypedChoiceField(
        label="Works for",
        coerce=int,
        initial=365,
        choices=[
            (1, "one day"),
            (7, "7 days"),
            (30, "30 days"),
            (90, "90 days"),
            (365, "one year"),
            (0, "until someone ends it"),
        ],
        error_messages={"required": "Choose how long it works."},
    )

    def __init__(self, *args: Any, scopes: AbstractSet[Scope], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scopes"] = forms.TypedMultipleChoiceField(
            label="Besides reading, it may",
            coerce=Scope,
            required=False,
            initial=[Scope.REQUEST],
            widget=forms.CheckboxSelectMultiple,
            choices=[(one, SCOPE_TITLES[one]) for one in Scope if one in scopes - {Scope.READ}],
        )
