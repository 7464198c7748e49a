"""`certdesk request`: preview, submit, list, show, download, withdraw, end, approve, reject."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service, Target, service_options
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.files import file_name, read_csr, write_file
from certdesk.cli.client.live import KEY_TYPES, Wish, checked, name_for
from certdesk.cli.client.upkeep import home_of, home_option

FORMATS = ("zip", "pem", "fullchain", "chain", "der", "p7b", "truststore")
WAYS = ("registry", "document", "contact", "other")
STATUSES = (
    "waiting_for_approval",
    "accepted",
    "submitted",
    "issued",
    "rejected_by_ra",
    "rejected_by_ca",
    "withdrawn",
)
#: What a request's status means for the script that waits for it; `accepted` and `submitted` go on.
OUTCOMES = {
    "issued": Exit.OK,
    "accepted": Exit.OK,
    "submitted": Exit.OK,
    "waiting_for_approval": Exit.NEEDS_APPROVAL,
}
IN_PROGRESS = frozenset({"accepted", "submitted"})
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0

as_json = click.option("--json", "machine", is_flag=True, help="Write JSON.")
number_argument = click.argument("number", type=click.IntRange(min=1))


def submission_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What goes with a CSR."""
    for add in reversed(
        (
            click.option(
                "--years", default=1, show_default=True, type=click.IntRange(1, 99), help="The term."
            ),
            click.option("--software", default="Other", show_default=True, help="The server's software."),
            click.option("--note", default="", help="A note for the RA officer."),
            click.option("--profile", default="", help="The certificate profile."),
            click.option("--organisation", default="", help="Its short name, if you belong to several."),
        )
    ):
        command = add(command)
    return command


@click.group()
def request() -> None:
    """Ask for certificates: preview, submit, list, download.

    CERTDESK_URL says where the service is, CERTDESK_TOKEN (or CERTDESK_TOKEN_FILE) who asks.

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 not found, 4 denied, 5 needs approval,
    75 try again later.
    """


@request.command()
@click.argument("csr", metavar="CSR")
@submission_options
@service_options
@as_json
def preview(*, csr: str, target: Target, machine: bool, **asked: Any) -> None:
    """Say what a CSR holds and whether it would pass. Nothing is stored.

    CSR is the path of a file (PEM or DER), or - for stdin. Ends with 0 if the request would be accepted,
    5 if an officer would decide, 1 if it would be refused.
    """
    upload = read_csr(csr)
    with Service(target) as service:
        told = service.upload("/requests/preview", upload, _fields(asked), {})
    if machine:
        show.as_json(told)
    else:
        show.preview(told)
    sys.exit({"auto": Exit.OK, "manual": Exit.NEEDS_APPROVAL}.get(str(told["decision"]), Exit.FAILED))


