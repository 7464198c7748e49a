"""Commands and settings to paste into ACME clients, whose text is in `clients.toml`, and records for the DNS.

What is filled in comes from our own rows and settings (parsed DNS names, base64url, slugs), so nothing in it
needs quoting; `Setup` holds to that all the same.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from certdesk.dcv.persist.record import LABEL, record_value

#: In place of the HMAC key while it is not shown: no shell and no parser takes it for something else.
HIDDEN_KEY = "YOUR-HMAC-KEY"
_PLAIN = re.compile(r"[A-Za-z0-9._~:/?#@%+=\[\]*-]+", re.ASCII)
_PLACE = re.compile(r"\[\[(directory|kid|hmac_key|name|contact)\]\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a client needs to know. `name` is the name to ask for, `contact` an e-mail address."""

    directory: str
    kid: str
    hmac_key: str
    name: str
    contact: str

    def __post_init__(self) -> None:
        for value in (self.directory, self.kid, self.hmac_key, self.name, self.contact):
            if not _PLAIN.fullmatch(value):
                raise ValueError("a value that would have to be quoted")


def snippets(setup: Setup) -> list[dict[str, Any]]:
    """How each client is set up: `slug`, `title`, `note`, and the `blocks` to paste (`caption`, `text`)."""
    clients: list[dict[str, Any]] = tomllib.loads(
        _PLACE.sub(lambda place: str(getattr(setup, place[1])), _source())
    )["client"]
    return clients


@cache
def _source() -> str:
    return files("certdesk.web.acme").joinpath("clients.toml").read_text(encoding="utf-8")


def records_for(*, domain: str, issuer: str, account_url: str) -> dict[str, str]:
    """What may be published for a `domain`, as in zone files (RFC 8657, draft dns-persist-01).

    `persistent` proves control, `caa` shuts everybody else out.
    """
    value = record_value(issuer=issuer, account_uri=account_url, wildcard=True)
    permitted = f'"{issuer}; accounturi={account_url}"'
    return {
        "domain": domain,
        "persistent": f'{LABEL}.{domain}. IN TXT "{value}"',
        "caa": f"{domain}. IN CAA 0 issue {permitted}\n{domain}. IN CAA 0 issuewild {permitted}",
    }
