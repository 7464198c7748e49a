"""Blocked keys: the list with what each block rests on, blocking by hand, and unblocking."""

from typing import ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST

from certdesk.domain.actors import Action, can
from certdesk.domain.errors import BadCsr, InvalidInput, NotAuthorized
from certdesk.services.revocation.blocked_keys import MAX_REASON, block_by_hand, unblock_key
from certdesk.store.models import KeyProof
from certdesk.store.selectors.keys import blocked_key, list_blocked
from certdesk.web.acme.rows import before
from certdesk.web.actor import actor_of
from certdesk.web.filters import fingerprint
from certdesk.web.forms import PortalForm, finish, show_on

MAX_EVIDENCE = 64 * 1024


class BlockForm(PortalForm):
    """A key, shown by a CSR, a certificate or itself, and why it is not to be certified."""

    help_entries: ClassVar = {
        "evidence": "/help/officers/#block-key",
        "reason": "/help/officers/#block-reason",
    }

    evidence = forms.CharField(
        label="CSR, certificate or key",
        max_length=MAX_EVIDENCE,
        help_text="As PEM. A leaked private key proves most; we keep nothing of it.",
        widget=forms.Textarea(
            attrs={"rows": 6, "class": "code", "spellcheck": "false", "autocapitalize": "off"}
        ),
        error_messages={"required": "Paste the CSR, the certificate or the key."},
    )
    reason = forms.CharField(
        label="Reason",
        max_length=MAX_REASON,
        help_text="Where you found it and when, such as the address of a public repository.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Write what you saw; an auditor relies on it."},
    )


UNPROCESSABLE, PAGE = 422, 50
_PROOFS = {
    KeyProof.POSSESSION: "Proven: the private key was shown",
    KeyProof.OFFICER: "An officer’s decision",
    KeyProof.CLAIM: "Reported by the organisation itself",
}


@require_http_methods(["GET", "HEAD", "POST"])
def listing(request: HttpRequest) -> HttpResponse:
    """The list, newest first; a POST blocks a key."""
    actor, now, query = actor_of(request), timezone.now(), request.GET.get("q", "")
    found = list_blocked(actor=actor, query=query, before=before(request), limit=PAGE + 1, now=now)
    may_block, form = can(actor, Action.KEY_BLOCK), BlockForm(request.POST or None)
    if request.method == "POST":
        if not may_block:
            raise NotAuthorized("Only RA officers block and unblock keys.")
        if form.is_valid():
            said = form.cleaned_data
            try:
                block_by_hand(actor=actor, evidence=said["evidence"].encode(), reason=said["reason"], now=now)
            except InvalidInput as error:
                show_on(form, error)
            except BadCsr as error:
                form.add_error("evidence", error.detail)
            else:
                return finish(request, "The key is blocked.", "keys-list")
    more = urlencode({"q": query, "before": str(found[PAGE - 1].id)}) if len(found) > PAGE else ""
    context = {
        "rows": [(row, _PROOFS[KeyProof(row.proof)]) for row in found[:PAGE]],
        "query": query,
        "form": form if may_block else None,
        "next_href": f"{reverse('keys-list')}?{more}" if more else "",
    }
    return render(request, "keys/list.html", context, status=UNPROCESSABLE if form.errors else 200)


@require_POST
def unblock(request: HttpRequest, blocked_id: int) -> HttpResponse:
    """Lets a key be certified again; why stays on record."""
    actor, now = actor_of(request), timezone.now()
    held = blocked_key(actor=actor, blocked_id=blocked_id, now=now)
    try:
        unblock_key(actor=actor, blocked_id=blocked_id, reason=request.POST.get("reason", ""), now=now)
    except InvalidInput as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"The key {fingerprint(held.spki_sha256)[:23]}… is unblocked.")
    return redirect("keys-list")
