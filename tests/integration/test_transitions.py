"""The only writer of states: compare-and-swap along both tables; status, history, audit, mail at once."""

from datetime import timedelta
from functools import partial
from itertools import count

import pytest
from django.db import IntegrityError, transaction
from django_tasks_db.models import DBTaskResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certdesk.domain.actors import SYSTEM
from certdesk.domain.errors import NotFound, StateConflict
from certdesk.domain.issuing.states import (
    DONE,
    ISSUANCE_TRANSITIONS,
    NEEDS_NO_CERTIFICATE,
    REQUEST_TRANSITIONS,
    Event,
    RequestId,
    State,
    Status,
    Work,
    status_of,
)
from certdesk.store.db import write_transaction
from certdesk.store.models import AuditEvent, Issuance, Request, RequestEvent
from certdesk.store.transitions import REVOKED, Standing, Step, advance, advance_issuance, note_line
from tests.integration.support import NOW, audit_problems, copies, issuance_of, submit, world

pytestmark = pytest.mark.django_db(transaction=True)
ENDS = (Event.ISSUE, Event.CA_REFUSE, Event.CANCEL)
TERM = {"term_starts_at": NOW, "term_ends_at": NOW + timedelta(days=365)}
_numbers = count(1)


@pytest.fixture
def template() -> RequestId:
    return submit(world().alice, "www.outside.example").number


def _request(template: int, state: State, status: Status) -> RequestId:
    return copies(template, count=1, state=state, status=status, **TERM)[0]


def _issuance(template: int, request: int, work: Work) -> Issuance:
    """A new issuance under a request, in this state, as if it had come there."""
    row, number = issuance_of(template), next(_numbers)
    row.pk, row.request_id, row.state, row.version = None, request, work, 0
    row.intent_key, row.idempotency_key = f"intent-{number}", f"key-{number}"
    row.save(force_insert=True)
    return row


def _lines(number: int) -> list[tuple[str, str, str]]:
    lines = RequestEvent.objects.filter(request=number).order_by("id")
    return list(lines.values_list("event", "from_status", "to_status"))


def _audited(number: int) -> int:
    return AuditEvent.objects.filter(object_type="request", object_id=str(number)).count()


_advance = partial(advance, actor=SYSTEM, now=NOW, step=Step())
_advance_issuance = partial(advance_issuance, actor=SYSTEM, now=NOW)


@pytest.mark.parametrize("certified", [False, True])
@pytest.mark.parametrize("state", State)
def test_every_event_does_to_a_request_what_its_table_says(
    template: RequestId, state: State, *, certified: bool
) -> None:
    before = status_of(state, None, has_certificate=certified)
    for event in Event:
        number = _request(template, state, before)
        version = Request.objects.get(id=number).version
        new = REQUEST_TRANSITIONS.get((state, event))
        if new is None or (before is Status.ISSUED and event in NEEDS_NO_CERTIFICATE):
            with pytest.raises(StateConflict):
                _advance(request_id=number, event=event)
            row = Request.objects.get(id=number)
            assert (row.state, row.status, row.version, _lines(number)) == (state, before, version, [])
        else:
            after = status_of(new, None, has_certificate=before is Status.ISSUED)
            step = Step(detail="now")
            assert _advance(request_id=number, event=event, step=step) is after
            row = Request.objects.get(id=number)
            assert (row.state, row.status, row.version, row.detail) == (new, after, version + 1, "now")
            assert _lines(number) == [(event, before, after)]
        assert _audited(number) == len(_lines(number))


