"""Another certificate under a request that was decided already: CSR, preview, confirmation (ADR 17).

As for a new request, a preview stores nothing, and what is confirmed is what it showed.
"""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from certdesk.domain.csr.csr import PrivateKeyPasted
from certdesk.domain.errors import (
    BadCsr,
    BadKey,
    InvalidInput,
    NotAuthorized,
    PolicyRefused,
    RejectedIdentifier,
)
from certdesk.services.requests.another import may_ask_another_until, preview_another
from certdesk.services.requests.confirm import submit_another
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.web.actor import actor_of
from certdesk.web.forms import form_page
from certdesk.web.requests import rows
from certdesk.web.requests.forms import CsrForm
from certdesk.web.requests.preview import csr_facts
from certdesk.web.requests.token import make_another_token, read_another_token


@require_http_methods(["GET", "HEAD", "POST"])
def another(request: HttpRequest, number: int) -> HttpResponse:
    """The form; a CSR that is sent by it is shown with every check, and nothing is stored."""
    actor = actor_of(request)
    detail = get_request(actor=actor, number=number)
    if may_ask_another_until(actor, detail, now=timezone.now()) is None:
        raise NotAuthorized("You can’t request another certificate under this request. Make a new request.")
    if request.method != "POST":
        return _form_page(request, detail, CsrForm())
    form = CsrForm(request.POST, request.FILES, received=int(request.META.get("CONTENT_LENGTH") or 0))
    if not form.is_valid():
        return _form_page(request, detail, form)
    seen = None
    try:
        seen = preview_another(actor=actor, number=number, upload=form.upload, now=timezone.now())
        wrong = " ".join(check.message for check in seen.against[:3])
    except (BadCsr, BadKey, RejectedIdentifier, InvalidInput, PolicyRefused) as error:
        wrong = error.detail
        if isinstance(error, PrivateKeyPasted):
            form.forget_paste()
    if wrong or seen is None:
        form.add_error("csr" if request.FILES.get("csr") else "csr_text", wrong)
        return _form_page(request, detail, form)
    assert actor.user_id is not None  # noqa: S101 - only members of an organisation come this far
    context = {
        "number": detail.number,
        "crumbs": _crumbs(detail),
        "facts": csr_facts(seen.csr),
        **rows.check_list(seen.decision.checks),
        "ends_at": seen.not_after,
        "term": seen.term,
        "token": make_another_token(number=detail.number, csr_der=seen.csr.der, user_id=actor.user_id),
    }
    return render(request, "requests/another_preview.html", context)


@require_POST
def confirm(request: HttpRequest, number: int) -> HttpResponse:
    """Has the certificate issued, once, however often it is sent."""
    actor = actor_of(request)
    get_request(actor=actor, number=number)  # a foreign one is not there, whatever else is wrong
    csr_der, key = read_another_token(request.POST.get("preview", ""), number=number, user_id=actor.user_id)
    _made, certificate_id = submit_another(
        actor=actor, number=number, upload=csr_der, channel="portal", idempotency_key=key, clock=timezone.now
    )
    if certificate_id is None:
        messages.success(
            request, "The CA is working on it. The certificate appears here as soon as it is ready."
        )
    else:
        messages.success(
            request, "The new certificate is ready. The earlier one stays valid until it expires."
        )
    return redirect("requests-show", number=number)


def _form_page(request: HttpRequest, detail: RequestDetail, form: CsrForm) -> HttpResponse:
    context = {"form": form, "number": detail.number, "names": detail.names, "crumbs": _crumbs(detail)}
    return form_page(request, "requests/another.html", context)


def _crumbs(detail: RequestDetail) -> list[tuple[str, str]]:
    here = (f"Request {detail.number}", reverse("requests-show", args=[detail.number]))
    return [("Certificates", "/requests/"), here, ("Another certificate", "")]
