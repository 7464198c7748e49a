"""`certdesk ca`: which CAs there are, whether they can be used, and whether one issues what it is asked for.

Server commands: they read CERTDESK_* settings, and `test-issue` writes to the audit log. Data goes to stdout,
talk to stderr.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import click

from certdesk.backends.registry import UnusableBackend
from certdesk.cli.ca_move import move
from certdesk.domain.actors import SYSTEM
from certdesk.domain.errors import StateConflict
from certdesk.domain.findings import Check, Verdict, as_record, worst

if TYPE_CHECKING:
    from certdesk.backends.embedded import EmbeddedConfig
    from certdesk.services.system.runtime import Runtime
    from certdesk.store.selectors.findings import FindingRow

_MARKS = {Verdict.PASS: "ok", Verdict.WARN: "warning", Verdict.REFUSE: "problem"}
_FAILED, _NOT_ASKED = 1, 2
_MOST_FINDINGS = 2000


@click.group()
def ca() -> None:
    """Look after CAs: list, check, test, reconcile, move; keys and certificates of your own (docs/cas.md)."""


ca.add_command(move)


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


@ca.command()
@click.argument("names", nargs=-1)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    help="Look at what was issued from then on (UTC), not only since the last complete look.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def reconcile(*, names: tuple[str, ...], since: datetime | None, as_json: bool) -> None:
    """Compare the CAs, or those NAMED, with the database both ways, and print what differs.

    Exit 0 when nothing waits for a decision, 1 when something does, 2 when a CA could not be asked.
    """
    rt = _runtime()
    from django.utils import timezone  # noqa: PLC0415 - models can be imported only after set-up

    from certdesk.services.issuance.findings import WORDS  # noqa: PLC0415 - as above
    from certdesk.services.issuance.reconcile import lists, why_not  # noqa: PLC0415 - as above
    from certdesk.services.issuance.reconcile import reconcile as compare  # noqa: PLC0415 - as above
    from certdesk.store.selectors.findings import list_findings  # noqa: PLC0415 - as above

    told, status = [], 0
    for name in names or tuple(rt.backends):
        problem, look, backend = "", None, rt.backend(name)
        found: list[FindingRow] = []
        if lists(backend):
            try:
                look = compare(name=name, clock=timezone.now, since=since and since.replace(tzinfo=UTC))
                problem = look.problem
            except StateConflict as error:
                problem = error.detail
            found = list_findings(actor=SYSTEM, waiting=True, backend=name, limit=_MOST_FINDINGS)
        elif names or isinstance(backend, UnusableBackend):
            problem = why_not(backend)
        status = max(status, _NOT_ASKED if problem else _FAILED if found else 0)
        told.append((name, look, problem, found))
    if as_json:
        rows = [
            {
                "ca": name,
                "since": look and look.since.isoformat(),
                "listed": look and look.listed,
                "adopted": look and look.adopted,
                "settled": look and look.settled,
                "left_out": look and look.left_out,
                "problem": problem,
                "findings": [
                    {
                        "id": one.id,
                        "kind": one.kind,
                        "serial": one.serial,
                        "names": one.names,
                        "request": one.request_id,
                        "not_after": one.not_after and one.not_after.isoformat(),
                        "detail": one.detail,
                    }
                    for one in found
                ],
            }
            for name, look, problem, found in told
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        for name, look, problem, found in told:
            if problem:
                click.echo(f"{name}: could not be compared. {problem}", err=True)
            elif look is None:
                click.echo(f"{name}: keeps no list that can be compared.")
            else:
                click.echo(
                    f"{name}: compared since {look.since:%-d %B %Y}. In its list: {look.listed}; "
                    f"matched to requests: {look.adopted}; revoked here as well: {look.settled}; "
                    f"to decide: {len(found)}."
                )
            for one in found:
                which = f", request {one.request_id}" if one.request_id else ""
                serial = f" {one.serial}" if one.serial else ""
                click.echo(f"  {WORDS[one.kind]}:{serial} {', '.join(one.names[:5])}{which}")
        if any(found for *_told, found in told):
            click.echo("What each is, and what to do: Service → CAs → Reconciliation.", err=True)
    if status:
        raise click.exceptions.Exit(status)


@ca.command()
@click.argument("name")
def csr(*, name: str) -> None:
    """Print a CSR for the issuing CA NAME of the file of CAs, whose key is made first if there is none.

    In the CA's folder, or in its HSM. Recorded in the audit log.
    """
    from certdesk.backends.embedded import ceremony  # noqa: PLC0415 - only where it is needed

    made = ceremony.make_request(_embedded(name))
    _record("ca.csr", name, made.record)
    click.echo(made.pem, nl=False)
    what = "A new key of the kind" if made.record["key_made"] else "The key that was there, of the kind"
    click.echo(
        f"{what} {made.record['kind']}. Have the root sign this, and run “certdesk ca install {name}”.",
        err=True,
    )


@ca.command()
@click.argument("name")
@click.argument("file", type=click.File("rb"))
def install(*, name: str, file: BinaryIO) -> None:
    """Install the CA NAME's certificate from FILE (PEM): its own first, then those above, up to the root.

    Again for a certificate of the same key that runs longer; the one before is kept beside it. Restart the
    service afterwards. Recorded in the audit log.
    """
    config = _embedded(name)
    from django.utils import timezone  # noqa: PLC0415 - models can be imported only after set-up

    from certdesk.backends.embedded import ceremony  # noqa: PLC0415 - as above

    done = ceremony.install(
        config, file.read(), now=timezone.now(), record=partial(_record, "ca.install", name)
    )
    click.echo(f"Installed, valid until {done.record['not_after']}. Restart the service.", err=True)


@ca.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--years", type=click.IntRange(1, 20), default=10, show_default=True, help="How long it is valid."
)
def sign(*, file: BinaryIO, years: int) -> None:
    """Sign the CSR in FILE with the embedded CA's root key, for an issuing CA that shall stand beside it.

    The root's folder has to be there. Prints the certificate and the root's. Recorded in the audit log.
    """
    config = _embedded("embedded")
    from django.utils import timezone  # noqa: PLC0415 - models can be imported only after set-up

    from certdesk.backends.embedded import ceremony  # noqa: PLC0415 - as above

    assert config.root_directory is not None  # noqa: S101 - the embedded CA has one
    done = ceremony.sign_request(
        file.read(),
        root_directory=config.root_directory,
        passphrase=config.passphrase,
        years=years,
        now=timezone.now(),
    )
    _record("ca.sign", "embedded", done.record)
    click.echo(done.pem, nl=False)


@ca.command("roll-account-key")
@click.argument("name")
def roll_account_key(*, name: str) -> None:
    """Give our account at the ACME CA NAME a new key; the former one is kept. Recorded in the audit log.

    Running processes take it up by themselves. After a crash, the same again ends what was begun.
    """
    from certdesk.backends.acme import AcmeBackend  # noqa: PLC0415 - only where it is needed

    backend = _runtime().backend(name)
    if not isinstance(backend, AcmeBackend):
        raise click.BadParameter(f"{backend.title} is not a CA of the kind “acme”.")
    _record("ca.roll_account_key", name, {})
    done = backend.roll_account_key()
    data = {"account": done.account, "key_sha256": done.current, "former_key_sha256": done.former}
    _record("ca.rolled_account_key", name, data)
    click.echo(f"{name}: the key of {done.account} is now the one with SHA-256 {done.current}.")


def _embedded(name: str) -> "EmbeddedConfig":
    _set_up()
    from django.conf import settings  # noqa: PLC0415 - Django is loaded only when a command needs it

    from certdesk.conf import apps  # noqa: PLC0415 - as above

    return apps.embedded_config(settings.CERTDESK, name)


def _record(action: str, name: str, data: Mapping[str, object]) -> None:
    from django.utils import timezone  # noqa: PLC0415 - models can be imported only after set-up

    from certdesk.services.issuance.trial import record  # noqa: PLC0415 - as above

    record(SYSTEM, action, name, data, now=timezone.now())


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