@pytest.mark.parametrize("work", Work)
@pytest.mark.parametrize(
    "state, certified", [(State.APPROVED, False), (State.APPROVED, True), (State.WITHDRAWN, False)]
)
def test_every_event_does_to_an_issuance_what_its_table_says_and_leads_its_request(
    template: RequestId, state: State, work: Work, *, certified: bool
) -> None:
    """A request that has its certificate, or was decided otherwise, shows only the work's end."""
    before = status_of(state, work, has_certificate=certified)
    leads = state is State.APPROVED and not certified
    for event in Event:
        number = _request(template, state, before)
        issuance = _issuance(template, number, work)
        new = ISSUANCE_TRANSITIONS.get((work, event))
        steps = ((event, Step(detail="now")),)
        due = NOW + timedelta(seconds=1)
        if new is None:
            with pytest.raises(StateConflict):
                _advance_issuance(issuance=issuance, steps=steps, next_attempt_at=due)
            assert Issuance.objects.get(id=issuance.pk).version == 0
            assert _lines(number) == []
            continue
        assert _advance_issuance(issuance=issuance, steps=steps, next_attempt_at=due) is new
        stored = Issuance.objects.get(id=issuance.pk)
        assert (stored.state, stored.version) == (issuance.state, issuance.version) == (new, 1)
        assert (stored.next_attempt_at, stored.ended_at) == ((None, NOW) if new in DONE else (due, None))
        after = status_of(state, new, has_certificate=certified or new is Work.ISSUED)
        row = Request.objects.get(id=number)
        assert row.status == (after if leads else before)
        assert (row.detail == "now") is leads
        told = leads or (event in ENDS and (work is not Work.WAITING or state is State.APPROVED))
        assert _lines(number) == ([(event, before, after)] if told else [])
        assert _audited(number) == len(_lines(number))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.sampled_from(Event), max_size=16), approved=st.booleans())
def test_random_events_never_leave_the_tables_and_never_lose_history(
    events: list[Event], *, approved: bool
) -> None:
    """Decision and work go on side by side, as people and the worker drive them; what is shown follows."""
    if not Request.objects.exists():
        submit(world().alice, "www.outside.example")
    template = Request.objects.order_by("id").values_list("id", flat=True)[0]
    state = State.APPROVED if approved else State.WAITING_FOR_APPROVAL
    status = status_of(state, Work.WAITING, has_certificate=False)
    number, happened = _request(template, state, status), []
    issuance = _issuance(template, number, Work.WAITING)
    for event in events:
        work, about_work = Work(issuance.state), event in {event for _old, event in ISSUANCE_TRANSITIONS}
        if event is Event.ISSUE and state is not State.APPROVED:
            continue  # what comes then is withheld: `services.issuance.engine` cancels
        if event is Event.RETRY and work is not Work.REFUSED:
            continue  # `services.requests.recovery` sends again what the CA refused, and nothing else
        try:
            if about_work:
                steps = ((event, Step()),)
                _advance_issuance(issuance=issuance, steps=steps)
                assert issuance.state == ISSUANCE_TRANSITIONS[work, event]
            else:
                _advance(request_id=number, event=event)
        except StateConflict:
            known = (work, event) in ISSUANCE_TRANSITIONS or (state, event) in REQUEST_TRANSITIONS
            assert not known or (status is Status.ISSUED and event in NEEDS_NO_CERTIFICATE)
            continue
        if event is Event.RETRY:
            issuance = _issuance(template, number, Work.WAITING)
        leads = state is State.APPROVED and status is not Status.ISSUED
        if not about_work:
            state = REQUEST_TRANSITIONS[state, event]
        before, certified = status, status is Status.ISSUED or issuance.state == Work.ISSUED
        if leads or not about_work:
            status = status_of(state, Work(issuance.state), has_certificate=certified)
        if (
            leads
            or not about_work
            or (event in ENDS and (work is not Work.WAITING or state is State.APPROVED))
        ):
            happened.append((event.value, before.value, status.value))
    row = Request.objects.get(id=number)
    assert (row.state, row.status, _lines(number)) == (state, status, happened)


def test_several_events_are_one_step_or_none(template: RequestId) -> None:
    number = _request(template, State.APPROVED, Status.ACCEPTED)
    issuance = _issuance(template, number, Work.CLAIMED)
    wrong = ((Event.CA_ACCEPT, Step()), (Event.CLAIM, Step()))
    with pytest.raises(StateConflict):
        _advance_issuance(issuance=issuance, steps=wrong)
    assert (issuance.state, issuance.version, _lines(number)) == (Work.CLAIMED, 0, [])
    steps = ((Event.CA_ACCEPT, Step(detail="one")), (Event.ISSUE, Step(detail="two")))
    assert _advance_issuance(issuance=issuance, steps=steps) is Work.ISSUED
    assert (issuance.version, Request.objects.get(id=number).detail) == (1, "two")
    assert _lines(number) == [("ca_accept", "accepted", "submitted"), ("issue", "submitted", "issued")]
    assert audit_problems() == []


