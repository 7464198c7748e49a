"""Credentials, accounts and orders as pages show them: finished strings. No reading and no deciding here."""

from collections.abc import Mapping
from datetime import datetime, time, timedelta

from django.urls import reverse
from django.utils import timezone

from certdesk.domain.acme_advice import advice_for, request_in, without_address
from certdesk.domain.orders import OrderStatus
from certdesk.domain.profiles import PROFILES
from certdesk.store.selectors.acme import AccountRow, AccountStatus, CredentialRow
from certdesk.store.selectors.acme_orders import Failure, OrderRow
from certdesk.web import times
from certdesk.web.requests.rows import Fact

SHORT = 12
_ACCOUNT: Mapping[AccountStatus, tuple[str, str]] = {
    AccountStatus.VALID: ("ok", "In use"),
    AccountStatus.DEACTIVATED: ("idle", "Deactivated"),
    AccountStatus.REVOKED: ("stop", "Credential revoked"),
    AccountStatus.SUSPENDED: ("idle", "Organisation disabled"),
    AccountStatus.BLOCKED: ("stop", "Key blocked"),
}
_ORDER: Mapping[OrderStatus, tuple[str, str]] = {
    OrderStatus.PENDING: ("busy", "Waiting for the client’s proof"),
    OrderStatus.READY: ("busy", "Ready for the client’s CSR"),
    OrderStatus.PROCESSING: ("busy", "With the CA"),
    OrderStatus.VALID: ("ok", "Certificate issued"),
    OrderStatus.INVALID: ("stop", "Failed"),
}


def credential_view(row: CredentialRow, *, now: datetime) -> dict[str, object]:
    """A line of the list."""
    look, state = credential_look(row, now=now)
    ends_at = row.limits.expires_at if row.revoked_at is None else None
    return {
        "href": reverse("acme-show", args=[row.id]),
        "name": row.name,
        "kid": row.kid,
        "organisation": row.organisation,
        "look": look,
        "state": state,
        "until": f"until {until_text(ends_at)}" if ends_at else "",
        "names": names_text(row),
        "accounts": accounts_text(row),
        "used": used_text(row.last_used_at, now=now),
    }


def credential_look(row: CredentialRow, *, now: datetime) -> tuple[str, str]:
    """Icon and word."""
    if row.revoked_at is not None:
        return "idle", "Revoked"
    if not row.is_usable(now=now):
        return "warn", "Expired"
    if row.leavers:
        return "warn", "Rotate the key"
    return "ok", "In use"


def until_text(at: datetime) -> str:
    """The last day of something that ends at midnight, for a form asked for it; else the very time."""
    local = timezone.localtime(at)
    if local.time() == time():
        return f"the end of {times.day(at - timedelta(microseconds=1))}"
    return times.at(at)


def names_text(row: CredentialRow) -> str:
    """Which names it may ask for."""
    shown = row.limits.suffixes[:3]
    more = len(row.limits.suffixes) - len(shown)
    if not shown:
        return "All names"
    return ", ".join(shown) + (f" and {more} more" if more else "")


def accounts_text(row: CredentialRow) -> str:
    """How many accounts there are, and may be."""
    if row.limits.max_accounts is None:
        return str(row.accounts)
    return f"{row.accounts} of {row.limits.max_accounts}"


def used_text(at: datetime | None, *, now: datetime) -> str:
    """When it was used last."""
    return f"{times.lasted(now - at)} ago" if at else "Never"


def credential_facts(row: CredentialRow, *, now: datetime) -> list[Fact]:
    """What there is to know of a credential."""
    limits = row.limits
    profile = PROFILES[limits.profile_id].title if limits.profile_id in PROFILES else "Any"
    facts = [
        Fact(label="Organisation", value=row.organisation),
        Fact(
            label="Names it may ask for", value=", ".join(limits.suffixes) or "All; the portal’s rules decide"
        ),
        Fact(label="Profile", value=profile),
        Fact(label="Accounts", value=accounts_text(row)),
        Fact(
            label="Works until", value=until_text(limits.expires_at) if limits.expires_at else "It is revoked"
        ),
        Fact(label="Last used", value=times.at(row.last_used_at) if row.last_used_at else "Never"),
        Fact(label="Asks in the name of", value=row.owner),
        Fact(label="Key known to", value=", ".join(one.username for one in row.seen_by if one.knows_key)),
        Fact(label="Made", value=f"{times.day(row.created_at)}, by {row.created_by}"),
    ]
    if row.rotated_at:
        facts.append(Fact(label="Key rotated", value=times.at(row.rotated_at)))
    if row.revoked_at:
        facts.append(Fact(label="Revoked", value=times.at(row.revoked_at)))
    return facts


def account_view(row: AccountRow, *, now: datetime) -> dict[str, object]:
    """A line of a credential's accounts."""
    look, state = account_look(row)
    return {
        "href": reverse("acme-account", args=[row.id]),
        "title": account_title(row),
        "thumbprint": row.thumbprint[:SHORT],
        "look": look,
        "state": state,
        "used": used_text(row.last_used_at, now=now),
        "problem": last_problem(row),
    }


def account_look(row: AccountRow) -> tuple[str, str]:
    """Icon and word."""
    return _ACCOUNT[row.status]


def account_title(row: AccountRow) -> str:
    """What an account is called: its number, for clients give it no name."""
    return f"Account {row.id}"


def contacts_text(row: AccountRow) -> str:
    """Whom the client names as its contact."""
    return ", ".join(one.removeprefix("mailto:") for one in row.contacts) or "None given"


def last_problem(row: AccountRow) -> dict[str, object] | None:
    """What the client was told last, if it was refused anything."""
    if not row.last_problem or row.last_problem_at is None:
        return None
    number = request_in(row.last_problem)
    return {
        "title": "Last refusal",
        "detail": without_address(row.last_problem),
        "advice": "",
        "at": times.at(row.last_problem_at),
        **_request(number),
    }


def order_view(row: OrderRow) -> dict[str, object]:
    """An order in the history of an account."""
    look, state = _ORDER[row.status]
    request = _request(row.request)
    return {
        "number": row.id,
        "names": ", ".join(row.names),
        "look": look,
        "state": state,
        "at": times.at(row.created_at),
        "at_iso": times.iso(row.created_at),
        "request": request["request"],
        "request_href": request["request_href"],
        "problems": tuple(_problem(one) for one in row.failures)
        if row.status is not OrderStatus.VALID
        else (),
    }


def _problem(failure: Failure) -> dict[str, object]:
    about = f"{failure.name} ({failure.challenge})" if failure.name else "The order"
    return {
        "title": about if failure.is_final else f"{about}, being tried again",
        "detail": without_address(failure.detail),
        "advice": advice_for(failure.kind),
        **_request(request_in(failure.detail)),
    }


def _request(number: int | None) -> dict[str, str]:
    if number is None:
        return {"request": "", "request_href": ""}
    return {"request": str(number), "request_href": reverse("requests-show", args=[number])}