def new_key_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A key and a CSR made here, instead of a CSR in a file."""
    for add in reversed(
        (
            click.option("--new-key", metavar="HOST", help="Make the key and the CSR here, for this name."),
            click.option("--name", "names", multiple=True, metavar="HOST", help="A further name; repeat."),
            click.option("--key-type", type=click.Choice(KEY_TYPES), default=KEY_TYPES[0], show_default=True),
            click.option("--reuse-key", is_flag=True, help="Keep the key at renewals."),
            click.option("--cert-name", default="", help="The name of its folder; HOST unless given."),
            click.option("--deploy-hook", default="", metavar="COMMAND", help="Run once it is in place."),
            home_option,
        )
    ):
        command = add(command)
    return command


@request.command()
@click.argument("csr", metavar="[CSR]", required=False)
@new_key_options
@submission_options
@click.option("--wait", is_flag=True, help="Wait until the certificate is there, or a person is needed.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait at most; then exit 75.")
@click.option("--idempotency-key", default="", help="The same key never makes a second request.")
@service_options
@as_json
def submit(
    *,
    csr: str | None,
    new_key: str | None,
    wait: bool,
    timeout: float,
    idempotency_key: str,
    target: Target,
    machine: bool,
    **asked: Any,
) -> None:
    """Ask for a certificate; writes the Request ID to stdout.

    CSR is the path of a file (PEM or DER), or - for stdin. Sending the same again within ten minutes makes no
    second request. Ends with 5 if the request waits for an officer.

    With --new-key HOST instead, key and CSR are made on this machine, and the key never leaves it. The
    certificate is put into live/HOST of the home folder as soon as it is there: privkey.pem, cert.pem,
    chain.pem and fullchain.pem. `certdesk certificate renew`, run by cron, fetches it if that takes longer,
    and renews it in time.
    """
    if (csr is None) == (new_key is None):
        raise click.UsageError("Give the CSR's file, or --new-key HOST.")
    with Service(target) as service:
        if new_key is not None:
            told, place = _with_new_key(service, new_key, asked, seconds=timeout if wait else 0.0)
        else:
            upload = read_csr(csr or "")
            headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
            told, place = service.upload("/requests", upload, _fields(asked), headers), ""
            if wait:
                told = _wait(service, told, seconds=timeout)
    _say(told)
    if place:
        show.talk(place)
    if machine:
        show.as_json(told)
    else:
        click.echo(told["id"])
    _end(told, waited=wait)


@request.command("list")
@click.option(
    "--query", "-q", default="", help="Part of a name, of a person or of an organisation; a number."
)
@click.option("--status", type=click.Choice(STATUSES), default=None)
@click.option("--action-needed", is_flag=True, help="What waits for your organisation's people.")
@click.option("--organisation", default="", help="Its short name.")
@click.option("--sort", type=click.Choice(["newest", "oldest", "name", "-name"]), default="newest")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Lines a page.")
@click.option("--all", "every", is_flag=True, help="Every page, not only the first.")
@service_options
@as_json
def list_(
    *,
    query: str,
    status: str | None,
    action_needed: bool,
    organisation: str,
    sort: str,
    limit: int,
    every: bool,
    target: Target,
    machine: bool,
) -> None:
    """List the requests of your organisation, whoever made them."""
    params = {"q": query, "status": status or "", "organisation": organisation, "sort": sort}
    params["action"] = "needed" if action_needed else ""
    with Service(target) as service:
        pages = list(service.pages("/requests", every=every, limit=str(limit), **params))
    items = [item for page in pages for item in page["items"]]
    if machine:
        show.as_json(items)
    elif items:
        show.table(("ID", "NAMES", "STATUS", "CERTIFICATE", "ASKED BY", "CHANGED"), map(_line, items))
    else:
        show.talk("There are no such requests.")
    if pages[-1]["next_cursor"]:
        show.talk("There are more: narrow it with --query, or say --all.")


@request.command("show")
@number_argument
@service_options
@as_json
def show_(*, number: int, target: Target, machine: bool) -> None:
    """Show a request with its checks, history, certificates, and what CAA records said of its names."""
    with Service(target) as service:
        told = service.show(f"/requests/{number}")
        caa = service.show(f"/requests/{number}/caa")["items"]
    if machine:
        show.as_json({**told, "caa": caa})
    else:
        show.request(told)
        show.caa(caa)


@request.command()
@number_argument
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="zip", show_default=True, help="Which form."
)
@click.option("-o", "--output", default=".", show_default=True, help="Folder to write to, or - for stdout.")
@service_options
def download(*, number: int, form: str, output: str, target: Target) -> None:
    """Download the certificate; writes the path of the file to stdout.

    The file is readable by its owner alone and replaced all at once. Ends with 5 while an officer has to
    decide, and with 75 while the CA is at work.
    """
    with Service(target) as service:
        if form == "zip":
            response = service.get(f"/requests/{number}/bundle.zip")
        else:
            response = service.get(f"/requests/{number}/certificate", format=form)
    if output == "-":
        sys.stdout.buffer.write(response.content)
        return
    name = file_name(response.headers.get("Content-Disposition", ""), default=f"request-{number}.{form}")
    click.echo(write_file(Path(output).expanduser(), name, response.content))


@request.command()
@number_argument
@service_options
@as_json
def withdraw(*, number: int, target: Target, machine: bool) -> None:
    """Withdraw a request before its certificate is issued."""
    _act(target, f"/requests/{number}/withdraw", {}, machine=machine)


@request.command()
@number_argument
@click.option("--reason", required=True, help="Why; the applicant reads it.")
@click.option(
    "--seen-version", type=click.IntRange(min=0), help="Refuse if it has changed since this version."
)
@service_options
@as_json
def end(*, number: int, reason: str, seen_version: int | None, target: Target, machine: bool) -> None:
    """End what a request allows (managers, RA officers): no further certificate is issued under it.

    Existing certificates stay valid until they expire or are revoked.
    """
    _act(target, f"/requests/{number}/end", {"reason": reason, "version": seen_version}, machine=machine)


@request.command()
@number_argument
@click.option("--vetting", default="", help="How the organisation was vetted, where it has not been yet.")
@click.option(
    "--evidence", multiple=True, metavar="DOMAIN=TEXT", help="How ownership of a domain was checked; repeat."
)
@click.option(
    "--how", type=click.Choice(WAYS), default="other", show_default=True, help="The way of checking."
)
@click.option("--reference", default="", help="A document's or ticket's number, for every evidence.")
@click.option("--note", default="", help="Why; for officers and auditors.")
@click.option("--message", default="", help="For the applicant, who reads it and is sent it.")
@click.option(
    "--seen-version", type=click.IntRange(min=0), help="Refuse if it has changed since this version."
)
@service_options
@as_json
def approve(
    *,
    number: int,
    vetting: str,
    evidence: tuple[str, ...],
    how: str,
    reference: str,
    note: str,
    message: str,
    seen_version: int | None,
    target: Target,
    machine: bool,
) -> None:
    """Approve a request (RA officers), with evidence for every domain that nothing proves yet.

    The reasons why it waits are written to stderr. Refused if one comes up or goes away meanwhile.
    """
    proofs = [
        {"domain": domain, "how": how, "details": text, "reference": reference}
        for domain, text in map(_evidence, evidence)
    ]
    body = {"vetting": vetting, "evidence": proofs, "note": note, "message": message}
    with Service(target) as service:
        decision = service.show(f"/requests/{number}/decision")
        for check in decision["checks"]:
            if check["verdict"] == "manual":
                show.talk(check["message"])
        seen = {} if seen_version is None else {"If-Match": f'"{seen_version}"'}
        told = service.post(f"/requests/{number}/approve", {**body, "shown": decision["shown"]}, seen)
    _say(told)
    if machine:
        show.as_json(told)


@request.command()
@number_argument
@click.option("--details", required=True, help="Why; the applicant reads it.")
@click.option(
    "--seen-version", type=click.IntRange(min=0), help="Refuse if it has changed since this version."
)
@service_options
@as_json
def reject(*, number: int, details: str, seen_version: int | None, target: Target, machine: bool) -> None:
    """Reject a request (RA officers), saying why."""
    body = {"details": details, "version": seen_version}
    _act(target, f"/requests/{number}/reject", body, machine=machine)


def _act(target: Target, path: str, body: Json, *, machine: bool) -> None:
    with Service(target) as service:
        told = service.post(path, {name: value for name, value in body.items() if value is not None})
    _say(told)
    if machine:
        show.as_json(told)


def _with_new_key(service: Service, host: str, asked: dict[str, Any], *, seconds: float) -> tuple[Json, str]:
    """The request that was made for a key of this machine, and where key and certificate are."""
    from certdesk.cli.client import keys, renewal  # noqa: PLC0415 - loads cryptography

    wish = Wish(
        names=tuple(dict.fromkeys(map(keys.ascii_name, (host, *asked["names"])))),
        key_type=asked["key_type"],
        reuse_key=asked["reuse_key"],
        deploy_hook=asked["deploy_hook"],
        years=asked["years"],
        software=asked["software"],
        organisation=asked["organisation"],
        profile=asked["profile"],
        note=asked["note"],
    )
    home, name = home_of(asked["home"]), checked(asked["cert_name"] or name_for(wish.names[0]))
    with home.lock():
        told = renewal.send(service, home, name, renewal.begin(home, name, wish))
        told = _wait(service, told, seconds=seconds)
        if told["status"] == "issued":
            return told, f"In place in {renewal.install(service, home, name, told)}"
    if home.pending(name) is None:
        return told, ""
    return told, f"The key is kept as {name}. `certdesk certificate renew` fetches the certificate."


def _fields(asked: dict[str, Any]) -> dict[str, str]:
    given = {
        "duration_years": str(asked["years"]),
        "server_software": asked["software"],
        "note": asked["note"],
        "profile": asked["profile"],
        "organisation": asked["organisation"],
    }
    return {name: value for name, value in given.items() if value}


def _wait(service: Service, told: Json, *, seconds: float) -> Json:
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while told["status"] in IN_PROGRESS and time.monotonic() < deadline:
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, LONGEST_PAUSE)
        told = service.show(f"/requests/{told['id']}")
    return told


def _end(told: Json, *, waited: bool) -> None:
    status = str(told["status"])
    if waited and status in IN_PROGRESS:
        sys.exit(Exit.RETRY_LATER)
    sys.exit(OUTCOMES.get(status, Exit.FAILED))


def _say(told: Json) -> None:
    show.talk(f"Request {told['id']}: {told['status_text']}. {told['detail']}".strip())


def _line(item: Json) -> tuple[object, ...]:
    more = f" and {item['name_count'] - 1} more" if item["name_count"] > 1 else ""
    names = f"{item['common_names']}{more}"
    status = f"{item['status_text']}{'; action needed' if item['action_needed'] else ''}"
    held = item["certificate_status"] or ""
    return (item["id"], names, status, held, item["requester"], item["changed_at"])


def _evidence(given: str) -> tuple[str, str]:
    domain, equals, text = given.partition("=")
    if not equals or not domain.strip() or not text.strip():
        raise Failure(
            f"Evidence looks like example.org=“What was checked, and where”, not “{given}”.", code=Exit.USAGE
        )
    return domain.strip().lower(), text.strip()
