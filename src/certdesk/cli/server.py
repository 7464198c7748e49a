"""Server commands: `serve`, `worker`, `admin`. Django is set up inside each, when it is run."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import click

WSGI = "certdesk.conf.wsgi:application"


@click.command()
@click.option("--demo", is_flag=True, help="Make a demo: data, CA, people and sign-ins of its own.")
@click.option("--host", help="Address to bind (127.0.0.1). Another than loopback needs --behind-proxy.")
@click.option("--port", type=int, envvar="PORT", help="Port to bind (8000).")
@click.option(
    "--data", type=click.Path(path_type=Path), envvar="DATA", help="Folder for everything stored (./var)."
)
@click.option("--behind-proxy", is_flag=True, help="A reverse proxy in front terminates TLS.")
@click.option("--no-worker", is_flag=True, help="Leave background work to `certdesk worker`.")
def serve(
    *, demo: bool, host: str | None, port: int | None, data: Path | None, behind_proxy: bool, no_worker: bool
) -> None:
    """Run the portal, the REST API and the background worker in one go."""
    given = {
        "CERTDESK_DEMO": "1" if demo else None,
        "CERTDESK_HOST": host,
        "CERTDESK_PORT": None if port is None else str(port),
        "CERTDESK_DATA": None if data is None else str(data),
        "CERTDESK_BEHIND_PROXY": "1" if behind_proxy else None,
    }
    os.environ.update({name: value for name, value in given.items() if value is not None})
    from certdesk.conf import server  # noqa: PLC0415 - Django is loaded only once the environment is complete

    server.prepare(talk=lambda line: click.echo(line, err=True))
    # A forked child would inherit the locks that the worker's thread may be holding.
    multiprocessing.set_start_method("spawn", force=True)
    server.serve(WSGI, with_worker=not no_worker)


@click.command()
def worker() -> None:
    """Run a background worker alone, for instance beside several `serve --no-worker` nodes."""
    from certdesk.conf import server  # noqa: PLC0415 - as above

    background = server.make_worker()

    def stop(_signal: int, _frame: object) -> None:
        background.stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    thread = threading.Thread(target=background.run, name="worker")
    thread.start()
    thread.join()


@click.group()
def admin() -> None:
    """Set up and look after a service."""


@admin.command()
def migrate() -> None:
    """Bring the database and the static files up to this version; `serve` does so as well."""
    from certdesk.conf import server  # noqa: PLC0415 - as above

    server.migrate()
    click.echo("The database is up to date.", err=True)


@admin.command("add-person")
@click.argument("username")
@click.option("--name", required=True, help="The person's name.")
@click.option("--email", required=True, help="Where notices go.")
@click.option(
    "--role",
    required=True,
    type=click.Choice(["officer", "auditor", "operator"]),
    help="What they do for the RA.",
)
def add_person(*, username: str, name: str, email: str, role: str) -> None:
    """Add a person of the RA; the first operator of a new service comes to be like this.

    Prints the issued password on stdout, once. It has to be changed at the first sign-in.
    """
    from certdesk.conf import server  # noqa: PLC0415 - as above

    click.echo(server.add_person(username=username, name=name, email=email, role=role))
