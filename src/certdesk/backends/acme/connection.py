"""A connection to an ACME server: certbot's library signs, keeps nonces and reads. What it lacks is here.

It lacks: more than one retry after `badNonce`, `Retry-After` with errors, patience with a missing nonce, and
what is said with a 409.
"""

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, cast

import requests
from acme import messages
from acme.client import ClientNetwork
from josepy.errors import Error as JoseError
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import ES256
from josepy.jwk import JWK
from requests.adapters import HTTPAdapter
from requests.utils import parse_header_links
from urllib3.exceptions import HTTPError

#: Pebble refuses every twentieth good nonce on purpose; other servers forget theirs at a restart.
_NONCES = 8
#: What CAs say of a signature by a key that the account no longer has.
_OF_THE_KEY = ("unauthorized", "malformed", "accountDoesNotExist")
_USER_AGENT = "Certdesk (acme-python)"
#: A CA may take long to answer, never to accept a connection: other work waits behind one that is down.
_CONNECT_SECONDS = 5.0
#: A certificate with its chain, or an order for a hundred names, is far smaller.
_LARGEST = 1 << 20
#: The longest that a server's Retry-After for an order is taken at its word.
_LONGEST = timedelta(hours=1)


class Payload(JSONDeSerializable):
    """Plain JSON to be signed and sent."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)

    def to_partial_json(self) -> dict[str, Any]:
        return self._fields

    @classmethod
    def from_json(cls, jobj: Any) -> "Payload":  # noqa: ANN401 - the library's signature
        return cls(jobj)


class _Bounded(HTTPAdapter):
    """Reads no answer without end into memory."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(request, *args, **{**kwargs, "stream": True})
        try:
            content = response.raw.read(_LARGEST + 1, decode_content=True)
        except HTTPError as error:
            raise requests.RequestException(error, request=request) from error
        if len(content) > _LARGEST:
            response.close()
            raise requests.RequestException(f"it sends more than {_LARGEST} bytes", request=request)
        response.raw = io.BytesIO(content)
        return response


class Network(ClientNetwork):
    """The library's network, more patient with nonces; it leaves status and Retry-After with an error."""

    last: requests.Response | None = None

    def __init__(
        self,
        key: JWK | None,
        *,
        ca_file: str | None,
        timeout: float,
        fresh_key: Callable[[], JWK] | None = None,
    ) -> None:
        self._fresh_key = fresh_key
        super().__init__(
            key,
            alg=ES256,
            verify_ssl=ca_file or True,  # type: ignore[arg-type]  # a path is handed on to requests, which takes it
            user_agent=_USER_AGENT,
            timeout=(min(timeout, _CONNECT_SECONDS), timeout),  # type: ignore[arg-type]  # as above
        )
        self.session.mount("https://", _Bounded())

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """With more than one retry. An exception has `answered`: status and Retry-After."""
        tries = _NONCES
        while True:
            tries -= 1
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as error:
                self._note_answer(error)
                if not tries or (error.code != "badNonce" and not self._has_other_key(error)):
                    raise

    def _has_other_key(self, error: messages.Error) -> bool:
        """Whether it may have been refused only because the account's key is another one by now."""
        if self._fresh_key is None or error.code not in _OF_THE_KEY:
            return False
        former, self.key = self.key, self._fresh_key()
        return self.key != former

    def get(self, *args: Any, **kwargs: Any) -> requests.Response:
        """An exception has `answered`, as with `post`."""
        try:
            return super().get(*args, **kwargs)
        except messages.Error as error:
            self._note_answer(error)
            raise

    def _note_answer(self, error: messages.Error) -> None:
        status = 0 if self.last is None else self.last.status_code
        error.answered = (status, "" if self.last is None else self.last.headers.get("Retry-After", ""))

    @classmethod
    def _check_response(
        cls, response: requests.Response, content_type: str | None = None
    ) -> requests.Response:
        """The library takes each 409 for an account that is there already, and drops what it says."""
        if response.status_code == HTTPStatus.CONFLICT:
            with suppress(ValueError, JoseError):
                raise messages.Error.from_json(response.json())
        return super()._check_response(response, content_type)

    def _add_nonce(self, response: requests.Response) -> None:
        """An answer to a POST without a nonce is an answer all the same; a nonce is asked for."""
        if response.request.method != "POST" or self.REPLAY_NONCE_HEADER in response.headers:
            super()._add_nonce(response)

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        self.last = None
        self.last = super()._send_request(method, url, *args, **kwargs)
        return self.last


class Connection:
    """Requests in the name of one account, or of none yet. One for each thread: nonces are not shared.

    Everything here raises the library's exceptions; `problems.translated` makes them ours.
    """

    def __init__(
        self,
        url: str,
        *,
        key: JWK | None,
        ca_file: str | None,
        timeout: float,
        fresh_key: Callable[[], JWK] | None = None,
    ) -> None:
        """Reads the directory. `fresh_key` says which key the account has by now, if its key is refused."""
        self.network = Network(key, ca_file=ca_file, timeout=timeout, fresh_key=fresh_key)
        self.directory = messages.Directory.from_json(self.network.get(url).json())

    def act_as(self, account_url: str) -> None:
        """Requests from here on name the account, not its key."""
        self.network.account = messages.RegistrationResource(body=messages.Registration(), uri=account_url)

    def post(self, url: str, payload: JSONDeSerializable | None) -> requests.Response:
        """Signed JSON, or POST-as-GET for no payload (RFC 8555 6.3)."""
        return self.network.post(url, payload, new_nonce_url=self.directory["newNonce"])

    def order(self, url: str) -> tuple[messages.Order, requests.Response]:
        answer = self.post(url, None)
        return read_order(answer), answer

    def authorization(self, url: str) -> messages.Authorization:
        """Raises ValueError where it lacks what RFC 8555 7.1.4 requires."""
        found: Any = messages.Authorization.from_json(self.post(url, None).json())
        if found.identifier is None or found.status is None or found.challenges is None:
            raise ValueError("an authorization without its identifier, status or challenges")
        return cast("messages.Authorization", found)


def read_order(answer: requests.Response) -> messages.Order:
    """The order in an answer. Raises ValueError where it lacks what RFC 8555 7.1.3 requires."""
    order: Any = messages.Order.from_json(answer.json())
    urls = [*(order.authorizations or [None]), order.finalize]
    if order.status is None or not all(isinstance(url, str) for url in urls):
        raise ValueError("an order without its status, authorizations or finalize")
    return cast("messages.Order", order)


def alternates(answer: requests.Response) -> list[str]:
    """Where the other chains of a certificate are (RFC 8555 7.4.2)."""
    links = parse_header_links(answer.headers.get("Link", ""))
    return [link["url"] for link in links if link.get("rel") == "alternate"]


def ask_after(answer: requests.Response, *, now: datetime, longest: timedelta = _LONGEST) -> datetime:
    """When the server wants to be asked again, `longest` from now at most; `now` where it does not say."""
    return wanted_at(answer.headers.get("Retry-After", ""), now=now, longest=longest)


def wanted_at(said: str, *, now: datetime, longest: timedelta = _LONGEST) -> datetime:
    """The moment in a Retry-After: seconds or a date (RFC 9110 10.2.3)."""
    try:
        after = now + timedelta(seconds=int(said)) if said.isdecimal() else parsedate_to_datetime(said)
        return min(max(after, now), now + longest)
    except (ValueError, TypeError, OverflowError):  # no date, or one without a zone
        return now
