"""`certdesk perspective`: a vantage point for a Certdesk elsewhere. No database, no settings, no Django."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from granian import Granian
from granian.constants import HTTPModes, Interfaces

from certdesk.dcv.fetch import HTTP, HTTPS
from certdesk.dcv.mpic.server import MAX_BODY, PerspectiveApp
from certdesk.dcv.network import SYSTEM, make_network
from certdesk.front import Front

#: How the command tells granian's worker process what it was told; no secret stands in it.
_HANDED_ON = "CERTDESK_PERSPECTIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command was told."""

    code: str
    token_file: str
    resolvers: Sequence[str]
    networks: Sequence[str]
    http_port: int
    https_port: int


@click.command()
@click.option("--code", required=True, help="This place's name: <registry>.<place>, as in ripe.cambridge.")
@click.option(
    "--token-file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the bearer token that the coordinator shows; at least 32 characters.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; TLS is a proxy's work."
)
@click.option("--port", default=8090, show_default=True, help="Port to bind.")
@click.option(
    "--resolver",
    "resolvers",
    multiple=True,
    help="Validating resolver, ADDRESS[#PORT]. Default: this host's own.",
)
@click.option("--allow-network", "networks", multiple=True, help="A private network that may be contacted.")
@click.option(
    "--http-port", default=HTTP, show_default=True, help="Where port 80 really is, in a laboratory."
)
@click.option("--https-port", default=HTTPS, show_default=True, help="Where port 443 really is.")
def perspective(
    *,
    code: str,
    token_file: Path,
    host: str,
    port: int,
    resolvers: tuple[str, ...],
    networks: tuple[str, ...],
    http_port: int,
    https_port: int,
) -> None:
    """Run a remote perspective: check domains and CAA for a Certdesk elsewhere (BR 3.2.2.9).

    It answers `POST /dcv` and `POST /caa` in Open MPIC's schema, to whoever shows the token.
    """
    options = Options(
        code=code,
        token_file=str(token_file.resolve()),
        resolvers=resolvers,
        networks=networks,
        http_port=http_port,
        https_port=https_port,
    )
    try:
        build_application(options)  # what is wrong with the options is said here, not by a worker
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    os.environ[_HANDED_ON] = json.dumps(asdict(options))
    click.echo(f"Perspective {code} at http://{host}:{port}", err=True)
    Granian(
        f"{__name__}:make_application",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        websockets=False,
        http=HTTPModes.http1,
        workers=1,
        log_level="warning",  # type: ignore[arg-type] # granian takes the enum's value
    ).serve()


def make_application() -> Front:
    """The application in granian's worker, made from what the command handed on."""
    app = build_application(Options(**json.loads(os.environ[_HANDED_ON])))
    return Front(app, threads=32, limit=lambda _environ: MAX_BODY, admits=app.admits, unread=app.unread)


def build_application(options: Options) -> PerspectiveApp:
    """The application of these options. Raises ValueError or OSError with what is wrong with them."""
    network = make_network(
        resolvers=options.resolvers or (SYSTEM,),
        allowed_networks=options.networks,
        http_port=options.http_port,
        https_port=options.https_port,
    )
    return PerspectiveApp(
        code=options.code,
        token=Path(options.token_file).read_text(encoding="utf-8").strip(),
        network=network,
        clock=lambda: datetime.now(UTC),
    )
