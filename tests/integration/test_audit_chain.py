"""The audit chain over a real story: every deed is in it, and no row can be touched unnoticed."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from django.db import connection, transaction

from certdesk.domain.actors import SYSTEM
from certdesk.domain.audit import GENESIS
from certdesk.domain.errors import InvariantViolated
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.asking import withdraw_request
from certdesk.services.requests.decisions import reject_request
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import AuditEvent
from tests.integration.support import NOW, Clock, approve, audit_problems, submit, world

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def story() -> list[str]:
    """Issued, approved with evidence, rejected, withdrawn; the actions in their order."""
    w = world()
    submit(w.alice)
    waiting = [submit(w.alice, f"www.owned{i}.org").number for i in range(3)]
    proof = Evidence(domain="owned0.org", how="registry", details="Ünïcode “evidence” 😀")
    approve(w.olga, waiting[0], evidence=[proof], note="Yes.", clock=Clock())
    reject_request(actor=w.otto, number=waiting[1], details="No.", now=NOW)
    withdraw_request(actor=w.alice, number=waiting[2], now=NOW)
    return list(AuditEvent.objects.order_by("seq").values_list("action", flat=True))


def test_every_deed_is_there_in_its_order(story: list[str]) -> None:
    assert story == [
        "domain.validate",
        *("request.create", "request.claim", "request.ca_accept", "request.issue"),
        *["request.create"] * 3,
        *("request.approve", "domain.validate"),
        *("request.claim", "request.ca_accept", "request.issue"),
        *("request.reject", "request.withdraw"),
    ]
    assert audit_problems() == []
    assert AuditEvent.objects.order_by("seq")[0].previous_hash == GENESIS


def test_the_rows_say_who_and_about_what(story: list[str]) -> None:
    assert story
    row = AuditEvent.objects.get(action="request.approve")
    assert row.actor == "olga"
    assert row.organisation_id is not None
    assert row.data["domains"] == ["owned0.org"]
    issued = AuditEvent.objects.filter(action="request.issue")
    assert {r.actor for r in issued} == {SYSTEM.label}
    assert all(r.data["serial"] and r.data["sha256"] for r in issued)


def test_what_a_savepoint_undoes_is_not_told() -> None:
    """Nor once something else of the same transaction waits to be told."""
    with write_transaction():
        audit.record(SYSTEM, "service.first", 1, now=NOW)
        with suppress(ValueError), transaction.atomic():
            audit.record(SYSTEM, "service.undone", 1, now=NOW)
            raise ValueError
        with transaction.atomic():
            audit.record(SYSTEM, "service.second", 1, now=NOW)
    assert set(AuditEvent.objects.values_list("action", flat=True)) == {"service.first", "service.second"}
    assert audit_problems() == []


def _alter() -> None:
    AuditEvent.objects.filter(action="request.withdraw").update(data={})


def _remove() -> None:
    AuditEvent.objects.filter(seq=5).delete()


def _remove_and_renumber() -> None:
    _remove()
    for seq in AuditEvent.objects.filter(seq__gt=5).order_by("seq").values_list("seq", flat=True):
        AuditEvent.objects.filter(seq=seq).update(seq=seq - 1)


def _exchange() -> None:
    for old, new in ((5, 500), (6, 5), (500, 6)):
        AuditEvent.objects.filter(seq=old).update(seq=new)


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize("touch", [_alter, _remove, _remove_and_renumber, _exchange])
def test_a_row_that_was_touched_is_noticed(touch: Callable[[], None]) -> None:
    """That every field counts is for `tests/unit/test_audit.py` to say."""
    touch()
    assert audit_problems()


def test_no_row_is_written_outside_a_transaction() -> None:
    assert not connection.in_atomic_block
    with pytest.raises(InvariantViolated):
        audit.record(actor=SYSTEM, action="x", object_type="x", object_id=1, now=NOW)
    assert not AuditEvent.objects.exists()


def test_a_row_goes_with_its_transaction() -> None:
    def half_done() -> None:
        with write_transaction():
            audit.record(actor=SYSTEM, action="x", object_type="x", object_id=1, now=NOW)
            raise InvariantViolated("something else went wrong")

    with pytest.raises(InvariantViolated, match="something else"):
        half_done()
    with write_transaction():
        audit.record(actor=SYSTEM, action="y", object_type="x", object_id=1, now=NOW)
    assert list(AuditEvent.objects.values_list("seq", "action")) == [(1, "y")]
    assert audit_problems() == []
