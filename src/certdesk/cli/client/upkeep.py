"""`certdesk certificate check` and `renew`: what monitoring and cron run.

The work is in `check` and `renewal`, which load cryptography and are therefore imported when they run.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from certdesk.cli.client import show
from certdesk.cli.client.connection import Service, make_service
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.live import Home
from certdesk.cli.client.options import home_option, with_service

if TYPE_CHECKING:
    from certdesk.cli.client import check as checking

UNKNOWN = 3
#: When several certificates fail in different ways, the gravest is how the command ends.
_GRAVEST = (Exit.FAILED, Exit.USAGE, Exit.DENIED, Exit.NOT_FOUND, Exit.NEEDS_APPROVAL, Exit.RETRY_LATER)


def home_of(folder: Path | None) -> Home:
    """The folder that was named, or the usual one."""
    return Home.default() if folder is None else Home(folder.expanduser().absolute())


class PluginCommand(click.Command):
    """A monitoring plug-in: wrong usage is UNKNOWN (3), for 2 would be taken for CRITICAL."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses as click does, and ends with 3 where click would end with 2."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            click.echo(f"CERTIFICATE UNKNOWN - {error.format_message()}")
            ctx.exit(UNKNOWN)


@click.command(cls=PluginCommand)
@click.argument("targets", metavar="HOST_OR_FILE...", nargs=-1, required=True)
@click.option("--warning", default=30, show_default=True, metavar="DAYS", help="WARNING below this.")
@click.option("--critical", default=7, show_default=True, metavar="DAYS", help="CRITICAL below this.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="A server must chain to a CA in this file.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds for a server to answer.")
def check(
    *, targets: tuple[str, ...], warning: int, critical: int, ca_file: Path | None, timeout: float
) -> None:
    """Say how long certificates still run, as a monitoring plug-in.

    HOST_OR_FILE is a file (PEM or DER), a folder with cert.pem, a Request ID (which needs CERTDESK_URL and a
    token), or a server: host or host:port, 443 unless told otherwise. Of several, the worst counts.

    Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    """
    from certdesk.cli.client import check as checking  # noqa: PLC0415 - loads cryptography

    limits, now = checking.Limits(warning=warning, critical=critical), datetime.now(UTC)
    found = []
    for target in targets:
        try:
            if Path(target).exists():
                found.append(checking.check_file(Path(target), now=now, limits=limits))
            elif target.isdecimal():
                found.append(_check_request(target, now=now, limits=limits))
            else:
                host, port = checking.host_and_port(target)
                found.append(
                    checking.check_server(
                        host, port, now=now, limits=limits, ca_file=ca_file, seconds=timeout
                    )
                )
        except (Failure, click.UsageError, ValueError) as error:
            why = f"{target}: {getattr(error, 'message', error)}"
            found.append(checking.Verdict(level=checking.Level.UNKNOWN, text=why))
    level, text = checking.line(found, limits=limits)
    click.echo(text)
    sys.exit(level)


def _check_request(number: str, *, now: datetime, limits: "checking.Limits") -> "checking.Verdict":
    from certdesk.cli.client import check as checking  # noqa: PLC0415 - as above
    from certdesk.cli.client.keys import read_leaf  # noqa: PLC0415 - as above

    token_file = os.environ.get("CERTDESK_TOKEN_FILE")
    asked = make_service(os.environ.get("CERTDESK_URL"), token_file=Path(token_file) if token_file else None)
    with asked as service:
        told = service.show("/certificates", request=number, limit="1")["items"]
        if not told:
            service.show(f"/requests/{number}")  # whether there is such a request at all
            raise Failure("there is no certificate yet")
        content = service.get(f"/certificates/{told[0]['id']}/file", format="der").content
    if told[0]["status"] == "revoked":
        why = f"{told[0]['names'][0]} is revoked ({told[0]['revocation_reason']})"
        return checking.Verdict(level=checking.Level.CRITICAL, text=why)
    return checking.judge(read_leaf(content), now=now, limits=limits)


def _complete_names(_ctx: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    folder = os.environ.get("CERTDESK_HOME")
    names = home_of(Path(folder) if folder else None).names()
    return [CompletionItem(name) for name in names if name.startswith(typed)]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_names)
@click.option("--days", type=click.IntRange(min=1), help="Renew with fewer days left, not at a third.")
@click.option("--force", is_flag=True, help="Renew now, however long it still runs.")
@click.option("--deploy-hook", metavar="COMMAND", help="Run after each renewal; kept for the next ones.")
@click.option("--verbose", "-v", is_flag=True, help="Say what was done.")
@home_option
@with_service
def renew(
    *,
    names: tuple[str, ...],
    days: int | None,
    force: bool,
    deploy_hook: str | None,
    verbose: bool,
    home: Path | None,
    service: Service,
) -> None:
    """Renew the certificates that `request submit --new-key` has made here, those that are due.

    For cron: silent while all is well, and harmless however often it runs. A certificate is due with a third
    of its lifetime left, or when the service asks for it (ARI). Another one is issued under the same request
    while its term has room, else by a new request; with a new key (or the same, with --reuse-key). It is
    checked, and put in place all at once; then the deploy hook runs, through the shell, with CERT_PATH,
    KEY_PATH, CHAIN_PATH, FULLCHAIN_PATH and DOMAINS. A hook that fails runs again the next
    time. Requests that waited for an officer are fetched as soon as they are approved.

    Ends with 5 while an officer has to decide, with 75 while the service or the CA can't be reached or
    another run is at work.
    """
    from certdesk.cli.client import renewal  # noqa: PLC0415 - loads cryptography

    kept = home_of(home)
    if not names and not kept.root.exists():
        return
    failed: list[Exit] = []
    with kept.lock():
        for name in names or kept.names():
            try:
                done = renewal.renew(
                    service, kept, name, now=datetime.now(UTC), days=days, force=force, hook=deploy_hook
                )
            except Failure as failure:
                failure.show()
                failed.append(failure.code)
                continue
            if done and (verbose or sys.stderr.isatty()):
                show.talk(done)
    sys.exit(next((code for code in _GRAVEST if code in failed), Exit.OK))
