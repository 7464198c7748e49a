"""Records at an acme-dns server, a small DNS server for nothing but these records, by its HTTP API.

Each validated name is a CNAME to a sub-domain of the server's, which has an account of its own. The server
keeps the last two values of each, and has no way to remove one.
"""

import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import dns.name
import requests

from certdesk.domain.errors import Misconfigured, Unavailable

_KEYS = frozenset({"username", "password", "subdomain", "fulldomain"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeDns:
    """`accounts_file`: JSON as goacmedns and lego keep it: for each name what /register answered."""

    url: str
    accounts_file: Path
    ca_file: Path | None = None
    seconds: float = 10.0

    @property
    def title(self) -> str:
        return f"acme-dns at {self.url}"

    def add(self, name: dns.name.Name, value: str) -> None:
        account = self._account(name)
        try:
            answer = requests.post(
                f"{self.url.rstrip('/')}/update",
                headers={"X-Api-User": account["username"], "X-Api-Key": account["password"]},
                json={"subdomain": account["subdomain"], "txt": value},
                timeout=self.seconds,
                verify=True if self.ca_file is None else str(self.ca_file),
            )
        except requests.RequestException as error:
            raise Unavailable(f"{self.title} can't be reached: {error}") from error
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST):
            told = f"{self.title} refuses the account for {name.to_text(omit_final_dot=True)}"
            raise Misconfigured(f"{told} (HTTP status {answer.status_code}). Register it again.")
        if answer.status_code != HTTPStatus.OK:
            raise Unavailable(f"{self.title} answers with HTTP status {answer.status_code}.")

    def remove(self, name: dns.name.Name, value: str) -> None:
        """Nothing: the next two values push it out."""

    def _account(self, name: dns.name.Name) -> dict[str, str]:
        try:
            kept: dict[str, Any] = json.loads(self.accounts_file.read_text(encoding="utf-8"))
            accounts = [{key: str(text) for key, text in one.items()} for one in kept.values()]
        except (OSError, ValueError, AttributeError) as error:
            raise Misconfigured(
                f"The acme-dns accounts in {self.accounts_file} can't be read: {error}"
            ) from error
        for account in accounts:
            if account.keys() >= _KEYS and dns.name.from_text(account["fulldomain"]) == name:
                return account
        told = f"No account in {self.accounts_file} is for {name.to_text(omit_final_dot=True)}"
        raise Misconfigured(f"{told}. Register one at acme-dns, and have the CNAME lead to its fulldomain.")
