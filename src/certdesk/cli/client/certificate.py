"""`certdesk certificate`: list, show, download, revoke, check, renew.

What needs cryptography is imported by the command that needs it, so that the others start at once.
"""

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.files import write_file
from certdesk.cli.client.options import (
    FORMATS,
    answer,
    answer_list,
    list_options,
    output_option,
    save,
    service_options,
    with_service,
)
from certdesk.cli.client.upkeep import check, renew
from certdesk.domain.issuing.revocation import RevocationReason

_HEX = re.compile(r"[0-9A-Fa-f:]+")
_SHA256_DIGITS, _SHORTEST_SERIAL = 64, 16

which = click.argument("which", metavar="CERTIFICATE")


@click.group()
def certificate() -> None:
    """Look at certificates, fetch, revoke, watch and renew them.

    CERTIFICATE is a certificate's number, serial number or SHA-256 fingerprint, or a file that holds it.

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 not found, 4 denied, 5 needs approval,
    75 try again later. `check` ends as monitoring expects: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    """


@certificate.command("list")
@click.option("--name", default="", help="A whole DNS name.")
@click.option("--serial", default="", help="A serial number, hex.")
@click.option("--sha256", default="", help="A fingerprint, hex.")
@click.option("--request", type=click.IntRange(min=1), help="A Request ID.")
@click.option("--expiring", type=click.IntRange(min=0), metavar="DAYS", help="Valid, and ending within DAYS.")
@list_options
@service_options
def list_(*, expiring: int | None, service: Service, **asked: Any) -> None:
    """List the certificates of your organisation, newest first."""
    now = datetime.now(UTC)
    if expiring is not None:
        until = now + timedelta(days=expiring)
        asked |= {"expires_from": now.isoformat(), "expires_before": until.isoformat()}
    heads = ("ID", "NAMES", "STATUS", "ENDS", "SERIAL", "REQUEST")
    answer_list(service, "/certificates", heads, _line, narrow="narrow it with --name, or ", **asked)


@certificate.command("show")
@which
@service_options
def show_(*, which: str, service: Service) -> None:
    """Show a certificate and how it stands."""
    told = find(service, which)
    answer(told, lambda: show.certificate(told))


@certificate.command()
@which
@click.option("--format", "form", type=click.Choice(FORMATS), help="One file in this form.")
@output_option
@with_service
def download(*, which: str, form: str | None, output: str, service: Service) -> None:
    """Download a certificate; writes the paths of the files to stdout.

    Without --format: cert.pem, chain.pem and fullchain.pem, as Certbot names them. Every file is readable by
    its owner alone, and replaced all at once. With `--output -`, the full chain or the one form.
    """
    told = find(service, which)
    response = service.get(f"/certificates/{told['id']}/file", format=form or "fullchain")
    if output == "-" or form is not None:
        save(response, output, default=f"certificate-{told['id']}.{form}")
        return
    from certdesk.cli.client.keys import split_chain  # noqa: PLC0415 - loads cryptography

    leaf, chain = split_chain(response.content)
    for name, content in (("cert.pem", leaf), ("chain.pem", chain), ("fullchain.pem", leaf + chain)):
        click.echo(write_file(Path(output).expanduser(), name, content))


@certificate.command()
@which
@click.option(
    "--reason",
    required=True,
    type=click.Choice([reason.value for reason in RevocationReason]),
    help="Why, by its name in RFC 5280.",
)
@click.option("--note", default="", help="In your own words; kept in the request's history.")
@click.option("--end", is_flag=True, help="End its request as well: no certificate follows under it.")
@click.option("--yes", is_flag=True, help="Don't ask whether you are sure.")
@service_options
def revoke(*, which: str, reason: str, note: str, end: bool, yes: bool, service: Service) -> None:
    """Revoke a certificate, for good.

    Asks first where a person is at the keyboard. Ends with 75 while the CA has not answered: the service goes
    on asking it. keyCompromise blocks the key as well. privilegeWithdrawn ends the request too; with
    cessationOfOperation and affiliationChanged, a manager or an officer may say --end.
    """
    told = find(service, which)
    if not yes and sys.stdin.isatty():
        names = ", ".join(told["names"])
        click.confirm(f"Revoke certificate {told['id']} for {names}?", abort=True, err=True)
    body = {"reason": reason, "note": note, "end_request": end}
    told = service.post(f"/certificates/{told['id']}/revoke", body)
    answer(told)
    if told["status"] != "revoked":
        show.talk(f"The CA has not revoked certificate {told['id']} yet; the service goes on asking.")
        sys.exit(Exit.RETRY_LATER)
    show.talk(f"Certificate {told['id']} is revoked.")


certificate.add_command(check)
certificate.add_command(renew)


def find(service: Service, which: str) -> Json:
    """The one certificate that is meant. Raises Failure."""
    path = Path(which).expanduser()
    if which.isdecimal() and len(which) < _SHORTEST_SERIAL:
        return service.show(f"/certificates/{which}")
    if path.is_file():
        return _only(service, which, sha256=_fingerprint(path))
    digits = which.replace(":", "")
    if not _HEX.fullmatch(which):
        raise Failure(
            f"“{which}” is neither a certificate's number, serial number or fingerprint, nor a file.",
            code=Exit.USAGE,
        )
    if len(digits) == _SHA256_DIGITS:
        return _only(service, which, sha256=digits)
    return _only(service, which, serial=digits)


def _only(service: Service, which: str, **filters: str) -> Json:
    items: list[Json] = service.show("/certificates", **filters)["items"]
    if not items:
        raise Failure(f"There is no such certificate: {which}", code=Exit.NOT_FOUND)
    if len(items) > 1:  # serial numbers are unique for each issuer alone
        numbers = ", ".join(str(item["id"]) for item in items)
        raise Failure(f"Several certificates have this serial number. Give the number of one: {numbers}.")
    return items[0]


def _fingerprint(path: Path) -> str:
    from certdesk.cli.client.keys import read_leaf  # noqa: PLC0415 - loads cryptography

    try:
        return read_leaf(path.read_bytes()).sha256
    except (OSError, ValueError) as error:
        raise Failure(f"{path} holds no certificate that can be read: {error}") from None


def _line(item: Json) -> tuple[object, ...]:
    names = item["names"]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    shown = f"{names[0] if names else ''}{more}"
    return (item["id"], shown, item["status"], item["not_after"], item["serial"], item["request"])
