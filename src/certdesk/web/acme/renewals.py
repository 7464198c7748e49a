"""Moving renewals forward for a mass event (RFC 9773): an operator's dry run, confirmation, what holds."""

from datetime import datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from certdesk.domain.actors import Actor
from certdesk.services.acme.renewal import advise_renewal, withdraw_advice
from certdesk.store.selectors.operations import AdviceRow, InUse, certificates_in_use, list_advice
from certdesk.web import times
from certdesk.web.acme.forms import RenewalForm
from certdesk.web.actor import actor_of
from certdesk.web.forms import accepts, finish, form_page

#: What the form proposes: from now on, within a day.
_SPREAD = timedelta(days=1)


@require_http_methods(["GET", "HEAD", "POST"])
def renewals(request: HttpRequest) -> HttpResponse:
    """The form and what holds; a POST shows the dry run, and with `confirmed` does it."""
    actor, now = actor_of(request), timezone.now()
    everything = certificates_in_use(actor=actor, now=now)
    form = RenewalForm(
        request.POST or None,
        initial={"starts_at": timezone.localtime(now), "ends_at": timezone.localtime(now + _SPREAD)},
        issuers=[one.value for one in everything.issuers],
        profiles=[one.value for one in everything.profiles],
    )
    if not form.is_valid():
        return _render(request, actor, form, everything)
    said = form.cleaned_data
    if "confirmed" in request.POST:
        done = accepts(
            form,
            lambda: advise_renewal(
                actor=actor,
                starts_at=said["starts_at"],
                ends_at=said["ends_at"],
                reason=said["reason"],
                matching=form.matching,
                explanation_url=said["explanation_url"],
                now=now,
            ),
        )
        if not done:
            return _render(request, actor, form, everything)
        return finish(request, "From now on, clients that ask get the new time.", "service-renewals")
    wanted = form.matching
    dry_run = certificates_in_use(
        actor=actor,
        issuer=wanted.issuer,
        profile_id=wanted.profile_id,
        spki_sha256=wanted.spki_sha256,
        now=now,
    )
    return _render(request, actor, form, everything, dry_run=dry_run)


@require_POST
def withdraw(request: HttpRequest, advice_id: int) -> HttpResponse:
    """Lets the certificates be renewed at their usual time again."""
    actor, now = actor_of(request), timezone.now()
    list_advice(actor=actor, now=now)  # whoever may not see the advice learns nothing of it
    withdraw_advice(actor=actor, advice_id=advice_id, now=now)
    told = "Withdrawn: those certificates are renewed at their usual time again."
    return finish(request, told, "service-renewals")


def _render(
    request: HttpRequest, actor: Actor, form: RenewalForm, everything: InUse, *, dry_run: InUse | None = None
) -> HttpResponse:
    now = timezone.now()
    context = {
        "crumbs": [("Service", reverse("service")), ("Renewals", "")],
        "form": form,
        "everything": everything,
        "dry_run": dry_run,
        "advice": [_advice(one, now=now) for one in list_advice(actor=actor, now=now)],
    }
    return form_page(request, "acme/renewals.html", context)


def _advice(row: AdviceRow, *, now: datetime) -> dict[str, object]:
    parts = [row.issuer, row.profile_id, f"key {row.spki_sha256[:16]}…" if row.spki_sha256 else ""]
    return {
        "row": row,
        "about": ", ".join(part for part in parts if part) or "All certificates",
        "is_over": row.is_over(now=now),
        "period": f"{times.at(row.starts_at)} to {times.at(row.ends_at)}",
    }
