"""`certdesk certificate`: list, show, download, revoke, check, renew.

What needs cryptography is imported by the command that needs it, so that the others start at once.
"""

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service, Target, service_options
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.files import file_name, write_file
from certdesk.cli.client.upkeep import check, renew

FORMATS = ("pem", "fullchain", "chain", "der", "p7b", "truststore", "zip")
REASONS = (
    "keyCompromise",
    "superseded",
    "cessationOfOperation",
    "affiliationChanged",
    "privilegeWithdrawn",
    "unspecified",
)
_HEX = re.compile(r"[0-9A-Fa-f:]+")
_SHA256_DIGITS, _SHORTEST_SERIAL = 64, 16

as_json = click.option("--json", "machine", is_flag=True, help="Write JSON.")
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
@click.option("--organisation", default="", help="An organisation's short name.")
@click.option("--request", "number", type=click.IntRange(min=1), help="A Request ID.")
@click.option("--expiring", type=click.IntRange(min=0), metavar="DAYS", help="Valid, and ending within DAYS.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Lines a page.")
@click.option("--all", "every", is_flag=True, help="Every page, not only the first.")
@service_options
@as_json
def list_(
    *,
    number: int | None,
    expiring: int | None,
    limit: int,
    every: bool,
    target: Target,
    machine: bool,
    **filters: str,
) -> None:
    """List the certificates of your organisation, newest first."""
    now = datetime.now(UTC)
    params = {**filters, "limit": str(limit), "request": "" if number is None else str(number)}
    if expiring is not None:
        until = now + timedelta(days=expiring)
        params |= {"expires_from": now.isoformat(), "expires_before": until.isoformat()}
    with Service(target) as service:
        pages = list(service.pages("/certificates", every=every, **params))
    items = [item for page in pages for item in page["items"]]
    if machine:
        show.as_json(items)
    elif items:
        show.table(("ID", "NAMES", "STATUS", "ENDS", "SERIAL", "REQUEST"), map(_line, items))
    else:
        show.talk("There are no such certificates.")
    if pages[-1]["next_cursor"]:
        show.talk("There are more: narrow it with --name, or say --all.")


@certificate.command("show")
@which
@service_options
@as_json
def show_(*, which: str, target: Target, machine: bool) -> None:
    """Show a certificate and how it stands."""
    with Service(target) as service:
        told = find(service, which)
    if machine:
        show.as_json(told)
    else:
        show.certificate(told)


@certificate.command()
@which
@click.option("--format", "form", type=click.Choice(FORMATS), help="One file in this form.")
@click.option("-o", "--output", default=".", show_default=True, help="Folder to write to, or - for stdout.")
@service_options
def download(*, which: str, form: str | None, output: str, target: Target) -> None:
    """Download a certificate; writes the paths of the files to stdout.

    Without --format: cert.pem, chain.pem and fullchain.pem, as Certbot names them. Every file is readable by
    its owner alone, and replaced all at once. With `--output -`, the full chain or the one form.
    """
    with Service(target) as service:
        told = find(service, which)
        response = service.get(f"/certificates/{told['id']}/file", format=form or "fullchain")
    if output == "-":
        sys.stdout.buffer.write(response.content)
        return
    folder = Path(output).expanduser()
    if form is not None:
        disposition = response.headers.get("Content-Disposition", "")
        name = file_name(disposition, default=f"certificate-{told['id']}.{form}")
        click.echo(write_file(folder, name, response.content))
        return
    from certdesk.cli.client.keys import split_chain  # noqa: PLC0415 - loads cryptography

    leaf, chain = split_chain(response.content)
    for name, content in (("cert.pem", leaf), ("chain.pem", chain), ("fullchain.pem", leaf + chain)):
        click.echo(write_file(folder, name, content))


@certificate.command()
@which
@click.option("--reason", required=True, type=click.Choice(REASONS), help="Why, by its name in RFC 5280.")
@click.option("--note", default="", help="In your own words; kept in the request's history.")
@click.option("--end", is_flag=True, help="End its request as well: no certificate follows under it.")
@click.option("--yes", is_flag=True, help="Don't ask whether you are sure.")
@service_options
@as_json
def revoke(
    *, which: str, reason: str, note: str, end: bool, yes: bool, target: Target, machine: bool
) -> None:
    """Revoke a certificate, for good.

    Asks first where a person is at the keyboard. Ends with 75 while the CA has not answered: the service goes
    on asking it. keyCompromise blocks the key as well. privilegeWithdrawn ends the request too; with
    cessationOfOperation and affiliationChanged, a manager or an officer may say --end.
    """
    with Service(target) as service:
        told = find(service, which)
        if not yes and sys.stdin.isatty():
            names = ", ".join(told["names"])
            click.confirm(f"Revoke certificate {told['id']} for {names}?", abort=True, err=True)
        body = {"reason": reason, "note": note, "end_request": end}
        told = service.post(f"/certificates/{told['id']}/revoke", body)
    revoked = told["status"] == "revoked"
    if machine:
        show.as_json(told)
    show.talk(
        f"Certificate {told['id']} is revoked."
        if revoked
        else f"The CA has not revoked certificate {told['id']} yet; the service goes on asking."
    )
    sys.exit(Exit.OK if revoked else Exit.RETRY_LATER)


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
