"""Addresses under /accounts/: allauth's views that this service offers, and its own.

Named one by one: nobody signs up, and e-mail addresses are the managers' and officers' to change.
"""

from allauth.account import views as allauth
from django.urls import path, re_path

from certdesk.web.account import invitation, tokens, views

urlpatterns = [
    path("login/", allauth.login, name="account_login"),
    path("logout/", allauth.logout, name="account_logout"),
    path("inactive/", allauth.account_inactive, name="account_inactive"),
    path("reauthenticate/", allauth.reauthenticate, name="account_reauthenticate"),
    path("password/change/", allauth.password_change, name="account_change_password"),
    path("password/reset/", views.PasswordReset.as_view(), name="account_reset_password"),
    path("password/reset/done/", allauth.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        allauth.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "password/reset/key/done/",
        allauth.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path("invitation/<str:token>/", invitation.invitation, name="account-invitation"),
    path("tokens/", tokens.tokens, name="account-tokens"),
    path("tokens/<int:token_id>/revoke/", tokens.revoke, name="account-tokens-revoke"),
    path("sessions/", views.sessions, name="account-sessions"),
    path("sessions/others/end/", views.end_others, name="account-sessions-end-others"),
    path("sessions/<int:session_id>/end/", views.end_one, name="account-sessions-end"),
]
