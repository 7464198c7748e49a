"""What CAs and we do not agree on, and what an operator does about it. No CA is asked to show the page."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from certdesk.domain.actors import Action, can
from certdesk.domain.errors import BackendRefused, InvalidInput
from certdesk.services.issuance.findings import keep_finding, revoke_finding
from certdesk.services.issuance.reconcile import why_not
from certdesk.services.system import runtime
from certdesk.store.models import FindingKind, FindingState
from certdesk.store.selectors.findings import FindingRow, compared, count_waiting, list_findings
from certdesk.web.acme.rows import before
from certdesk.web.actor import actor_of

PAGE = 50
_NAMES = 3  # shown of each certificate; the rest is counted


@dataclass(frozen=True, slots=True)
class _Words:
    """What a kind of finding is, and what to do about it."""

    title: str
    what: str
    to_do: str


_KINDS = {
    FindingKind.UNKNOWN: _Words(
        "Only the CA has it",
        "The CA has issued this certificate, and nobody asked for it here, or the database no longer knows.",
        "Find out who uses it. If nobody should, revoke it at the CA. If it is needed, keep it, and ask its "
        "holder to request a certificate here before it expires.",
    ),
    FindingKind.MISSING: _Words(
        "The CA doesn’t have it",
        "We have handed out this certificate, and the CA says that it has none with this serial number.",
        "Ask the CA. It may have been restored from a backup: then it can’t revoke the certificate. Replace "
        "it with another one, and revoke it here.",
    ),
    FindingKind.REVOKED: _Words(
        "Revoked or on hold at the CA",
        "The CA has put this certificate on hold. Here it is still valid.",
        "Ask the CA why. Revoke it here if that is for good.",
    ),
    FindingKind.ATTEMPT: _Words(
        "No answer from the CA",
        "We may have asked the CA for this certificate, and it has issued none. We go on asking, and never "
        "send the request twice without knowing.",
        "Ask the CA about these names. If the certificate is no longer needed, withdraw or end the request.",
    ),
}
_STATES = {
    FindingState.OPEN: ("stop", "To decide"),
    FindingState.REVOKING: ("warn", "Being revoked"),
    FindingState.REVOKED: ("idle", "Revoked"),
    FindingState.KEPT: ("idle", "Kept"),
    FindingState.SETTLED: ("ok", "Brought into line"),
    FindingState.GONE: ("idle", "No longer so"),
}


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """How far each CA was compared, and the findings that wait, or with `?ended=1` those that do not."""
    actor, ended, rt = actor_of(request), request.GET.get("ended") == "1", runtime.current()
    found = list_findings(actor=actor, waiting=not ended, before=before(request), limit=PAGE + 1)
    known = compared(actor=actor, names=list(rt.backends))
    last = (
        {"before": str(found[PAGE - 1].id), **({"ended": "1"} if ended else {})} if len(found) > PAGE else {}
    )
    may_operate = can(actor, Action.SERVICE_OPERATE)
    crumbs = [("Home", "/"), ("Service", "/service/"), ("CAs", reverse("cas")), ("Reconciliation", "")]
    context = {
        "crumbs": crumbs if may_operate else [("Home", "/"), ("Reconciliation", "")],
        "cas": [(one.title, name, why_not(one), known.get(name)) for name, one in rt.backends.items()],
        "groups": [
            (kind.value, words, shown)
            for kind, words in _KINDS.items()
            if (shown := [_shown(row) for row in found[:PAGE] if row.kind == kind])
        ],
        "waiting": count_waiting(actor=actor),
        "ended": ended,
        "may_operate": may_operate,
        "next_href": f"{reverse('cas-reconciliation')}?{urlencode(last)}" if last else "",
    }
    return render(request, "cas/reconciliation.html", context)


@require_POST
def keep(request: HttpRequest, finding_id: int) -> HttpResponse:
    """Closes a finding with a reason."""
    actor = actor_of(request)
    count_waiting(actor=actor)  # who may not see findings learns nothing of them
    try:
        keep_finding(
            actor=actor, finding_id=finding_id, note=request.POST.get("note", ""), now=timezone.now()
        )
    except InvalidInput as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, "The finding is closed. Your reason is on record.")
    return redirect("cas-reconciliation")


@require_POST
def revoke(request: HttpRequest, finding_id: int) -> HttpResponse:
    """Has the CA revoke a certificate that only it has."""
    actor = actor_of(request)
    count_waiting(actor=actor)  # as above
    try:
        state = revoke_finding(
            actor=actor, finding_id=finding_id, note=request.POST.get("note", ""), clock=timezone.now
        )
    except InvalidInput as error:
        messages.error(request, error.detail)
    except BackendRefused as error:
        messages.error(request, f"The CA refused to revoke it. {error.detail}")
    else:
        told = "The CA has revoked the certificate."
        if state is not FindingState.REVOKED:
            told = "The CA can’t be reached. We go on asking until it answers."
        messages.success(request, told)
    return redirect("cas-reconciliation")


def _shown(row: FindingRow) -> dict[str, Any]:
    state = FindingState(row.state)
    backend = runtime.current().backends.get(row.backend)
    look, said = _STATES[state]
    return {
        "row": row,
        "ca": backend.title if backend else row.backend,
        "look": look,
        "state": said,
        "more": max(0, row.names_count - _NAMES),
        "is_open": state is FindingState.OPEN,
    }
