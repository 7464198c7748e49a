"""One domain: every proof, who is asked, an officer's evidence, and what waits for it."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.services import runtime
from certdesk.services.organisations import Evidence, validate_domain
from certdesk.store.selectors.validation import DomainDetail, get_domain
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.context import crumbs
from certdesk.web.dcv.asking import challenge_row, send
from certdesk.web.dcv.forms import MailboxForm
from certdesk.web.domains import rows
from certdesk.web.queue.forms import EvidenceForm

UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedFact:
    """A term and its description, which may lead somewhere."""

    label: str
    value: str
    href: str = ""


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
    """Records an officer's ownership check, the first one or again (R31 to R34)."""
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
            domain=detail.domain.adn,
            how=said.get("how", ""),
            details=said.get("evidence", ""),
            reference=said.get("reference", ""),
        ),
        now=timezone.now(),
    )
    messages.success(request, f"{detail.domain.adn} is validated for {detail.domain.organisation}.")
    return redirect("domains-show", domain_id=domain_id)


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
    context = {
        "crumbs": crumbs(("Domains", reverse("domains-list")), (row.adn, "")),
        "id": row.id,
        "adn": row.adn,
        "organisation": row.organisation,
        "standing": rows.standing(row, now=now),
        "facts": _facts(detail),
        "proofs": [
            rows.proof_row(proof, shows_evidence=actor.sees_everything, now=now) for proof in detail.proofs
        ],
        "challenges": [challenge_row(one, may_cancel=may_ask, now=now) for one in row.awaited],
        "mailbox_form": (mailbox_form or MailboxForm([row.adn])) if may_ask else None,
        "evidence_form": (evidence_form or EvidenceForm()) if can(actor, Action.DOMAIN_VALIDATE) else None,
        "ownership": times.counted(runtime.current().ownership_days, "day"),
        "waiting": [
            {
                "href": reverse("requests-show", args=[one.number]),
                "number": one.number,
                "name": one.common_names,
                "requester": one.requester,
            }
            for one in detail.waiting
        ],
    }
    failed = evidence_form is not None or mailbox_form is not None
    return render(request, "domains/show.html", context, status=UNPROCESSABLE if failed else 200)


def _facts(detail: DomainDetail) -> list[LinkedFact]:
    row = detail.domain
    facts = [
        LinkedFact(
            label="Organisation",
            value=row.organisation,
            href=reverse("organisations-show", args=[detail.organisation_slug]),
        )
    ]
    if row.proof is not None:
        facts += [
            LinkedFact(label="Last proof", value=times.day(row.proof.validated_at)),
            LinkedFact(label="Method", value=row.proof.method),
            LinkedFact(label="Lapses", value=times.at(row.proof.expires_at)),
        ]
    facts.append(LinkedFact(label="Covers", value=f"{row.adn} and every name below it"))
    return facts
