"""What the route matrix counts as a change: tests of `written`, on which every “nothing changed” rests."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.utils import timezone

from certdesk.store.driver import insert
from certdesk.store.models import Organisation, User
from tests.integration.support import NOW, World
from tests.integration.written import snapshot

pytestmark = pytest.mark.django_db


def _by_hand() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE store_user SET email = 'other@example.org' WHERE username = 'bob'")


def _on_the_driver() -> None:
    insert(Organisation(slug="another", legal_name="Another", created_at=NOW))


CHANGES: dict[str, Callable[[], object]] = {
    "a row more": lambda: User.objects.create(username="zoe", password="!"),
    "a row less": lambda: User.objects.filter(username="otto").delete(),
    "another value": lambda: User.objects.filter(username="alice").update(email="alice@example.org"),
    "by hand": _by_hand,
    "on the driver itself": _on_the_driver,
}
NO_CHANGES: dict[str, Callable[[], object]] = {
    "only read": lambda: list(User.objects.all()),
    "only locked": lambda: list(User.objects.select_for_update()),
    "the same value": lambda: User.objects.filter(username="alice").update(username="alice"),
    "seen": lambda: User.objects.filter(username="alice").update(last_login=timezone.now()),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_is_seen(people: World, how: str) -> None:
    with snapshot().watch() as watch:
        CHANGES[how]()
    assert watch.changed()


@pytest.mark.parametrize("how", NO_CHANGES)
def test_what_is_none_is_not(people: World, how: str) -> None:
    with snapshot().watch() as watch:
        NO_CHANGES[how]()
    assert not watch.changed()
