"""Every address of the service, room by room; `certdesk.acme` has its own beside Django."""

from django.urls import include, path

urlpatterns = [
    path("accounts/", include("certdesk.web.account.urls")),
    path("accounts/2fa/", include("certdesk.web.account.factor_urls")),
    path("api/v1/", include("certdesk.api.urls")),
    path("", include("certdesk.status.urls")),
    path("", include("certdesk.web.urls")),
]

handler400 = "certdesk.web.errors.bad_request"
handler403 = "certdesk.web.errors.forbidden"
handler404 = "certdesk.web.errors.not_found"
handler500 = "certdesk.web.errors.server_error"
