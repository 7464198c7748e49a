"""How every mail of the service looks: plain text, lines that fit any reader, who sends it and whom to ask.

What a mail says is its own module's business. Text of other people goes through `quoted` or `table`, which
indent it, so that nothing of it can pass for a line of ours.
"""

import re
from collections.abc import Iterable, Mapping
from textwrap import wrap

from django.core.mail import EmailMessage

from certdesk.services.system import runtime

#: Characters of a line. RFC 3676 asks for 78 at most; replies add marks in front.
WIDTH = 76
_INDENT = "  "


def letter(
    *, subject: str, blocks: Iterable[str], to: Iterable[str], headers: Mapping[str, str] | None = None
) -> EmailMessage:
    """A mail of the service, with its name before the subject and below the text; empty blocks are left out.

    Each block is a paragraph, made by `prose`, `table`, `quoted`, or a line such as a link that stays whole.
    """
    rt = runtime.newest()
    text = "\n\n".join(block for block in blocks if block)
    asked = f"\nQuestions? {rt.rules.ra}: {rt.settings.ra_contact}" if rt.settings.ra_contact else ""
    return EmailMessage(
        subject=f"[{rt.settings.service_name}] {subject}",
        body=f"{text}\n\n-- \n{rt.settings.service_name}, {rt.base_url}{asked}\n",
        from_email=rt.mail_from,
        to=list(to),
        headers={"Auto-Submitted": "auto-generated", **(headers or {})},
    )


def prose(text: str) -> str:
    """A paragraph in lines of at most WIDTH; blanks and line breaks in it count as one blank."""
    return _lines(text)


def table(rows: Mapping[str, object]) -> str:
    """Labels and values in two indented columns; a long value goes on below its beginning."""
    first = f"{_INDENT}{{:{max(map(len, rows))}}}  "
    blank = first.format("")
    return "\n".join(
        _lines(str(value), first=first.format(label), others=blank) for label, value in rows.items()
    )


def quoted(text: str) -> str:
    """What somebody else wrote: indented, its own lines kept, long ones wrapped."""
    return "\n".join(
        _lines(line, first=_INDENT + re.sub(r"\S.*", "", line), others=_INDENT) for line in text.splitlines()
    )


def section(title: str, text: str) -> str:
    """A title with somebody else's words below it; nothing at all where there are none."""
    return f"{title}:\n{quoted(text)}" if text.strip() else ""


def _lines(text: str, *, first: str = "", others: str = "") -> str:
    # Addresses and codes are copied from mails: they are never broken, however long they are.
    lines = wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines) or first.rstrip()
