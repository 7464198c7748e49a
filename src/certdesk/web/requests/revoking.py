"""How a request's certificates stand, and revoking one: a question, a reason, a POST."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from certdesk.domain.actors import Actor
from certdesk.domain.errors import NotAuthorized, StateConflict
from certdesk.domain.issuing.revocation import (
    ENDS_REQUEST,
    MAY_END_REQUEST,
    OVER,
    PLAIN,
    CertificateStatus,
    RevocationReason,
)
from certdesk.services.requests.asking import may_end
from certdesk.services.revocation.revoke import Progress, may_revoke, reasons_for, revoke_certificate
from certdesk.services.system.text_input import MAX_TEXT
from certdesk.store.selectors.certificates import ListedCertificate, get_certificate, newest_certificates
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.forms import PortalForm, finish
from certdesk.web.requests.rows import CERTIFICATE

CONFLICT, UNPROCESSABLE = 409, 422
SHOWN = 50
_OVER: Mapping[CertificateStatus, str] = {
    CertificateStatus.EXPIRED: "Browsers and other clients reject it. Use a newer certificate.",
    CertificateStatus.REVOKED: "Don’t use it: browsers and other clients reject a revoked certificate.",
}
#: What stands below each reason; in which order, the domain says.
HINTS: Mapping[RevocationReason, str] = {
    RevocationReason.KEY_COMPROMISE: "It was stolen, lost or published, or may have been. We block the key.",
    RevocationReason.SUPERSEDED: "The server uses a newer one, and the key of this one is still secret.",
    RevocationReason.CESSATION_OF_OPERATION: "The server is gone, or the name is no longer yours.",
    RevocationReason.AFFILIATION_CHANGED: "For instance its legal name, or the place where it is.",
    RevocationReason.PRIVILEGE_WITHDRAWN: "A breach of the agreement, or it should never have been issued.",
    RevocationReason.UNSPECIFIED: "None of the above fits.",
}


class RevokeForm(PortalForm):
    """Why."""

    help_entries: ClassVar = {
        "reason": "/help/revoking/#reasons",
        "end_request": "/help/revoking/#end",
        "note": "/help/revoking/#note",
    }

    reason = forms.TypedChoiceField(
        label="Why do you want to revoke it?",
        widget=forms.RadioSelect,
        coerce=RevocationReason,
        error_messages={"required": "Choose a reason.", "invalid_choice": "Choose one of the reasons."},
    )
    end_request = forms.BooleanField(required=False)
    note = forms.CharField(
        label="In your own words",
        required=False,
        max_length=MAX_TEXT,
        help_text="For your colleagues and the staff; kept in the request’s history.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def __init__(
        self, *args: Any, reasons: tuple[RevocationReason, ...], may_end: bool, **kwargs: Any
    ) -> None:
        """`may_end`: the reader may end the request as well, which not every reason allows."""
        super().__init__(*args, **kwargs)
        self.offer("reason", [(reason.value, _explained(reason, may_end=may_end)) for reason in reasons])

    def clean_end_request(self) -> bool:
        """Only some reasons may end the request."""
        ends, reason = bool(self.cleaned_data["end_request"]), self.cleaned_data.get("reason")
        if ends and reason is not None and reason not in ENDS_REQUEST | MAY_END_REQUEST:
            raise ValidationError("This reason does not end the request. Untick this, or choose another.")
        return ends


def certificate_lines(actor: Actor, detail: RequestDetail, *, now: datetime) -> list[dict[str, Any]]:
    """The certificates of a request, newest first."""
    if not detail.certificates:
        return []
    found = newest_certificates(detail.number, limit=SHOWN, now=now)
    may = may_revoke(actor, organisation_id=detail.organisation_id, requester_id=detail.requester_id)
    return [_line(row, may_revoke_it=may) for row in found]


@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: HttpRequest, certificate_id: int) -> HttpResponse:
    """Asks why, then revokes for good."""
    actor, now = actor_of(request), timezone.now()
    row = get_certificate(actor=actor, certificate_id=certificate_id, now=now)
    detail = get_request(actor=actor, number=row.request)
    if not may_revoke(actor, organisation_id=detail.organisation_id, requester_id=detail.requester_id):
        raise NotAuthorized(
            f"Only {detail.requester}, who asked for it, a manager of the organisation or the staff may "
            "revoke this certificate."
        )
    may_end_it, status, wrong = may_end(actor, detail), 200, ""
    sent = request.POST if request.method == "POST" else None
    form = RevokeForm(sent, reasons=reasons_for(actor), may_end=may_end_it)
    if form.is_valid():
        try:
            progress = revoke_certificate(
                actor=actor,
                certificate_id=certificate_id,
                reason=form.cleaned_data["reason"],
                note=form.cleaned_data["note"],
                end_request=form.cleaned_data["end_request"],
                clock=timezone.now,
            )
        except StateConflict as error:
            row = get_certificate(actor=actor, certificate_id=certificate_id, now=now)
            status, wrong = CONFLICT, error.detail
        else:
            return finish(request, _done(progress), "requests-show", number=row.request)
    trail = [
        ("Certificates", "/requests/"),
        (f"Request {row.request}", reverse("requests-show", args=[row.request])),
        ("Revoke", ""),
    ]
    context = {
        "form": form,
        "line": _line(row, may_revoke_it=True),
        "may_end": may_end_it,
        "wrong": wrong,
        "crumbs": trail,
    }
    return render(request, "requests/revoke.html", context, status=UNPROCESSABLE if form.errors else status)


def _explained(reason: RevocationReason, *, may_end: bool) -> SafeString:
    if not may_end:
        follows = ""
    elif reason in ENDS_REQUEST:
        follows = "The request ends as well: no certificate follows under it."
    elif reason in MAY_END_REQUEST:
        follows = "You can also end the request, below."
    else:
        follows = "The request goes on: you can get another certificate under it."
    return format_html(
        '<span>{}<small class="muted">{} {}</small></span>', PLAIN[reason], HINTS[reason], follows
    )


def _done(progress: Progress) -> str:
    if progress is Progress.REVOKED:
        return "The certificate is revoked. Browsers learn of it within minutes to days."
    return "The CA has not answered yet. We keep asking, and email you as soon as it does."


def _line(row: ListedCertificate, *, may_revoke_it: bool) -> dict[str, Any]:
    """A certificate with its status and, once somebody has asked for it, its revocation."""
    look, status = CERTIFICATE[row.status]
    pending = row.revocation is not None and row.revocation.outcome == "open"
    if pending and row.status is not CertificateStatus.REVOKED:
        look, status = "busy", "Being revoked"
    return {
        "row": row,
        "look": look,
        "status": status,
        "said": _said(row),
        "may_revoke": may_revoke_it and row.status not in OVER and not pending,
        "warning": _OVER.get(row.status, ""),
    }


def _said(row: ListedCertificate) -> str:
    """What became of it, in a sentence or two."""
    asked = row.revocation
    if row.status is CertificateStatus.EXPIRED and row.revoked_at is None:
        return f"Expired on {times.at(row.not_after)}."
    if asked is None:
        return ""
    why = f"{PLAIN[RevocationReason(asked.reason)].lower()}.{f' {asked.note}' if asked.note else ''}"
    match asked.outcome:
        case "done":
            return f"Revoked on {times.at(row.revoked_at or asked.requested_at)} by {asked.actor}: {why}"
        case "refused":
            return f"{asked.actor} asked for its revocation, and the CA refuses: {asked.detail}"
        case _:
            by = f"{asked.actor} asked for its revocation on {times.at(asked.requested_at)}: {why}"
            return f"{by} We are asking the CA. {asked.detail}".strip()
