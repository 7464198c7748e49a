"""The only writer of state: compare-and-swap along the table, with history, audit and mail in one step."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django_tasks_db.models import DBTaskResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certdesk.domain.actors import SYSTEM
from certdesk.domain.errors import NotFound, StateConflict
from certdesk.domain.requests import FINAL, TRANSITIONS, Event, RequestId, State, Status
from certdesk.store.models import AuditEvent, Request, RequestEvent
from certdesk.store.transitions import Step, advance, advance_through
from tests.integration.support import NOW, audit_problems, copies, state_of, submit, world

pytestmark = pytest.mark.django_db(transaction=True)


def _in(state: State, **changes: object) -> RequestId:
    alice = world().alice
    template = submit(alice, "www.outside.example").number
    (number,) = copies(template, count=1, state=state, **changes)
    return number


def _left(number: int) -> tuple[State, int, int, int]:
    version = Request.objects.values_list("version", flat=True).get(id=number)
    return (
        state_of(number),
        version,
        RequestEvent.objects.filter(request=number).count(),
        AuditEvent.objects.filter(object_type="request", object_id=str(number)).count(),
    )


def test_every_pair_of_state_and_event_does_what_the_table_says() -> None:
    template = submit(world().alice, "www.outside.example").number
    for state in State:
        for event in Event:
            (number,) = copies(template, count=1, state=state)
            version = Request.objects.values_list("version", flat=True).get(id=number)
            new = TRANSITIONS.get((state, event))
            if new is None:
                with pytest.raises(StateConflict):
                    advance(request_id=number, event=event, actor=SYSTEM, now=NOW, step=Step())
                assert _left(number) == (state, version, 0, 0)
            else:
                step = Step(next_attempt_at=NOW)
                assert advance(request_id=number, event=event, actor=SYSTEM, now=NOW, step=step) is new
                assert _left(number) == (new, version + 1, 1, 1)
                due = Request.objects.values_list("next_attempt_at", flat=True).get(id=number)
                assert due == (None if new in FINAL else NOW)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.sampled_from(Event), max_size=12))
def test_random_events_never_leave_the_table_and_never_lose_history(events: list[Event]) -> None:
    if not Request.objects.exists():
        submit(world().alice, "www.outside.example")
    template = Request.objects.order_by("id").values_list("id", flat=True)[0]
    (number,) = copies(template, count=1)
    state, happened = Status.WAITING_FOR_APPROVAL, []
    for event in events:
        new = TRANSITIONS.get((state, event))
        try:
            advance(request_id=number, event=event, actor=SYSTEM, now=NOW, step=Step())
        except StateConflict:
            assert new is None
            continue
        assert new is not None
        happened.append((event.value, state.value, new.value))
        state = new
    assert state_of(number) is state
    lines = RequestEvent.objects.filter(request=number).order_by("id")
    assert list(lines.values_list("event", "from_status", "to_status")) == happened


def test_several_events_are_one_step_or_none() -> None:
    number = _in(Status.ACCEPTED)
    steps = ((Event.CA_ACCEPT, Step(detail="one")), (Event.ISSUE, Step(detail="two", note="n")))
    assert advance_through(request_id=number, steps=steps, actor=SYSTEM, now=NOW) is Status.ISSUED
    assert _left(number) == (Status.ISSUED, 2, 2, 2)
    assert Request.objects.get(id=number).detail == "two"
    other = copies(number, count=1, state=Status.ACCEPTED)[0]
    version = Request.objects.get(id=other).version
    wrong = ((Event.CA_ACCEPT, Step()), (Event.APPROVE, Step()))
    with pytest.raises(StateConflict):
        advance_through(request_id=other, steps=wrong, actor=SYSTEM, now=NOW)
    assert _left(other) == (Status.ACCEPTED, version, 0, 0)
    assert audit_problems() == []


def test_a_stale_version_conflicts_and_the_seen_one_does_not() -> None:
    """W1."""
    number = _in(Status.WAITING_FOR_APPROVAL, version=4)
    for stale in (0, 3, 5):
        with pytest.raises(StateConflict, match="Look at it again"):
            advance(
                request_id=number, event=Event.APPROVE, actor=SYSTEM, now=NOW, step=Step(), seen_version=stale
            )
    advance(request_id=number, event=Event.APPROVE, actor=SYSTEM, now=NOW, step=Step(), seen_version=4)
    assert _left(number)[:2] == (Status.ACCEPTED, 5)


def test_a_missing_request_is_not_found() -> None:
    with pytest.raises(NotFound):
        advance(request_id=RequestId(99), event=Event.APPROVE, actor=SYSTEM, now=NOW, step=Step())


def test_claims_are_counted_and_a_retry_starts_anew() -> None:
    number = _in(Status.ACCEPTED)
    for expected in (1, 2):
        for event in (Event.CLAIM, Event.RELEASE):
            advance(request_id=number, event=event, actor=SYSTEM, now=NOW, step=Step())
        assert Request.objects.get(id=number).attempts == expected
    for event in (Event.CLAIM, Event.CA_REFUSE, Event.RETRY):
        advance(request_id=number, event=event, actor=SYSTEM, now=NOW, step=Step())
    assert Request.objects.get(id=number).attempts == 0


def test_mail_is_queued_in_the_same_transaction_for_what_concerns_the_applicant() -> None:
    number = _in(Status.SUBMITTED)
    before = DBTaskResult.objects.count()
    advance(request_id=number, event=Event.ISSUE, actor=SYSTEM, now=NOW, step=Step())
    job = DBTaskResult.objects.order_by("-enqueued_at").first()
    assert DBTaskResult.objects.count() == before + 1
    assert job is not None
    line = RequestEvent.objects.get(request=number)
    assert job.args_kwargs == {"args": [], "kwargs": {"event_id": line.pk}}
    assert job.run_after == NOW
    other = copies(number, count=1, state=Status.ACCEPTED)[0]
    advance(request_id=other, event=Event.CLAIM, actor=SYSTEM, now=NOW, step=Step())
    assert DBTaskResult.objects.count() == before + 1


@pytest.mark.parametrize(
    "changes",
    [{"state": "nonsense"}, {"state": Status.ISSUED, "next_attempt_at": NOW + timedelta(days=1)}],
    ids=["unknown state", "over and due"],
)
def test_the_database_itself_refuses_impossible_rows(changes: dict[str, object]) -> None:
    number = _in(Status.ACCEPTED)
    with pytest.raises(IntegrityError), transaction.atomic():
        Request.objects.filter(id=number).update(**changes)
