"""The demo: its tokens may do what their person may and are made again; its mailbox reads Django's files."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from certdesk.domain.actors import Action, can
from certdesk.services.people.tokens import bearer
from certdesk.services.system.demo import prepare_demo
from tests.integration.support import NOW, actor, organisation, signed_in

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


@pytest.fixture
def mailbox() -> Path:
    """Where the demo's mail lies."""
    folder: Path = settings.CERTDESK.mail_directory
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_mail_is_listed_with_its_time(mailbox: Path) -> None:
    actor("alice", organisation=organisation())
    before = {*mailbox.iterdir()}
    backend = get_connection("django.core.mail.backends.filebased.EmailBackend", file_path=mailbox)
    mail = EmailMessage("Hello", "Text.", "ra@example.org", ["alice@example.ac.uk"], connection=backend)
    try:
        mail.send()
        page = signed_in("alice").page("demo-mail")
    finally:
        for written in {*mailbox.iterdir()} - before:
            written.unlink()
    assert "Hello" in page
    assert re.search(r"\d{1,2} \w{3} \d{4}, \d\d:\d\d (GMT|BST)", page)
