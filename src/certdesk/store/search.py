"""The trigram index over requests: FTS5 on SQLite, pg_trgm on PostgreSQL.

Made after every migration rather than in one: Django rebuilds a SQLite table to alter it, which drops its
triggers without a word, and the list would go on without finding what is new.
"""

from django.db import connections

_TABLE = "store_request_search"
_CREATE_TABLE = f"""CREATE VIRTUAL TABLE IF NOT EXISTS {_TABLE} USING fts5(
    search_text, content='store_request', content_rowid='id', tokenize='trigram')"""
# All of these statements are made of this module's own constants.
_FORGET = (
    f"INSERT INTO {_TABLE}({_TABLE}, rowid, search_text)"  # noqa: S608 - constants
    " VALUES ('delete', old.id, old.search_text)"
)
_REMEMBER = f"INSERT INTO {_TABLE}(rowid, search_text) VALUES (new.id, new.search_text)"  # noqa: S608 - constants
_TRIGGERS = {
    f"{_TABLE}_insert": f"AFTER INSERT ON store_request BEGIN {_REMEMBER}; END",
    f"{_TABLE}_delete": f"AFTER DELETE ON store_request BEGIN {_FORGET}; END",
    f"{_TABLE}_update": f"""AFTER UPDATE OF search_text ON store_request
        BEGIN {_FORGET}; {_REMEMBER}; END""",
}
_POSTGRESQL = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    f"CREATE INDEX IF NOT EXISTS {_TABLE} ON store_request USING gin (search_text gin_trgm_ops)",
)


def ensure_search_index(*, using: str, **_signal: object) -> None:
    """Makes whatever of the index is missing, and fills it anew if it may have missed something."""
    connection = connections[using]
    if "store_request" not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        if connection.vendor != "sqlite":
            for statement in _POSTGRESQL:
                cursor.execute(statement)
            return
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        missing = _TRIGGERS.keys() - {name for (name,) in cursor.fetchall()}
        if missing:
            cursor.execute(_CREATE_TABLE)
            for name in sorted(missing):
                cursor.execute(f"CREATE TRIGGER {name} {_TRIGGERS[name]}")
            cursor.execute(f"INSERT INTO {_TABLE}({_TABLE}) VALUES ('rebuild')")  # noqa: S608 - constants
