"""OpenBao's HTTP API as far as a CA needs it: sign in, call, and say what an answer means for issuing.

No redirects, no proxies, nothing from the environment; answers are limited in size and time. Tokens are never
logged, nor do they stand in an error.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from certdesk.backends.chains import one_line
from certdesk.backends.http.transport import MAX_ANSWER, Exchanges, read_secret
from certdesk.backends.openbao.config import OpenBaoConfig
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    Misconfigured,
    Unavailable,
)

_MAX_LIST = 1 << 24
_MAX_TOLD = 300
#: A token of our own is renewed by a new sign-in when a third of its life is left.
_USED_UP = 2 / 3
_BAD_REQUEST, _FORBIDDEN, _NOT_FOUND, _NOT_ALLOWED, _TOO_MANY, _SEALED = 400, 403, 404, 405, 429, 503
#: Where a path or an object is not there.
MISSING = frozenset({_NOT_FOUND, _NOT_ALLOWED})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: its status, and the JSON object in it (empty where there was none)."""

    status: int
    body: Mapping[str, object]

    @property
    def data(self) -> Mapping[str, object]:
        """The part that is about what was asked."""
        data = self.body.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def told(self) -> str:
        """What the server says was wrong, in one line."""
        errors = self.body.get("errors")
        return plain("; ".join(map(str, errors)) if isinstance(errors, list) else "")


def plain(text: str) -> str:
    """What a server has said, as it can be stored and shown: one line, not too long."""
    return one_line(text, most=_MAX_TOLD)


@dataclass(slots=True)
class _SignedIn:
    token: str = field(default="", repr=False)
    until: float = 0.0


