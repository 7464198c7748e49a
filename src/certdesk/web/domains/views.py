"""One domain: how it stands, what is under way, how to prove it, what counts until when, and its story."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.deadlines import method_ends_at
from certdesk.domain.errors import NotAuthorized, existing
from certdesk.domain.evidence import Method
from certdesk.domain.identifiers import is_ip_address, url_host
from certdesk.services import runtime
from certdesk.services.ended_validations import end_validation
from certdesk.services.organisations import Evidence, validate_domain
from certdesk.services.persistent import record_of
from certdesk.services.validation_methods import open_challenges_of, publishable
from certdesk.store.selectors.caa import caa_of_domain
from certdesk.store.selectors.domains import Standing
from certdesk.store.selectors.validation import DomainDetail, Event, get_domain
from certdesk.web.actor import actor_of
from certdesk.web.dcv.asking import MailboxForm, challenge_row, send
from certdesk.web.dcv.caa import caa_views
from certdesk.web.domains import detail as words
from certdesk.web.domains import rows
from certdesk.web.domains.proving import CaStateForm, EndForm
from certdesk.web.forms import UNPROCESSABLE, form_page
from certdesk.web.queue.forms import EvidenceForm


@require_safe
def show(request: HttpRequest, domain_id: int) -> HttpResponse:
    """One domain."""
    actor = actor_of(request)
    return _render(request, actor, get_domain(actor=actor, domain_id=domain_id, now=timezone.now()))


@require_POST
def ask(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Asks a mailbox; at a domain above, the mail is about that one, and so is the page that follows."""
    actor = actor_of(request)
    detail = get_domain(actor=actor, domain_id=domain_id, now=timezone.now())
    row = detail.domain
    mailbox = request.POST.get("mailbox", "")
    if not mailbox:
        return _render(request, actor, detail, mailbox_form=MailboxForm([row.adn], request.POST))
    asked = send(request, actor=actor, organisation_id=row.organisation_id, name=row.adn, mailbox=mailbox)
    return redirect("domains-show", domain_id=asked.domain_id if asked else domain_id)


@require_POST
def validate(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Records an officer's ownership check, the first one or again."""
    actor = actor_of(request)
    detail = get_domain(actor=actor, domain_id=domain_id, now=timezone.now())
    form = EvidenceForm(request.POST)
    if can(actor, Action.DOMAIN_VALIDATE) and not form.is_valid():
        return _render(request, actor, detail, evidence_form=form)
    said = form.cleaned_data if form.is_valid() else {}
    validate_domain(
        actor=actor,
        organisation_id=detail.domain.organisation_id,
        evidence=Evidence(
            detail.domain.adn, said.get("how", ""), said.get("evidence", ""), said.get("reference", "")
        ),
        now=timezone.now(),
    )
    messages.success(request, f"{detail.domain.adn} is validated for {detail.domain.organisation}.")
    return redirect("domains-show", domain_id=domain_id)


@require_http_methods(["GET", "HEAD", "POST"])
def end(request: HttpRequest, domain_id: int, validation_id: int) -> HttpResponse:
    """Asks why, then ends a validation."""
    actor, now = actor_of(request), timezone.now()
    detail = get_domain(actor=actor, domain_id=domain_id, now=now)
    row = detail.domain
    found = (one for one in detail.proofs if one.id == validation_id)
    proof = existing(next(found, None), "There is no such validation.")
    if not can(actor, Action.VALIDATION_END, organisation_id=row.organisation_id):
        raise NotAuthorized("Only managers of the organisation and RA officers end a validation.")
    form = EndForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        end_validation(
            actor=actor,
            domain_id=domain_id,
            record_id=validation_id,
            reason=form.cleaned_data["reason"],
            now=now,
        )
        messages.success(request, "The validation has ended. It no longer counts.")
        return redirect("domains-show", domain_id=domain_id)
    page = reverse("domains-show", args=[domain_id])
    context = {
        "crumbs": [("Domains", reverse("domains-list")), (row.adn, page), ("End validation", "")],
        "row": row,
        "proof": proof,
        "period": words.period(proof, now=now),
        "counts": proof.expires_at > now,
        "form": form,
    }
    return form_page(request, "domains/end.html", context)


def _render(
    request: HttpRequest,
    actor: Actor,
    detail: DomainDetail,
    *,
    evidence_form: EvidenceForm | None = None,
    mailbox_form: MailboxForm | None = None,
) -> HttpResponse:
    row, now = detail.domain, timezone.now()
    may_ask = can(actor, Action.DOMAIN_ASK, organisation_id=row.organisation_id)
    may_validate = can(actor, Action.DOMAIN_VALIDATE)
    may_end = can(actor, Action.VALIDATION_END, organisation_id=row.organisation_id)
    context = {
        "crumbs": [("Domains", reverse("domains-list")), (row.adn, "")],
        "id": row.id,
        "adn": row.adn,
        "row": row,
        "slug": detail.organisation_slug,
        "standing": words.standing(row, now=now),
        "deadlines": row.deadlines if row.standing is Standing.VALIDATED else None,
        "public_is_open": row.deadlines.public is not None and row.deadlines.public.is_open(now=now),
        "renews": rows.kept_alive(row),
        "now": now,
        "flags": row.deadlines.flags,
        "ca_states": [(one, one.valid_until and one.valid_until <= now) for one in detail.ca_states],
        "ca_form": CaStateForm() if may_validate else None,
        "story": [
            (
                one,
                words.period(one.proof, now=now) if one.proof else "",
                words.evidence(one) if actor.sees_everything or one.event is Event.LOOKED else [],
                may_end and one.proof is not None and one.proof.expires_at > now,
            )
            for one in detail.story
        ],
        "caa": caa_views(caa_of_domain(actor=actor, domain_id=row.id), now=now),
        "challenges": [challenge_row(one, now=now) for one in row.awaited],
        "mailbox_form": (mailbox_form or MailboxForm([row.adn]))
        if may_ask and not is_ip_address(row.adn)
        else None,
        "email_ends_at": method_ends_at(Method.EMAIL_CONSTRUCTED),
        "evidence_form": (evidence_form or EvidenceForm()) if may_validate else None,
        "ownership_days": runtime.current().ownership_days,
        "waiting": detail.waiting,
        **(_proving(actor, detail) if may_ask else {}),
    }
    failed = evidence_form is not None or mailbox_form is not None
    return render(request, "domains/show.html", context, status=UNPROCESSABLE if failed else 200)


def _proving(actor: Actor, detail: DomainDetail) -> dict[str, object]:
    """What is under way, and what can be chosen, for who may prove the domain."""
    row, now = detail.domain, timezone.now()
    offered = frozenset(method for method in Method if runtime.current().offers(method))
    running = open_challenges_of(actor=actor, domain_id=row.id, now=now)
    persistent = set() if row.watch or is_ip_address(row.adn) else {*words.PERSISTENT_WAYS}
    offered &= {*publishable(row.adn)} | persistent
    offered -= {one.method for one in running}
    under_way = [words.open_view(one) for one in running]
    record = record_of(row.id)
    watch = words.watch_view(row, row.watch, record) if row.watch and record else None
    healthy = rows.kept_alive(row)
    return {
        "under_way": [*([watch] if watch and not healthy else []), *under_way],
        "watch": watch if healthy else None,
        "ways": [(method.value, page) for method, page in words.WAY_HELP.items() if method in offered],
        "host": url_host(row.adn),
    }
