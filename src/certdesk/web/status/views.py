"""The public status page: one sentence, no figures that help an attacker."""

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from certdesk.domain.findings import Verdict
from certdesk.services.system import runtime
from certdesk.store.selectors.cas import newest_reports
from certdesk.web.access import public

#: A worker asks the CAs every minute; a public page reads what they said at most twice.
FRESH_SECONDS = 30


@public
@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """Whether certificates can be had now."""
    works = ca_works()
    context = {
        "look": "ok" if works else "warn",
        "title": "The service works" if works else "Certificates are delayed",
        "text": "Requests are decided, and certificates are issued."
        if works
        else "You can make requests. The CA can’t issue at the moment; requests continue when it can.",
    }
    return render(request, "status/status.html", context)


def ca_works() -> bool:
    """Whether no CA says that it can't be used."""
    return bool(cache.get_or_set("web.ca_works", _ask, FRESH_SECONDS))


def _ask() -> bool:
    said = newest_reports(runtime.current().backends).values()
    return all(check.verdict is not Verdict.REFUSE for one in said for check in one.checks)
