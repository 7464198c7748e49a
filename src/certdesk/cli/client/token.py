"""`certdesk token`: your own API tokens."""

from datetime import UTC, datetime, timedelta

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service, Target, service_options
from certdesk.domain.actors import Scope


@click.group()
def token() -> None:
    """Look after your API tokens. Making and ending them needs one with the scope `tokens`."""


@token.command("list")
@service_options
@click.option("--json", "machine", is_flag=True, help="Write JSON.")
def list_(*, target: Target, machine: bool) -> None:
    """List your tokens, the newest first, with what they may do and until when."""
    with Service(target) as service:
        items = service.show("/tokens")["items"]
    if machine:
        show.as_json(items)
    else:
        show.table(("ID", "NAME", "MAY", "UNTIL", "STATE"), map(_line, items))


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do besides reading; may be repeated.",
)
@click.option("--days", type=click.IntRange(min=1), help="How long it works; at most as long as yours.")
@service_options
def create(*, name: str, scopes: tuple[str, ...], days: int | None, target: Target) -> None:
    """Make a token that may do no more than yours, and write it to standard output, once."""
    until = (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None
    with Service(target) as service:
        made = service.post("/tokens", {"name": name, "scopes": list(scopes), "expires_at": until})
    show.talk(
        f"Token {made['id']} may {', '.join(made['scopes'])}, until {made['expires_at'] or 'it is ended'}."
    )
    click.echo(made["token"])


@token.command()
@click.argument("number", type=click.IntRange(min=1))
@service_options
def end(*, number: int, target: Target) -> None:
    """End a token at once, and those that it made."""
    with Service(target) as service:
        service.delete(f"/tokens/{number}")
    show.talk(f"Token {number} no longer works.")


def _line(item: Json) -> tuple[str, ...]:
    state = f"ended by {item['revoked_by']}" if item["revoked_at"] else ""
    return (str(item["id"]), item["name"], ", ".join(item["scopes"]), item["expires_at"] or "no end", state)
