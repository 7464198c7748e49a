"""`certdesk ca move`: what a move from one CA to another takes, the next batch, and how far it is.

Server commands, below `certdesk ca`. Data goes to stdout, talk to stderr.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import click

from certdesk.domain.actors import SYSTEM

if TYPE_CHECKING:
    from certdesk.services.issuance.move_plan import Plan

_Command = TypeVar("_Command", bound=Callable[..., None])
_IN_THE_WAY = 1
_MOST = 50
_STAGES = {
    "held_up": "held up",
    "new_csr": "need a new CSR from a person",
    "not_begun": "not begun: the next batches renew them for the same CSR",
    "under_way": "under way: the worker renews them",
    "client": "renewed by their clients, at their next renewal",
    "ends": "not followed by another: their request or term is over",
}


def _of_a_move(command: _Command) -> _Command:
    """The arguments that all of them take."""
    for add in (
        click.option("--profile", "profile_id", default="", help="Only certificates of this profile."),
        click.option("--organisation", default="", help="Only this organisation's, by its short name."),
        click.argument("to_ca"),
        click.argument("from_ca"),
    ):
        command = add(command)
    return command


@click.group()
def move() -> None:
    """Move certificates from one CA to another: plan, batch by batch, progress (docs/cas.md)."""


@move.command()
@_of_a_move
@click.option("--dns", is_flag=True, help="Ask the DNS whether CAA records let the other CA issue.")
@click.option("--issuer", default="", help="The other CA's name in CAA and persistent records.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def plan(*, dns: bool, issuer: str, as_json: bool, **of: str) -> None:
    """Print what a move from FROM_CA to TO_CA takes, most urgent first. Changes nothing.

    Exit 0 when nothing stands in the way, 1 when something does.
    """
    found = _planned(of, issuer=issuer, dns=dns)
    if as_json:
        told = {**asdict(found), "counts": found.counts, "rolls": found.rolls, "is_clear": found.is_clear}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False, default=_plain))
    else:
        for line in _lines(found):
            click.echo(line)
    if not found.is_clear:
        raise click.exceptions.Exit(_IN_THE_WAY)


@move.command()
@_of_a_move
@click.option("--batch", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
def run(*, batch: int, **of: str) -> None:
    """Have the next certificates of FROM_CA renewed by TO_CA now, for the same CSR, by the worker.

    The same again takes the next ones. Recorded in the audit log; nothing is revoked.
    """
    _set_up()
    from django.utils import timezone  # noqa: PLC0415 - models can be imported only after set-up

    from certdesk.services.issuance.moving import Scope, move_batch  # noqa: PLC0415 - as above

    done = move_batch(actor=SYSTEM, scope=Scope(**of), limit=batch, now=timezone.now())
    click.echo(f"Begun: {len(done.begun)}. To be looked at by the next batches: {done.left}.")


@move.command()
@_of_a_move
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(*, as_json: bool, **of: str) -> None:
    """Print how far the move from FROM_CA to TO_CA is, and what holds it up."""
    found = _planned(of)
    if as_json:
        held = [asdict(one) for one in found.standing if one.against]
        told = {"moved": found.moved, "counts": found.counts, "held": held}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False, default=_plain))
        return
    for line in _progress(found):
        click.echo(line)


def _set_up() -> None:
    from certdesk.conf import server  # noqa: PLC0415 - Django is loaded only when a command needs it

    server.setup()


def _planned(of: dict[str, str], *, issuer: str = "", dns: bool = False) -> "Plan":
    """The plan as of now; `of` are the arguments that say which certificates."""
    _set_up()
    from django.utils import timezone  # noqa: PLC0415 - models can be imported only after set-up

    from certdesk.services.issuance.move_plan import plan_move  # noqa: PLC0415 - as above
    from certdesk.services.issuance.moving import Scope  # noqa: PLC0415 - as above

    return plan_move(actor=SYSTEM, scope=Scope(**of), issuer=issuer, asks_dns=dns, now=timezone.now())


def _lines(found: "Plan") -> list[str]:
    """The whole plan in words, what stands in the way first."""
    to, lines = found.scope.to_ca, [f"Moved to {found.scope.to_ca} already: {found.moved}."]
    if found.is_clear:
        lines.append("Nothing stands in the way.")
    lines += _progress(found)[1:]
    if found.lists:
        lines += ["", "Put it first in the file of CAs, once the rest is done:"]
        lines += [f"  [profiles.{name}] {line}" for name, line in found.lists.items()]
    if found.validations:
        lines += ["", "Domains to validate:"]
        for one in found.validations:
            until = f" (until {one.until:%-d %B %Y})" if one.until else ""
            lines.append(f"  {one.organisation}: {one.domain}: {one.why}{until}")
    if found.records:
        lines += ["", "DNS records to publish or correct:"]
    for record in found.records:
        lines += [f"  {record.organisation}: {record.name}: {record.why}"]
        lines += [f"    {record.line}"] if record.line else []
    if found.names_not_asked:
        lines.append(f"{found.names_not_asked} more names were not looked up in the DNS: narrow the move.")
    lines += ["", "The chain changes. Tell everybody who pins keys or installs chains:"]
    for title, chain in (("now", found.chain_from), (to, found.chain_to)):
        lines += [f"  {title}: {link.subject}, pin-sha256 {link.pin}" for link in chain]
        lines += [] if chain else [f"  {title}: not known before it has issued."]
    for days, count in sorted(found.rolls.items()):
        lines.append(
            f"Terms that will be filled by a series of certificates of {days} days at most: {count}."
        )
    lines += ["", *found.features] if found.features else []
    return lines


def _progress(found: "Plan") -> list[str]:
    """How many are how far, each with the reasons why and the requests that have them."""
    lines = [f"Moved: {found.moved}."]
    for stage, words in _STAGES.items():
        ones = [one for one in found.standing if one.stage == stage]
        if not ones:
            continue
        lines.append(f"{len(ones)} {words}.")
        reasons = Counter(" ".join(one.against) for one in ones if one.against)
        for reason, count in reasons.most_common(_MOST):
            numbers = [str(one.request) for one in ones if " ".join(one.against) == reason]
            more = f" and {count - 5} more" if count > 5 else ""  # noqa: PLR2004 - enough to begin with
            lines.append(f"  {count}: {reason} (requests {', '.join(numbers[:5])}{more})")
    return lines


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
