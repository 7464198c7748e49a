"""`certdesk perspective`: a vantage point for a Certdesk elsewhere. No database, no settings, no Django."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from granian import Granian
from granian.constants import HTTPModes, Interfaces

from certdesk.dcv.fetch import HTTP, HTTPS
from certdesk.dcv.mpic.server import MAX_BODY, PerspectiveApp
from certdesk.dcv.network import SYSTEM, make_network
from certdesk.front import Front

#: How the command tells granian's worker process what it was told; no secret stands in it.
_HANDED_ON = "CERTDESK_PERSPECTIVE"


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
def perspective(*, host: str, port: int, **options: Any) -> None:
    """Run a remote perspective: check domains and CAA for a Certdesk elsewhere (BR 3.2.2.9).

    It answers `POST /dcv` and `POST /caa` in Open MPIC's schema, to those who show the token.
    """
    options["token_file"] = str(options["token_file"].resolve())
    try:
        build_application(**options)  # what is wrong with the options is said here, not by a worker
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    os.environ[_HANDED_ON] = json.dumps(options)
    click.echo(f"Perspective {options['code']} at http://{host}:{port}", err=True)
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
    app = build_application(**json.loads(os.environ[_HANDED_ON]))
    return Front(app, threads=32, limit=lambda _environ: MAX_BODY, admits=app.admits, unread=app.unread)


def build_application(
    *,
    code: str,
    token_file: str,
    resolvers: Sequence[str],
    networks: Sequence[str],
    http_port: int,
    https_port: int,
) -> PerspectiveApp:
    """The application of these options. Raises ValueError or OSError with what is wrong with them."""
    network = make_network(
        resolvers=resolvers or (SYSTEM,),
        allowed_networks=networks,
        http_port=http_port,
        https_port=https_port,
    )
    token = Path(token_file).read_text(encoding="utf-8").strip()
    return PerspectiveApp(code=code, token=token, network=network, clock=lambda: datetime.now(UTC))
