"""How allauth behaves here: nobody signs up alone, services write, mail and words are ours."""

from io import BytesIO
from typing import Any

import qrcode  # type: ignore[import-untyped] # it ships none
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from qrcode.image.svg import SvgPathFillImage  # type: ignore[import-untyped] # it ships none

from certdesk.services.people import accounts as people
from certdesk.services.people.second_factor import opened, sealed
from certdesk.services.system import runtime
from certdesk.store.models import User
from certdesk.web.account.known import account_name, forget_tries, remember, take_try

_KEY_NAMES = {Authenticator.Type.WEBAUTHN: "Passkey"}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc] # allauth ships no types for its adapters
    """The one adapter; managers and officers make the accounts."""

    error_messages = {  # noqa: RUF012 - allauth's convention
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": "The user name or the password is not right. Type both again.",
        "too_many_login_attempts": "There were too many wrong attempts. Wait five minutes, then try again.",
        "incorrect_password": "This is not your password. Type it again.",
        "incorrect_code": "This code is not right. Type the newest one.",
        "rate_limited": "There were too many attempts. Wait a few minutes, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never: every person belongs to an organisation or to the RA."""
        del request
        return False

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """On to the portal, which may just have opened."""
        del request
        return "/"

    def set_password(self, user: User, password: str) -> None:
        """Stores a password that the person chose by a mailed link; the way of `reset_password` alone."""
        people.reset_password(user_id=user.pk, new=password, now=timezone.now())
        user.refresh_from_db(fields=["password", "must_change_password"])
        # Whoever has just proved to be the person is not kept out by somebody else's guesses.
        forget_tries(context.request, name=account_name(user.username))

    def get_reauthentication_methods(self, user: User) -> list[dict[str, Any]]:
        """Password, app or passkey, in our words."""
        words = {
            "reauthenticate": "Use your password",
            "mfa_reauthenticate": "Use a code",
            "mfa_reauthenticate:webauthn": "Use a passkey",
        }
        found = super().get_reauthentication_methods(user)
        return [{**method, "description": words[method["id"]]} for method in found]

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Takes a try, before a password costs its hash; allauth gives it back when the password is right."""
        name = account_name(str(credentials.get("username", "")))
        self._login_failed_rl_usage = take_try(request, name=name)
        if self._login_failed_rl_usage is None:
            raise self.validation_error("too_many_login_attempts")

    def post_login(self, request: HttpRequest, user: User, **told: Any) -> HttpResponse:
        """Signed in, with every factor: the account knows this browser from now on."""
        response: HttpResponse = super().post_login(request, user, **told)
        remember(request, response, user)
        return response

    def format_email_subject(self, subject: str) -> str:
        """With the service's name in front."""
        return f"[{runtime.current().settings.service_name}] {subject}"


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc] # as above
    """Second factors: secrets encrypted at rest, names in our words."""

    error_messages = {  # noqa: RUF012 - as above
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This code is not right. Type the newest one.",
    }

    def encrypt(self, text: str) -> str:
        """For the database."""
        return sealed(text)

    def decrypt(self, encrypted_text: str) -> str:
        """From the database."""
        return opened(encrypted_text)

    def get_totp_label(self, user: User) -> str:
        """What the app shows below the service's name."""
        return user.username

    def get_totp_issuer(self) -> str:
        """What the app shows."""
        return runtime.current().settings.service_name

    def build_totp_svg(self, url: str) -> str:
        """A QR code on white, so that a phone reads it in dark mode too."""
        image = qrcode.make(url, image_factory=SvgPathFillImage, box_size=14)
        written = BytesIO()
        image.save(written)
        return written.getvalue().decode()

    def generate_authenticator_name(self, user: User, type: str) -> str:  # noqa: A002 - allauth's name
        """Such as “Passkey 2”."""
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"{_KEY_NAMES.get(type, 'Factor')} {count + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """The name under which a browser keeps the passkey: the host, which ALLOWED_HOSTS has checked."""
        host = context.request.get_host().partition(":")[0]
        return {"id": host, "name": runtime.current().settings.service_name}
