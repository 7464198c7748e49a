"""`certdesk organisation`: the organisations that you may see."""

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Service, Target, service_options


@click.group()
def organisation() -> None:
    """Look at organisations."""


@organisation.command("list")
@service_options
@click.option("--json", "machine", is_flag=True, help="Write JSON.")
def list_(*, target: Target, machine: bool) -> None:
    """List organisations: your own, or for RA staff all."""
    with Service(target) as service:
        items = service.show("/organisations")["items"]
    if machine:
        show.as_json(items)
        return
    show.table(
        ("SHORT NAME", "LEGAL NAME", "VETTED", "FIRST APPROVAL"),
        ((o["slug"], o["legal_name"], o["vetted_at"] or "no", o["first_approved_at"] or "no") for o in items),
    )
