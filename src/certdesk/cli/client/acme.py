"""`certdesk acme`: EAB credentials and the accounts that registered with them."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service
from certdesk.cli.client.options import (
    answer,
    answer_list,
    idempotency_option,
    list_options,
    number_argument,
    organisation_option,
    service_options,
)


@click.group()
def acme() -> None:
    """Look after ACME credentials and accounts (managers and RA officers).

    CERTDESK_URL says where the service is, CERTDESK_TOKEN (or CERTDESK_TOKEN_FILE) who asks.
    """


@acme.group()
def credential() -> None:
    """EAB credentials: what ACME clients register with."""


@acme.group()
def account() -> None:
    """ACME accounts: clients that have registered."""


@credential.command("list")
@click.option("--query", "-q", "q", default="", help="Part of a name or of a key identifier.")
@list_options
@service_options
def list_credentials(*, service: Service, **asked: Any) -> None:
    """List the credentials that you may see, the newest first."""
    heads = ("ID", "NAME", "KID", "STATE", "ACCOUNTS", "LAST USED")
    answer_list(service, "/acme/credentials", heads, _credential_line, **asked)


@credential.command()
@click.argument("name")
@click.option(
    "--allow", "names", multiple=True, metavar="NAME", help="A name, and all below it, that it may ask for."
)
@click.option("--profile", default="", help="The only profile that it may ask for.")
@click.option("--max-accounts", type=click.IntRange(min=1), help="How many clients may register.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it works (UTC).")
@organisation_option
@idempotency_option
@service_options
def create(*, until: datetime | None, key: str, service: Service, **limits: object) -> None:
    """Make a credential; writes its key identifier and its HMAC key to stdout, one to a line."""
    # The first moment after the last day, UTC.
    end = datetime.combine(until.date() + timedelta(days=1), time(), UTC).isoformat() if until else None
    body = {**limits, "expires_at": end}
    told = service.post("/acme/credentials", body, key=key)
    show.talk(f"Credential {told['id']} is made. Clients use the directory {told['directory']}")
    answer(told, lambda: _write_key(told))


@credential.command("show")
@number_argument
@click.option("--key", is_flag=True, help="With the HMAC key; that it was shown is recorded.")
@service_options
def show_credential(*, number: int, key: bool, service: Service) -> None:
    """Show a credential."""
    here = f"/acme/credentials/{number}"
    told = service.post(f"{here}/reveal", {}) if key else service.show(here)
    answer(told, lambda: show.facts(_credential_facts(told)))


@credential.command()
@number_argument
@click.option("--end-accounts", is_flag=True, help="Deactivate its accounts, for good.")
@service_options
def rotate(*, number: int, end_accounts: bool, service: Service) -> None:
    """Give a credential a new key; writes its key identifier and the new key to stdout."""
    told = service.post(f"/acme/credentials/{number}/rotate", {"end_accounts": end_accounts})
    what = "its accounts are deactivated" if end_accounts else "accounts that exist go on"
    show.talk(f"No client can register with the old key; {what}.")
    answer(told, lambda: _write_key(told))


@credential.command()
@number_argument
@service_options
def revoke(*, number: int, service: Service) -> None:
    """End a credential and all its accounts, for good."""
    told = service.post(f"/acme/credentials/{number}/revoke", {})
    show.talk(f"Credential {told['id']} ({told['name']}) is revoked.")
    answer(told)


@account.command("list")
@click.option("--credential", type=click.IntRange(min=1), help="The id of a credential.")
@list_options
@service_options
def list_accounts(*, service: Service, **asked: Any) -> None:
    """List the accounts that you may see, the newest first, with what each was refused last."""
    heads = ("ID", "STATUS", "CREDENTIAL", "CONTACTS", "LAST USED", "LAST REFUSAL")
    answer_list(service, "/acme/accounts", heads, _account_line, **asked)


def _write_key(told: Json) -> None:
    click.echo(told["kid"])
    click.echo(told["hmac_key"])


def _state(item: Json) -> str:
    if item["revoked_at"]:
        return "revoked"
    state = "in use" if item["is_usable"] else "expired"
    return f"{state}, rotate the key" if "(has left)" in _known_to(item) else state


def _known_to(item: Json) -> str:
    known = [one for one in item["seen_by"] if one["knows_key"]]
    return ", ".join(f"{one['username']} (has left)" if one["has_left"] else one["username"] for one in known)


def _credential_line(item: Json) -> tuple[object, ...]:
    of = f" of {item['max_accounts']}" if item["max_accounts"] else ""
    used = item["last_used_at"] or "never"
    return (item["id"], item["name"], item["kid"], _state(item), f"{item['accounts']}{of}", used)


def _credential_facts(told: Json) -> list[tuple[str, str]]:
    facts = [
        ("Credential", f"{told['id']}: {told['name']}"),
        ("State", _state(told)),
        ("Organisation", str(told["organisation"])),
        ("Directory", str(told["directory"])),
        ("Key identifier", str(told["kid"])),
        ("Names", ", ".join(told["names"]) or "all"),
        ("Profile", str(told["profile"] or "any")),
        ("Key known to", _known_to(told) or "nobody who is named here"),
        ("Accounts", f"{told['accounts']} of {told['max_accounts'] or 'any number'}"),
        ("Until", str(told["expires_at"] or "revoked")),
        ("Last used", str(told["last_used_at"] or "never")),
    ]
    if "hmac_key" in told:
        facts.insert(5, ("HMAC key", str(told["hmac_key"])))
    return facts


def _account_line(item: Json) -> tuple[object, ...]:
    contacts = ", ".join(str(one).removeprefix("mailto:") for one in item["contacts"])
    return (
        item["id"],
        item["status"],
        item["credential_name"],
        contacts,
        item["last_used_at"],
        item["last_problem"],
    )
