"""allauth's forms where ours differ: the services decide, the words are ours, nothing tells who exists."""

from typing import Any

from allauth.account import forms as allauth
from allauth.core import context
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, generate_totp_secret
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone

from certdesk.domain.errors import InvalidInput, InvariantViolated
from certdesk.services import people
from certdesk.services.passwords import minimum_for
from certdesk.services.second_factor import opened, sealed
from certdesk.store.models import User
from certdesk.store.selectors.people import actor_for_user

#: The service's words for a field → the form's.
_FIELDS = {"current": "oldpassword", "new": "password1"}


def hint(user: User | None) -> str:
    """What the page says about a new password."""
    return f"At least {minimum_for(user)} characters."


class ChangePasswordForm(allauth.ChangePasswordForm):  # type: ignore[misc] # allauth ships no types
    """Current and new password (R6, R9)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].help_text = hint(self.user)

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
                now=timezone.now(),
            )
        except InvalidInput as error:
            for field, message in error.fields.items():
                self.add_error(_FIELDS[field], ValidationError(message))
        else:
            self.user.refresh_from_db(fields=["password", "must_change_password"])


class ResetPasswordForm(allauth.ResetPasswordForm):  # type: ignore[misc] # as above
    """Asks for a reset mail, and takes as long for an address that nobody has (A5)."""

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
