"""The audit chain: any change of any field changes the hash, and with it every hash after it."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.audit import GENESIS, Entry, canonical_json, chain_hash, digest

NOW = datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)
ENTRY = Entry(
    seq=3,
    at=NOW,
    actor="olga",
    user_id=5,
    action="request.approve",
    object_type="request",
    object_id="17",
    organisation_id=2,
    data={"note": "seen", "names": ["a.example", "b.example"]},
)
OTHERWISE: dict[str, list[object]] = {
    "seq": [2, 4, -3],
    "at": [NOW + timedelta(microseconds=1), NOW - timedelta(days=1)],
    "actor": ["Olga", "olga ", ""],
    "user_id": [None, 6],
    "action": ["request.reject", ""],
    "object_type": ["domain"],
    "object_id": ["1", "170"],
    "organisation_id": [None, 3],
    "data": [
        {},
        {"note": "seen"},
        {"note": "seen", "names": ["b.example", "a.example"]},
        {"note": "seen", "names": ["a.example,b.example"]},
        {"note": "seen ", "names": ["a.example", "b.example"]},
    ],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_the_table_of_changes_names_every_field() -> None:
    assert set(OTHERWISE) == {field.name for field in fields(Entry)}


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in OTHERWISE.items() for value in values]
)
def test_any_altered_field_changes_the_hash(name: str, value: object) -> None:
    altered = replace(ENTRY, **{name: value})  # type: ignore[arg-type]  # the table holds fields of all types
    assert chain_hash(altered, previous_hash=GENESIS) != chain_hash(ENTRY, previous_hash=GENESIS)


def test_the_hash_binds_the_event_before() -> None:
    first = chain_hash(ENTRY, previous_hash=GENESIS)
    assert chain_hash(ENTRY, previous_hash=first) != first


def test_text_does_not_move_between_fields() -> None:
    one = replace(ENTRY, actor="olga", action="x")
    two = replace(ENTRY, actor="olgax", action="")
    assert chain_hash(one, previous_hash=GENESIS) != chain_hash(two, previous_hash=GENESIS)


def test_the_zone_of_a_time_does_not_matter() -> None:
    """PostgreSQL and SQLite give the same instant back in their own zones."""
    elsewhere = replace(ENTRY, at=NOW.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert chain_hash(elsewhere, previous_hash=GENESIS) == chain_hash(ENTRY, previous_hash=GENESIS)


def test_a_hash_stays_what_it_is() -> None:
    """A chain written years ago has to verify: this value may never change."""
    assert chain_hash(ENTRY, previous_hash=GENESIS) == (
        "06d2155a779ca267cf64cc879fbb0c78dd944d89bf1616f0ead9e752fae654e6"
    )


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": 1, "a": ["é", None]}) == '{"a":["é",null],"b":1}'.encode()


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(JSON)
def test_the_canonical_form_loses_nothing(value: object) -> None:
    assert json.loads(canonical_json(value)) == value
