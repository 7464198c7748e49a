"""What an operator may change while the service runs: values, their limits, and what is wrong with them.

Pure. The configuration gives the defaults (the seed's figures);
`services.system.settings` keeps the versions.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

from certdesk.domain.errors import InvalidInput
from certdesk.domain.rules import RuleId, in_force

OTHER = "Other"
LOWEST_PASSWORD_LENGTH = 3  # as the service that this one follows had it
LONGEST_PASSWORD_LENGTH = 64
TERM_YEARS = (1, 2, 3)
MAX_TEXT = 60
MAX_REASON = 300
MAX_URL = 500
MAX_NAME = 253  # RFC 1035: 255 octets on the wire
MAX_ITEMS = 100
#: Plain addresses only: this one is shown and linked, never parsed from a person's own mail.
_MAILBOX = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_SUFFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_PART = re.compile(r"(?:ca|profile) [a-z0-9][a-z0-9._-]{0,63}: \S.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """Every setting that the portal can change.

    `ra_contact` is an e-mail address, a web page, or empty. `ownership_days` is how long a proof of control
    counts, `challenge_days` how long a mailed code works, `password_min_length` counts
    characters.
    """

    ra: str = "JTAG"
    ra_contact: str = ""
    service_name: str = "Certdesk"
    support_url: str = ""
    trusted_suffixes: tuple[str, ...] = ("ac.uk", "gov.uk")
    durations: tuple[int, ...] = TERM_YEARS
    server_software: tuple[str, ...] = (OTHER,)
    ownership_days: int = 398
    challenge_days: int = 7
    password_min_length: int = 15
    #: Why nothing is issued at present; empty while certificates are issued.
    issuing_stopped: str = ""
    #: The same for a CA or a profile alone, each as `ca NAME: reason` or `profile ID: reason`.
    parts_stopped: tuple[str, ...] = ()

    def why_stopped(self, *, ca: str, profile: str = "") -> str:
        """Why nothing is issued by this CA under this profile; empty where it is."""
        if self.issuing_stopped:
            return self.issuing_stopped
        parts = f"ca {ca}: ", f"profile {profile}: "
        stopped = (line for line in self.parts_stopped if line.startswith(parts))
        return next(stopped, "").partition(": ")[2]


#: The settings' names, in the order in which a form shows them.
NAMES: tuple[str, ...] = tuple(field.name for field in fields(ServiceSettings))


def changed(settings: ServiceSettings, values: Mapping[str, object], *, now: datetime) -> ServiceSettings:
    """The settings with some values replaced: lists as sequences of text or whole numbers.

    Raises InvalidInput with what to do for each field that can't be used; unknown names refuse.
    """
    problems = {name: "There is no such setting." for name in values if name not in NAMES}
    accepted: dict[str, object] = {}
    for name, value in values.items():
        if name in problems:
            continue
        try:
            accepted[name] = _PARSERS[name](value, now)
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise InvalidInput("The settings can't be changed like this.", problems)
    return replace(settings, **accepted)  # type: ignore[arg-type] # each parser returns its field's type


def _text(value: object, _now: datetime) -> str:
    text = " ".join(str(value).split())
    if not text or len(text) > MAX_TEXT or not text.isprintable():
        raise ValueError(f"Give a name of 1 to {MAX_TEXT} characters.")
    return text


def _reason(value: object, _now: datetime) -> str:
    text = " ".join(str(value).split())
    if len(text) > MAX_REASON or not text.isprintable():
        raise ValueError(f"Give a reason of at most {MAX_REASON} characters, or leave it empty.")
    return text


def _parts(value: object, _now: datetime) -> tuple[str, ...]:
    lines = tuple(dict.fromkeys(" ".join(item.split()) for item in _items(value)))
    for line in lines:
        if len(line) > MAX_REASON or not line.isprintable() or not _PART.fullmatch(line):
            raise ValueError(
                f"“{line[:MAX_TEXT]}” does not say what is stopped and why. Write “ca”, its name, a colon "
                "and the reason; or “profile”, its identifier, a colon and the reason."
            )
    return lines


def _url(value: object, _now: datetime) -> str:
    text = str(value).strip()
    wrong = "Give an address that starts with https://, or leave it empty."
    if not text:
        return text
    if len(text) > MAX_URL or not text.isprintable() or " " in text:
        raise ValueError(wrong)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(wrong) from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(wrong)
    return text


def _contact(value: object, now: datetime) -> str:
    text = str(value).strip()
    if "://" in text or not text:
        return _url(text, now)
    if len(text) > MAX_NAME or not _MAILBOX.fullmatch(text):
        raise ValueError("Give an e-mail address or an address that starts with https://, or leave it empty.")
    return text


def contact_link(contact: str) -> str:
    """The address that a link to an RA contact leads to; empty for none."""
    return f"mailto:{contact}" if contact and "://" not in contact else contact


def suffix_list(value: object) -> tuple[str, ...]:
    """Domain suffixes, in lower case and once each. Raises ValueError with what to do."""
    names = tuple(dict.fromkeys(item.strip().lower().strip(".") for item in _items(value)))
    bad = [name for name in names if len(name) > MAX_NAME or not _SUFFIX.fullmatch(name)]
    if not names or bad:
        raise ValueError(
            f"“{bad[0][:MAX_TEXT]}” is not a domain suffix such as ac.uk." if bad else "Give at least one."
        )
    return names


def year_list(value: object) -> tuple[int, ...]:
    """Terms on offer, in years, shortest first. Raises ValueError with what to do."""
    years = tuple(sorted({_whole(item) for item in _items(value)}))
    if not years or not set(years) <= set(TERM_YEARS):
        raise ValueError("Choose one or more of 1, 2 and 3 years.")
    return years


def _software(value: object, _now: datetime) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(" ".join(item.split()) for item in _items(value) if item.strip()))
    if any(len(name) > MAX_TEXT or not name.isprintable() for name in names):
        raise ValueError(f"Each name has at most {MAX_TEXT} characters.")
    return names if OTHER in names else (*names, OTHER)


def _days(most: RuleId, value: object, now: datetime) -> int:
    return _within(value, 1, in_force(most, now).value, "days")


def _within(value: object, least: int, most: int, unit: str) -> int:
    number = _whole(value)
    if not least <= number <= most:
        raise ValueError(f"Give a number of {unit} from {least} to {most}.")
    return number


def _whole(value: object) -> int:
    try:
        return int(str(value).strip())
    except ValueError:
        raise ValueError("Give a whole number.") from None


def _items(value: object) -> list[str]:
    """The items of a list; text is taken line by line, as a form's text area gives it."""
    if not isinstance(value, (str, list, tuple)):
        raise ValueError("Give a list.")  # noqa: TRY004 - a wrong answer, not a wrong program
    items = [str(item) for item in (value.splitlines() if isinstance(value, str) else value)]
    items = [item for item in items if item.strip()]
    if len(items) > MAX_ITEMS:
        raise ValueError(f"Give at most {MAX_ITEMS}.")
    return items


_PARSERS: Mapping[str, Callable[[object, datetime], object]] = {
    "ra": _text,
    "ra_contact": _contact,
    "service_name": _text,
    "support_url": _url,
    "trusted_suffixes": lambda value, _now: suffix_list(value),
    "durations": lambda value, _now: year_list(value),
    "server_software": _software,
    "ownership_days": partial(_days, RuleId.PRIVATE_OWNERSHIP_REUSE),
    "challenge_days": partial(_days, RuleId.RANDOM_VALUE_LIFE),
    "password_min_length": lambda value, _now: _within(
        value, LOWEST_PASSWORD_LENGTH, LONGEST_PASSWORD_LENGTH, "characters"
    ),
    "issuing_stopped": _reason,
    "parts_stopped": _parts,
}
