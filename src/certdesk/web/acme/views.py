"""EAB credentials: list, make, show, limit, show the key, rotate, revoke."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import InvalidInput, NotAuthorized
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.acme.addresses import directory_url
from certdesk.services.acme.credentials import (
    change_credential,
    create_credential,
    reveal_key,
    revoke_credential,
    rotate_credential,
)
from certdesk.services.system import runtime
from certdesk.store.selectors.acme import CredentialRow, find_accounts, find_credentials, get_credential
from certdesk.store.selectors.organisations import list_organisations, validated_domains
from certdesk.store.selectors.people import list_own_managers
from certdesk.web.acme import rows
from certdesk.web.acme.forms import CredentialForm
from certdesk.web.acme.rights import may_anywhere, may_manage
from certdesk.web.acme.snippets import HIDDEN_KEY, Setup, snippets
from certdesk.web.actor import actor_of
from certdesk.web.forms import accepts, finish, form_page, show_on

SHOWN, ACCOUNTS_SHOWN = 50, 25
FEW = 10  # so many are found at a glance
MANY_ORGANISATIONS = 10_000
_EXAMPLE = "www.example.ac.uk"
_FORM = ["GET", "HEAD", "POST"]


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """The credentials that the reader may see, newest first; for applicants, who makes them."""
    actor, now = actor_of(request), timezone.now()
    reads = may_anywhere(actor, Action.ACME_READ)
    query = request.GET.get("q", "").strip()[:200]
    found = find_credentials(actor=actor, query=query, before=rows.before(request), limit=SHOWN + 1)
    context = {
        "rows": [(row, *rows.credential_look(row, now=now)) for row in found[:SHOWN]],
        "now": now,
        "query": query,
        "searchable": can(actor, Action.ACME_READ) or len(found) > FEW or bool(query),
        "older": found[SHOWN - 1].id if len(found) > SHOWN else None,
        "shows_organisation": can(actor, Action.ACME_READ) or len(actor.memberships) > 1,
        "directory": directory_url(),
        "may_manage": may_anywhere(actor, Action.ACME_MANAGE),
        "may_read": reads,
        "whom_to_ask": () if reads else list_own_managers(actor=actor),
    }
    return render(request, "acme/list.html", context)


@require_http_methods(_FORM)
def new(request: HttpRequest) -> HttpResponse:
    """Makes a credential."""
    actor = actor_of(request)
    organisations = _manageable(actor)
    if not organisations:
        raise NotAuthorized("Only managers of an organisation and RA officers make ACME credentials.")
    form = CredentialForm(request.POST or None, organisations=organisations)
    if form.is_valid():
        try:
            made = create_credential(
                actor=actor,
                organisation_id=form.organisation_id,
                name=form.cleaned_data["name"],
                limits=form.limits,
                now=timezone.now(),
            )
        except InvalidInput as error:
            show_on(form, error)
        else:
            told = "The credential is made. Show its key, then set up your clients."
            return finish(request, told, "acme-show", credential_id=made.credential_id)
    context = {
        "form": form,
        "title": "New credential",
        "button": "Make the credential",
        "cancel_href": reverse("acme-list"),
        "crumbs": [("ACME", reverse("acme-list")), ("New credential", "")],
    }
    return form_page(request, "acme/form.html", context)


@require_safe
def show(request: HttpRequest, credential_id: int) -> HttpResponse:
    """One credential, its key hidden."""
    actor = actor_of(request)
    return _render(request, actor, get_credential(actor=actor, credential_id=credential_id))


@require_POST
@never_cache
def key(request: HttpRequest, credential_id: int) -> HttpResponse:
    """The same page with the key in it; that it was shown is recorded."""
    actor = actor_of(request)
    row = get_credential(actor=actor, credential_id=credential_id)
    shown = reveal_key(actor=actor, credential_id=credential_id, now=timezone.now())
    return _render(request, actor, row, hmac_key=shown.hmac_key)


@require_http_methods(_FORM)
def change(request: HttpRequest, credential_id: int) -> HttpResponse:
    """Names and limits a credential anew."""
    actor = actor_of(request)
    row = _managed(actor, credential_id)
    form = CredentialForm(request.POST or None, before=row)
    if accepts(
        form,
        lambda: change_credential(
            actor=actor,
            credential_id=credential_id,
            name=form.cleaned_data["name"],
            limits=form.limits,
            now=timezone.now(),
        ),
    ):
        told = "Saved. The limits hold at once, for open orders too."
        return finish(request, told, "acme-show", credential_id=credential_id)
    here = reverse("acme-show", args=[row.id])
    context = {
        "form": form,
        "title": f"Name and limits of “{row.name}”",
        "button": "Save",
        "cancel_href": here,
        "crumbs": [("ACME", reverse("acme-list")), (row.name, here), ("Name and limits", "")],
    }
    return form_page(request, "acme/form.html", context)


@require_http_methods(_FORM)
def rotate(request: HttpRequest, credential_id: int) -> HttpResponse:
    """Asks, then gives the credential another key."""
    actor = actor_of(request)
    row = _managed(actor, credential_id)
    if request.method == "POST":
        end = request.POST.get("end_accounts") == "yes"
        rotate_credential(actor=actor, credential_id=credential_id, end_accounts=end, now=timezone.now())
        told = "The credential has a new key. Show it, and give it to the clients that register next."
        return finish(request, told, "acme-show", credential_id=credential_id)
    return render(request, "acme/rotate.html", _asked(row, "Rotate the key"))


@require_http_methods(_FORM)
def revoke(request: HttpRequest, credential_id: int) -> HttpResponse:
    """Asks, then ends the credential and its accounts."""
    actor = actor_of(request)
    row = _managed(actor, credential_id)
    if request.method == "POST":
        revoke_credential(actor=actor, credential_id=credential_id, now=timezone.now())
        told = f"“{row.name}” is revoked: its accounts can no longer order certificates."
        return finish(request, told, "acme-show", credential_id=credential_id)
    return render(request, "acme/revoke.html", _asked(row, "Revoke"))


def _render(request: HttpRequest, actor: Actor, row: CredentialRow, *, hmac_key: str = "") -> HttpResponse:
    now = timezone.now()
    manages = may_manage(actor, row.organisation_id)
    before = rows.before(request)
    accounts = find_accounts(actor=actor, credential_id=row.id, before=before, limit=ACCOUNTS_SHOWN + 1)
    look, state = rows.credential_look(row, now=now)
    name = _example_name(actor, row)
    setup = Setup(
        directory=directory_url(),
        kid=row.kid,
        hmac_key=hmac_key or HIDDEN_KEY,
        name=name,
        contact=f"hostmaster@{name.removeprefix('www.')}",
    )
    context = {
        "crumbs": [("ACME", reverse("acme-list")), (row.name, "")],
        "row": row,
        "look": look,
        "state": state,
        "now": now,
        "known_to": [one.username for one in row.seen_by if one.knows_key],
        "profile": runtime.current().profiles.get(row.limits.profile_id),
        "directory": setup.directory,
        "hmac_key": hmac_key,
        "manages": manages and row.revoked_at is None,
        "usable": row.is_usable(now=now),
        "snippets": snippets(setup) if row.revoked_at is None else (),
        "example": setup.name,
        "accounts": [(one, *rows.ACCOUNT[one.status]) for one in accounts[:ACCOUNTS_SHOWN]],
        "older": accounts[ACCOUNTS_SHOWN - 1].id if len(accounts) > ACCOUNTS_SHOWN else None,
        "newest": before is None,
    }
    return render(request, "acme/show.html", context)


def _managed(actor: Actor, credential_id: int) -> CredentialRow:
    row = get_credential(actor=actor, credential_id=credential_id)
    if not may_manage(actor, row.organisation_id):
        raise NotAuthorized("Only managers of the organisation and RA officers manage ACME credentials.")
    return row


def _manageable(actor: Actor) -> dict[OrganisationId, str]:
    """The organisations that the actor may make credentials for, with their names."""
    found = list_organisations(actor=actor, limit=MANY_ORGANISATIONS)
    return {one.id: one.legal_name for one in found if may_manage(actor, one.id)}


def _example_name(actor: Actor, row: CredentialRow) -> str:
    """A name that the credential can have: within its limits, else below a validated domain."""
    if row.limits.suffixes:
        return row.limits.suffixes[0]
    found = validated_domains(row.organisation_id, most=1, now=timezone.now())
    return f"www.{found[0]}" if found else _EXAMPLE


def _asked(row: CredentialRow, step: str) -> dict[str, object]:
    here = reverse("acme-show", args=[row.id])
    return {
        "row": row,
        "here": here,
        "crumbs": [("ACME", reverse("acme-list")), (row.name, here), (step, "")],
    }