def test_history_is_in_order_whether_or_not_somebody_is_told(template: RequestId) -> None:
    """Those lines of which somebody is told are numbered at once, the others at the transaction's end."""
    number = _request(template, State.APPROVED, Status.ACCEPTED)
    issuance = _issuance(template, number, Work.CLAIMED)
    with write_transaction():
        _advance_issuance(issuance=issuance, steps=((Event.RELEASE, Step()),))
        _advance_issuance(issuance=issuance, steps=((Event.CANCEL, Step()),))
        _advance(request_id=number, event=Event.REFER)
        note_line(request_id=number, event=REVOKED, actor=SYSTEM, note="", now=NOW)
    told = [event for event, _old, _new in _lines(number)]
    assert told == [Event.RELEASE, Event.CANCEL, Event.REFER, REVOKED]


def test_a_stale_version_conflicts_and_the_seen_one_does_not(template: RequestId) -> None:
    number = copies(template, count=1, version=4, **TERM)[0]
    for stale in (0, 3, 5):
        with pytest.raises(StateConflict, match="since you opened it: it is waiting for an officer"):
            _advance(request_id=number, event=Event.APPROVE, seen_version=stale)
    _advance(request_id=number, event=Event.APPROVE, seen_version=4)
    assert Request.objects.get(id=number).version == 5


def test_a_step_from_what_was_there_before_conflicts(template: RequestId) -> None:
    """Of two workers one goes on; and nobody leads a request that was decided otherwise meanwhile."""
    number = _request(template, State.APPROVED, Status.ACCEPTED)
    old, fast = _issuance(template, number, Work.CLAIMED), issuance_of(number)
    claim, accept = ((Event.RELEASE, Step()),), ((Event.CA_ACCEPT, Step()),)
    _advance_issuance(issuance=fast, steps=accept)
    with pytest.raises(StateConflict, match="Another worker"):
        _advance_issuance(issuance=old, steps=claim)
    row = Request.objects.get(id=number)
    read = Standing(
        state=State(row.state),
        status=Status(row.status),
        version=row.version,
        organisation_id=row.organisation_id,
    )
    _advance(request_id=number, event=Event.WITHDRAW)
    with pytest.raises(StateConflict):
        _advance_issuance(issuance=fast, steps=((Event.ISSUE, Step()),), request=read)
    assert issuance_of(number).state == Work.SUBMITTED
    assert Request.objects.get(id=number).status == Status.WITHDRAWN


def test_a_missing_request_is_not_found() -> None:
    with pytest.raises(NotFound):
        _advance(request_id=RequestId(99), event=Event.APPROVE)


@pytest.mark.parametrize(
    "status, work, event, mails",
    [
        (Status.SUBMITTED, Work.SUBMITTED, Event.ISSUE, 1),
        (Status.SUBMITTED, Work.SUBMITTED, Event.CA_REFUSE, 1),
        (Status.ACCEPTED, Work.WAITING, Event.CLAIM, 0),
        (Status.ISSUED, Work.SUBMITTED, Event.ISSUE, 0),
    ],
    ids=["issued", "refused", "claimed", "another certificate"],
)
def test_mail_is_queued_in_the_same_transaction_for_what_concerns_the_applicant(
    template: RequestId, status: Status, work: Work, event: Event, mails: int
) -> None:
    number = _request(template, State.APPROVED, status)
    issuance = _issuance(template, number, work)
    DBTaskResult.objects.all().delete()
    _advance_issuance(issuance=issuance, steps=((event, Step()),))
    lines = RequestEvent.objects.filter(request=number).values_list("id", flat=True)
    jobs = [(job.args_kwargs["kwargs"], job.run_after) for job in DBTaskResult.objects.all()]
    assert jobs == [({"event_id": line}, NOW) for line in lines][:mails]


@pytest.mark.parametrize(
    "model, changes",
    [
        (Request, {"state": "nonsense"}),
        (Request, {"status": "nonsense"}),
        (Request, {"state": State.APPROVED, "term_ends_at": None}),
        (Issuance, {"state": "nonsense"}),
        (Issuance, {"state": Work.ISSUED, "next_attempt_at": NOW}),
        (Issuance, {"state": Work.CLAIMED, "intent_key": None}),
    ],
)
def test_the_database_itself_refuses_impossible_rows(
    template: RequestId, model: type[Request] | type[Issuance], changes: dict[str, object]
) -> None:
    assert Issuance.objects.filter(request=template).update(intent_key="intent")
    with pytest.raises(IntegrityError), transaction.atomic():
        model.objects.update(**changes)


def test_the_database_itself_keeps_one_open_issuance_a_request(template: RequestId) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        _issuance(template, template, Work.CLAIMED)
    assert _issuance(template, template, Work.REFUSED).pk
