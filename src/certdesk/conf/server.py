"""Start-up of a server process: logging, migrations, static files, demo, granian with a worker thread."""

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from granian import Granian
from granian.constants import HTTPModes, Interfaces

from certdesk.backends.base import PublishesCrl
from certdesk.conf.config import Config, is_loopback
from certdesk.conf.log import configure_logging
from certdesk.domain.actors import SYSTEM, RaRole
from certdesk.domain.errors import Misconfigured
from certdesk.domain.findings import Verdict

if TYPE_CHECKING:
    from certdesk.jobs.worker import Worker


def setup() -> Config:
    """Loads Django and the logging; the typed configuration comes back."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "certdesk.conf.settings")
    configure_logging(os.environ.get("CERTDESK_LOG_LEVEL", "INFO"))
    django.setup()
    config: Config = settings.CERTDESK
    return config


def migrate() -> None:
    """Brings tables, cache table and static files up to this version."""
    config = setup()
    config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    config.mail_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    call_command("migrate", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)
    collect_static(Path(settings.STATIC_ROOT))


def collect_static(root: Path) -> None:
    """Collects and compresses the static files, unless these very files were collected there before."""
    # Their names, sizes and times tell one set from another; none of them is read.
    found = [
        f"{path} {storage.size(path)} {storage.get_modified_time(path).isoformat()}"
        for finder in get_finders()
        for path, storage in finder.list(None)
    ]
    stamp, digest = root.with_suffix(".stamp"), hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
    if (root / "staticfiles.json").exists() and stamp.exists() and stamp.read_text() == digest:
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(digest)


def prepare(*, talk: Callable[[str], None]) -> None:
    """Everything before the first request: refuses an unsafe set-up, migrates, makes the demo.

    Raises Misconfigured with what to do.
    """
    os.umask(0o077)  # whatever is stored is for the service's own account
    config = setup()

    # 1. Nothing that others could read or listen to, and a free port.
    if not is_loopback(config.host) and not config.behind_proxy:
        raise Misconfigured(
            f"{config.host} can be reached from other machines, and Certdesk speaks plain HTTP here. "
            "Put a reverse proxy with TLS in front and say --behind-proxy, or bind 127.0.0.1."
        )
    if not config.base_url and config.host in ("0.0.0.0", "::"):  # noqa: S104 - nothing is bound here
        raise Misconfigured(
            f"{config.host} is no address that people could open. Set CERTDESK_BASE_URL to the one that they "
            "use, such as https://certdesk.example.ac.uk: it stands in mails and in certificates."
        )
    try:
        # The server itself would share the port with what has it, or try for ever.
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        socket.create_server((config.host, config.port), family=family).close()
    except OSError as error:
        told = f"{config.host}:{config.port} can't be used: {error.strerror}. Set another PORT."
        raise Misconfigured(told) from None

    # 2. Tables, files and CAs as this version has them.
    migrate()
    _look_at_cas(talk)

    # 3. The demo, or where the service is.
    if config.demo:
        from certdesk.services.system import demo  # noqa: PLC0415 - models can be imported only after django.setup()

        path = demo.prepare_demo(data=config.data, now=timezone.now())
        talk(f"\nCertdesk demo at {config.url}\n")
        for user in json.loads(path.read_text())["users"]:
            where = user["organisation"] or "the RA"
            talk(f"  {user['username']:<8} {user['password']}   {user['role'] or 'member'}, {where}")
        talk(f"\nThe same in {path} · mail in {config.mail_directory} and at {config.url}/demo/mail/")
        talk("Stop with Ctrl-C.\n")
    else:
        talk(f"Certdesk serves {config.url}")
        if not config.status_url and config.status != config.url:
            talk(
                f"Certificates say that their CRL is below {config.status}/ca/: let the proxy pass that on "
                "to this service over plain HTTP, or set CERTDESK_STATUS_URL to an address that does."
            )


def serve(target: str, *, with_worker: bool) -> None:
    """Serves until a signal comes. The worker's thread lives in granian's parent process."""
    config: Config = settings.CERTDESK
    connections.close_all()
    background = make_worker() if with_worker else None
    thread = threading.Thread(target=background.run, name="worker", daemon=True) if background else None
    server = Granian(
        target,
        address=config.host,
        port=config.port,
        interface=Interfaces.RSGI,
        websockets=False,
        http=HTTPModes.http1,
        workers=config.workers,
        respawn_failed_workers=True,
        log_level="warning",  # type: ignore[arg-type] # granian takes the enum's value
    )
    if thread:
        thread.start()
    try:
        server.serve()
    finally:
        if background and thread:
            background.stop.set()
            thread.join(timeout=20)


def make_worker() -> "Worker":
    setup()
    from certdesk.jobs.worker import Worker  # noqa: PLC0415 - models can be imported only after django.setup()

    return Worker()


def add_person(*, username: str, name: str, email: str, role: str) -> str:
    """Adds a person of the RA and returns the issued password. Raises InvalidInput."""
    migrate()
    from certdesk.services.people.membership import add_ra_person  # noqa: PLC0415 - models can be imported only after django.setup()

    issued = add_ra_person(
        actor=SYSTEM, username=username, name=name, email=email, role=RaRole(role), now=timezone.now()
    )
    return issued.password


def _look_at_cas(talk: Callable[[str], None]) -> None:
    """Says which CA can't issue, which stops nothing else, and publishes the CRLs.

    Raises Misconfigured for CA files that are missing, unreadable or another CA's.
    """
    from certdesk.services.revocation import crl  # noqa: PLC0415 - as above
    from certdesk.services.system import ca_reports, runtime  # noqa: PLC0415 - as above
    from certdesk.store.selectors.cas import newest_reports  # noqa: PLC0415 - as above

    backends = runtime.current().backends
    ca_reports.take_reports(clock=timezone.now)
    for name, said in newest_reports(backends).items():
        for check in said.checks:
            if check.verdict is Verdict.REFUSE:
                talk(f"The CA “{name}” can't issue certificates: {check.message}")
    for name, backend in backends.items():
        if isinstance(backend, PublishesCrl):
            crl.current_crl(backend_name=name, now=timezone.now())
