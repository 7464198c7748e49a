"""What every answer goes through: security headers, the sign-in door, errors as pages."""

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.cache import patch_cache_control, patch_vary_headers

from certdesk.domain.errors import CertdeskError
from certdesk.front import METHODS
from certdesk.web.access import BEFORE_CHANGE, View, in_other_room, is_public
from certdesk.web.actor import signed_in_user
from certdesk.web.errors import method_not_allowed, page_for, too_large

#: Bytes that a form may bring: of visitors, and of whoever shows a session. A CSR has 64 KB at most.
VISITORS = 128 * 1024
GetResponse = Callable[[HttpRequest], HttpResponse]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def body_limit(environ: Mapping[str, Any]) -> int:
    """How many bytes a request to the portal may bring."""
    shows_session = f"{settings.SESSION_COOKIE_NAME}=" in environ.get("HTTP_COOKIE", "")
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE if shows_session else VISITORS


class Middleware:
    """A middleware that passes everything on, unless it says otherwise."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)


class SecurityHeadersMiddleware(Middleware):
    """Puts the security headers on everything, and keeps pages of signed-in people out of caches."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = _refused(request) or self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if signed_in_user(request) is not None and not response.has_header("Cache-Control"):
            patch_cache_control(response, private=True, no_store=True)
            patch_vary_headers(response, ("Cookie",))
        return response


def _refused(request: HttpRequest) -> HttpResponse | None:
    """405 for methods that nothing here knows, such as TRACE, and 413 for bodies beyond the limit."""
    if request.path_info.startswith("/api/v1/"):
        return None  # it says so in its own words
    if request.method not in METHODS:
        return method_not_allowed(METHODS)
    length = request.META.get("CONTENT_LENGTH") or "0"
    return too_large() if length.isdecimal() and int(length) > body_limit(request.META) else None


class SignInRequiredMiddleware(Middleware):
    """Lets visitors see marked views only, and people with an issued password only the page to change it."""

    def process_view(
        self, request: HttpRequest, view: View, _args: tuple[Any, ...], _kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Stops a request before its view, or lets it pass with None."""
        if in_other_room(request):
            return None
        user = signed_in_user(request)
        if user is None:
            return None if is_public(view) else redirect_to_login(request.get_full_path())
        match = request.resolver_match
        if user.must_change_password and not (
            is_public(view) or (match is not None and match.url_name in BEFORE_CHANGE)
        ):
            return redirect("account_change_password")
        return None


class ErrorMiddleware(Middleware):
    """Turns the errors that Certdesk raises on purpose into pages."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A page for a CertdeskError; anything else is left to Django, which shows the page for 500."""
        if isinstance(error, CertdeskError) and not in_other_room(request):
            return page_for(request, error)
        return None
