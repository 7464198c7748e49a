"""What a CA's errors mean for us, and in plain words (RFC 8555 6.7, RFC 7807).

The question that decides is always whether the CA can have acted: then nothing is said to have failed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from http import HTTPStatus

import acme.errors
import josepy
import requests
from acme import messages
from urllib3.exceptions import MaxRetryError, NewConnectionError

from certdesk.backends.chains import one_line
from certdesk.domain.errors import BackendError, BackendRefused, Misconfigured, OutcomeUnknown, Unavailable

#: What is wrong with our account or our set-up rather than with what was asked for.
_OURS = frozenset(
    {
        *("accountDoesNotExist", "unauthorized", "userActionRequired", "externalAccountRequired"),
        *("invalidContact", "unsupportedContact", "badSignatureAlgorithm", "invalidProfile"),
    }
)
_ASKS_TO_WAIT = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
#: Of a refusal of a hundred names, each with its own reason.
_MOST_TOLD = 2000
#: Before the CA's own words, which name the record or the name but seldom say what is to be done.
_PLAIN = {
    "badCSR": "The CA doesn't accept the CSR.",
    "caa": "CAA records in the DNS forbid this CA to issue for the name.",
    "rejectedIdentifier": "The CA doesn't issue for this name.",
    "unsupportedIdentifier": "The CA doesn't issue for names of this kind.",
    "userActionRequired": "The CA wants someone to act, usually to agree to new terms of service.",
}


class Doing(Enum):
    """What a request to the CA is for, which says what an error means."""

    READING = auto()  # a refusal to show something decides nothing
    ASKING = auto()  # nothing is issued yet: it may be refused, and a lost answer does no harm
    ACTING = auto()  # the CA issues or revokes: after a lost answer nobody knows


def code_of(problem: messages.Error) -> str:
    """The last part of a problem's type, such as `caa`; also of one that the RFC does not list."""
    return str(problem.typ or "").rsplit(":", maxsplit=1)[-1]


def answered(error: BackendError) -> tuple[str, int]:
    """The problem's code and the HTTP status behind an error of `translated`; empty and 0 for others."""
    cause = error.__cause__
    if not isinstance(cause, messages.Error):
        return "", 0
    return code_of(cause), getattr(cause, "answered", (0, ""))[0]


def asked_to_wait(error: BackendError) -> tuple[int, str]:
    """HTTP status and Retry-After behind an error of `translated`; 0 and empty where there is none."""
    cause = error.__cause__
    if isinstance(cause, messages.Error):
        return getattr(cause, "answered", (0, ""))
    answer = cause.args[0] if isinstance(cause, acme.errors.ClientError) and cause.args else None
    if not isinstance(answer, requests.Response):
        return 0, ""
    return answer.status_code, answer.headers.get("Retry-After", "")


def plain(problem: messages.Error) -> str:
    """A problem and its sub-problems as sentences for people."""
    said = one_line(str(problem.detail or problem.title or ""), most=_MOST_TOLD)
    parts = [_PLAIN.get(code_of(problem), "")]
    if said:
        parts.append(f"It says: {said}" if parts[0] else said)
    for part in problem.subproblems or ():
        name = f"{part.identifier.value}: " if part.identifier else ""
        parts.append(f"{name}{plain(part)}")
    told = " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part)
    return one_line(told, most=_MOST_TOLD) or "The CA gave no reason."


@contextmanager
def translated(title: str, doing: Doing) -> Iterator[None]:
    """Has whatever goes wrong with a CA raised as a BackendError; `answered` says what was behind it."""
    lost: type[BackendError] = OutcomeUnknown if doing is Doing.ACTING else Unavailable
    try:
        yield
    except messages.Error as error:
        raise _of_problem(error, title=title, lost=lost, reads=doing is Doing.READING) from error
    except requests.ConnectionError as error:
        kind = Unavailable if _never_connected(error) else lost
        raise kind(f"{title} can't be reached: {_words(error)}") from error
    except requests.RequestException as error:
        raise lost(f"{title} has not answered: {_words(error)}") from error
    except acme.errors.ClientError as error:
        raise _of_answer(error, title=title, lost=lost) from error
    except (acme.errors.Error, josepy.errors.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        # The library raises the last four for answers that are JSON, but not what the RFC says.
        raise lost(f"{title} has sent an answer that is not ACME: {_words(error)}") from error


def _of_problem(
    problem: messages.Error, *, title: str, lost: type[BackendError], reads: bool
) -> BackendError:
    code = code_of(problem)
    status, wait = getattr(problem, "answered", (0, ""))
    told = plain(problem)
    if code == "rateLimited" or status in _ASKS_TO_WAIT:
        return Unavailable(f"{title} asks us to wait{_until(wait)}. {told}")
    if code == "badNonce":
        return Unavailable(f"{title} took none of its own nonces. {told}")
    if code == "serverInternal" or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return lost(f"{title} reports an error of its own. {told}")
    if code in _OURS:
        return Misconfigured(f"{title} doesn't serve our account as it is set up. {told}")
    return Unavailable(f"{title} doesn't show it. {told}") if reads else BackendRefused(told)


def _of_answer(error: acme.errors.ClientError, *, title: str, lost: type[BackendError]) -> BackendError:
    answer = error.args[0] if error.args else None
    if not isinstance(answer, requests.Response):
        return lost(f"{title} has sent an answer that is not ACME: {_words(error)}")
    if answer.status_code in _ASKS_TO_WAIT:
        return Unavailable(f"{title} asks us to wait{_until(answer.headers.get('Retry-After', ''))}.")
    return lost(f"{title} has answered with HTTP status {answer.status_code} and no explanation.")


def _until(retry_after: str) -> str:
    """Seconds or a date (RFC 9110 10.2.3), as part of a sentence."""
    if retry_after.isdecimal():
        return f" for {retry_after} seconds"
    return f" until {retry_after}" if retry_after else ""


def _never_connected(error: requests.ConnectionError) -> bool:
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _words(error: Exception) -> str:
    """An exception's own words, or its kind, in one short line."""
    return one_line(str(error), most=300) or type(error).__name__
