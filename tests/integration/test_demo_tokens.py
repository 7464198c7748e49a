"""The demo's tokens: they may do what their person may, and are made again when they have run out."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from certdesk.domain.actors import Action, can
from certdesk.services.demo import prepare_demo
from certdesk.services.tokens import bearer
from tests.integration.support import NOW

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_demo_that_is_older_than_its_tokens_gets_new_ones(tmp_path: Path) -> None:
    def tokens(days: int) -> dict[str, str]:
        path = prepare_demo(data=tmp_path, now=NOW + timedelta(days=days))
        found: dict[str, str] = json.loads(path.read_text())["api_tokens"]
        return found

    first = tokens(0)
    assert tokens(29) == first
    later = tokens(31)
    olga = bearer(later["olga"], now=NOW + timedelta(days=31))
    assert olga is not None
    assert can(olga, Action.REQUEST_DECIDE)
    assert bearer(first["olga"], now=NOW + timedelta(days=31)) is None
