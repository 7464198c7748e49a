"""What commands share: their options, the open service that they get, and how they answer.

Data goes to stdout, as a table or with --json for the next program; talk goes to stderr.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from certdesk.cli.client import show
from certdesk.cli.client.connection import Json, Service, make_service
from certdesk.cli.client.files import file_name, write_file

if TYPE_CHECKING:
    import httpx2

_Command = TypeVar("_Command", bound=Callable[..., Any])
_JSON = "certdesk.json"

FORMATS = ("pem", "fullchain", "chain", "der", "p7b", "truststore", "zip")
number_argument = click.argument("number", type=click.IntRange(min=1))
organisation_option = click.option("--organisation", default="", help="Its short name, if you see several.")
idempotency_option = click.option(
    "--idempotency-key", "key", default="", help="The same key never makes a second one."
)
seen_version_option = click.option(
    "--seen-version", type=click.IntRange(min=0), help="Refuse if it has changed since this version."
)
output_option = click.option(
    "-o", "--output", default=".", show_default=True, help="Folder to write to, or - for stdout."
)
home_option = click.option(
    "--home",
    envvar="CERTDESK_HOME",
    type=click.Path(path_type=Path),
    help="Folder of keys and certificates (CERTDESK_HOME; /etc/certdesk for root, else ~/.config/certdesk).",
)


def options(*those: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Several options as one decorator, in the order of --help."""
    return lambda command: reduce(lambda made, add: add(made), reversed(those), command)


list_options = options(
    organisation_option,
    click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Lines a page."),
    click.option("--all", "every", is_flag=True, help="Every page, not only the first."),
)
json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    help="Write JSON.",
    callback=lambda context, _option, given: context.meta.update({_JSON: given}),
)


def with_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say which service to talk to, and hands the command that service, open."""

    @click.option("--url", envvar="CERTDESK_URL", help="The service's address (CERTDESK_URL).")
    @click.option(
        "--token-file",
        envvar="CERTDESK_TOKEN_FILE",
        type=click.Path(path_type=Path),
        help="A file with the API token (CERTDESK_TOKEN_FILE); or set CERTDESK_TOKEN.",
    )
    @click.option("--insecure-http", is_flag=True, help="Send the token over plain HTTP to another machine.")
    @wraps(command)
    def wanted(*, url: str | None, token_file: Path | None, insecure_http: bool, **asked: Any) -> Any:  # noqa: ANN401 - whatever the command returns
        with make_service(url, token_file=token_file, insecure_http=insecure_http) as service:
            return command(service=service, **asked)

    return wanted


#: The service, and how to write what it says.
service_options = options(with_service, json_option)


def save(response: "httpx2.Response", output: str, *, default: str) -> None:
    """Writes what was downloaded to stdout (`-`), or into a folder and its path to stdout."""
    if output == "-":
        sys.stdout.buffer.write(response.content)
        return
    name = file_name(response.headers.get("Content-Disposition", ""), default=default)
    click.echo(write_file(Path(output).expanduser(), name, response.content))


def answer(told: object, write: Callable[[], None] | None = None) -> None:
    """Writes JSON if --json says so, else what people read; without `write`, that is nothing more."""
    if click.get_current_context().meta.get(_JSON):
        show.as_json(told)
    elif write is not None:
        write()


def answer_list(
    service: Service,
    path: str,
    heads: Sequence[str],
    line: Callable[[Json], Iterable[object]],
    *,
    every: bool = True,
    narrow: str = "",
    **filters: object,
) -> None:
    """Writes a list: its first page, or every one. `narrow` says how to ask for less."""
    asked = {name: str(value) for name, value in filters.items() if value is not None}
    pages = list(service.pages(path, every=every, **asked))
    items = [item for page in pages for item in page["items"]]
    if items:
        answer(items, lambda: show.table(heads, map(line, items)))
    else:
        answer(items, lambda: show.talk(f"There are no such {path.rpartition('/')[2]}."))
    if pages[-1]["next_cursor"]:
        show.talk(f"There are more: {narrow}say --all.")
