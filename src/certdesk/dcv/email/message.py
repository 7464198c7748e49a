"""The mail that asks for confirmation: plain text, short; what others wrote comes after the link (V9)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeFacts:
    """What the mail and the confirmation page tell the reader of the mailbox."""

    adn: str
    organisation: str
    asked_by: str
    names: tuple[str, ...]
    expires_at: datetime
    service_name: str


def message_text(facts: ChallengeFacts, *, link: str, code: str, page: str) -> str:
    """The paragraphs of the mail, a blank line apart; whoever sends them fills the lines.

    `link` opens the page that asks for confirmation, `page` takes the code.
    """
    body = (
        f"{facts.organisation} asks to be allowed TLS certificates for {facts.adn} "
        f"and every name below it, from {facts.service_name}.\n\n"
        "If you agree, open this page and confirm there:\n\n"
        f"{link}\n\n"
        f"Or go to {page} and enter this code:\n\n"
        f"{code}\n\n"
        "If you don't know what this is about, do nothing: without your confirmation "
        f"nothing happens, and the code ends on {facts.expires_at:%-d %B %Y at %H:%M} UTC.\n\n"
        f"Asked by: {_one_line(facts.asked_by)}"
    )
    if facts.names:
        shown = ", ".join(facts.names[:10])
        body += f"\n\nFor: {shown}{' and more' if len(facts.names) > len(facts.names[:10]) else ''}"
    return body


def _one_line(text: str) -> str:
    """Somebody's own words, without line breaks or control characters, cut short."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:100]
