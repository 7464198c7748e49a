"""Prepared look-ups: the same rows as the query itself, with the numbers of each call."""

import pytest

from certdesk.store.models import Membership, Organisation
from certdesk.store.prepared import Prepared
from tests.integration.support import organisation, world

pytestmark = pytest.mark.django_db(transaction=True)

BY_ID = Prepared(lambda number: Organisation.objects.filter(id=number))
SEATS = Prepared(
    lambda organisation_id, user: Membership.objects.select_related("organisation").filter(
        organisation_id=organisation_id, user_id=user
    ),
    variables=2,
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


def test_a_row_is_the_one_that_the_query_finds() -> None:
    w = world()
    expected = Membership.objects.select_related("organisation").filter(organisation_id=w.university).first()
    assert expected is not None
    found = SEATS.first(w.university, expected.user_id)
    assert found is not None
    for field in Membership._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(expected, field.attname)
    assert found.organisation.__dict__.keys() == expected.organisation.__dict__.keys()
    assert SEATS.all(expected.user_id + 10_000, w.university) == []
