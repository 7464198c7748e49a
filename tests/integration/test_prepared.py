"""Prepared statements: the same rows as the ORM's own, with the values of each call."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from certdesk.conf.settings import _database
from certdesk.store.db import write_transaction
from certdesk.store.models import BlockedKey, IssuerChain, Membership, Organisation, UsedNonce
from certdesk.store.prepared import Prepared, Swap, insert, insert_all, insert_new
from tests.integration.support import World, organisation

pytestmark = pytest.mark.django_db(transaction=True)

BY_ID = Prepared(lambda number: Organisation.objects.filter(id=number), int)
SEATS = Prepared(
    lambda organisation_id, user: Membership.objects.select_related("organisation").filter(
        organisation_id=organisation_id, user_id=user
    ),
    int,
    int,
)


def test_each_call_asks_the_database_with_its_own_numbers() -> None:
    first, second = organisation("First College"), organisation("Second College")
    for number, name in ((first, "First College"), (second, "Second College"), (first, "First College")):
        found = BY_ID.first(number)
        assert found is not None
        assert found.legal_name == name
    Organisation.objects.filter(id=first).update(legal_name="Renamed College")
    renamed = BY_ID.first(first)
    assert renamed is not None
    assert renamed.legal_name == "Renamed College"
    assert BY_ID.first(0) is None


def test_a_row_is_the_one_that_the_query_finds(w: World) -> None:
    expected = Membership.objects.select_related("organisation").filter(organisation_id=w.university).first()
    assert expected is not None
    found = SEATS.first(w.university, expected.user_id)
    assert found is not None
    for field in Membership._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(expected, field.attname)
    assert found.organisation.__dict__.keys() == expected.organisation.__dict__.keys()
    assert SEATS.all(expected.user_id + 10_000, w.university) == []


NOW = datetime(2026, 11, 24, 9, 30, 15, 250_000, tzinfo=UTC)
SINCE = Prepared(
    lambda at, reason: (
        BlockedKey.objects.filter(at__gt=at, reason=reason).order_by("id").values_list("spki_sha256", "at")
    ),
    datetime,
    str,
)
RENAME = Swap(Organisation, where=("id", "legal_name"), to=("legal_name", "vetted_at"))
FIRST_VETTING = Swap(Organisation, where=("id",), null=("vetted_at",), to=("vetted_at",))


def _blocked(key: str, *, reason: str, at: datetime) -> BlockedKey:
    return BlockedKey(spki_sha256=key * 64, reason=reason, at=at)


def test_text_and_times_are_variables_too() -> None:
    rows = insert_all(
        [
            _blocked("a", reason="lost", at=NOW),
            _blocked("b", reason="lost", at=NOW + timedelta(seconds=1)),
            _blocked("c", reason="sold %s", at=NOW + timedelta(seconds=1)),
        ]
    )
    assert len({row.pk for row in rows}) == len(rows)
    assert [tuple(row) for row in SINCE.rows(NOW, "lost")] == [("b" * 64, NOW + timedelta(seconds=1))]
    assert SINCE.row(NOW - timedelta(days=1), "lost") is not None
    assert SINCE.row(NOW, "sold %s") is not None
    assert SINCE.row(NOW, "' OR 1=1 --") is None


def test_an_inserted_row_is_the_one_that_is_read_again() -> None:
    chain = insert(IssuerChain(sha256="a" * 64, certificates=["MII", {"odd": "ü"}]))
    again = IssuerChain.objects.get(pk=chain.pk)
    assert (again.sha256, again.certificates) == ("a" * 64, ["MII", {"odd": "ü"}])
    chain.sha256 = "b" * 64
    chain.save()  # an update, for it is there
    assert IssuerChain.objects.count() == 1


def test_a_swap_happens_only_where_the_row_is_what_it_was() -> None:
    first, second = organisation("First College"), organisation("Second College")
    Organisation.objects.filter(id__in=(first, second)).update(vetted_at=None)
    assert RENAME((first, "Another College"), ("Renamed College", NOW)) == 0
    assert RENAME((first, "First College"), ("Renamed College", NOW)) == 1
    assert FIRST_VETTING((first,), (NOW + timedelta(days=1),)) == 0
    assert FIRST_VETTING((second,), (NOW,)) == 1
    found = Organisation.objects.in_bulk()
    assert [(found[one].legal_name, found[one].vetted_at) for one in (first, second)] == [
        ("Renamed College", NOW),
        ("Second College", NOW),
    ]
    assert RENAME((second, "Second College"), ("Second College", None)) == 1
    assert Organisation.objects.get(id=second).vetted_at is None


def test_many_rows_go_in_and_each_gets_its_own_number() -> None:
    rows = insert_all(BlockedKey(spki_sha256=f"{n:064x}", reason=f"row {n}", at=NOW) for n in range(120))
    found = {row.pk: row.reason for row in BlockedKey.objects.all()}
    assert found == {row.pk: f"row {n}" for n, row in enumerate(rows)}
    assert insert_all([]) == []


def test_a_row_that_is_there_is_left_alone() -> None:
    later = NOW + timedelta(hours=1)
    assert insert_new(UsedNonce(nonce="n" * 43, expires_at=NOW))
    assert not insert_new(UsedNonce(nonce="n" * 43, expires_at=later))
    assert [row.expires_at for row in UsedNonce.objects.all()] == [NOW]


COUNT = Swap(Organisation, where=("id", "lock_version__lt"), to=("vetted_at",), counted=("lock_version",))
SINCE_VETTED = Swap(Organisation, where=("vetted_at__gt",), to=("legal_name",))
UNTIL_VETTED = Swap(Organisation, where=("vetted_at__lte",), to=("legal_name",))


def test_a_swap_counts_and_compares() -> None:
    number = organisation("First College")
    Organisation.objects.filter(id=number).update(lock_version=0, vetted_at=NOW)
    assert [COUNT((number, 2), (NOW,)) for _ in range(3)] == [1, 1, 0]
    assert Organisation.objects.get(id=number).lock_version == 2
    assert SINCE_VETTED((NOW,), ("Later College",)) == 0
    assert UNTIL_VETTED((NOW,), ("Earlier College",)) == 1
    assert SINCE_VETTED((NOW - timedelta(microseconds=1),), ("Later College",)) == 1
    assert Organisation.objects.get(id=number).legal_name == "Later College"


def test_a_refused_row_is_django_s_error_and_ends_the_transaction() -> None:
    insert(IssuerChain(sha256="a" * 64, certificates=[]))
    with pytest.raises(IntegrityError), write_transaction():
        insert(IssuerChain(sha256="a" * 64, certificates=[]))
    with write_transaction():  # as with Django's own cursors, nobody goes on in a transaction that broke
        with pytest.raises(IntegrityError), write_transaction():
            insert(IssuerChain(sha256="a" * 64, certificates=[]))
        with pytest.raises(TransactionManagementError):
            BY_ID.first(1)


def test_an_error_inside_undoes_the_whole_transaction_even_if_it_is_caught() -> None:
    with write_transaction():
        insert(IssuerChain(sha256="a" * 64, certificates=[]))
        with suppress(ValueError), write_transaction():
            insert(IssuerChain(sha256="b" * 64, certificates=[]))
            raise ValueError
    assert not IssuerChain.objects.exists()


def test_whoever_counts_statements_hears_these_too() -> None:
    with CaptureQueriesContext(connection) as heard:
        BY_ID.first(1)
        insert(IssuerChain(sha256="a" * 64, certificates=[]))
        FIRST_VETTING((1,), (NOW,))
    assert [one["sql"].split()[0] for one in heard.captured_queries] == ["SELECT", "INSERT", "UPDATE"]


def test_postgresql_keeps_a_statement() -> None:
    for _ in range(3):
        BY_ID.first(1)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE %s",
                ['%FROM "store_organisation" WHERE "store_organisation"."id" = $1%'],
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
            BY_ID.first(1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM pg_prepared_statements")
            assert cursor.fetchone() == (0,)
    finally:
        connection.connection.prepare_threshold = usual
        connection.close()
