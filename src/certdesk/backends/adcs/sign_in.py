"""NTLM and SPNEGO over HTTP (RFC 4559) by pyspnego, which the extra `adcs` installs.

The handshake is bound to the TLS connection (RFC 5929, tls-server-end-point), as servers ask for that are
protected against relaying ("Extended Protection").
"""

import base64
import binascii
import importlib
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certdesk.domain.errors import Misconfigured

_UNAUTHORIZED = 401
_STRONGER = (hashes.SHA384, hashes.SHA512)


class SignIn(httpx2.Auth):
    """One handshake for each request that is not let in at once, on the request's own connection."""

    def __init__(self, *, name: str, scheme: str, username: str, password: Callable[[], str]) -> None:
        """`scheme` is ntlm or negotiate. Raises Misconfigured where pyspnego is not installed."""
        self._name, self._scheme, self._username, self._password = name, scheme, username, password
        self._spnego = _installed(name, "spnego")
        self._bindings = _installed(name, "spnego.channel_bindings")

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """httpx2's way to sign in. Raises Misconfigured for what can't go on."""
        response = yield request
        if response.status_code != _UNAUTHORIZED or self._answer(response) is None:
            return
        context = self._spnego.client(
            self._username,
            self._password(),
            hostname=request.url.host,
            service="HTTP",
            protocol=self._scheme,
            channel_bindings=self._binding(response),
        )
        token = self._step(context, b"")
        while token:
            request.headers["Authorization"] = f"{self._scheme} {base64.b64encode(token).decode()}"
            response = yield request
            answer = self._answer(response)
            if response.status_code != _UNAUTHORIZED or not answer:
                return
            token = self._step(context, answer)

    def _step(self, context: Any, answer: bytes) -> bytes | None:  # noqa: ANN401 - pyspnego's
        try:
            token: bytes | None = context.step(answer or None)
        except Exception as error:  # noqa: BLE001 - a library that reads what a server sends
            told = type(error).__name__  # its text may hold what was sent
            raise Misconfigured(
                f"{self._name}: the sign-in by {self._scheme} can't go on ({told})."
            ) from None
        return token

    def _answer(self, response: httpx2.Response) -> bytes | None:
        """The server's token for our scheme, empty for an invitation; None where it is not on offer."""
        for offer in response.headers.get_list("www-authenticate"):
            scheme, _, token = offer.partition(" ")
            if scheme.lower() == self._scheme:
                try:
                    return base64.b64decode(token)
                except binascii.Error:
                    return b""
        return None

    def _binding(self, response: httpx2.Response) -> Any:  # noqa: ANN401 - pyspnego's
        """What binds the handshake to the TLS connection; None where there is none."""
        tls = response.extensions["network_stream"].get_extra_info("ssl_object")
        der = None if tls is None else tls.getpeercert(True)
        if not der:
            return None
        used = x509.load_der_x509_certificate(der).signature_hash_algorithm
        digest = hashes.Hash(used if isinstance(used, _STRONGER) else hashes.SHA256())
        digest.update(der)
        return self._bindings.GssChannelBindings(
            application_data=b"tls-server-end-point:" + digest.finalize()
        )


def _installed(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise Misconfigured(
            f"Back end {name}: NTLM and SPNEGO need the extra “adcs”: pip install 'certdesk[adcs]'."
        ) from None
