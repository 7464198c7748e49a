"""`certdesk request`: preview, submit, list, show, download, withdraw, end, approve, reject."""

import sys
import time
from typing import Any

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.files import read_csr
from certdesk.cli.client.live import KEY_TYPES, Wish, checked, name_for, submission_fields
from certdesk.cli.client.options import (
    FORMATS,
    answer,
    answer_list,
    home_option,
    idempotency_option,
    list_options,
    number_argument,
    options,
    output_option,
    save,
    seen_version_option,
    service_options,
    with_service,
)
from certdesk.cli.client.upkeep import home_of
from certdesk.domain.issuing.states import State, Status

WAYS = ("registry", "document", "contact", "other")
#: What a request's status means for the script that waits for it; `accepted` and `submitted` go on.
OUTCOMES = {
    "issued": Exit.OK,
    "accepted": Exit.OK,
    "submitted": Exit.OK,
    "waiting_for_approval": Exit.NEEDS_APPROVAL,
}
IN_PROGRESS = frozenset({"accepted", "submitted"})
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0

#: What goes with a CSR.
submission_options = options(
    click.option("--years", default=1, show_default=True, type=click.IntRange(1, 99), help="The term."),
    click.option("--software", default="Other", show_default=True, help="The server's software."),
    click.option("--note", default="", help="A note for the RA officer."),
    click.option("--profile", default="", help="The certificate profile."),
    click.option("--organisation", default="", help="Its short name, if you belong to several."),
)
#: A key and a CSR made here, instead of a CSR in a file.
new_key_options = options(
    click.option("--new-key", metavar="HOST", help="Make the key and the CSR here, for this name."),
    click.option("--name", "names", multiple=True, metavar="HOST", help="A further name; repeat."),
    click.option("--key-type", type=click.Choice(KEY_TYPES), default=KEY_TYPES[0], show_default=True),
    click.option("--reuse-key", is_flag=True, help="Keep the key at renewals."),
    click.option("--cert-name", default="", help="The name of its folder; HOST unless given."),
    click.option("--deploy-hook", default="", metavar="COMMAND", help="Run once it is in place."),
    home_option,
)


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
def preview(*, csr: str, service: Service, **asked: Any) -> None:
    """Say what a CSR holds and whether it would pass. Nothing is stored.

    CSR is the path of a file (PEM or DER), or - for stdin. Ends with 0 if the request would be accepted,
    5 if an officer would decide, 1 if it would be refused.
    """
    told = service.upload("/requests/preview", read_csr(csr), submission_fields(asked))
    answer(told, lambda: show.preview(told))
    sys.exit({"auto": Exit.OK, "manual": Exit.NEEDS_APPROVAL}.get(str(told["decision"]), Exit.FAILED))


@request.command()
@click.argument("csr", metavar="[CSR]", required=False)
@new_key_options
@submission_options
@click.option("--wait", is_flag=True, help="Wait until the certificate is there, or a person is needed.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait at most; then exit 75.")
@idempotency_option
@service_options
def submit(
    *,
    csr: str | None,
    new_key: str | None,
    wait: bool,
    timeout: float,
    key: str,
    service: Service,
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
    if new_key is not None:
        told, place = _with_new_key(service, new_key, asked, seconds=timeout if wait else 0.0)
    else:
        told = service.upload("/requests", read_csr(csr or ""), submission_fields(asked), key=key)
        told, place = _wait(service, told, seconds=timeout if wait else 0.0), ""
    _say(told)
    if place:
        show.talk(place)
    answer(told, lambda: click.echo(told["id"]))
    status = str(told["status"])
    if wait and status in IN_PROGRESS:
        sys.exit(Exit.RETRY_LATER)
    sys.exit(OUTCOMES.get(status, Exit.FAILED))


@request.command("list")
@click.option(
    "--query", "-q", "q", default="", help="Part of a name, of a person or of an organisation; a number."
)
@click.option("--status", type=click.Choice([*(status.value for status in Status), State.ENDED.value]))
@click.option("--action-needed", is_flag=True, help="What waits for your organisation's people.")
@click.option("--sort", type=click.Choice(["newest", "oldest", "name", "-name"]), default="newest")
@list_options
@service_options
def list_(*, action_needed: bool, service: Service, **asked: Any) -> None:
    """List the requests of your organisation, made by anyone in it."""
    asked["action"] = "needed" if action_needed else ""
    heads = ("ID", "NAMES", "STATUS", "CERTIFICATE", "ASKED BY", "CHANGED")
    answer_list(service, "/requests", heads, _line, narrow="narrow it with --query, or ", **asked)


@request.command("show")
@number_argument
@service_options
def show_(*, number: int, service: Service) -> None:
    """Show a request with its checks, history, certificates, and what CAA records said of its names."""
    told, caa = service.show(f"/requests/{number}"), service.show(f"/requests/{number}/caa")["items"]

    def write() -> None:
        show.request(told)
        show.caa(caa)

    answer({**told, "caa": caa}, write)


@request.command()
@number_argument
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="zip", show_default=True, help="Which form."
)
@output_option
@with_service
def download(*, number: int, form: str, output: str, service: Service) -> None:
    """Download the certificate; writes the path of the file to stdout.

    The file is readable by its owner alone and replaced all at once. Ends with 5 while an officer has to
    decide, and with 75 while the CA is at work.
    """
    path = "bundle.zip" if form == "zip" else "certificate"
    response = service.get(f"/requests/{number}/{path}", format="" if form == "zip" else form)
    save(response, output, default=f"request-{number}.{form}")


