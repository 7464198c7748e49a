"""`certdesk domain`: list, show, add, ask a mailbox to confirm, take that back, end a validation."""

import click

from certdesk.cli.client import show as shown
from certdesk.cli.client.connection import Json, Service, Target, service_options
from certdesk.cli.client.exits import Exit, Failure

as_json = click.option("--json", "machine", is_flag=True, help="Write JSON.")
in_organisation = click.option(
    "--organisation", default="", help="Its short name, unless you belong to exactly one."
)


@click.group()
def domain() -> None:
    """Domains of your organisation: what is proven until when, and asking for a confirmation.

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 not found, 4 denied, 75 try again later.
    """


@domain.command("list")
@in_organisation
@service_options
@as_json
def list_(*, organisation: str, target: Target, machine: bool) -> None:
    """List domains, and whether each is validated now."""
    with Service(target) as service:
        items = service.show("/domains", organisation=organisation)["items"]
    if machine:
        shown.as_json(items)
        return
    shown.table(
        ("DOMAIN", "ORGANISATION", "VALIDATED", "UNTIL"),
        (
            (d["domain"], d["organisation_slug"], _yes(d["is_validated"]), d["expires_at"] or "")
            for d in items
        ),
    )


@domain.command()
@click.argument("name")
@in_organisation
@service_options
@as_json
def show(*, name: str, organisation: str, target: Target, machine: bool) -> None:
    """Show a domain: its proofs, the mailboxes that have been asked, what CAA records said of its names."""
    with Service(target) as service:
        found = service.show(f"/domains/{_listed(service, name, organisation)['id']}")
        proofs = service.show(f"/domains/{found['id']}/validations")["items"]
        caa = service.show(f"/domains/{found['id']}/caa")["items"]
    if machine:
        shown.as_json({**found, "validations": proofs, "caa": caa})
    else:
        _write(found, proofs)
        shown.caa(caa)


@domain.command()
@click.argument("name")
@in_organisation
@service_options
@as_json
def add(*, name: str, organisation: str, target: Target, machine: bool) -> None:
    """List a domain, so that it can be confirmed before any request needs it."""
    with Service(target) as service:
        made = _add(service, name, organisation)
    if machine:
        shown.as_json(made)
    else:
        click.echo(made["domain"])
    if not made["is_validated"]:
        shown.talk(f"Nothing proves it yet: certdesk domain validate {made['domain']} --mailbox …")


@domain.command()
@click.argument("name")
@click.option("--mailbox", default="", help="Who is asked, such as hostmaster@example.ac.uk.")
@in_organisation
@service_options
@as_json
def validate(*, name: str, mailbox: str, organisation: str, target: Target, machine: bool) -> None:
    """Ask a mailbox of a domain to confirm; the same again sends a new code.

    A domain that is not listed yet is added. Whoever reads the mailbox confirms by the mail's link. Without
    --mailbox, the mailboxes that may be asked are written to stdout.
    """
    with Service(target) as service:
        made = _add(service, name, organisation)
        if not mailbox:
            click.echo("\n".join(made["mailboxes"]))
            raise Failure("Say which of these is asked: --mailbox.", code=Exit.USAGE)
        asked = service.post(f"/domains/{made['id']}/validations", {"mailbox": mailbox})
    if machine:
        shown.as_json(asked)
    shown.talk(f"A mail went to {asked['mailbox']}. Whoever reads it confirms for {asked['domain']}.")


@domain.command()
@click.argument("name")
@click.option("--mailbox", required=True, help="Who was asked.")
@in_organisation
@service_options
def cancel(*, name: str, mailbox: str, organisation: str, target: Target) -> None:
    """Take back what a mailbox was asked: its code no longer works."""
    with Service(target) as service:
        found = service.show(f"/domains/{_listed(service, name, organisation)['id']}")
        asked = next((one for one in found["challenges"] if one["mailbox"] == mailbox), None)
        if asked is None:
            raise Failure(f"{mailbox} is not asked about {found['domain']}.", code=Exit.NOT_FOUND)
        service.delete(f"/domains/{found['id']}/challenges/{asked['id']}")
    shown.talk(f"The code that {mailbox} has no longer works.")


@domain.command()
@click.argument("name")
@click.argument("validation", type=int)
@click.option("--reason", required=True, help="Why; everyone who sees the domain sees it.")
@in_organisation
@service_options
@as_json
def end(*, name: str, validation: int, reason: str, organisation: str, target: Target, machine: bool) -> None:
    """End a validation of a domain, by its number in `certdesk domain show`.

    From now on it proves nothing. Certificates that were issued go on working.
    """
    with Service(target) as service:
        found = _listed(service, name, organisation)
        ended = service.post(f"/domains/{found['id']}/validations/{validation}/end", {"reason": reason})
    if machine:
        shown.as_json(ended)
    shown.talk(f"Validation {validation} of {found['domain']} no longer proves anything.")


def _add(service: Service, name: str, organisation: str) -> Json:
    body = {"domain": name, **({"organisation": organisation} if organisation else {})}
    return service.post("/domains", body)


def _listed(service: Service, name: str, organisation: str) -> Json:
    items = service.show("/domains", organisation=organisation)["items"]
    found = [item for item in items if item["domain"] == name.strip().lower()]
    if not found:
        raise Failure(f"{name} is not among the domains that you may see.", code=Exit.NOT_FOUND)
    if len(found) > 1:
        raise Failure("Several organisations have it: name one with --organisation.", code=Exit.USAGE)
    item: Json = found[0]
    return item


def _write(found: Json, proofs: list[Json]) -> None:
    state = f"yes, until {found['expires_at']}" if found["is_validated"] else "no"
    shown.table((found["domain"], found["organisation"]), [("Validated", state)])
    if proofs:
        shown.table(
            ("PROOF", "METHOD", "BY", "AT", "UNTIL", "ENDED"),
            (
                (
                    str(p["id"]),
                    *(p["method"], p["validated_by"], p["validated_at"], p["expires_at"]),
                    f"{p['ended_by']}: {p['end_reason']}" if p["ended_by"] else "",
                )
                for p in proofs
            ),
        )
    if found["challenges"]:
        shown.table(
            ("ASKED", "BY", "AT", "CODE WORKS UNTIL"),
            ((c["mailbox"], c["asked_by"], c["created_at"], c["expires_at"]) for c in found["challenges"]),
        )


def _yes(value: object) -> str:
    return "yes" if value else "no"
