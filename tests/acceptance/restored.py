"""A database that was restored from a backup, and the CAs that have gone on issuing since.

    python -m tests.acceptance.restored ask NAME…      each is issued for; prints name → serial number
    python -m tests.acceptance.restored behind NAME…   the embedded CA signs, and the database knows nothing
    python -m tests.acceptance.restored revoke SERIAL
    python -m tests.acceptance.restored reconcile      an hour later, by the command; prints what it does
    python -m tests.acceptance.restored finish NAME    has the CA revoke what was found of this name

The data folder, a demo's, comes in CERTDESK_DATA. The test puts an earlier database in its place in between.
"""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

if __name__ == "__main__":
    from certdesk.conf import server

    server.setup()  # models can be imported only after it

import time_machine
from click.testing import CliRunner
from cryptography import x509
from django.utils import timezone

from certdesk.backends.conformance import issued, server_intent
from certdesk.backends.embedded import EmbeddedBackend
from certdesk.cli import ca as commands
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.services.issuance.findings import revoke_finding
from certdesk.services.requests.confirm import submit_request
from certdesk.services.revocation.crl import current_crl
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.services.system import runtime
from certdesk.store.models import Certificate, Finding, Request, User
from certdesk.store.selectors.people import actor_for_user
from tests.integration.support import audit_problems, submission


def ask(*names: str) -> dict[str, Any]:
    """Alice asks for each; policy agrees."""
    alice = actor_for_user(User.objects.get(username="alice"))
    (own,) = alice.organisation_ids
    for name in names:
        submit_request(actor=alice, submission=submission(own, name), channel="portal", clock=timezone.now)
    return dict(Certificate.objects.values_list("names__name", "serial"))


def behind(*names: str) -> dict[str, Any]:
    ca, now = runtime.current().backends["embedded"], timezone.now()
    assert isinstance(ca, EmbeddedBackend)
    for name in names:
        issued(ca, ca.prepare(server_intent(now=now, names=(name,))))
    return {}


def revoke(serial: str) -> dict[str, Any]:
    olga = actor_for_user(User.objects.get(username="olga"))
    state = revoke_certificate(
        actor=olga,
        certificate_id=Certificate.objects.get(serial=serial).pk,
        reason=RevocationReason.SUPERSEDED,
        clock=timezone.now,
    )
    return {"state": state}


def reconcile() -> dict[str, Any]:
    commands._set_up = lambda: None  # it is set up
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        done = CliRunner().invoke(commands.ca, ["reconcile", "--json"])
    assert done.stdout, done.exception
    return {"exit": done.exit_code, "cas": json.loads(done.stdout), **standing()}


def finish(name: str) -> dict[str, Any]:
    op = actor_for_user(User.objects.get(username="op"))
    found = next(one for one in Finding.objects.filter(state="open") if one.names == [name])
    revoke_finding(actor=op, finding_id=found.pk, note="Nobody knows it.", clock=timezone.now)
    return standing()


def standing() -> dict[str, Any]:
    """What the database and the CRL of the embedded CA say now."""
    crl = x509.load_der_x509_crl(
        current_crl(backend_name="embedded", now=timezone.now() + timedelta(hours=1))
    )
    revoked = Certificate.objects.filter(revoked_at__isnull=False)
    return {
        "backends": sorted(runtime.current().backends),
        "requests": Request.objects.count(),
        "revoked": sorted(revoked.values_list("serial", flat=True)),
        "crl": sorted(f"{one.serial_number:x}" for one in crl),
        "audit": audit_problems(),
    }


if __name__ == "__main__":
    steps: dict[str, Callable[..., dict[str, Any]]] = {
        "ask": ask,
        "behind": behind,
        "revoke": revoke,
        "reconcile": reconcile,
        "finish": finish,
    }
    sys.stdout.write(json.dumps(steps[sys.argv[1]](*sys.argv[2:])) + "\n")
