"""Choosing the mailbox that is asked: the server makes the list from the names."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms

from certdesk.dcv.email_challenge import mailboxes
from certdesk.web.forms import PortalForm


class MailboxForm(PortalForm):
    """One of the constructed mailboxes at a domain or above it."""

    help_entries: ClassVar = {"mailbox": "/help/dcv/#mailbox"}

    mailbox = forms.ChoiceField(
        label="Mailbox to ask",
        help_text="Choose one that someone reads. No other address can be used.",
        error_messages={"required": "Choose a mailbox from the list."},
    )

    def __init__(self, names: Sequence[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Choices by domain, the one that covers most names first.
        by_adn: dict[str, list[str]] = {}
        for name in names:
            for mailbox, adn in mailboxes(name).items():
                boxes = by_adn.setdefault(adn, [])
                if mailbox not in boxes:
                    boxes.append(mailbox)
        ordered = sorted(by_adn, key=lambda adn: (adn.count("."), adn))
        groups = [(f"For {adn} and all below it", [(box, box) for box in by_adn[adn]]) for adn in ordered]
        self.offer("mailbox", [("", "Choose one"), *groups])


def name_for(mailbox: str, names: Sequence[str]) -> str:
    """The name that a mailbox is on the list for; the first one when it is on none, to be refused."""
    return next((name for name in names if mailbox in mailboxes(name)), names[0])
