"""The demo's mailbox: what the service would have sent. Outside the demo these pages do not exist.

An organisation's people read what goes to their own mail domain, hostmaster@ and the like included, so
that they can play the whole story; the RA reads everything.
"""

import email
from datetime import UTC
from email import policy
from email.message import EmailMessage
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from certdesk.web import times
from certdesk.web.actor import signed_in_user

SHOWN = 200
_RULE = b"-" * 79  # what Django's file backend writes after each message


@require_safe
def mailbox(request: HttpRequest) -> HttpResponse:
    """The reader's mail, newest first."""
    found = [(index, mail) for index, mail in enumerate(_mail()) if _may_read(request, mail)][-SHOWN:]
    rows = [(index, mail["Subject"], mail["To"], _sent_at(mail)) for index, mail in reversed(found)]
    return render(request, "demo/mail.html", {"rows": rows})


@require_safe
def message(request: HttpRequest, index: int) -> HttpResponse:
    """One message."""
    found = _mail()
    if index >= len(found) or not _may_read(request, found[index]):
        raise Http404
    mail = found[index]
    body = mail.get_body(("plain",))
    text = body.get_content() if body is not None else ""
    context = {
        "message_subject": str(mail["Subject"]),
        "facts": [(name, mail[name]) for name in ("From", "To", "Date") if mail[name]],
        "paragraphs": [part.strip() for part in text.split("\n\n") if part.strip()],
        "crumbs": [("Demo mail", reverse("demo-mail")), ("Message", "")],
    }
    return render(request, "demo/message.html", context)


def _sent_at(mail: EmailMessage) -> str:
    """When it was sent; `-0000` means UTC, and Python reads it as a time without a zone (RFC 5322 3.3)."""
    if not mail["Date"]:
        return ""
    moment = mail["Date"].datetime
    return times.at(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _may_read(request: HttpRequest, mail: EmailMessage) -> bool:
    user = signed_in_user(request)
    if user is None:
        return False
    own = user.email.rpartition("@")[2].lower()
    return bool(user.ra_role) or str(mail["To"]).rpartition("@")[2].strip("<> ").lower() == own


def _mail() -> list[EmailMessage]:
    """Every message in the folder, oldest first. Raises Http404 outside the demo."""
    if not settings.CERTDESK.demo:
        raise Http404
    folder: Path = settings.CERTDESK.mail_directory
    parts = (part for file in sorted(folder.glob("*.log")) for part in file.read_bytes().split(_RULE))
    return [email.message_from_bytes(part.lstrip(), policy=policy.default) for part in parts if part.strip()]
