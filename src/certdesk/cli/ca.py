"""`certdesk ca`: which CAs there are, whether they can be used, and whether one issues what it is asked for.

Server commands: they read CERTDESK_* settings, and `test-issue` writes to the audit log. Data goes to stdout,
talk to stderr.
"""

import json
from typing import TYPE_CHECKING

import click

from certdesk.domain.actors import SYSTEM
from certdesk.domain.findings import Check, Verdict, as_record, worst

if TYPE_CHECKING:
    from certdesk.services.system.runtime import Runtime

_MARKS = {Verdict.PASS: "ok", Verdict.WARN: "warning", Verdict.REFUSE: "problem"}
_FAILED = 1


@click.group()
def ca() -> None:
    """Look after CAs: list, check, test (docs/cas.md)."""


@ca.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_cas(*, as_json: bool) -> None:
    """Print the CAs, and the profiles with the CAs that each asks, in their order. Asks none of them."""
    rt = _runtime()
    cas = [{"name": name, "title": one.title, "at_once": one.inline} for name, one in rt.backends.items()]
    profiles = [
        {"id": one.id, "title": one.title, "cas": list(rt.cas_of(one))} for one in rt.profiles.values()
    ]
    if as_json:
        click.echo(json.dumps({"cas": cas, "profiles": profiles}, indent=2, ensure_ascii=False))
        return
    for name, one in rt.backends.items():
        click.echo(f"CA       {name:<16} {one.title}{'' if one.inline else ' (takes its time)'}")
    for kind in rt.profiles.values():
        click.echo(f"Profile  {kind.id:<16} {kind.title}: {', then '.join(rt.cas_of(kind))}")


@ca.command()
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def check(*, names: tuple[str, ...], as_json: bool) -> None:
    """Ask the CAs, or those NAMED, whether they can be used. Exit 1 when one can't."""
    rt = _runtime()
    found = {name: rt.backend(name).check() for name in names or tuple(rt.backends)}
    if as_json:
        told = {name: [as_record(one) for one in checks] for name, checks in found.items()}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        for name, checks in found.items():
            for one in checks:
                click.echo(_line(name, one))
    if any(worst(checks) is Verdict.REFUSE for checks in found.values()):
        raise click.exceptions.Exit(_FAILED)


@ca.command("test-issue")
@click.argument("name")
@click.option("--profile", default="tls-server", show_default=True, help="The profile to issue under.")
@click.option("--ca", "ca_name", default="", help="The CA; by default the first of the profile.")
def test_issue(*, name: str, profile: str, ca_name: str) -> None:
    """Issue for the host NAME with a throw-away key, compare, and revoke at once. Recorded in the audit log.

    Exit 1 when the certificate is not what was asked for, or could not be revoked.
    """
    _runtime()
    from django.utils import timezone  # noqa: PLC0415 - models can be imported only after set-up

    from certdesk.services.issuance.trial import try_ca  # noqa: PLC0415 - as above

    done = try_ca(actor=SYSTEM, name=name, profile_id=profile, ca=ca_name, clock=timezone.now)
    if not done.serial:
        told = (
            "What would be signed lints clean. Nothing was: its CRL lists certificates of the service alone."
        )
        click.echo(f"{done.ca}: {told}")
        return
    for one in done.checks:
        click.echo(_line(done.ca, one))
    click.echo(f"{done.ca}: serial number {done.serial}, after {done.seconds * 1000:.0f} ms")
    if done.problem:
        click.echo(f"It could not be revoked; do so at the CA. {done.problem}", err=True)
    else:
        click.echo("Revoked.", err=True)
    if done.problem or worst(done.checks) is Verdict.REFUSE:
        raise click.exceptions.Exit(_FAILED)


def _runtime() -> "Runtime":
    _set_up()
    from certdesk.services.system import runtime  # noqa: PLC0415 - models can be imported only after set-up

    return runtime.current()


def _set_up() -> None:
    from certdesk.conf import server  # noqa: PLC0415 - Django is loaded only when a command needs it

    server.setup()


def _line(name: str, found: Check) -> str:
    seen = f" [{found.seen}]" if found.seen else ""
    return f"{name}: {_MARKS.get(found.verdict, found.verdict)}: {found.message}{seen} ({found.code})"
