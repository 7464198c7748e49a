"""`certdesk acme`: EAB credentials and the accounts that registered with them."""

from datetime import UTC, datetime, time, timedelta

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service, Target, service_options

as_json = click.option("--json", "machine", is_flag=True, help="Write JSON.")
number_argument = click.argument("number", type=click.IntRange(min=1))
_LIST_OPTIONS = (
    click.option("--organisation", default="", help="Its short name."),
    click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Lines a page."),
    click.option("--all", "every", is_flag=True, help="Every page, not only the first."),
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
@click.option("--query", "-q", default="", help="Part of a name or of a key identifier.")
@_LIST_OPTIONS[0]
@_LIST_OPTIONS[1]
@_LIST_OPTIONS[2]
@service_options
@as_json
def list_credentials(
    *, query: str, organisation: str, limit: int, every: bool, target: Target, machine: bool
) -> None:
    """List the credentials that you may see, the newest first."""
    items = _items(target, "/acme/credentials", every=every, q=query, organisation=organisation, limit=limit)
    if machine:
        show.as_json(items)
    elif items:
        show.table(("ID", "NAME", "KID", "STATE", "ACCOUNTS", "LAST USED"), map(_credential_line, items))
    else:
        show.talk("There are no such credentials.")


@credential.command()
@click.argument("name")
@click.option(
    "--allow", "names", multiple=True, metavar="NAME", help="A name, and all below it, that it may ask for."
)
@click.option("--profile", default="", help="The only profile that it may ask for.")
@click.option("--max-accounts", type=click.IntRange(min=1), help="How many clients may register.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it works (UTC).")
@click.option("--organisation", default="", help="Its short name, if you look after several.")
@click.option("--idempotency-key", default="", help="The same key never makes a second credential.")
@service_options
@as_json
def create(
    *,
    name: str,
    names: tuple[str, ...],
    profile: str,
    max_accounts: int | None,
    until: datetime | None,
    organisation: str,
    idempotency_key: str,
    target: Target,
    machine: bool,
) -> None:
    """Make a credential; writes its key identifier and its HMAC key to stdout, one to a line."""
    body: Json = {
        "name": name,
        "names": list(names),
        "profile": profile,
        "max_accounts": max_accounts,
        "expires_at": _end_of(until),
        "organisation": organisation,
    }
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    with Service(target) as service:
        told = service.post("/acme/credentials", body, headers)
    show.talk(f"Credential {told['id']} is made. Clients use the directory {told['directory']}")
    _key(told, machine=machine)


@credential.command("show")
@number_argument
@click.option("--key", is_flag=True, help="With the HMAC key; that it was shown is recorded.")
@service_options
@as_json
def show_credential(*, number: int, key: bool, target: Target, machine: bool) -> None:
    """Show a credential."""
    with Service(target) as service:
        if key:
            told = service.post(f"/acme/credentials/{number}/reveal", {})
        else:
            told = service.show(f"/acme/credentials/{number}")
    if machine:
        show.as_json(told)
        return
    show.facts(_credential_facts(told))


@credential.command()
@number_argument
@click.option("--end-accounts", is_flag=True, help="Deactivate its accounts, for good.")
@service_options
@as_json
def rotate(*, number: int, end_accounts: bool, target: Target, machine: bool) -> None:
    """Give a credential a new key; writes its key identifier and the new key to stdout."""
    with Service(target) as service:
        told = service.post(f"/acme/credentials/{number}/rotate", {"end_accounts": end_accounts})
    what = "its accounts are deactivated" if end_accounts else "accounts that exist go on"
    show.talk(f"No client can register with the old key; {what}.")
    _key(told, machine=machine)


@credential.command()
@number_argument
@service_options
@as_json
def revoke(*, number: int, target: Target, machine: bool) -> None:
    """End a credential and all its accounts, for good."""
    with Service(target) as service:
        told = service.post(f"/acme/credentials/{number}/revoke", {})
    show.talk(f"Credential {told['id']} ({told['name']}) is revoked.")
    if machine:
        show.as_json(told)


@account.command("list")
@click.option("--credential", "number", type=click.IntRange(min=1), help="The id of a credential.")
@_LIST_OPTIONS[0]
@_LIST_OPTIONS[1]
@_LIST_OPTIONS[2]
@service_options
@as_json
def list_accounts(
    *, number: int | None, organisation: str, limit: int, every: bool, target: Target, machine: bool
) -> None:
    """List the accounts that you may see, the newest first, with what each was refused last."""
    items = _items(
        target, "/acme/accounts", every=every, credential=number, organisation=organisation, limit=limit
    )
    if machine:
        show.as_json(items)
    elif items:
        show.table(("ID", "STATUS", "CREDENTIAL", "CONTACTS", "LAST USED", "LAST REFUSAL"), map(_line, items))
    else:
        show.talk("There are no such accounts.")


def _items(target: Target, path: str, *, every: bool, **params: object) -> list[Json]:
    asked = {name: str(value) for name, value in params.items() if value not in (None, "")}
    with Service(target) as service:
        pages = list(service.pages(path, every=every, **asked))
    if pages[-1]["next_cursor"]:
        show.talk("There are more: say --all.")
    return [item for page in pages for item in page["items"]]


def _key(told: Json, *, machine: bool) -> None:
    if machine:
        show.as_json(told)
        return
    click.echo(told["kid"])
    click.echo(told["hmac_key"])


def _end_of(day: datetime | None) -> str | None:
    """The first moment after the day, UTC."""
    if day is None:
        return None
    return datetime.combine(day.date() + timedelta(days=1), time(), UTC).isoformat()


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


def _line(item: Json) -> tuple[object, ...]:
    contacts = ", ".join(str(one).removeprefix("mailto:") for one in item["contacts"])
    return (
        item["id"],
        item["status"],
        item["credential_name"],
        contacts,
        item["last_used_at"],
        item["last_problem"],
    )
