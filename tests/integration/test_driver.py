"""Rows on the driver: the same as the ORM's own, with the values of each call."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django_tasks_db.models import DBTaskResult

from certdesk.conf.settings import _database
from certdesk.store.db import point_last, put_last, write_kept, write_transaction
from certdesk.store.driver import first, found, insert, insert_all, swap, values_of
from certdesk.store.models import BlockedKey, IssuerChain, Membership, Organisation
from tests.integration.support import organisation, world

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 24, 9, 30, 15, 250_000, tzinfo=UTC)


def test_each_call_asks_the_database_with_its_own_values() -> None:
    one, other = organisation("First College"), organisation("Second College")
    for number, name in ((one, "First College"), (other, "Second College"), (one, "First College")):
        row = first(Organisation, id=number)
        assert row is not None
        assert row.legal_name == name
    Organisation.objects.filter(id=one).update(legal_name="Renamed College")
    assert [row.legal_name for row in found(Organisation, id=one)] == ["Renamed College"]
    assert first(Organisation, id=0) is None
    assert found(Organisation, legal_name="' OR 1=1 --") == []


def test_a_row_is_the_one_that_the_orm_finds() -> None:
    w = world()
    expected = Membership.objects.filter(organisation_id=w.university).first()
    assert expected is not None
    row = first(Membership, organisation_id=w.university, user_id=expected.user_id)
    assert row is not None
    for field in Membership._meta.concrete_fields:
        assert getattr(row, field.attname) == getattr(expected, field.attname)
    assert row.organisation == expected.organisation


def test_rows_come_in_the_order_of_their_numbers() -> None:
    rows = insert_all(BlockedKey(spki_sha256=f"{n:064x}", reason="lost", at=NOW) for n in (3, 1, 2))
    assert [row.pk for row in found(BlockedKey, reason="lost")] == [row.pk for row in rows]


def test_an_inserted_row_is_the_one_that_is_read_again() -> None:
    chain = insert(IssuerChain(sha256="a" * 64, certificates=["MII", {"odd": "ü"}]))
    again = IssuerChain.objects.get(pk=chain.pk)
    assert (again.sha256, again.certificates) == ("a" * 64, ["MII", {"odd": "ü"}])
    chain.sha256 = "b" * 64
    chain.save()  # an update, for it is there
    assert IssuerChain.objects.count() == 1


def test_what_django_fills_in_itself_is_filled_in() -> None:
    told = {"args": [], "kwargs": {"event_id": 1}}
    job: DBTaskResult[..., Any] = insert(
        DBTaskResult(task_path="x", args_kwargs=told, backend_name="default", run_after=NOW)
    )
    again = DBTaskResult.objects.get(id=job.id)
    assert isinstance(again.id, uuid.UUID)
    assert again.enqueued_at is not None
    assert (again.args_kwargs, again.worker_ids) == (told, [])


def test_many_rows_go_in_and_each_gets_its_own_number() -> None:
    rows = insert_all(BlockedKey(spki_sha256=f"{n:064x}", reason=f"row {n}", at=NOW) for n in range(120))
    assert {row.pk: row.reason for row in BlockedKey.objects.all()} == {row.pk: row.reason for row in rows}
    assert insert_all([]) == []


def test_a_swap_happens_only_where_the_row_is_what_it_was() -> None:
    one, other = organisation("First College"), organisation("Second College")
    Organisation.objects.filter(id__in=(one, other)).update(vetted_at=None)
    wanted = {"legal_name": "Renamed College", "vetted_at": NOW}
    assert swap(Organisation, {"id": one, "legal_name": "Another College"}, wanted) == 0
    assert swap(Organisation, {"id": one, "legal_name": "First College"}, wanted) == 1
    assert swap(Organisation, {"id": one, "vetted_at": None}, {"vetted_at": NOW + timedelta(days=1)}) == 0
    assert swap(Organisation, {"id": other, "vetted_at": None}, {"vetted_at": NOW}) == 1
    rows = Organisation.objects.in_bulk()
    assert [(rows[number].legal_name, rows[number].vetted_at) for number in (one, other)] == [
        ("Renamed College", NOW),
        ("Second College", NOW),
    ]
    assert swap(Organisation, {"id": one, "vetted_at": NOW}, {"vetted_at": None}) == 1
    assert Organisation.objects.get(id=one).vetted_at is None


def test_a_refused_row_is_django_s_error_and_ends_the_transaction() -> None:
    insert(IssuerChain(sha256="a" * 64, certificates=[]))
    with pytest.raises(IntegrityError), write_transaction():
        insert(IssuerChain(sha256="a" * 64, certificates=[]))
    with write_transaction():  # as with Django's own cursors, nobody goes on in a transaction that broke
        with pytest.raises(IntegrityError), write_transaction():
            insert(IssuerChain(sha256="a" * 64, certificates=[]))
        with pytest.raises(TransactionManagementError):
            first(Organisation, id=1)


def test_an_error_inside_undoes_the_whole_transaction_even_if_it_is_caught() -> None:
    with write_transaction():
        insert(IssuerChain(sha256="a" * 64, certificates=[]))
        with suppress(ValueError), write_transaction():
            insert(IssuerChain(sha256="b" * 64, certificates=[]))
            raise ValueError
    assert not IssuerChain.objects.exists()


def test_whoever_counts_statements_hears_these_too() -> None:
    with CaptureQueriesContext(connection) as heard:
        first(Organisation, id=1)
        insert(IssuerChain(sha256="a" * 64, certificates=[]))
        swap(Organisation, {"id": 1, "vetted_at": None}, {"vetted_at": NOW})
    assert [one["sql"].split()[0] for one in heard.captured_queries] == ["SELECT", "INSERT", "UPDATE"]


def test_postgresql_keeps_a_statement() -> None:
    for _ in range(3):
        first(Organisation, id=1)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE %s",
                ['%FROM "store_organisation" r WHERE r."id" = $1%'],
            )
            assert sum(times for (times,) in cursor.fetchall()) >= 3


def test_behind_a_pooler_in_transaction_mode_nothing_is_kept() -> None:
    """The next transaction may run in a session that has never seen the statement."""
    address = "postgres://user@host/certdesk"
    assert _database(address)["OPTIONS"]["prepare_threshold"] is not None  # type: ignore[index]  # a dict
    alone = _database(f"{address}?pooler=transaction")
    assert alone["OPTIONS"]["prepare_threshold"] is None  # type: ignore[index]  # as above
    assert alone["DISABLE_SERVER_SIDE_CURSORS"]
    if connection.vendor != "postgresql":
        return
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    usual, connection.connection.prepare_threshold = connection.connection.prepare_threshold, None
    try:
        for _ in range(3):
            first(Organisation, id=1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM pg_prepared_statements")
            assert cursor.fetchone() == (0,)
    finally:
        connection.connection.prepare_threshold = usual
        connection.close()


def _block(spki_sha256: str) -> None:
    put_last(BlockedKey, [values_of(BlockedKey(spki_sha256=spki_sha256, reason="lost", at=NOW))])


def test_what_nothing_reads_is_written_at_the_end_and_on_postgresql_as_one() -> None:
    w, other = world(), organisation("Second College")
    member = Membership.objects.filter(organisation_id=w.university)[0]
    with CaptureQueriesContext(connection) as queries, write_transaction():
        _block("a" * 64)
        point_last(Membership, member.pk, organisation_id=other)
        row = insert(IssuerChain(sha256="a" * 64, certificates=[]))
        put_last(IssuerChain, [{"sha256": "b" * 64, "certificates": []}])
        assert not BlockedKey.objects.exists()
    written = [each["sql"] for each in queries if not each["sql"].startswith("SELECT")]
    kept = [sql for sql in written if "store_blockedkey" in sql or "store_membership" in sql or "bbb" in sql]
    assert len(kept) == (1 if connection.vendor == "postgresql" else 3)
    assert BlockedKey.objects.exists()
    assert IssuerChain.objects.filter(pk=row.pk).exists()
    member.refresh_from_db()
    assert member.organisation_id == other


def test_an_error_undoes_what_was_kept_for_the_end() -> None:
    with suppress(ValueError), write_transaction():
        _block("a" * 64)
        raise ValueError
    with write_transaction():
        _block("b" * 64)
    assert BlockedKey.objects.get().spki_sha256 == "b" * 64  # what was kept went with its transaction
    chain = {"sha256": "a" * 64, "certificates": []}
    with pytest.raises(IntegrityError), write_transaction():
        put_last(IssuerChain, [chain, chain])
    assert not IssuerChain.objects.exists()


def test_what_a_savepoint_may_undo_alone_goes_with_it() -> None:
    with write_transaction():
        with suppress(ValueError), transaction.atomic():
            _block("a" * 64)
            raise ValueError
        _block("b" * 64)
    _block("c" * 64)  # outside of a transaction: at once
    assert sorted(row.spki_sha256[0] for row in BlockedKey.objects.all()) == ["b", "c"]


def _row(number: int) -> dict[str, object]:
    return values_of(BlockedKey(spki_sha256=f"{number:064x}", reason="lost", at=NOW))


def test_any_number_of_rows_is_kept_for_the_end_and_numbered_in_the_order_in_which_they_came() -> None:
    many = 8_000  # of nine columns; PostgreSQL takes 65,535 parameters at once
    rows = [_row(number) for number in range(many)]
    with write_transaction():
        put_last(BlockedKey, rows[:1])
        put_last(BlockedKey, rows[1:3])
        put_last(BlockedKey, rows[3:])
    found = BlockedKey.objects.order_by("id").values_list("spki_sha256", flat=True)
    assert list(found) == [row["spki_sha256"] for row in rows]


def test_what_was_kept_can_be_written_before_a_row_that_is_numbered_at_once() -> None:
    with write_transaction():
        _block("a" * 64)
        with transaction.atomic():
            write_kept()  # a savepoint may undo it alone: not there
        assert not BlockedKey.objects.exists()
        write_kept()
        insert(BlockedKey(spki_sha256="b" * 64, reason="lost", at=NOW))
        _block("c" * 64)
    assert [row.spki_sha256[0] for row in BlockedKey.objects.order_by("id")] == ["a", "b", "c"]


def test_a_row_that_points_elsewhere_twice_points_where_it_was_told_last() -> None:
    w, second, third = world(), organisation("Second College"), organisation("Third College")
    member = Membership.objects.filter(organisation_id=w.university)[0]
    with write_transaction():
        point_last(Membership, member.pk, organisation_id=second)
        point_last(Membership, member.pk, organisation_id=third)
    member.refresh_from_db()
    assert member.organisation_id == third
