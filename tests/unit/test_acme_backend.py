"""The ACME back end's pure parts: what a CA's words mean, and when it wants to be asked again."""

from datetime import UTC, datetime, timedelta

import pytest
import requests
from acme import messages

from certdesk.backends.acme.connection import alternates, ask_after
from certdesk.backends.acme.names import identifiers
from certdesk.backends.acme.problems import Doing, answered, plain, translated
from certdesk.domain.errors import BackendError, BackendRefused, Misconfigured, OutcomeUnknown, Unavailable

NOW = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)


def answer(**headers: str) -> requests.Response:
    made = requests.Response()
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return made


@pytest.mark.parametrize(
    "said, after",
    [
        ("", 0),
        ("30", 30),
        ("Fri, 27 Nov 2026 18:05:00 GMT", 300),
        ("Fri, 27 Nov 2026 17:00:00 GMT", 0),
        ("86400", 3600),
        ("9" * 30, 0),
        ("-5", 0),
        ("tomorrow", 0),
        ("Fri, 27 Nov 2026 18:05:00", 0),
    ],
)
def test_when_to_ask_again(said: str, after: int) -> None:
    assert ask_after(answer(Retry_After=said), now=NOW) == NOW + timedelta(seconds=after)


def test_other_chains_are_links_of_one_kind() -> None:
    link = '<https://ca/dir>;rel="index", <https://ca/1>;rel="alternate", <https://ca/2>; rel="alternate"'
    assert alternates(answer(Link=link)) == ["https://ca/1", "https://ca/2"]
    assert alternates(answer()) == []


def test_names_and_addresses() -> None:
    assert identifiers(("*.example.org", "192.0.2.1", "2001:db8::1")) == [
        {"type": "dns", "value": "*.example.org"},
        {"type": "ip", "value": "192.0.2.1"},
        {"type": "ip", "value": "2001:db8::1"},
    ]


def problem(code: str, detail: str | None, *, status: int = 400, wait: str = "") -> messages.Error:
    told = {"type": f"urn:ietf:params:acme:error:{code}", **({"detail": detail} if detail else {})}
    made: messages.Error = messages.Error.from_json(told)
    made.answered = (status, wait)
    return made


@pytest.mark.parametrize(
    "said, told",
    [
        (problem("caa", "CAA record for example.org prevents issuance"), "CAA records in the DNS forbid"),
        (problem("malformed", "No\n  such   order!"), "No such order!"),
        (problem("brandNew", None), "The CA gave no reason."),
        (messages.Error.from_json({"title": "Teapot"}), "Teapot."),
    ],
)
def test_plain_words(said: messages.Error, told: str) -> None:
    assert plain(said).startswith(told)


def test_what_cannot_be_stored_is_not_passed_on() -> None:
    """PostgreSQL takes neither a NUL nor half a surrogate pair: such an issuance could never be recorded."""
    odd = "No\x00such \ud800order" + "x" * 10_000
    part = {"type": "urn:ietf:params:acme:error:caa", "detail": odd}
    told = plain(messages.Error.from_json({"detail": odd, "subproblems": [part]}))
    assert told.isprintable()
    assert told.startswith("No such order")
    assert len(told) <= 2000


@pytest.mark.parametrize(
    "said, reading, asking, acting",
    [
        (problem("malformed", "x"), Unavailable, BackendRefused, BackendRefused),
        (problem("caa", "x", status=403), Unavailable, BackendRefused, BackendRefused),
        (problem("unauthorized", "x", status=403), Misconfigured, Misconfigured, Misconfigured),
        (problem("rateLimited", "x", status=429), Unavailable, Unavailable, Unavailable),
        (problem("serverInternal", "x", status=500), Unavailable, Unavailable, OutcomeUnknown),
        (problem("serverInternal", "x", status=503), Unavailable, Unavailable, Unavailable),
        (problem("malformed", "x", status=502), Unavailable, Unavailable, OutcomeUnknown),
        (problem("badNonce", "x"), Unavailable, Unavailable, Unavailable),
        (requests.ReadTimeout("x"), Unavailable, Unavailable, OutcomeUnknown),
        (requests.ConnectTimeout("x"), Unavailable, Unavailable, Unavailable),
        (requests.ConnectionError("aborted"), Unavailable, Unavailable, OutcomeUnknown),
        (requests.exceptions.SSLError("x"), Unavailable, Unavailable, Unavailable),
        (KeyError("Location"), Unavailable, Unavailable, OutcomeUnknown),
    ],
)
def test_what_an_error_means_depends_on_what_was_asked(
    said: Exception, reading: type[BackendError], asking: type[BackendError], acting: type[BackendError]
) -> None:
    for doing, expected in zip(Doing, (reading, asking, acting), strict=True):
        with pytest.raises(BackendError) as raised, translated("The CA", doing):
            raise said
        assert type(raised.value) is expected, doing


def test_what_was_behind_an_error() -> None:
    with pytest.raises(Unavailable) as raised, translated("The CA", Doing.READING):
        raise problem("malformed", "x", status=404)
    assert answered(raised.value) == ("malformed", 404)
    assert answered(Unavailable("x")) == ("", 0)
