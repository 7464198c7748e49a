"""A perspective as a WSGI application: `POST /dcv`, `POST /caa`, `GET /healthz`. No state, no cache.

Who asks shows a bearer token; TLS is the reverse proxy's work (BR 3.2.2.9: authenticated and encrypted).
"""

import hashlib
import hmac
import http
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from wsgiref.types import StartResponse, WSGIEnvironment

from pydantic import ValidationError

from certdesk.dcv.base import Network
from certdesk.dcv.mpic import checks
from certdesk.dcv.mpic.schema import AcmeHttp, AcmeTlsAlpn, CaaRequest, DcvRequest, WebsiteChange
from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.names.identifiers import is_ip_address, parse_dns_name
from certdesk.domain.names.ip_addresses import parse_ip_name

MAX_BODY = 65_536
MIN_TOKEN = 32
_AT_ADDRESSES = (AcmeHttp, AcmeTlsAlpn, WebsiteChange)


class PerspectiveApp:
    """Answers one coordinator. `code` is this place's name, `<registry>.<place>`."""

    def __init__(self, *, code: str, token: str, network: Network, clock: Callable[[], datetime]) -> None:
        if len(token) < MIN_TOKEN:
            raise ValueError(f"a perspective's token needs at least {MIN_TOKEN} characters")
        self._code = code
        self._token = _digest(token)
        self._network = network
        self._clock = clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request; whatever is wrong with it is its status."""
        return _send(start_response, *self._answer(environ))

    def unread(self, _environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """408: the body did not come in time."""
        return _send(start_response, *_refused(http.HTTPStatus.REQUEST_TIMEOUT))

    def admits(self, environ: WSGIEnvironment) -> bool:
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(_digest(token.strip()), self._token)

    def _answer(self, environ: WSGIEnvironment) -> tuple[http.HTTPStatus, bytes]:
        path = environ.get("PATH_INFO", "").removeprefix("/perspective")
        if path == "/healthz":
            return http.HTTPStatus.OK, b'{"status":"healthy"}'
        if path not in ("/dcv", "/caa"):
            return _refused(http.HTTPStatus.NOT_FOUND)
        if environ["REQUEST_METHOD"] != "POST":
            return _refused(http.HTTPStatus.METHOD_NOT_ALLOWED)
        if not self.admits(environ):
            return _refused(http.HTTPStatus.FORBIDDEN)
        length = environ.get("CONTENT_LENGTH") or ""
        if not length.isdigit() or int(length) > MAX_BODY:
            return _refused(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body: bytes = environ["wsgi.input"].read(int(length))
        try:
            if path == "/dcv":
                dcv = DcvRequest.model_validate_json(body)
                wanted, text = dcv.dcv_check_parameters, dcv.domain_or_ip_target
                # An IP address where its own server shows the proof.
                at_address = is_ip_address(text) and isinstance(wanted, _AT_ADDRESSES)
                target = parse_ip_name(text) if at_address else parse_dns_name(text, allow_wildcard=False)
                response = checks.dcv(target, wanted, network=self._network, now=self._clock())
            else:
                caa = CaaRequest.model_validate_json(body)
                parse_dns_name(caa.domain_or_ip_target)
                response = checks.caa(caa, network=self._network, now=self._clock())
        except RejectedIdentifier as error:
            return http.HTTPStatus.BAD_REQUEST, error.detail.encode()
        except ValidationError as error:
            # Where it is wrong. Pydantic's own text would repeat the input, with the secret value in it.
            found = error.errors(include_input=False, include_context=False, include_url=False)
            places = (f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in found)
            return http.HTTPStatus.BAD_REQUEST, "; ".join(places).encode()
        signed = response.model_copy(update={"perspective": self._code, "timestamp_ns": time.time_ns()})
        return http.HTTPStatus.OK, signed.model_dump_json(exclude_none=True).encode()


def _send(start_response: StartResponse, status: http.HTTPStatus, body: bytes) -> Iterable[bytes]:
    headers = [
        ("Content-Type", "application/json" if status is http.HTTPStatus.OK else "text/plain"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _refused(status: http.HTTPStatus) -> tuple[http.HTTPStatus, bytes]:
    return status, status.phrase.encode()
