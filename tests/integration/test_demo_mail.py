"""The demo's mailbox reads what Django's file backend writes."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from tests.integration.support import actor, organisation, signed_in

pytestmark = pytest.mark.django_db


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
