"""One ACME account: who it is, what its orders came to, the DNS records that name it, ending it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from certdesk.domain.actors import Actor
from certdesk.domain.errors import NotAuthorized
from certdesk.services.acme.addresses import account_url
from certdesk.services.acme.challenges import issuer_names
from certdesk.services.acme.credentials import end_account
from certdesk.store.selectors.acme import AccountRow, AccountStatus, get_account
from certdesk.store.selectors.acme_orders import list_orders
from certdesk.store.selectors.organisations import list_domains
from certdesk.web.acme import rows
from certdesk.web.acme.rights import may_manage
from certdesk.web.acme.snippets import records_for
from certdesk.web.actor import actor_of
from certdesk.web.forms import finish

ORDERS_SHOWN = 20
#: Records are shown for so many domains; the others' differ in the name alone.
DOMAINS_SHOWN = 5
_EXAMPLE = "example.ac.uk"


@require_safe
def show(request: HttpRequest, account_id: int) -> HttpResponse:
    """One account."""
    actor, now = actor_of(request), timezone.now()
    row = get_account(actor=actor, account_id=account_id)
    before = rows.before(request)
    orders = list_orders(actor=actor, account_id=account_id, before=before, limit=ORDERS_SHOWN + 1, now=now)
    look, state = rows.ACCOUNT[row.status]
    context = {
        "crumbs": _trail(row, ""),
        "row": row,
        "look": look,
        "state": state,
        "orders": [(one, *rows.ORDER[one.status]) for one in orders[:ORDERS_SHOWN]],
        "older": orders[ORDERS_SHOWN - 1].id if len(orders) > ORDERS_SHOWN else None,
        "newest": before is None,
        "records": _records(actor, row) if row.status is AccountStatus.VALID else (),
        "url": account_url(row.id),
        "may_end": row.deactivated_at is None and may_manage(actor, row.organisation_id),
    }
    return render(request, "acme/account.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def deactivate(request: HttpRequest, account_id: int) -> HttpResponse:
    """Asks, then ends the account."""
    actor = actor_of(request)
    row = get_account(actor=actor, account_id=account_id)
    if not may_manage(actor, row.organisation_id):
        raise NotAuthorized("Only managers of the organisation and RA officers manage ACME accounts.")
    if request.method == "POST":
        end_account(actor=actor, account_id=account_id, now=timezone.now())
        return finish(request, f"Account {row.id} is deactivated.", "acme-account", account_id=account_id)
    context = {"row": row, "now": timezone.now(), "crumbs": _trail(row, "Deactivate")}
    return render(request, "acme/deactivate.html", context)


def _records(actor: Actor, row: AccountRow) -> list[dict[str, str]]:
    found = list_domains(actor=actor, organisation_id=row.organisation_id)[:DOMAINS_SHOWN]
    domains = [one.adn for one in found] or [_EXAMPLE]
    issuer, url = issuer_names()[0], account_url(row.id)
    return [records_for(domain=domain, issuer=issuer, account_url=url) for domain in domains]


def _trail(row: AccountRow, step: str) -> list[tuple[str, str]]:
    trail = [("ACME", reverse("acme-list")), (row.credential, reverse("acme-show", args=[row.credential_id]))]
    title = f"Account {row.id}"
    if not step:
        return [*trail, (title, "")]
    return [*trail, (title, reverse("acme-account", args=[row.id])), (step, "")]
