"""A CA that lets its callers wait, while many wait for it: the worker's other work goes on in between."""

from datetime import timedelta

import pytest

from certdesk.domain.errors import Unavailable
from certdesk.domain.issuing.certificates import Intent, Outcome
from certdesk.jobs.worker import Worker
from certdesk.services.requests.asking import create_request
from certdesk.store.models import RequestEvent
from tests.integration.support import NOW, Clock, ScriptedCa, World, backend, submission

pytestmark = pytest.mark.django_db(transaction=True)


def test_one_slow_answer_a_round_is_waited_for(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = Clock(), list[str]()

    def hang(_intent: Intent) -> Outcome:
        order.append("asked")
        clock.forward(timedelta(seconds=8))
        raise Unavailable("It did not answer in time.")

    def revocations(**_told: object) -> list[int]:
        order.append("other work")
        return []

    monkeypatch.setattr("certdesk.jobs.worker.revocation.due_revocations", revocations)
    with backend(ScriptedCa(answers=[hang] * 9, inline=True)):
        for n in range(3):
            sent = submission(w.university, f"{n}.example.ac.uk")
            create_request(actor=w.alice, submission=sent, channel="portal", now=NOW)
        clock.forward(timedelta(minutes=1))
        worker = Worker(clock=clock)
        for _ in range(3):
            worker.tick(now=clock())
    assert order == ["asked", "other work"] * 3
    asked = RequestEvent.objects.filter(event="claim").values_list("request_id", flat=True)
    assert len(set(asked)) == 3, "and nobody is overtaken by who was just tried"


def test_of_revocations_too(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = Clock(), list[str]()

    def hang(*, revocation_id: int, clock: Clock) -> None:
        order.append(f"revocation {revocation_id}")
        clock.forward(timedelta(seconds=8))

    def looks(**_told: object) -> list[int]:
        order.append("other work")
        return []

    monkeypatch.setattr("certdesk.jobs.worker.revocation.due_revocations", lambda **_told: [1, 2])
    monkeypatch.setattr("certdesk.jobs.worker.revocation.drive_revocation", hang)
    monkeypatch.setattr("certdesk.jobs.worker.acme_validation.due_looks", looks)
    Worker(clock=clock).tick(now=clock())
    assert order == ["revocation 1", "other work"]
