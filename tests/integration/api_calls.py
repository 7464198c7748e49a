"""REST v1 as a caller sees it: a token, Django's test client, and the people of `support.world`. No tests."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from certdesk.domain.actors import Actor, RaRole
from certdesk.services.people.tokens import create_token, list_scopes
from tests.integration import support

ROOT = "/api/v1"
ADDRESS = {"host": "127.0.0.1"}


@dataclass(slots=True)
class Reply:
    """An answer: status, headers, and the body as it came and as JSON."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON."""
        return json.loads(self.content)


@dataclass(slots=True)
class Caller:
    """Somebody with a token, or nobody."""

    token: str = field(default="", repr=False)
    client: Client = field(default_factory=lambda: Client(headers=ADDRESS), repr=False)

    def get(self, path: str, **headers: str) -> Reply:
        """GET."""
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: object = None, **headers: str) -> Reply:
        """POST with a JSON body, or with none."""
        content = b"" if body is None else json.dumps(body).encode()
        return self.call("POST", path, content=content, headers=headers)

    def upload(self, path: str, csr: bytes, **fields: str) -> Reply:
        """POST as a form with the CSR as a file."""
        asked = {"duration_years": "1", "server_software": "nginx", **fields}
        response = self.client.post(
            ROOT + path, data={**asked, "csr": SimpleUploadedFile("my.csr", csr)}, headers=self._headers({})
        )
        return Reply(response.status_code, dict(response.headers), response.content)

    def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Any call."""
        response = self.client.generic(
            method, ROOT + path, content, content_type, headers=self._headers(headers or {})
        )
        return Reply(response.status_code, dict(response.headers), response.content)

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return own | {name.replace("_", "-"): value for name, value in more.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """The people of most stories, each with a token; charlie is of another organisation."""

    alice: Caller
    bob: Caller
    meg: Caller
    charlie: Caller
    olga: Caller
    otto: Caller
    rick: Caller
    nobody: Caller


def callers() -> Callers:
    """Make them all."""
    # whitenoise warns of a missing folder, and only a server's start-up fills it.
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    w = support.world()
    college = support.organisation("Other College", vetted=False)
    return Callers(
        alice=with_token(w.alice),
        bob=with_token(w.bob),
        meg=with_token(support.manager(w)),
        charlie=with_token(support.actor("charlie", organisation=college)),
        olga=with_token(w.olga),
        otto=with_token(w.otto),
        rick=with_token(support.actor("rick", ra=RaRole.AUDITOR)),
        nobody=Caller(),
    )


def body(*names: str, **more: object) -> dict[str, object]:
    """A submission as JSON; for a new name under example.ac.uk unless told otherwise."""
    return {"csr": support.csr(*names).decode(), "duration_years": 1, "server_software": "nginx", **more}


def with_token(who: Actor) -> Caller:
    now = timezone.now()
    return Caller(
        create_token(
            actor=who,
            name="test",
            scopes=list_scopes(actor=who),
            expires_at=now + timedelta(days=30),
            now=now,
        )
    )
