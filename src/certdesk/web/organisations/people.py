"""What managers and officers do about an organisation's people: each a POST from the organisation's page.

Whoever leaves may know keys of ACME credentials: `keys` lists them, and offers to rotate them.
"""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from certdesk.domain.actors import Action, Actor, OrgRole, can, require
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound, existing
from certdesk.services.acme.credentials import rotate_credential
from certdesk.services.people.membership import (
    add_existing_member,
    add_member,
    change_role,
    disable_member,
    enable_member,
    hand_over,
)
from certdesk.services.people.organisations import IssuedPassword
from certdesk.store.selectors.acme import credentials_seen_by
from certdesk.store.selectors.organisations import OrganisationRow, get_organisation
from certdesk.store.selectors.people import Member, list_members
from certdesk.web.accounts import act_on
from certdesk.web.actor import actor_of
from certdesk.web.forms import accepts, finish, show_on
from certdesk.web.organisations.forms import ExistingForm, HandOverForm, PersonForm
from certdesk.web.organisations.views import people_choices, render_organisation


@require_POST
@never_cache
def add(request: HttpRequest, slug: str) -> HttpResponse:
    """Adds a person and shows the issued password, this once: it is in no other page and no session."""
    actor, row = _managed(request, slug)
    form = PersonForm(request.POST)
    if form.is_valid():
        said = form.cleaned_data
        try:
            issued = add_member(
                actor=actor,
                organisation_id=row.id,
                username=said["username"],
                name=said["name"],
                email=said["email"],
                role=OrgRole(said["role"]),
                now=timezone.now(),
            )
        except InvalidInput as error:
            show_on(form, error)
        else:
            return render_organisation(request, actor, row, issued=issued)
    return render_organisation(request, actor, row, form)


@require_POST
def add_existing(request: HttpRequest, slug: str) -> HttpResponse:
    """Makes somebody who has an account belong to this organisation too; officers only."""
    actor, row = _managed(request, slug)
    require(actor, Action.MEMBERS_MANAGE, "Only an officer adds someone who belongs to another organisation.")
    form = ExistingForm(request.POST)
    if accepts(
        form,
        lambda: add_existing_member(
            actor=actor,
            organisation_id=row.id,
            username=form.cleaned_data["existing"],
            role=OrgRole(form.cleaned_data["role"]),
            now=timezone.now(),
        ),
    ):
        told = f"{form.cleaned_data['existing']} belongs to {row.legal_name} now."
        return finish(request, told, "organisations-show", slug=slug)
    return render_organisation(request, actor, row, form)


