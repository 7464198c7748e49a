"""What a power cut leaves of an ACME order on SQLite, at each step: the commits that waited for the disk.

    python -m tests.acceptance.power_cuts <folder>

The data folder, a demo's, comes in CERTDESK_DATA. A power cut puts back the database as it was after the last
commit that waited, which is the most that can be lost, and the machine starts anew. Prints what was found.
"""

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

if __name__ == "__main__":
    from certdesk.conf import server

    server.setup()  # models can be imported only after it

import time_machine
from django.conf import settings
from django.db import connection, connections
from django.utils import timezone

from certdesk.backends.embedded import EmbeddedBackend
from certdesk.domain.acme.jws import decoded
from certdesk.domain.issuing.certificates import Intent, Issued, Outcome
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.jobs.worker import Worker
from certdesk.services.acme import nonces as acme_nonces
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.store import db
from certdesk.store.models import AcmeOrder, Certificate, Issuance, UsedNonce, User
from certdesk.store.selectors.people import actor_for_user
from tests.harness.acme_client import make_csr, sign
from tests.integration.acme_support import client
from tests.integration.support import audit_problems

DATABASE = Path(str(settings.DATABASES["default"]["NAME"]))


class PowerCut(BaseException):
    """Nothing of ours handles it, as nothing handles a power cut."""


class Disk:
    """What the disk holds: the database after the last commit that waited for it."""

    def __init__(self, folder: Path) -> None:
        self._file, self.starts, self.waited = folder / "synced.sqlite3", 0, 0
        real = db._turn

        @contextmanager
        def watched(*args: Any, **kwargs: Any) -> Iterator[None]:
            with real(*args, **kwargs):
                yield
                if connection.connection.execute("PRAGMA synchronous").fetchone()[0] == db._FULL:
                    self.waited += 1
                    self._keep()

        db._turn = watched
        acme_nonces.start_of_machine = lambda: f"start {self.starts}"  # type: ignore[assignment, attr-defined]  # as the kernel says
        self._keep()

    def _keep(self) -> None:
        with closing(sqlite3.connect(DATABASE)) as now, closing(sqlite3.connect(self._file)) as kept:
            now.backup(kept)

    def cut(self) -> None:
        """The power goes, and comes back."""
        connections.close_all()
        for name in ("", "-wal", "-shm"):
            DATABASE.with_name(DATABASE.name + name).unlink(missing_ok=True)
        shutil.copy(self._file, DATABASE)
        self.starts += 1


def cuts(folder: Path) -> dict[str, Any]:
    """One order after another, with a power cut after each step."""
    disk = Disk(folder)
    eab = json.loads((Path(settings.CERTDESK.data) / "demo.json").read_text(encoding="utf-8"))["eab"][0]
    acme, found = client(), dict[str, Any]()
    assert acme.register(eab["kid"], eab["hmac_key"]).status == 201
    disk.cut()
    acme.nonce = ""
    found["account is kept"] = acme.post(acme.kid).status

    # Lost with its order: the client orders once more.
    waited, orders = disk.waited, AcmeOrder.objects.count()
    made = acme.order("one.example.ac.uk")
    assert made.status == 201, made.body
    found["an order waits for the disk"] = disk.waited - waited
    found["the next one does"] = connection.connection.execute("PRAGMA synchronous").fetchone()[0] == db._FULL
    disk.cut()
    found["orders kept"] = AcmeOrder.objects.count() - orders
    acme.nonce = ""

    # The intent is on the disk before anything is signed; what was signed is signed again, the same.
    order, der, signed = acme.order("two.example.ac.uk").json, make_csr("two.example.ac.uk"), list[bytes]()
    with _power_fails_after_signing(signed):
        try:
            acme.finalize(order, der)
        except PowerCut:
            disk.cut()
            acme.nonce = ""
    found["claimed"] = [row.state for row in Issuance.objects.filter(csr_der=der)]
    with time_machine.travel(timezone.now() + timedelta(minutes=1), tick=True):
        while Worker().tick(now=timezone.now()):
            pass
    found["signed before and after"] = [*signed, *_certificates(der)] == signed * 2

    # Told to a client, and kept; a message that was spent just before is not taken again.
    order, der = acme.order("three.example.ac.uk").json, make_csr("three.example.ac.uk")
    waited = disk.waited
    done = acme.finalize(order, der).json
    found["finalize waits for the disk"] = disk.waited - waited
    nonce = acme.fresh_nonce()
    sent = json.dumps(sign(b"", acme.key, acme.header(done["certificate"], nonce=nonce))).encode()
    found["chain"] = acme.post_raw(done["certificate"], sent).status
    disk.cut()
    found["nonces spent and lost"] = not UsedNonce.objects.filter(
        nonce=UUID(bytes=decoded(nonce)[:16])
    ).exists()
    found["sent again"] = acme.post_raw(done["certificate"], sent).json["type"].rpartition(":")[2]
    found["certificates kept"] = len(_certificates(der))

    # Decisions wait.
    row = Certificate.objects.get(issuance__csr_der=der)
    officer = actor_for_user(User.objects.get(username="olga"))
    revoke_certificate(
        actor=officer, certificate_id=row.pk, reason=RevocationReason.SUPERSEDED, clock=timezone.now
    )
    disk.cut()
    found["revoked"] = Certificate.objects.get(pk=row.pk).revoked_at is not None
    found["audit"] = audit_problems()
    found["doubled"] = Issuance.objects.count() - Certificate.objects.count()
    return found


@contextmanager
def _power_fails_after_signing(signed: list[bytes]) -> Iterator[None]:
    real = EmbeddedBackend.submit

    def submit(self: EmbeddedBackend, intent: Intent) -> Outcome:
        outcome = real(self, intent)
        assert isinstance(outcome, Issued)
        signed.append(outcome.chain[0])
        raise PowerCut

    EmbeddedBackend.submit = submit  # type: ignore[method-assign]  # the point of this process
    try:
        yield
    finally:
        EmbeddedBackend.submit = real  # type: ignore[method-assign]  # as above


def _certificates(csr: bytes) -> list[bytes]:
    return [bytes(row.der) for row in Certificate.objects.filter(issuance__csr_der=csr)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(cuts(Path(sys.argv[1]))) + "\n")