@request.command()
@number_argument
@service_options
def withdraw(*, number: int, service: Service) -> None:
    """Withdraw a request before its certificate is issued."""
    _changed(service.post(f"/requests/{number}/withdraw", {}))


@request.command()
@number_argument
@click.option("--reason", required=True, help="Why; the applicant reads it.")
@seen_version_option
@service_options
def end(*, number: int, reason: str, seen_version: int | None, service: Service) -> None:
    """End what a request allows (managers, RA officers): no further certificate is issued under it.

    Existing certificates stay valid until they expire or are revoked.
    """
    _changed(service.post(f"/requests/{number}/end", {"reason": reason, "version": seen_version}))


@request.command()
@number_argument
@click.option("--vetting", default="", help="How the organisation was vetted, where it has not been yet.")
@click.option(
    "--evidence",
    "proofs",
    multiple=True,
    metavar="DOMAIN=TEXT",
    help="How ownership of a domain was checked; repeat.",
)
@click.option(
    "--how", type=click.Choice(WAYS), default="other", show_default=True, help="The way of checking."
)
@click.option("--reference", default="", help="A document's or ticket's number, for every evidence.")
@click.option("--note", default="", help="Why; for officers and auditors.")
@click.option("--message", default="", help="For the applicant, who reads it and is sent it.")
@seen_version_option
@service_options
def approve(
    *,
    number: int,
    proofs: tuple[str, ...],
    how: str,
    reference: str,
    seen_version: int | None,
    service: Service,
    **said: str,
) -> None:
    """Approve a request (RA officers), with evidence for every domain that nothing proves yet.

    The reasons why it waits are written to stderr. Refused if one comes up or goes away meanwhile.
    """
    evidence = [
        {"domain": domain, "how": how, "details": text, "reference": reference}
        for domain, text in map(_evidence, proofs)
    ]
    decision = service.show(f"/requests/{number}/decision")
    for check in decision["checks"]:
        if check["verdict"] == "manual":
            show.talk(check["message"])
    body = {**said, "evidence": evidence, "shown": decision["shown"]}
    seen = "" if seen_version is None else f'"{seen_version}"'
    _changed(service.post(f"/requests/{number}/approve", body, if_match=seen))


@request.command()
@number_argument
@click.option("--details", required=True, help="Why; the applicant reads it.")
@seen_version_option
@service_options
def reject(*, number: int, details: str, seen_version: int | None, service: Service) -> None:
    """Reject a request (RA officers), saying why."""
    _changed(service.post(f"/requests/{number}/reject", {"details": details, "version": seen_version}))


def _changed(told: Json) -> None:
    _say(told)
    answer(told)


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


def _wait(service: Service, told: Json, *, seconds: float) -> Json:
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while told["status"] in IN_PROGRESS and time.monotonic() < deadline:
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, LONGEST_PAUSE)
        told = service.show(f"/requests/{told['id']}")
    return told


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
