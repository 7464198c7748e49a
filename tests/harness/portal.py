"""A person in the portal over plain HTTP requests, for stories whose subject is not the browser."""

import contextlib
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """Somebody who has signed in; forms are sent as a browser without scripts would send them."""

    client: httpx2.Client

    def submit(self, path: str, fields: Mapping[str, str]) -> str:
        """Fill in the form at this path and send it; the page that it leads to. Fails on any error."""
        token = _TOKEN.search(self.client.get(path).raise_for_status().text)
        assert token is not None, f"{path} has no form"
        referer = f"{self.client.base_url}{path.lstrip('/')}"
        answer = self.client.post(
            path, data={**fields, "csrfmiddlewaretoken": token[1]}, headers={"Referer": referer}
        )
        return answer.raise_for_status().text


@contextlib.contextmanager
def signed_in(url: str, *, username: str, password: str, ca: Path) -> Iterator[Portal]:
    """Sign in at an instance whose certificate is from this CA."""
    trusting = ssl.create_default_context(cafile=str(ca))
    with httpx2.Client(base_url=url, verify=trusting, follow_redirects=True, trust_env=False) as client:
        portal = Portal(client=client)
        portal.submit("/accounts/login/", {"login": username, "password": password})
        yield portal