class OpenBaoApi:
    """One server with one credential. Safe to share between threads."""

    def __init__(self, config: OpenBaoConfig) -> None:
        """Raises Misconfigured when the file of CAs can't be used."""
        self._config = config
        self._lock, self._mine = threading.Lock(), _SignedIn()
        self._exchanges = Exchanges(
            name=config.name,
            base_url=config.address.rstrip("/") + "/v1/",
            ca_file=config.ca_file,
            connect_seconds=config.connect_seconds,
        )

    def read(
        self,
        path: str,
        *,
        method: str = "GET",
        within: float | None = None,
        open_to_all: bool = False,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """What is there, or an answer of a status in MISSING. Changes nothing.

        `within` is the monotonic time at which it has to be there. Raises Unavailable, Misconfigured.
        """
        answer = self._signed_in(
            method,
            path,
            params=params,
            until=within or time.monotonic() + self._config.total_seconds,
            acting=False,
            open_to_all=open_to_all,
        )
        if answer.status in MISSING or self._is_good(answer):
            return answer
        raise self._problem(answer, path, acting=False)

    def act(self, path: str, body: Mapping[str, object], *, within: float | None = None) -> Answer:
        """Has the server do something, once; `within` is as for `read`.

        Raises: Unavailable when it has done nothing, BackendRefused or Misconfigured when it won't,
        OutcomeUnknown when it may have done it.
        """
        until = within or time.monotonic() + self._config.total_seconds
        answer = self._signed_in("POST", path, body=body, until=until, acting=True)
        if self._is_good(answer):
            return answer
        raise self._problem(answer, path, acting=True)

    def health(self) -> Answer:
        """Whether it is initialised and unsealed, by its own word; of any status. Raises Unavailable."""
        until = time.monotonic() + self._config.total_seconds
        return self._exchange("GET", "sys/health", until=until, acting=False)

    def _signed_in(
        self,
        method: str,
        path: str,
        *,
        until: float,
        acting: bool,
        open_to_all: bool = False,
        body: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to a call with our token; an AppRole's that has ended is made again."""
        token = "" if open_to_all else self._token(until=until)
        answer = self._exchange(
            method, path, token=token, body=body, params=params, until=until, acting=acting
        )
        if answer.status == _FORBIDDEN and token and token == self._mine.token:
            self._mine.until = 0.0  # refused before anything was done, so it may be asked once more
            token = self._token(until=until)
            answer = self._exchange(
                method, path, token=token, body=body, params=params, until=until, acting=acting
            )
        return answer

    def _token(self, *, until: float) -> str:
        """The token in its file, as it is now; or one of our own by AppRole. Raises BackendError."""
        config = self._config
        if config.token_file is not None:
            return self._secret(config.token_file)
        with self._lock:
            if self._mine.until > time.monotonic():
                return self._mine.token
            path = f"auth/{config.approle_mount}/login"
            secret_id = self._secret(config.secret_id_file or Path())
            body = {"role_id": config.role_id, "secret_id": secret_id}
            answer = self._exchange("POST", path, body=body, until=until, acting=False)
            auth = answer.body.get("auth")
            if answer.status in (_BAD_REQUEST, _FORBIDDEN, _NOT_FOUND):
                raise Misconfigured(
                    f"{config.name}: the AppRole sign-in was refused: {answer.told or answer.status}. "
                    "Check role_id and the secret ID; it may have ended."
                )
            if not self._is_good(answer) or not isinstance(auth, dict):
                raise self._problem(answer, path, acting=False)
            token, life = auth.get("client_token"), auth.get("lease_duration")
            if not isinstance(token, str) or not token or not isinstance(life, int):
                raise Unavailable(f"{config.name}: the answer to the sign-in can't be read.")
            # A token without an end is kept for an hour.
            self._mine.token, self._mine.until = token, time.monotonic() + (life or 3600) * _USED_UP
            return token

    def _secret(self, path: Path) -> str:
        return read_secret(path, name=self._config.name, what="one token or secret ID")

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        until: float,
        acting: bool,
        token: str = "",
        body: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        headers = {"Accept": "application/json", "X-Vault-Request": "true"}
        headers |= {"X-Vault-Token": token} if token else {}
        headers |= {"X-Vault-Namespace": self._config.namespace} if self._config.namespace else {}
        reply = self._exchanges.exchange(
            method,
            path,
            until=until,
            acting=acting,
            headers=headers,
            most=_MAX_LIST if method == "LIST" else MAX_ANSWER,
            json=body,
            params=params,
        )
        parsed = reply.data
        if isinstance(parsed, dict):
            return Answer(reply.status, parsed)
        if reply.is_good:
            raise self._lost("its answer can't be read", acting=acting)
        return Answer(reply.status, {})  # such as a proxy's page

    def _lost(self, why: str, *, acting: bool) -> BackendError:
        return self._exchanges.lost(why, acting=acting)

    @staticmethod
    def _is_good(answer: Answer) -> bool:
        return httpx2.codes.is_success(answer.status)

    def _problem(self, answer: Answer, path: str, *, acting: bool) -> BackendError:
        """What a status that is no success means (OpenBao's API documentation, and as observed)."""
        name, status, told = self._config.name, answer.status, answer.told
        if status == _FORBIDDEN:
            advice = "Check the token and its policy."
            return Misconfigured(f"{name} does not allow {path} ({told or status}). {advice}")
        if status == _BAD_REQUEST and told.startswith("unknown role"):
            return Misconfigured(f"{name}: there is no role “{self._config.role}”. Make it, or correct role.")
        if status == _BAD_REQUEST and acting:
            return BackendRefused(f"The CA refused: {told or 'it gave no reason'}.")
        if status in MISSING or status == _BAD_REQUEST:
            return Misconfigured(f"{name} has nothing at {path} ({told or status}). Check mount and role.")
        if status == _TOO_MANY:
            return Unavailable(f"{name} takes no more at present (429).")
        if httpx2.codes.is_redirect(status):
            # A standby node; what was sent it passes on to nobody.
            return Unavailable(f"{name} is a standby that redirects ({status}). Give the active address.")
        if status == _SEALED and told.endswith("is sealed"):
            return Unavailable(f"{name} is sealed. Unseal it.")
        return self._lost(f"it failed ({status} {told}".rstrip() + ")", acting=acting)
