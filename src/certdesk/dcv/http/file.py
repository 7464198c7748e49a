"""Fetches the one file and compares its whole content, but for white space at its end (RFC 8555 8.3).

No part of a foreign page is repeated to anybody: what the fetcher reaches may be inside a network.
"""

import hashlib
import hmac
import re
from datetime import datetime
from typing import ClassVar

from certdesk.dcv.base import (
    Challenge,
    Network,
    NotValidated,
    Outcome,
    Problem,
    Record,
    Validated,
    not_fetched,
    refused_wildcard,
    require_sound,
)
from certdesk.dcv.fetch import Fetched, Fetcher, NotFetched
from certdesk.dcv.look import digest
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.names.identifiers import is_ip_address, url_host
from certdesk.domain.validation.evidence import Method

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_SUCCESS = range(200, 300)
#: Nothing listens on port 80; with a file for people, port 443 is asked then (BR 3.2.2.4.18 allows both).
_CLOSED = frozenset({"fetch.connect", "fetch.connect_timeout"})


def file_url(adn: str, token: str, *, scheme: str = "http") -> str:
    """Where the file of BR 3.2.2.4.18 has to be. `token` is its name, and no part of the random value."""
    return f"{scheme}://{url_host(adn)}/.well-known/pki-validation/{token}"


def acme_url(adn: str, token: str) -> str:
    """Where http-01's file has to be: always on port 80 (RFC 8555 8.3)."""
    return f"http://{url_host(adn)}/.well-known/acme-challenge/{token}"


def fetched(url: str, *, adn: str, fetcher: Fetcher) -> Fetched | NotFetched:
    """What is at a URL of the name whose control is to be shown; it may be an IP address (RFC 8738)."""
    return fetcher.get(url, ip_address=adn) if is_ip_address(adn) else fetcher.get(url)


class HttpFileValidator:
    """The file named by the token has the random value as its content, by http or https."""

    methods: ClassVar[frozenset[Method]] = frozenset({Method.HTTP_FILE})

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Fetches by http, and by https where port 80 is closed.

        Raises: InvariantViolated when the random value would stand in the request (a page that echoes its
            path would prove it; BR 3.2.2.4.18).
        """
        _require_name(challenge, self.methods)
        if challenge.expected in challenge.token or challenge.token in challenge.expected:
            raise InvariantViolated("a file's name may not tell of the value in it")
        if (refused := refused_wildcard(challenge, now=now)) is not None:
            return refused
        url = file_url(challenge.adn, challenge.token)
        response = fetched(url, adn=challenge.adn, fetcher=network.fetcher)
        if isinstance(response, NotFetched) and response.code in _CLOSED and not response.redirects:
            url = file_url(challenge.adn, challenge.token, scheme="https")
            response = fetched(url, adn=challenge.adn, fetcher=network.fetcher)
        return _judge(response, url, challenge=challenge, now=now)


class AcmeHttpValidator:
    """The file named by the token has the key authorization as its content, by http on port 80."""

    methods: ClassVar[frozenset[Method]] = frozenset({Method.ACME_HTTP})

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Fetches once, redirects included."""
        _require_name(challenge, self.methods)
        if (refused := refused_wildcard(challenge, now=now)) is not None:
            return refused
        url = acme_url(challenge.adn, challenge.token)
        return _judge(
            fetched(url, adn=challenge.adn, fetcher=network.fetcher), url, challenge=challenge, now=now
        )


def _require_name(challenge: Challenge, methods: frozenset[Method]) -> None:
    require_sound(challenge, methods)
    if not _TOKEN.fullmatch(challenge.token):
        raise InvariantViolated("a token has to be a file's name in base64url")


def _judge(response: Fetched | NotFetched, url: str, *, challenge: Challenge, now: datetime) -> Outcome:
    """Whether the response is the proof: a 2xx with exactly the expected value (V4)."""
    details: dict[str, object] = {
        "url": url,
        "expected": digest(challenge.expected),
        "redirects": list(response.redirects),
        "address": response.address,
    }
    if isinstance(response, Fetched):
        answered = f"status {response.status}, {len(response.body)} octets"
        details |= {
            "status": response.status,
            "length": len(response.body),
            "truncated": response.truncated,
            "body": "sha256:" + hashlib.sha256(response.body).hexdigest(),
        }
    else:
        answered = response.code
    record = Record(
        method=challenge.method,
        adn=challenge.adn,
        asked=f"GET {url}",
        answered=answered,
        at=now,
        details=details,
    )
    problem = problem_of(response, url, expected=challenge.expected)
    return Validated(record=record) if problem is None else NotValidated(problem=problem, record=record)


def problem_of(response: Fetched | NotFetched, url: str, *, expected: str) -> Problem | None:
    """What is wrong with the response; None when it is a 2xx with the expected value and nothing else."""
    if isinstance(response, NotFetched):
        return not_fetched(response)
    if response.status not in _SUCCESS:
        told = f"{url} answers with status {response.status} instead of the file (status 200)."
        return Problem(code="dcv.http.status", detail=told, retry=True)
    if response.truncated:
        told = f"{url} has more than the expected value in it: it is too long."
        return Problem(code="dcv.http.too_long", detail=told)
    # White space at the end comes with editors and web servers; nothing else may be there.
    if not hmac.compare_digest(response.body.rstrip(b" \t\r\n"), expected.encode("ascii")):
        told = f"{url} is there, with another content than the one to be shown."
        return Problem(code="dcv.http.other_content", detail=told, acme_type="incorrectResponse", retry=True)
    return None
