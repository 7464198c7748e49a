"""Many at once, with real locks: whatever the order, one winner, nothing doubled, nothing left behind."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any
from unittest import mock

import pytest
from django.db import connection

from certdesk.domain.actors import Actor, OrgRole, RaRole
from certdesk.domain.errors import CertdeskError, IdempotencyMismatch, NotAuthorized, StateConflict
from certdesk.domain.issuing.certificates import Intent, Issued
from certdesk.domain.issuing.states import State, Status, Work
from certdesk.domain.policy.file import read_policy
from certdesk.services.issuance import engine as issuance
from certdesk.services.people.membership import disable_member
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests import asking as asked_for
from certdesk.services.requests.asking import Created, Submission, withdraw_request
from certdesk.services.requests.confirm import submit_request
from certdesk.services.requests.decisions import approve_request, judge_now, reject_request
from certdesk.services.system import runtime
from certdesk.store.driver import fetch, own_connection
from certdesk.store.models import (
    Approval,
    AuditEvent,
    Certificate,
    Domain,
    Issuance,
    Membership,
    Organisation,
    Request,
    ValidationRecord,
)
from tests.integration.support import (
    NOW,
    Clock,
    ScriptedCa,
    World,
    actor,
    approve,
    approve_only,
    audit_problems,
    backend,
    configured,
    create,
    drive,
    events_of,
    issuance_of,
    issue,
    organisation,
    outcomes,
    signed,
    state_of,
    submission,
    submit,
    together,
    validated,
)

pytestmark = pytest.mark.django_db(transaction=True)
SUBMITS = 50
PAIRS = 100
LATER = NOW + timedelta(minutes=1)


def asking(who: Actor, asked: Submission, key: str = "") -> Callable[[], Created]:
    """Submits this when it is called."""
    return partial(
        submit_request, actor=who, submission=asked, channel="portal", idempotency_key=key, clock=Clock()
    )


@pytest.mark.parametrize("key", ["one-key", ""], ids=["with a key", "without a key"])
def test_fifty_identical_submits_make_one_request_and_one_certificate(w: World, key: str) -> None:
    made, refused = outcomes(together([asking(w.alice, submission(w.university), key)] * SUBMITS))
    assert not refused
    assert len(made) == SUBMITS
    assert Request.objects.count() == 1
    assert Certificate.objects.count() == 1
    assert Issuance.objects.count() == 1
    assert events_of(Request.objects.get().pk) == ["create", "claim", "ca_accept", "issue"]
    assert audit_problems() == []


def test_one_key_for_different_requests_at_once_serves_one_of_them(w: World) -> None:
    calls = [asking(w.alice, submission(w.university), "one-key") for _ in range(8)]
    made, refused = outcomes(together(calls))
    assert len(made) == 1
    assert {type(error) for error in refused} == {IdempotencyMismatch}
    assert Request.objects.count() == 1


def test_one_key_of_two_people_is_two_keys(w: World) -> None:
    same = submission(w.university)
    for who in (w.alice, w.bob):
        asking(who, same, "k")()
    assert Request.objects.count() == 2


def test_a_hundred_approvals_against_rejections_have_one_winner_each(w: World) -> None:
    """Two officers go through the same queue at the same time."""
    numbers = [create(w.alice, f"www.outside{index}.example").number for index in range(PAIRS)]
    assert {state_of(number) for number in numbers} == {Status.WAITING_FOR_APPROVAL}
    gate = threading.Barrier(2)
    results: dict[str, list[object]] = {"approve": [], "reject": []}

    def work(verdict: str) -> None:
        for index, number in enumerate(numbers):
            gate.wait(timeout=30)
            try:
                if verdict == "approve":
                    proof = Evidence(domain=f"outside{index}.example", how="registry", details="Seen.")
                    approve_only(w.olga, number, evidence=[proof], now=NOW)
                else:
                    reject_request(actor=w.otto, number=number, details="No.", now=NOW)
                results[verdict].append("won")
            except CertdeskError as error:
                results[verdict].append(error)

    _done, refused = outcomes(together([partial(work, "approve"), partial(work, "reject")]))
    assert not refused
    for index, number in enumerate(numbers):
        one, other = results["approve"][index], results["reject"][index]
        assert (one == "won") != (other == "won")
        assert isinstance(other if one == "won" else one, StateConflict)
        winner = "approve" if one == "won" else "reject"
        assert list(Approval.objects.filter(request=number).values_list("verdict", flat=True)) == [winner]
        assert events_of(number) == ["create", winner]
        assert ValidationRecord.objects.filter(request=number).count() == (winner == "approve")
        assert Domain.objects.filter(adn=f"outside{index}.example").count() == (winner == "approve")
    decided = AuditEvent.objects.filter(action__in=["request.approve", "request.reject"])
    assert decided.count() == PAIRS
    assert audit_problems() == []


def test_two_officers_approving_with_evidence_make_one_approval(w: World) -> None:
    """The slower one is told that somebody was faster, not that the evidence is unwanted."""
    number = submit(w.alice, "www.outside.example").number
    proof = Evidence(domain="outside.example", how="registry", details="Seen.")
    shown = judge_now(actor=w.olga, number=number, now=NOW).shown
    calls = [
        partial(approve_request, actor=who, number=number, shown=shown, evidence=[proof], now=NOW)
        for who in (w.olga, w.otto) * 3
    ]
    won, refused = outcomes(together(calls))
    assert len(won) == 1
    assert {type(error) for error in refused} == {StateConflict}
    assert Approval.objects.filter(request=number).count() == 1
    assert ValidationRecord.objects.filter(request=number).count() == 1


def test_withdrawing_against_issuing_hands_out_a_certificate_or_ends_the_request(w: World) -> None:
    for _ in range(15):
        created = create(w.alice)
        calls: list[Callable[[], object]] = [
            partial(withdraw_request, actor=w.alice, number=created.number, now=NOW),
            partial(issue, created.number, clock=Clock()),
        ]
        _won, refused = outcomes(together(calls))
        certificates = Certificate.objects.filter(request=created.number)
        left = [(one.withheld, one.revocations.count()) for one in certificates]
        # Withdrawn between claim and certificate, it is withheld and revoked, and both calls succeed.
        both = (state_of(created.number), left) == (Status.WITHDRAWN, [(True, 1)])
        assert both or (state_of(created.number), left) in [
            (Status.ISSUED, [(False, 0)]),
            (Status.WITHDRAWN, []),
        ]
        assert [type(error) for error in refused] == ([] if both else [StateConflict])
    assert audit_problems() == []


def test_twenty_simultaneous_firsts_all_wait_and_the_first_approval_is_set_once() -> None:
    officers = [actor(name, ra=RaRole.OFFICER) for name in ("olga", "otto")]
    new = organisation("New College", vetted=False)
    people = [actor(f"person{index}", organisation=new) for index in range(20)]
    validated("new.ac.uk", of=new, by=officers[0])
    calls = [asking(who, submission(new, f"h{i}.new.ac.uk")) for i, who in enumerate(people)]
    made, refused = outcomes(together(calls))
    assert len(made) == 20
    assert not refused
    assert set(Request.objects.values_list("state", flat=True)) == {Status.WAITING_FOR_APPROVAL}
    assert Organisation.objects.get(id=new).first_approved_at is None

    # The first approval takes a reason away that the others were shown: they are opened again.
    seconds = count(1)
    while waiting := Request.objects.filter(state=State.WAITING_FOR_APPROVAL).values_list("id", flat=True):
        approvals = [
            partial(approve, officers[index % 2], number, clock=Clock(NOW + timedelta(seconds=next(seconds))))
            for index, number in enumerate(waiting)
        ]
        done, refused = outcomes(together(approvals))
        assert done
        assert {type(error) for error in refused} <= {StateConflict}
    approved_at = sorted(Approval.objects.values_list("at", flat=True))
    first = Organisation.objects.get(id=new).first_approved_at
    assert first in approved_at
    assert first == Approval.objects.order_by("id").first().at  # type: ignore[union-attr]  # there are twenty
    assert Certificate.objects.count() == 20
    assert submit(people[0], "later.new.ac.uk").status is Status.ISSUED


def test_ten_threads_issuing_one_request_make_one_certificate(w: World) -> None:
    number = create(w.alice).number
    won, refused = outcomes(together([partial(issue, number, clock=Clock())] * 10))
    assert won == [Status.ISSUED]
    assert {type(error) for error in refused} == {StateConflict}
    assert Issuance.objects.count() == 1
    assert Certificate.objects.count() == 1
    assert events_of(number).count("issue") == 1
    assert audit_problems() == []


def test_driving_one_request_from_many_sides_is_harmless(w: World) -> None:
    number = create(w.alice).number
    results = together([partial(drive, number, clock=Clock())] * 10)
    done, refused = outcomes(results)
    assert not refused
    assert done.count(Status.ISSUED) == 1
    assert drive(number, clock=Clock()) is None
    assert Certificate.objects.count() == 1


def test_an_interrupted_issuance_is_resumed_by_one_of_many(w: World) -> None:
    """The lease: ten workers find the same overdue issuance."""
    number = create(w.alice).number
    killed = mock.patch.object(issuance, "_answer", side_effect=KeyboardInterrupt)
    with killed, pytest.raises(KeyboardInterrupt):
        issue(number, clock=Clock())
    assert issuance_of(number).state == Work.CLAIMED
    later = Clock(NOW + timedelta(minutes=1))
    done, refused = outcomes(together([partial(drive, number, clock=later)] * 10))
    assert not refused
    assert done.count(Status.ISSUED) == 1
    assert Certificate.objects.count() == Issuance.objects.count() == 1
    assert events_of(number) == ["create", "claim", "ca_accept", "issue"]


def test_approving_while_the_domain_is_validated_elsewhere_does_not_lock_up(w: World) -> None:
    """Both insert the domain, and both append to the audit chain: in one order, or they would deadlock."""
    for index in range(6):
        number = submit(w.alice, f"www.both{index}.example").number
        proof = Evidence(domain=f"both{index}.example", how="registry", details="Seen.")
        calls = [
            partial(approve_only, w.olga, number, evidence=[proof], note="n", now=NOW),
            *[partial(validated, f"both{index}.example", of=w.university, by=w.otto, at=NOW)] * 3,
        ]
        _done, refused = outcomes(together(calls))
        # Approving after the validation finds that no evidence is needed, or a reason gone: an answer.
        assert {error.code for error in refused} <= {"input.invalid", StateConflict.code}
        assert Domain.objects.filter(adn=f"both{index}.example").count() == 1
    assert audit_problems() == []


def test_a_request_is_withdrawn_while_a_worker_puts_it_off(w: World) -> None:
    """One writes the request first, the other the issuance: without a lock before, neither could go on."""
    if connection.vendor == "sqlite":
        return  # one writer
    number, usual = create(w.alice).number, issuance.cancel_waiting
    looked = list[object]()
    look = partial(drive, number, clock=Clock(LATER))
    worker = threading.Thread(target=lambda: looked.extend(together([look])))

    def cancel_once_the_worker_waits(**ending: Any) -> None:
        worker.start()
        while not fetch(own_connection(), "SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert worker.is_alive()
        usual(**ending)

    stopped = configured(settings=replace(runtime.current().settings, issuing_stopped="Moving house."))
    with stopped, mock.patch.object(asked_for, "cancel_waiting", cancel_once_the_worker_waits):
        withdraw_request(actor=w.alice, number=number, now=LATER)
        worker.join()
    assert not isinstance(looked[0], Exception), looked
    assert state_of(number) is Status.WITHDRAWN
    assert issuance_of(number).state == Work.CANCELLED


def test_one_certificate_for_several_requests_at_once_is_given_to_one_at_most(w: World) -> None:
    """A CA that mixes up its answers."""
    numbers = [create(w.alice).number for _ in range(6)]
    gate, made = threading.Barrier(len(numbers)), list[Issued]()

    def mixed_up(intent: Intent) -> Issued:
        made.append(signed(intent))
        gate.wait(timeout=30)
        return made[0]

    with backend(ScriptedCa(answers=[mixed_up])):
        done, refused = outcomes(together([partial(drive, number, clock=Clock(LATER)) for number in numbers]))
    assert (len(done), refused) == (6, [])
    assert Certificate.objects.count() == 1
    assert Certificate.objects.filter(withheld=False).count() == done.count(Status.ISSUED)


def test_a_daily_cap_lets_no_more_through_at_once_than_one_after_the_other(w: World) -> None:
    policy = read_policy("version = 1\n[organisation.example-university]\ndaily_cap = 3")
    with configured(policy=policy):
        _made, refused = outcomes(together([partial(create, w.alice) for _ in range(10)]))
    assert not refused
    assert Request.objects.filter(status=Status.ACCEPTED).count() == 3
    assert Request.objects.filter(status=Status.WAITING_FOR_APPROVAL).count() == 7


def test_a_daily_cap_counts_what_came_in_while_the_dns_was_asked(w: World) -> None:
    """Who began to ask first may be judged last."""
    policy = read_policy("version = 1\n[organisation.example-university]\ndaily_cap = 3")
    with configured(policy=policy):
        for seconds in (3, 2, 1):
            create(w.alice, now=NOW + timedelta(seconds=seconds))
        late = create(w.alice)
    assert state_of(late.number) is Status.WAITING_FOR_APPROVAL


def test_two_managers_disabling_each_other_leave_one(w: World) -> None:
    for index in range(8):
        ours = organisation(f"College {index}")
        one = actor(f"one{index}", organisation=ours, role=OrgRole.MANAGER)
        two = actor(f"two{index}", organisation=ours, role=OrgRole.MANAGER)
        assert one.user_id is not None
        assert two.user_id is not None
        calls = [
            partial(disable_member, actor=one, organisation_id=ours, user_id=two.user_id, now=NOW),
            partial(disable_member, actor=two, organisation_id=ours, user_id=one.user_id, now=NOW),
        ]
        _done, refused = outcomes(together(calls))
        assert [type(error) for error in refused] == [NotAuthorized]
        assert Membership.objects.filter(organisation_id=ours, is_active=True).count() == 1


def test_many_appends_to_the_audit_chain_make_one_chain(w: World) -> None:
    calls = [asking(who, submission(w.university)) for who in (w.alice, w.bob) * 10]
    made, refused = outcomes(together(calls))
    assert len(made) == 20
    assert not refused
    assert audit_problems() == []
    assert AuditEvent.objects.filter(action="request.issue").count() == 20
