"""The search index survives what migrations do to the table below it."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection


@pytest.mark.django_db(transaction=True)
def test_the_index_is_made_again_after_a_migration_has_dropped_its_triggers() -> None:
    if connection.vendor == "sqlite":
        lost, count = "DROP TRIGGER store_request_search_insert", "type = 'trigger'"
        source = "sqlite_master"
    else:
        lost, count = "DROP INDEX store_request_search", "indexname = 'store_request_search'"
        source = "pg_indexes"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {source} WHERE {count}")  # noqa: S608 - constants of this test
        (before,) = cursor.fetchone()
        cursor.execute(lost)

    call_command("migrate", verbosity=0)

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {source} WHERE {count}")  # noqa: S608 - constants of this test
        assert cursor.fetchone() == (before,)
    assert before > 0


@pytest.mark.django_db
def test_no_model_has_changed_without_a_migration() -> None:
    told = StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=told)
    assert "No changes" in told.getvalue()
