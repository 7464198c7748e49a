"""Addresses under /accounts/2fa/: allauth's views for second factors.

Those that change a factor are wrapped, so that its audit row is in the same transaction: allauth tells
of some changes only after its commit.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.mfa.base import views as base
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from django.http import HttpRequest, HttpResponseBase
from django.urls import path
from django.utils import timezone

from certdesk.services.people.accounts import second_factor_change
from certdesk.web.actor import signed_in_user

View = Callable[..., HttpResponseBase]

#: allauth's views ask this themselves; asked before them, no transaction begins for nothing.
proven = reauthentication_required(app="allauth.mfa")


def audited(view: View) -> View:
    """The view, with whatever it changes audited in its transaction."""

    @wraps(view)
    def call(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = signed_in_user(request)
        if request.method != "POST" or user is None:
            return view(request, *args, **kwargs)
        key = request.session.session_key or ""
        with second_factor_change(user_id=user.pk, but_session=key, now=timezone.now()):
            return view(request, *args, **kwargs)

    return call


urlpatterns = [
    path("", base.index, name="mfa_index"),
    path("authenticate/", base.authenticate, name="mfa_authenticate"),
    path("reauthenticate/", base.reauthenticate, name="mfa_reauthenticate"),
    path("totp/activate/", proven(audited(totp.activate_totp)), name="mfa_activate_totp"),
    path("totp/deactivate/", audited(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("recovery-codes/", recovery_codes.view_recovery_codes, name="mfa_view_recovery_codes"),
    path(
        "recovery-codes/generate/",
        proven(audited(recovery_codes.generate_recovery_codes)),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "recovery-codes/download/", recovery_codes.download_recovery_codes, name="mfa_download_recovery_codes"
    ),
    path("webauthn/", webauthn.list_webauthn, name="mfa_list_webauthn"),
    path("webauthn/add/", proven(audited(webauthn.add_webauthn)), name="mfa_add_webauthn"),
    path("webauthn/reauthenticate/", webauthn.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path(
        "webauthn/keys/<int:pk>/remove/",
        proven(audited(webauthn.remove_webauthn)),
        name="mfa_remove_webauthn",
    ),
    path("webauthn/keys/<int:pk>/edit/", webauthn.edit_webauthn, name="mfa_edit_webauthn"),
    path("webauthn/login/", webauthn.login_webauthn, name="mfa_login_webauthn"),
]
