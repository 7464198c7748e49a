"""Substring search over requests: a trigram index, FTS5 on SQLite and pg_trgm on PostgreSQL."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

SQLITE = (
    """CREATE VIRTUAL TABLE store_request_search USING fts5(
        search_text, content='store_request', content_rowid='id', tokenize='trigram', detail='full')""",
    """CREATE TRIGGER store_request_search_insert AFTER INSERT ON store_request BEGIN
        INSERT INTO store_request_search(rowid, search_text) VALUES (new.id, new.search_text); END""",
    """CREATE TRIGGER store_request_search_delete AFTER DELETE ON store_request BEGIN
        INSERT INTO store_request_search(store_request_search, rowid, search_text)
        VALUES ('delete', old.id, old.search_text); END""",
    """CREATE TRIGGER store_request_search_update AFTER UPDATE OF search_text ON store_request BEGIN
        INSERT INTO store_request_search(store_request_search, rowid, search_text)
        VALUES ('delete', old.id, old.search_text);
        INSERT INTO store_request_search(rowid, search_text) VALUES (new.id, new.search_text); END""",
)
POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX store_request_search ON store_request USING gin (search_text gin_trgm_ops)",
)


def create_index(_apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Makes the index that this database knows."""
    for statement in SQLITE if editor.connection.vendor == "sqlite" else POSTGRESQL:
        editor.execute(statement)


class Migration(migrations.Migration):
    """Adds the search index."""

    dependencies = [("store", "0001_initial")]

    operations = [migrations.RunPython(create_index, migrations.RunPython.noop)]
