"""How many statements a page takes: more of them is a change that somebody has to want."""

from collections.abc import Callable

import pytest
from django.db import connection

from certdesk.services.requests.asking import preview_request
from certdesk.services.system import runtime
from tests.integration.support import NOW, World, signed_in, submission, submit

pytestmark = pytest.mark.django_db(transaction=True)


def statements(act: Callable[[], object]) -> int:
    """How many it takes once everything is warm."""
    act()
    runtime.newest()  # the settings are fresh for a second
    heard: list[str] = []

    def hear(execute: Callable[..., object], sql: str, *rest: object) -> object:
        heard.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(hear):
        act()
    return len(heard)


def test_pages(w: World) -> None:
    numbers = [submit(w.alice, f"h{n}.example.ac.uk").number for n in range(3)]
    client = signed_in("alice")
    assert client.get(f"/requests/{numbers[-1]}/").status_code == 200
    assert statements(lambda: client.get("/requests/")) <= 4
    assert statements(lambda: client.get(f"/requests/{numbers[-1]}/")) <= 8
    assert statements(lambda: client.get("/")) <= 7


def test_a_preview(w: World) -> None:
    asked = submission(w.university, "www.example.ac.uk")
    assert statements(lambda: preview_request(actor=w.alice, submission=asked, now=NOW)) <= 4
