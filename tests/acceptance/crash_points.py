"""Where the issuing cycle is killed by each channel, and what is told about the rest.

    python -m tests.acceptance.crash_points crash <folder>
    python -m tests.acceptance.crash_points report

The first kills a process of its own at each of `POINTS`, works as a worker would an hour later, and asks
again as people do who heard nothing. The data folder, a demo's, comes in CERTDESK_DATA.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from certdesk.conf import server

    server.setup()  # models can be imported only after it

import time_machine
from django.conf import settings
from django.db import connections
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from certdesk.backends.embedded import EmbeddedBackend
from certdesk.domain.issuing.certificates import Intent, Issued, Outcome
from certdesk.jobs.worker import Worker
from certdesk.services.acme import finalize as acme_finalize
from certdesk.services.issuance import engine as issuance
from certdesk.services.requests import another, asking
from certdesk.services.requests.asking import create_request
from certdesk.services.requests.confirm import submit_another, submit_request
from certdesk.store.models import AcmeOrder, Certificate, Issuance, Request, RequestEvent, User
from certdesk.store.selectors.people import actor_for_user
from tests.harness.acme_client import AcmeClient, make_csr
from tests.integration.acme_support import client
from tests.integration.support import audit_problems, csr, issue, submission

ROUNDS = 100


def _die(*_args: object, **_kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _then_die(module: object, name: str) -> Callable[[], None]:
    """Lets a function do its work, and dies before anybody hears of it."""

    def arm() -> None:
        real: Callable[..., object] = getattr(module, name)

        def killing(*args: object, **kwargs: object) -> None:
            real(*args, **kwargs)
            _die()

        setattr(module, name, killing)

    return arm


def _dies(module: object, name: str) -> Callable[[], None]:
    return lambda: setattr(module, name, _die)


#: The steps that all channels share: how to die there, the issuance's state then, and whether it is signed.
_SHARED: dict[str, tuple[Callable[[], None], str, bool]] = {
    "before signing": (_dies(EmbeddedBackend, "submit"), "claimed", False),
    "after signing": (_then_die(EmbeddedBackend, "submit"), "claimed", True),
    "while recording": (_then_die(issuance, "advance_issuance"), "claimed", True),
    "after recording": (_then_die(issuance, "_record_issued"), "issued", True),
}
#: Channel → place → the same. "worker" makes a request first and takes it up later, as after an approval.
POINTS: dict[tuple[str, str], tuple[Callable[[], None], str, bool]] = {
    ("first", "while preparing"): (_then_die(asking, "intent_ahead"), "", False),
    ("first", "while creating"): (_then_die(asking, "record_request"), "", False),
    ("first", "while claiming"): (_then_die(asking, "record_issuance"), "", False),
    ("first", "after claiming"): (_dies(issuance, "issue"), "claimed", False),
    ("worker", "before it is taken up"): (_dies(issuance, "issue"), "waiting", False),
    ("worker", "while preparing"): (_then_die(issuance, "prepared"), "waiting", False),
    ("worker", "while claiming"): (_then_die(issuance, "advance_issuance"), "waiting", False),
    ("worker", "after claiming"): (_dies(issuance, "_answer"), "claimed", False),
    ("another", "while claiming"): (_then_die(another, "record_issuance"), "", False),
    ("another", "after claiming"): (_dies(issuance, "issue"), "claimed", False),
    ("order", "while preparing"): (_then_die(acme_finalize, "prepared"), "", False),
    ("order", "while claiming"): (_then_die(acme_finalize, "record_issuance"), "", False),
    ("order", "after claiming"): (_dies(acme_finalize, "issue"), "claimed", False),
    **{(channel, place): how for channel in ("first", "another", "order") for place, how in _SHARED.items()},
}


class Ask:
    """One ask by a channel, which can be made again word for word."""

    def __init__(self, number: int, channel: str, acme: AcmeClient) -> None:
        self.channel, self.acme = channel, acme
        self.key, name = f"crash-{number}", f"crash{number}.example.ac.uk"
        self.alice = actor_for_user(User.objects.get(username="alice"))
        (university,) = self.alice.organisation_ids
        self.asked: dict[str, Any] = {
            "actor": self.alice,
            "submission": submission(university, upload=csr(name)),
            "channel": "api",
            "idempotency_key": self.key,
        }
        if channel == "another":
            self.request = submit_request(**self.asked, clock=timezone.now).number
            self.upload = csr(name)
        if channel == "order":
            self.order, self.der = acme.order(name).json, make_csr(name)
            self.order_id = AcmeOrder.objects.latest("id").pk

    def __call__(self) -> bool:
        """Ask; whether it was known already."""
        match self.channel:
            case "worker" if not self.issuances():
                issue(create_request(**self.asked, now=timezone.now()).number, clock=timezone.now)
                return False
            case "another":
                return submit_another(
                    actor=self.alice,
                    number=self.request,
                    upload=self.upload,
                    channel="api",
                    idempotency_key=self.key,
                    clock=timezone.now,
                )[0].replayed
            case "order":
                known = bool(self.issuances())
                assert self.acme.finalize(self.order, self.der).json["status"] in ("processing", "valid")
                return known
            case _:
                return submit_request(**self.asked, clock=timezone.now).replayed

    def issuances(self) -> list[Issuance]:
        """What there is of it; not the certificate that another one follows."""
        if self.channel == "order":
            return list(Issuance.objects.filter(order_id=self.order_id))
        found = Issuance.objects.filter(request__idempotency_key=self.key).order_by("id")
        return list(found)[self.channel == "another" :]

    def told(self) -> dict[str, Any]:
        """What has become of it."""
        rows = self.issuances()
        return {
            "issuances": [row.state for row in rows],
            "certificates": [bytes(c.der).hex() for c in Certificate.objects.filter(issuance__in=rows)],
            "events": [
                one
                for row in rows
                for one in RequestEvent.objects.filter(request=row.request_id)
                .order_by("id")
                .values_list("event", flat=True)
            ],
            "mails": sum(f"Request {row.request_id}:" in line for row in rows for line in _subjects()),
        }


def crash(folder: Path) -> None:
    """Die at every point, recover from all of them, and print what was found."""
    data = Path(settings.CERTDESK.data)
    eab = json.loads((data / "demo.json").read_text(encoding="utf-8"))["eab"][0]
    acme = client()
    assert acme.register(eab["kid"], eab["hmac_key"]).status == 201
    asks = {point: Ask(number, point[0], acme) for number, point in enumerate(POINTS)}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for point, ask in asks.items():
        signed = folder / ask.key
        found[point] = {"killed": _killed_at(point, ask, signed), "left": [i.state for i in ask.issuances()]}
        if point == ("first", "after signing"):  # and once more: what is claimed is touched by nobody else
            found[point]["killed_again"] = _killed_at(point, ask, signed)
        found[point]["signed"] = signed.read_bytes().hex() if signed.exists() else ""
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=True):
        _work()
        for point, ask in asks.items():
            found[point]["replayed"] = ask()
        _work()
    for point, ask in asks.items():
        found[point] |= ask.told()
    report(points={" ".join(point): said for point, said in found.items()})


def _killed_at(point: tuple[str, str], ask: Ask, signed: Path) -> bool:
    """Ask in a process of its own, which dies there; whether it did."""
    ask.acme.nonce = ""
    connections.close_all()  # a connection can't be shared with another process
    child = os.fork()
    if child == 0:
        _keep_signed(signed)
        POINTS[point][0]()
        ask()
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _keep_signed(file: Path) -> None:
    """Write down what is signed, before the service can."""
    real = EmbeddedBackend.submit

    def keeping(self: EmbeddedBackend, intent: Intent) -> Outcome:
        outcome = real(self, intent)
        assert isinstance(outcome, Issued)
        file.write_bytes(outcome.chain[0])
        return outcome

    EmbeddedBackend.submit = keeping  # type: ignore[method-assign]  # the point of this process


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
            "certificates": Certificate.objects.filter(request=row).count(),
        }
        for row in Request.objects.order_by("id")
    ]
    told = {
        "requests": rows,
        "serials": list(Certificate.objects.values_list("serial", flat=True)),
        "audit_problems": audit_problems(),
        "unfinished_jobs": DBTaskResult.objects.exclude(status="SUCCESSFUL").count(),
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


if __name__ == "__main__":
    if sys.argv[1] == "crash":
        crash(Path(sys.argv[2]))
    else:
        report()
