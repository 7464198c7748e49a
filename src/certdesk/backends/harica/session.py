"""Signing in to CertManager: an anti-forgery token from its page, password and TOTP, and the JWT for both.

The page's cookie goes with its token (ASP.NET); the client of the exchanges keeps it.
"""

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from certdesk.backends.http.transport import Reply
from certdesk.domain.errors import Misconfigured, Unavailable

_TOKEN = re.compile(r'<input[^>]*name="__RequestVerificationToken"[^>]*value="([A-Za-z0-9_-]+)"')
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
#: A session is not used for longer, nor in its last minute.
_LONGEST, _LEFT = 3600.0, 60.0
#: What was refused is not tried again at once with the same secrets, for an account is locked after too many
#: tries: first for as long as a code is good, which another process may just have used, then for longer.
_PAUSES = (31.0, 600.0)

Ask = Callable[..., Reply]


@dataclass(slots=True)
class _SignedIn:
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    until: float = 0.0  # seconds since 1970


class Session:
    """Headers of a session that is good now. Safe to share between threads."""

    def __init__(self, *, title: str, email: str, clock: Callable[[], datetime]) -> None:
        self._title, self._email, self._clock = title, email, clock
        self._lock, self._mine = threading.Lock(), _SignedIn()
        self._refused: tuple[str, str] | None = None
        self._refusals, self._refused_until = 0, 0.0

    def headers(self, ask: Ask, *, password: str, seed: str) -> Mapping[str, str]:
        """Signs in, where it is not. `ask` is the back end's, with its time.

        Raises: Misconfigured for a sign-in that is refused, Unavailable.
        """
        with self._lock:
            now = self._clock().timestamp()
            if now < self._mine.until:
                return self._mine.headers
            if self._refused == (password, seed) and now < self._refused_until:
                raise Misconfigured(f"{self._title} has refused the sign-in. Correct password or TOTP seed.")
            headers = {"RequestVerificationToken": self._verification(ask, {})}
            body = {"email": self._email, "password": password, "token": self._code(seed)}
            try:
                reply = ask("POST", "api/User/Login2FA", headers=headers, json=body)
            except Misconfigured:
                reply = None
            if reply is None or not reply.is_good:
                self._refusals = self._refusals + 1 if self._refused == (password, seed) else 1
                self._refused_until = now + _PAUSES[min(self._refusals, len(_PAUSES)) - 1]
                self._refused = password, seed
                told = "Check e-mail, password, TOTP seed and this machine's clock."
                raise Misconfigured(f"{self._title} refuses the sign-in. {told}")
            token = reply.text.strip().strip('"')
            if not _JWT.fullmatch(token):
                raise Unavailable(f"{self._title}: the answer to the sign-in can't be read.")
            signed_in = {"Authorization": token}
            # The anti-forgery token is for whoever is signed in, so it is fetched once more.
            signed_in["RequestVerificationToken"] = self._verification(ask, signed_in)
            self._refused = None
            self._mine = _SignedIn(signed_in, now + _life(token, now))
            return self._mine.headers

    def forget(self, headers: Mapping[str, str]) -> None:
        """That session is no longer good."""
        with self._lock:
            if headers is self._mine.headers:
                self._mine.until = 0.0

    def _verification(self, ask: Ask, headers: Mapping[str, str]) -> str:
        found = _TOKEN.search(ask("GET", "", headers=headers).text)
        if found is None:
            raise Unavailable(f"{self._title}: its page holds no token for a sign-in.")
        return found.group(1)

    def _code(self, seed: str) -> str:
        """The code of this moment (RFC 6238, as authenticator apps make it)."""
        try:
            key = base64.b32decode(seed.upper() + "=" * (-len(seed) % 8))
            return (
                TOTP(key, 6, SHA1(), 30, enforce_key_length=False)  # noqa: S303 - RFC 6238's
                .generate(int(self._clock().timestamp()))
                .decode()
            )
        except (binascii.Error, ValueError):
            raise Misconfigured(f"{self._title}: the TOTP seed is not in base 32.") from None


def _life(token: str, now: float) -> float:
    """Seconds for which a JWT may be used; its signature is for its issuer to check."""
    payload = token.split(".")[1]
    try:
        ends = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        left = float(ends) - now
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        left = _LONGEST / 4
    return min(left, _LONGEST) - _LEFT