@require_POST
def set_role(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    """Makes an applicant a manager, or the other way round."""
    actor, row = _managed(request, slug)
    wanted = request.POST.get("role", "")
    if wanted not in list(OrgRole):
        raise NotFound("There is no such role.")
    role, member = OrgRole(wanted), _member(actor, row, user_id)
    change_role(actor=actor, organisation_id=row.id, user_id=user_id, role=role, now=timezone.now())
    article = "a manager" if role is OrgRole.MANAGER else "an applicant"
    messages.success(request, f"{member.username} is {article} now.")
    return _back(request, actor, row)


@require_POST
@never_cache
def account(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    """Does something about the person's account itself: everywhere, not only in this organisation."""
    actor, row = _managed(request, slug)
    _member(actor, row, user_id)
    act = request.POST.get("act", "")
    done = act_on(actor=actor, user_id=user_id, act=act, now=timezone.now())
    if isinstance(done, IssuedPassword):
        return render_organisation(request, actor, row, issued=done)
    messages.success(request, done)
    return _back(request, actor, row, gone=user_id if act == "disable" else None)


@require_POST
def disable(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    """Ends a person's membership."""
    actor, row = _managed(request, slug)
    disable_member(actor=actor, organisation_id=row.id, user_id=user_id, now=timezone.now())
    messages.success(request, "The person is disabled. Requests and certificates stay with the organisation.")
    return _back(request, actor, row, gone=user_id)


@require_POST
def enable(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    """Makes a disabled membership work again."""
    actor, row = _managed(request, slug)
    enable_member(actor=actor, organisation_id=row.id, user_id=user_id, now=timezone.now())
    messages.success(request, "The person is enabled again, as an applicant.")
    return _back(request, actor, row)


@require_POST
def leave(request: HttpRequest, slug: str) -> HttpResponse:
    """Somebody leaves and somebody else takes over, in one step."""
    actor, row = _managed(request, slug)
    members = list_members(actor=actor, organisation_id=row.id)
    form = HandOverForm(request.POST, people=people_choices(members))
    handed_over = accepts(
        form,
        lambda: hand_over(
            actor=actor,
            organisation_id=row.id,
            leaver_id=form.cleaned_data["leaver"],
            successor_id=form.cleaned_data["successor"],
            now=timezone.now(),
        ),
    )
    if not handed_over:
        return render_organisation(request, actor, row, form)
    leaver = form.cleaned_data["leaver"]
    if leaver != actor.user_id:
        messages.success(
            request, "Handed over. The person’s requests and certificates stay with the organisation."
        )
        return _back(request, actor, row, gone=leaver)
    # Who has left sees nothing of it from now on.
    if credentials_seen_by(actor=actor, user_id=leaver, organisation_id=row.id):
        messages.info(
            request, "You know keys of ACME credentials. Ask your successor to rotate them, under ACME."
        )
    return redirect("home")


@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    """Lists the credentials whose key a person has seen, and rotates those that are chosen."""
    actor, row = _managed(request, slug)
    member = _member(actor, row, user_id)
    found = credentials_seen_by(actor=actor, user_id=user_id, organisation_id=row.id)
    here, name = reverse("organisations-show", args=[slug]), member.name or member.username
    if request.method == "POST":
        chosen, end = request.POST.getlist("credential"), request.POST.get("end_accounts") == "yes"
        wanted = [one.id for one in found if str(one.id) in chosen]
        for number in wanted:
            rotate_credential(actor=actor, credential_id=number, end_accounts=end, now=timezone.now())
        count = "1 key is" if len(wanted) == 1 else f"{len(wanted) or 'no'} keys are".capitalize()
        return finish(request, f"{count} rotated. Clients can no longer register with the old ones.", here)
    context = {
        "crumbs": [
            ("Organisations", reverse("organisations-list")),
            (row.legal_name, here),
            ("ACME keys", ""),
        ],
        "name": name,
        "organisation": row.legal_name,
        "here": here,
        "rows": [
            (one, any(seen.user_id == user_id and seen.knows_key for seen in one.seen_by)) for one in found
        ],
    }
    return render(request, "organisations/keys.html", context)


def _managed(request: HttpRequest, slug: str) -> tuple[Actor, OrganisationRow]:
    """The actor and an organisation whose people the actor looks after. Raises NotFound, NotAuthorized."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    if not can(actor, Action.MEMBERS_MANAGE, organisation_id=row.id):
        raise NotAuthorized("Only a manager of the organisation or an officer manages its people.")
    return actor, row


def _member(actor: Actor, row: OrganisationRow, user_id: int) -> Member:
    people = list_members(actor=actor, organisation_id=row.id)
    found = (one for one in people if one.user_id == user_id)
    return existing(next(found, None), "There is no such person in this organisation.")


def _back(
    request: HttpRequest, actor: Actor, row: OrganisationRow, *, gone: int | None = None
) -> HttpResponse:
    """To the organisation's page; past the keys that the person who has `gone` has seen, if there are any."""
    if can(actor, Action.MEMBERS_MANAGE):  # a manager can't bring this about, an officer may
        members = list_members(actor=actor, organisation_id=row.id)
        if not any(m.is_active and m.role is OrgRole.MANAGER for m in members):
            messages.warning(request, f"{row.legal_name} has no manager now. Make someone a manager.")
    if gone is not None and credentials_seen_by(actor=actor, user_id=gone, organisation_id=row.id):
        return redirect("organisations-person-keys", slug=row.slug, user_id=gone)
    return redirect("organisations-show", slug=row.slug)
