"""The mailboxes that may be asked, and the single-use random value that only they receive (V1, V3)."""

import base64
import hashlib
import re
from dataclasses import dataclass, field

from certdesk.domain.errors import NotFound
from certdesk.domain.identifiers import authorization_domain_names, is_ip_address

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
    """How a code is looked up: by its SHA-256, so that no comparison leaks it (V1). Raises NotFound."""
    return hashlib.sha256(normalised_code(typed).encode()).hexdigest()


def mailboxes(name: str) -> dict[str, str]:
    """Mailbox → the ADN that it would confirm, for a name: its own ADN first, then its parents (V3).

    Recomputed on the server from the name each time: a form's value only picks one of these. An IP address
    has none.
    """
    if is_ip_address(name):
        return {}
    return {f"{local}@{adn}": adn for adn in authorization_domain_names(name) for local in LOCAL_PARTS}
