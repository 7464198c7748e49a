"""E-mail to a constructed address at the authorisation domain name (BR 3.2.2.4.4), and its single-use code.

The five local parts are the rule's own; nobody can have a mail sent anywhere else. Ends for public CAs on
2028-03-15 (`domain.rules`).
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime

from certdesk.domain.errors import NotFound
from certdesk.domain.names.identifiers import authorization_domain_names, is_ip_address

#: BR 3.2.2.4.4, in its own order.
LOCAL_PARTS = ("admin", "administrator", "webmaster", "hostmaster", "postmaster")
BITS = 256
_GROUP = 4
_CODE = re.compile(r"[A-Z2-7]{52}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A random value: `code` is mailed, in groups of four; only `digest` (SHA-256, hex) is stored."""

    code: str = field(repr=False)
    digest: str


def secret_from(random_bytes: bytes) -> Secret:
    """The secret made of 256 random bits. Raises ValueError for fewer."""
    if len(random_bytes) * 8 < BITS:
        raise ValueError("a challenge needs 256 random bits")
    plain = base64.b32encode(random_bytes).decode().rstrip("=")
    grouped = "-".join(plain[i : i + _GROUP] for i in range(0, len(plain), _GROUP))
    return Secret(code=grouped, digest=hashlib.sha256(plain.encode()).hexdigest())


def normalised_code(typed: str) -> str:
    """The code without the spaces, hyphens and small letters of typing it in.

    Raises: NotFound for anything else.
    """
    plain = re.sub(r"[\s-]", "", typed).upper()
    if not _CODE.fullmatch(plain):
        raise NotFound("This code is not one of ours. Copy the whole code from the mail.")
    return plain


def code_digest(typed: str) -> str:
    """How a code is looked up: by its SHA-256, so that no comparison leaks it. Raises NotFound."""
    return hashlib.sha256(normalised_code(typed).encode()).hexdigest()


def mailboxes(name: str) -> dict[str, str]:
    """Mailbox → the ADN that it would confirm, for a name: its own ADN first, then its parents.

    Recomputed on the server from the name each time: a form's value only picks one of these. An IP address
    has none.
    """
    if is_ip_address(name):
        return {}
    return {f"{local}@{adn}": adn for adn in authorization_domain_names(name) for local in LOCAL_PARTS}


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
    """The paragraphs of the mail, a blank line apart; the sender fills the lines.

    `link` opens the page that asks for confirmation, `page` takes the code.
    """
    printable = "".join(c if c.isprintable() else " " for c in facts.asked_by)
    body = (
        f"{facts.organisation} asks to be allowed TLS certificates for {facts.adn} "
        f"and every name below it, from {facts.service_name}.\n\n"
        "If you agree, open this page and confirm there:\n\n"
        f"{link}\n\n"
        f"Or go to {page} and enter this code:\n\n"
        f"{code}\n\n"
        "If you don't know what this is about, do nothing: without your confirmation "
        f"nothing happens, and the code ends on {facts.expires_at:%-d %B %Y at %H:%M} UTC.\n\n"
        f"Asked by: {' '.join(printable.split())[:100]}"
    )
    if facts.names:
        shown = ", ".join(facts.names[:10])
        body += f"\n\nFor: {shown}{' and more' if len(facts.names) > len(facts.names[:10]) else ''}"
    return body
