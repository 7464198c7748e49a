"""`certdesk domain`: list, show, add, ask a mailbox to confirm, take that back, end a validation."""

import click

from certdesk.cli.client import show as shown
from certdesk.cli.client.connection import Json, Service
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.options import answer, answer_list, json_option, options, with_service

in_organisation = options(
    click.option("--organisation", default="", help="Its short name, unless you belong to exactly one."),
    with_service,
)
in_organisation_json = options(in_organisation, json_option)


@click.group()
def domain() -> None:
    """Domains of your organisation: what is proven until when, and asking for a confirmation.

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 not found, 4 denied, 75 try again later.
    """


@domain.command("list")
@in_organisation_json
def list_(*, organisation: str, service: Service) -> None:
    """List domains, and whether each is validated now."""
    answer_list(
        service,
        "/domains",
        ("DOMAIN", "ORGANISATION", "VALIDATED", "UNTIL"),
        lambda d: (
            *(d["domain"], d["organisation_slug"], "yes" if d["is_validated"] else "no"),
            d["expires_at"] or "",
        ),
        organisation=organisation,
    )


@domain.command()
@click.argument("name")
@in_organisation_json
def show(*, name: str, organisation: str, service: Service) -> None:
    """Show a domain: its proofs, the mailboxes that have been asked, what CAA records said of its names."""
    here = _address(service, name, organisation)
    found, proofs = service.show(here), service.show(f"{here}/validations")["items"]
    caa = service.show(f"{here}/caa")["items"]

    def write() -> None:
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
                (
                    (c["mailbox"], c["asked_by"], c["created_at"], c["expires_at"])
                    for c in found["challenges"]
                ),
            )
        shown.caa(caa)

    answer({**found, "validations": proofs, "caa": caa}, write)


@domain.command()
@click.argument("name")
@in_organisation_json
def add(*, name: str, organisation: str, service: Service) -> None:
    """List a domain, so that it can be confirmed before any request needs it."""
    made = _add(service, name, organisation)
    answer(made, lambda: click.echo(made["domain"]))
    if not made["is_validated"]:
        shown.talk(f"Nothing proves it yet: certdesk domain validate {made['domain']} --mailbox …")


@domain.command()
@click.argument("name")
@click.option("--mailbox", default="", help="Who is asked, such as hostmaster@example.ac.uk.")
@in_organisation_json
def validate(*, name: str, mailbox: str, organisation: str, service: Service) -> None:
    """Ask a mailbox of a domain to confirm; the same again sends a new code.

    A domain that is not listed yet is added. The mail has a link to confirm with.
    Without --mailbox, the mailboxes that may be asked are written to stdout.
    """
    made = _add(service, name, organisation)
    if not mailbox:
        click.echo("\n".join(made["mailboxes"]))
        raise Failure("Say which of these is asked: --mailbox.", code=Exit.USAGE)
    asked = service.post(f"/domains/{made['id']}/validations", {"mailbox": mailbox})
    answer(asked)
    shown.talk(f"We emailed {asked['mailbox']}. The link in the mail validates {asked['domain']}.")


@domain.command()
@click.argument("name")
@click.option("--mailbox", required=True, help="Who was asked.")
@in_organisation
def cancel(*, name: str, mailbox: str, organisation: str, service: Service) -> None:
    """Take back what a mailbox was asked: its code no longer works."""
    here = _address(service, name, organisation)
    found = service.show(here)
    asked = next((one for one in found["challenges"] if one["mailbox"] == mailbox), None)
    if asked is None:
        raise Failure(f"{mailbox} is not asked about {found['domain']}.", code=Exit.NOT_FOUND)
    service.delete(f"{here}/challenges/{asked['id']}")
    shown.talk(f"The code that {mailbox} has no longer works.")


@domain.command()
@click.argument("name")
@click.argument("validation", type=int)
@click.option("--reason", required=True, help="Why; everyone who sees the domain sees it.")
@in_organisation_json
def end(*, name: str, validation: int, reason: str, organisation: str, service: Service) -> None:
    """End a validation of a domain, by its number in `certdesk domain show`.

    From now on it proves nothing. Certificates that were issued go on working.
    """
    here = _address(service, name, organisation)
    answer(service.post(f"{here}/validations/{validation}/end", {"reason": reason}))
    shown.talk(f"Validation {validation} of {name} no longer proves anything.")


def _add(service: Service, name: str, organisation: str) -> Json:
    body = {"domain": name, **({"organisation": organisation} if organisation else {})}
    return service.post("/domains", body)


def _address(service: Service, name: str, organisation: str) -> str:
    items = service.show("/domains", organisation=organisation)["items"]
    found = [item for item in items if item["domain"] == name.strip().lower()]
    if not found:
        raise Failure(f"{name} is not among the domains that you may see.", code=Exit.NOT_FOUND)
    if len(found) > 1:
        raise Failure("Several organisations have it: name one with --organisation.", code=Exit.USAGE)
    return f"/domains/{found[0]['id']}"
