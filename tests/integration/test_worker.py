"""The worker: failing jobs come back, dead workers' jobs are taken over, one bad request stops nobody."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.core import mail
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from certdesk.domain.errors import Unavailable
from certdesk.domain.issuing.states import IssuanceId, Status, Work
from certdesk.jobs import handlers, worker
from certdesk.jobs.worker import DEAD_AFTER, GIVE_UP_AFTER, KEEP_FINISHED, Worker, backoff, recover_dead
from certdesk.services.issuance import engine as issuance
from certdesk.store import jobs
from certdesk.store.models import Certificate, Issuance, RequestEvent
from tests.integration.support import (
    NOW,
    Clock,
    World,
    actor,
    create,
    issuance_of,
    outcomes,
    state_of,
    submit,
    together,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)


def _job() -> DBTaskResult[..., None]:
    return DBTaskResult.objects.get()


def _mail_job() -> int:
    """One request that waits, and the job of its mail; the number of the event."""
    submit(world().alice, "www.outside.example")
    assert DBTaskResult.objects.count() == 1
    return RequestEvent.objects.get().pk


def _broken(error: Exception) -> Any:  # noqa: ANN401 - a patch, whose type is private
    return mock.patch.dict(handlers.HANDLERS, notify_applicant=mock.Mock(side_effect=error))


class TestJobs:
    def test_a_due_job_is_run_once(self) -> None:
        _mail_job()
        one, two = Worker(), Worker()
        one.tick(now=timezone.now())
        two.tick(now=timezone.now())
        assert len(mail.outbox) == 1
        assert _job().status == TaskResultStatus.SUCCESSFUL
        assert _job().finished_at is not None

    def test_what_a_job_did_is_written_with_its_end_or_not_at_all(self) -> None:
        number = _mail_job()
        full = mock.patch.object(worker, "_finish", side_effect=OSError("no disk"))
        with full, pytest.raises(OSError, match="no disk"):
            Worker().tick(now=timezone.now())
        assert RequestEvent.objects.get(id=number).notified_at is None
        assert recover_dead(now=timezone.now() + timedelta(hours=1)) == 1
        Worker().tick(now=timezone.now() + timedelta(hours=1))
        assert RequestEvent.objects.get(id=number).notified_at is not None
        assert len(mail.outbox) == 2  # once more rather than never
        assert _job().status == TaskResultStatus.SUCCESSFUL

    def test_a_job_is_not_run_before_its_time(self) -> None:
        later = timezone.now() + timedelta(minutes=5)
        jobs.enqueue("notify_applicant", due_at=later, event_id=1)
        assert Worker().tick(now=later - timedelta(seconds=1)) is False
        assert _job().status == TaskResultStatus.READY

    @pytest.mark.parametrize("error", [OSError("no mail server"), Unavailable("x"), KeyError("x")])
    def test_a_failing_job_is_tried_again_later_and_later(self, error: Exception) -> None:
        _mail_job()
        with _broken(error):
            for _ in range(3):
                assert Worker().tick(now=_due()) is True
                assert _job().status == TaskResultStatus.READY
                assert type(error).__name__ in _job().exception_class_path
        assert Worker().tick(now=timezone.now()) is False
        Worker().tick(now=_due())
        assert _job().status == TaskResultStatus.SUCCESSFUL
        assert len(mail.outbox) == 1

    def test_and_gives_up_in_the_end_for_everybody_to_see(self) -> None:
        _mail_job()
        with _broken(OSError("no mail server")):
            for _ in range(GIVE_UP_AFTER):
                assert Worker().tick(now=_due()) is True
        job = _job()
        assert job.status == TaskResultStatus.FAILED
        assert job.finished_at is not None
        assert job.exception_class_path == "builtins.OSError"
        assert Worker().tick(now=timezone.now() + timedelta(days=1)) is False

    def test_the_tries_reach_over_a_day_without_a_mail_server(self) -> None:
        waits = [backoff(tries) for tries in range(1, GIVE_UP_AFTER)]
        assert waits == sorted(waits)
        assert waits[0] == timedelta(seconds=10)
        assert timedelta(hours=24) <= sum(waits, timedelta()) <= timedelta(hours=36)

    def test_a_job_that_nobody_knows_fails_alone(self) -> None:
        jobs.enqueue("no_such_job", due_at=timezone.now() - timedelta(minutes=1))
        submit(world().alice, "www.outside.example")
        Worker().tick(now=timezone.now())
        assert len(mail.outbox) == 1
        unknown = DBTaskResult.objects.get(task_path__endswith="no_such_job")
        assert unknown.status == TaskResultStatus.READY
        assert unknown.exception_class_path == "builtins.KeyError"

    def test_many_workers_share_the_jobs_and_send_each_mail_once(self, w: World) -> None:
        for index in range(12):
            submit(w.alice, f"www{index}.outside.example")
        now = timezone.now()
        calls: list[Callable[[], bool]] = [lambda: Worker().tick(now=now)] * 6
        _done, refused = outcomes(together(calls))
        assert not refused
        assert len(mail.outbox) == 12
        assert set(DBTaskResult.objects.values_list("status", flat=True)) == {TaskResultStatus.SUCCESSFUL}


def _due() -> datetime:
    due: datetime = _job().run_after
    return due + timedelta(seconds=1)


class TestDeadWorkers:
    def _left_running(self, *, since: timedelta) -> None:
        _mail_job()
        DBTaskResult.objects.update(
            status=TaskResultStatus.RUNNING, started_at=timezone.now() - since, worker_ids=["worker-dead"]
        )

    def test_leave_their_jobs_to_others(self) -> None:
        self._left_running(since=DEAD_AFTER + timedelta(seconds=5))
        now = timezone.now()
        one = Worker(clock=lambda: now)
        one.tick(now=now)  # housekeeping gives it back
        one.tick(now=now + timedelta(seconds=1))
        assert _job().status == TaskResultStatus.SUCCESSFUL
        assert len(mail.outbox) == 1

    def test_are_told_from_busy_ones(self) -> None:
        self._left_running(since=DEAD_AFTER - timedelta(seconds=30))
        assert recover_dead(now=timezone.now()) == 0
        assert _job().status == TaskResultStatus.RUNNING

    def test_and_the_job_is_counted_as_tried(self) -> None:
        self._left_running(since=DEAD_AFTER * 2)
        assert recover_dead(now=timezone.now()) == 1
        Worker().tick(now=timezone.now() + timedelta(seconds=1))
        assert len(_job().worker_ids) == 2


class TestRequests:
    def test_one_that_can_not_be_driven_holds_up_nobody(
        self, w: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        numbers = [create(w.alice).number for _ in range(3)]
        poisonous = numbers[0]
        real = issuance.drive

        def driving(*, issuance_id: IssuanceId, clock: Callable[[], datetime]) -> Work | None:
            if issuance_id == issuance_of(poisonous).pk:
                raise RuntimeError("poison")
            return real(issuance_id=issuance_id, clock=clock)

        monkeypatch.setattr(issuance, "drive", driving)
        clock = Clock(NOW + timedelta(minutes=1))
        one = Worker(clock=clock)
        one.tick(now=clock.now)
        assert [state_of(n) for n in numbers] == [Status.ACCEPTED, Status.ISSUED, Status.ISSUED]
        put_off = issuance_of(poisonous).next_attempt_at
        assert put_off is not None
        assert put_off > clock.now
        monkeypatch.setattr(issuance, "drive", real)
        clock.now = put_off
        one.tick(now=clock.now)
        assert state_of(poisonous) is Status.ISSUED

    def test_a_stored_csr_that_can_not_be_read_any_more_is_put_off(self, w: World) -> None:
        bad, good = (create(w.alice).number for _ in range(2))
        Issuance.objects.filter(request_id=bad).update(csr_der=b"nonsense")
        clock = Clock(NOW + timedelta(minutes=1))
        Worker(clock=clock).tick(now=clock.now)
        assert (state_of(bad), state_of(good)) == (Status.ACCEPTED, Status.ISSUED)
        assert Certificate.objects.count() == 1

    def test_a_lost_request_is_found_by_the_tick_without_any_job(self, w: World) -> None:
        number = create(w.alice).number
        DBTaskResult.objects.all().delete()
        clock = Clock(NOW + timedelta(seconds=4))
        Worker(clock=clock).tick(now=clock.now)
        assert state_of(number) is Status.ACCEPTED
        clock.now = NOW + timedelta(seconds=5)
        Worker(clock=clock).tick(now=clock.now)
        assert state_of(number) is Status.ISSUED


def test_a_tick_that_fails_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[datetime] = []
    one = Worker()

    def failing(*, now: datetime) -> bool:
        ticks.append(now)
        if len(ticks) == 3:
            one.stop.set()
        raise RuntimeError("the database is away")

    monkeypatch.setattr(worker, "PAUSE", 0)
    monkeypatch.setattr(one, "tick", failing)
    monkeypatch.setattr(worker, "close_old_connections", lambda: None)
    together([one.run])
    assert len(ticks) == 3


def test_finished_jobs_are_cleared_away_after_a_fortnight() -> None:
    _mail_job()
    Worker().tick(now=timezone.now())
    Worker().tick(now=timezone.now() + timedelta(minutes=1))
    assert DBTaskResult.objects.count() == 1
    Worker().tick(now=timezone.now() + KEEP_FINISHED + timedelta(minutes=1))
    assert not DBTaskResult.objects.exists()
    assert actor("alice").user_id is not None
