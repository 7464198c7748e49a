"""`certdesk organisation`: the organisations that you may see; `certdesk person`: the people of one."""

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.options import answer, answer_list, organisation_option, service_options


@click.group()
def organisation() -> None:
    """Look at organisations."""


@organisation.command("list")
@service_options
def list_organisations(*, service: Service) -> None:
    """List organisations: your own, or for RA staff all."""
    answer_list(
        service,
        "/organisations",
        ("SHORT NAME", "LEGAL NAME", "VETTED", "FIRST APPROVAL"),
        lambda o: (o["slug"], o["legal_name"], o["vetted_at"] or "no", o["first_approved_at"] or "no"),
    )


@click.group()
def person() -> None:
    """Look after the people of an organisation (managers and RA officers).

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 not found, 4 denied, 75 try again later.
    """


@person.command("list")
@organisation_option
@service_options
def list_people(*, organisation: str, service: Service) -> None:
    """List the people of an organisation."""
    answer_list(
        service,
        _members(service, organisation),
        ("USER NAME", "NAME", "E-MAIL", "ROLE", "STATE"),
        lambda p: (p["username"], p["name"], p["email"], p["role"], _state(p)),
    )


@person.command()
@click.argument("username")
@organisation_option
@service_options
def disable(*, username: str, organisation: str, service: Service) -> None:
    """Disable a person's account: they can't sign in anywhere, and their API tokens end.

    What they asked for stays. A manager may for people who belong to no other organisation.
    """
    answer(service.post(f"{_person(service, username, organisation)}/disable", {}))
    show.talk(f"The account of {username} is disabled.")


@person.command()
@click.argument("username")
@organisation_option
@service_options
def enable(*, username: str, organisation: str, service: Service) -> None:
    """Enable a person's account again; writes their new password to stdout, once.

    It has to be changed at the next sign-in. Only the RA enables what the RA has disabled.
    """
    told = service.post(f"{_person(service, username, organisation)}/enable", {})
    answer(told, lambda: click.echo(told["password"]))
    show.talk(f"{username} can sign in again with the new password. We email them.")


def _members(service: Service, organisation: str) -> str:
    """The address of an organisation's people; of the only one that the caller sees, if none is named."""
    if not organisation:
        seen = service.show("/organisations")["items"]
        if len(seen) != 1:
            raise Failure("Say which organisation: --organisation.", code=Exit.USAGE)
        organisation = seen[0]["slug"]
    return f"/organisations/{organisation}/members"


def _person(service: Service, username: str, organisation: str) -> str:
    path = _members(service, organisation)
    found = next((one for one in service.show(path)["items"] if one["username"] == username), None)
    if found is None:
        raise Failure(f"{username} does not belong to this organisation.", code=Exit.NOT_FOUND)
    return f"{path}/{found['id']}"


def _state(member: Json) -> str:
    if not member["account_is_active"]:
        return "account disabled"
    return "active" if member["is_active"] else "left"
