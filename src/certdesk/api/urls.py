"""Addresses of REST v1: ninja's operations behind the edge, the OpenAPI document, and a 404 for the rest."""

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, re_path

from certdesk.api import (
    acme,
    certificates,
    domains,
    downloads,
    keys,
    organisations,
    problems,
    publications,
    requests,
    tokens,
)
from certdesk.api.auth import BearerToken
from certdesk.api.edge import guard, guarded
from certdesk.api.inputs import BodyParser
from certdesk.api.openapi import CertdeskApi, Utf8Renderer, document_view

app_name = "api"

api = CertdeskApi(
    title="Certdesk",
    version="1",
    description="Ask for TLS certificates, decide about requests, and download what was issued. "
    "Errors are RFC 9457 problems; times are RFC 3339 in UTC; lists are paged by cursor with a Link header.",
    urls_namespace="api",
    auth=BearerToken(),
    parser=BodyParser(),
    renderer=Utf8Renderer(),
    docs_url=None,  # interactive pages load scripts from elsewhere, which the CSP forbids
    openapi_url=None,  # served below, without a sign-in
)
problems.register(api)
for _room in (requests, downloads, certificates, organisations, domains, publications, acme, keys, tokens):
    api.add_router("", _room.router)


def no_such_address(request: HttpRequest) -> HttpResponse:
    """404 as a problem, not as a page."""
    del request
    return problems.NO_SUCH_ADDRESS.response()


urlpatterns: list[URLPattern] = [
    *(
        guarded(pattern)
        for pattern in api.urls[0]
        if isinstance(pattern, URLPattern) and pattern.name != "api-root"
    ),
    path("openapi.json", guard(document_view(api)), name="openapi"),
    re_path("", guard(no_such_address), name="nothing"),
]
