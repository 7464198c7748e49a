"""Where the issuing cycle is killed, and what is told about the rest. Only `crash_runner` imports this."""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import time_machine
from django.conf import settings
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from certdesk.backends.embedded import EmbeddedBackend
from certdesk.domain.certificates import Intent, Issued, Outcome
from certdesk.jobs.worker import Worker
from certdesk.services import another, issuance
from certdesk.services import requests as asking
from certdesk.services.confirm import submit_another, submit_request
from certdesk.services.requests import Created, create_request
from certdesk.store.models import Certificate, Issuance, Request, RequestEvent, User
from certdesk.store.selectors.people import actor_for_user
from tests.integration.support import audit_problems, csr, issue, submission

KEY = "crash"
ROUNDS = 20


def _die(*_args: object, **_kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _then_die(module: object, name: str) -> None:
    """Let a function do its work, and die before anybody hears of it."""
    real: Callable[..., object] = getattr(module, name)

    def killing(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)
        _die()

    setattr(module, name, killing)


def _keep_signed(folder: Path) -> None:
    """Write down what is signed, before the service can."""
    real = EmbeddedBackend.submit

    def keeping(self: EmbeddedBackend, intent: Intent) -> Outcome:
        outcome = real(self, intent)
        assert isinstance(outcome, Issued)
        (folder / "signed.der").write_bytes(outcome.chain[0])
        return outcome

    EmbeddedBackend.submit = keeping  # type: ignore[method-assign]  # the point of this process


#: Name of a crash point → how to make the process die there. In the order of the cycle: what policy accepts
#: is claimed in the transaction that makes it.
POINTS: dict[str, Callable[[], None]] = {
    "while preparing": lambda: _then_die(asking, "intent_ahead"),
    "while creating": lambda: _then_die(asking, "record_request"),
    "while claiming": lambda: _then_die(asking, "record_issuance"),
    "after claiming": lambda: setattr(issuance, "issue", _die),
    "before signing": lambda: setattr(EmbeddedBackend, "submit", _die),
    "after signing": lambda: _then_die(EmbeddedBackend, "submit"),
    "while recording": lambda: _then_die(issuance, "advance_issuance"),
    "after recording": lambda: _then_die(issuance, "_record_issued"),
}

#: The same for a request that is made first and taken up later, as after an officer's approval.
LATER_POINTS: dict[str, Callable[[], None]] = {
    "accepted, before it is taken up": lambda: setattr(issuance, "issue", _die),
    "accepted, while preparing": lambda: _then_die(issuance, "prepared"),
    "accepted, while claiming": lambda: _then_die(issuance, "advance_issuance"),
    "accepted, after claiming": lambda: setattr(issuance, "_answer", _die),
}

#: The same for another certificate under a request that has one.
FURTHER_POINTS: dict[str, Callable[[], None]] = {
    "further, while claiming": lambda: _then_die(another, "record_issuance"),
    "further, after claiming": lambda: setattr(issuance, "issue", _die),
    "further, after signing": lambda: _then_die(EmbeddedBackend, "submit"),
    "further, while recording": lambda: _then_die(issuance, "advance_issuance"),
    "further, after recording": lambda: _then_die(issuance, "_record_issued"),
}


def _ask_further(folder: Path) -> Created:
    asked = _asked(folder)
    return submit_another(
        actor=asked["actor"],
        number=Request.objects.get(idempotency_key=KEY).pk,
        upload=asked["submission"].upload,
        channel="api",
        idempotency_key=KEY,
        clock=timezone.now,
    )[0]


def _submit(folder: Path) -> Created:
    return submit_request(**_asked(folder), clock=timezone.now)


def _submit_and_take_up_later(folder: Path) -> None:
    created = create_request(**_asked(folder), now=timezone.now())
    issue(created.number, clock=timezone.now)


def _asked(folder: Path) -> dict[str, Any]:
    alice = actor_for_user(User.objects.get(username="alice"))
    (university,) = alice.organisation_ids
    upload = folder / "upload.csr"
    if not upload.exists():
        upload.write_bytes(csr("crash.example.ac.uk"))
    return {
        "actor": alice,
        "submission": submission(university, upload=upload.read_bytes()),
        "channel": "api",
        "idempotency_key": KEY,
    }


def crash(point: str, folder: Path) -> None:
    """Submit, and die at the point."""
    if point in FURTHER_POINTS:
        _submit(folder)
        (folder / "upload.csr").unlink()  # the next one has a key of its own
        _keep_signed(folder)
        FURTHER_POINTS[point]()
        _ask_further(folder)
        return
    _keep_signed(folder)
    if point in LATER_POINTS:
        LATER_POINTS[point]()
        _submit_and_take_up_later(folder)
        return
    POINTS[point]()
    _submit(folder)


def recover(folder: Path) -> None:
    """Work as a worker would an hour later; then the applicant, who heard nothing, sends it again."""
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=True):
        _work()
        again = _submit(folder)
        _work()
    report(replayed=again.replayed)


def recover_further(folder: Path) -> None:
    """The same for somebody who asked for another certificate."""
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=True):
        _work()
        again = _ask_further(folder)
        _work()
    report(replayed=again.replayed)


def _work() -> None:
    worker = Worker()
    for _ in range(ROUNDS):
        if not worker.tick(now=timezone.now()):
            return
    raise AssertionError("the worker never comes to rest")


def report(**more: object) -> None:
    """Print everything that a test wants to know, as JSON."""
    rows = [
        {
            "number": row.pk,
            "key": row.idempotency_key,
            "status": row.status,
            "events": list(
                RequestEvent.objects.filter(request=row).order_by("id").values_list("event", flat=True)
            ),
            "issuances": list(Issuance.objects.filter(request=row).values_list("state", flat=True)),
            "certificates": [bytes(c.der).hex() for c in Certificate.objects.filter(request=row)],
        }
        for row in Request.objects.order_by("id")
    ]
    told = {
        "requests": rows,
        "audit_problems": audit_problems(),
        "unfinished_jobs": DBTaskResult.objects.exclude(status="SUCCESSFUL").count(),
        "mails": sorted(_subjects()),
        **more,
    }
    sys.stdout.write(json.dumps(told) + "\n")


def _subjects() -> list[str]:
    lines = [
        line
        for path in Path(settings.EMAIL_FILE_PATH).iterdir()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    return [line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")]
