"""A policy as a file: TOML in, rules for each organisation, profile and CA out (ADR 12).

Pure: text in, values out; whoever reads files calls this. An unknown section, name or value refuses the whole
file, naming the line. Only what differs from the seed has to be written.
"""

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from certdesk.domain.audit import digest
from certdesk.domain.csr.keys import MAX_RSA_BITS, MIN_RSA_BITS
from certdesk.domain.csr.names import MAX_NAMES
from certdesk.domain.errors import InvalidInput
from certdesk.domain.issuing.profiles import BUILT_IN
from certdesk.domain.policy.in_force import CaaMode, Handling, KeyType, Rules, canonical
from certdesk.domain.settings import suffix_list, year_list

DEFAULT = "default"
#: The kinds of overrides in the order in which they are laid over the defaults: what a CA can't do, no
#: profile or organisation may be granted, so the CA has the last word.
SECTIONS = ("organisation", "profile", "ca")
#: What the portal can change too: there the file gives the value before anybody changes it (ADR 12).
PORTAL = frozenset({"trusted_suffixes", "durations"})
MAX_CAP = 1_000_000
MAX_FILE = 1024 * 1024
MAX_TITLE = 100

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class PolicyFile:
    """A policy that was read; without a file, one that changes nothing.

    `overrides` maps (section, name) to what holds there instead of `default`. `version` and `title` are for
    people and decide nothing.
    """

    version: str = ""
    title: str = ""
    default: Values = field(default_factory=dict)
    overrides: Mapping[tuple[str, str], Values] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides; comments, order, version and title don't count."""
        parts = {f"{section}.{name}": _plain(values) for (section, name), values in self.overrides.items()}
        return digest({DEFAULT: _plain(self.default), "overrides": parts})

    @property
    def may_ask_caa(self) -> bool:
        """Whether a CAA answer counts for any organisation, profile or CA."""
        modes = (values.get("caa", CaaMode.OFF) for values in (self.default, *self.overrides.values()))
        return any(mode is not CaaMode.OFF for mode in modes)

    def over(self, rules: Rules) -> Rules:
        """The rules with the file's defaults, for what the portal does not set."""
        return _with(rules, {name: value for name, value in self.default.items() if name not in PORTAL})

    def rules_for(self, rules: Rules, *, organisation: str, profile: str, ca: str) -> Rules:
        """What holds for one organisation (by its slug), profile and CA; `rules` already has the defaults."""
        return _merged(self, rules, organisation, profile, ca)

    def named(self, section: str) -> tuple[str, ...]:
        """The names that have overrides in a section."""
        return tuple(name for found, name in self.overrides if found == section)


NO_FILE = PolicyFile()


@lru_cache(maxsize=4096)
def _merged(policy: PolicyFile, rules: Rules, *names: str) -> Rules:
    for place in zip(SECTIONS, names, strict=True):
        rules = _with(rules, policy.overrides.get(place, {}))
    return rules


def _with(rules: Rules, values: Values) -> Rules:
    return replace(rules, **dict[str, Any](values)) if values else rules


def read_policy(text: str, *, profiles: Collection[str] = tuple(BUILT_IN)) -> PolicyFile:
    """The policy that a file states; `profiles` are those that it may name.

    Raises: InvalidInput; its `fields` map each place (line, section, name) to what is wrong there.
    """
    if len(text) > MAX_FILE:
        raise _bad({"file": "It is larger than a policy can be."})
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad({"file": f"It is not TOML: {error}"}) from None
    reader = _Reader(lines=lines_of(text), profiles=tuple(profiles))
    policy = reader.read(tables)
    if reader.problems:
        raise _bad(reader.problems)
    return policy


def _bad(problems: dict[str, str]) -> InvalidInput:
    return InvalidInput("The policy can't be used.", problems)


class _Reader:
    """Reads the tables and gathers what is wrong, so that all of it is told at once."""

    def __init__(self, *, lines: Mapping[tuple[str, str], int], profiles: tuple[str, ...]) -> None:
        self.problems: dict[str, str] = {}
        self._lines, self._profiles = lines, profiles

    def read(self, tables: Mapping[str, object]) -> PolicyFile:
        known = ("version", "title", DEFAULT, *SECTIONS)
        for name in tables.keys() - set(known):
            self._wrong("", name, no_such(name, known, what="section"))
        default = self._values(DEFAULT, tables.get(DEFAULT, {}))
        overrides = {
            (section, name): self._values(f"{section}.{name}", values)
            for section in SECTIONS
            for name, values in self._table(section, tables.get(section, {})).items()
        }
        for section, name in overrides:
            if section == "profile" and name not in self._profiles:
                self._wrong("", f"profile.{name}", no_such(name, self._profiles, what="profile"))
        return PolicyFile(
            self._label(tables, "version", required=True), self._label(tables, "title"), default, overrides
        )

    def _values(self, place: str, table: object) -> Values:
        read: dict[str, object] = {}
        for name, value in self._table(place, table).items():
            if name not in _PARSERS:
                self._wrong(place, name, no_such(name, _PARSERS, what="rule"))
                continue
            try:
                read[name] = _PARSERS[name](value)
            except ValueError as error:
                self._wrong(place, name, str(error))
        least, most = read.get("rsa_min_bits", MIN_RSA_BITS), read.get("rsa_max_bits", MAX_RSA_BITS)
        if isinstance(least, int) and isinstance(most, int) and least > most:
            self._wrong(place, "rsa_min_bits", "It is above rsa_max_bits, so that no RSA key would do.")
        return read

    def _table(self, place: str, table: object) -> Mapping[str, object]:
        if isinstance(table, dict):
            return table
        self._wrong("", place, f"Write it as a table, [{place}].")
        return {}

    def _label(self, tables: Mapping[str, object], name: str, *, required: bool = False) -> str:
        value = tables.get(name, "")
        text = str(value)
        fits = type(value) in (str, int) and text.isprintable() and len(text) <= MAX_TITLE
        if not fits or (required and not text):
            self._wrong("", name, f"Give the file a {name} in a few words, such as {name} = “2027-03”.")
        return text

    def _wrong(self, place: str, name: str, problem: str) -> None:
        section, _dot, last = name.rpartition(".")
        known = ((place, name), (name, ""), (section, last))
        line = next((self._lines[at] for at in known if at in self._lines), None)
        where = f"line {line}, " if line else ""
        self.problems[f"{where}[{place}] {name}" if place else f"{where}{name}"] = problem


_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*(["']?)([A-Za-z0-9_-]+)\1\s*=""")


def lines_of(text: str) -> dict[tuple[str, str], int]:
    """(section, name) → line number, as far as a look at the text can tell; tomllib keeps none."""
    found: dict[tuple[str, str], int] = {}
    place = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            place = ".".join(part.strip().strip("\"'") for part in header.group(1).split("."))
            found.setdefault((place, ""), number)
            # A wrong section is told where its first table begins.
            found.setdefault((place.partition(".")[0], ""), number)
        elif key := _KEY.match(line):
            found.setdefault((place, key.group(2)), number)
    return found


def no_such(name: str, known: Mapping[str, object] | tuple[str, ...], *, what: str) -> str:
    near = get_close_matches(name, known, n=1)
    advice = f"Do you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
    return f"There is no such {what}. {advice}"


def _plain(values: Values) -> dict[str, object]:
    """Values in one order, whatever the order in the file."""
    return {name: canonical(values[name]) for name in sorted(values)}


def _texts(value: object) -> Iterator[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError("Give a list of texts, such as [“ac.uk”].")
    yield from value


def _years(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise ValueError("Give a list of years, such as [1, 2].")
    return year_list(value)


def _key_types(value: object) -> tuple[KeyType, ...]:
    offered = ", ".join(KeyType)
    try:
        asked = {KeyType(item) for item in _texts(value)}
    except ValueError:
        raise ValueError(f"Give a list of one or more of {offered}.") from None
    return tuple(kind for kind in KeyType if kind in asked)


def _number(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"Give a whole number from {least} to {most}.")
        return value

    return parse


def _choice(*offered: Handling | CaaMode) -> Callable[[object], Handling | CaaMode]:
    def parse(value: object) -> Handling | CaaMode:
        for choice in offered:
            if choice == value:
                return choice
        raise ValueError(f"Give one of {', '.join(offered)}.")

    return parse


def _yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("Give true or false.")  # noqa: TRY004 - a wrong answer, not a wrong program
    return value


_PARSERS: Mapping[str, Callable[[object], object]] = {
    "trusted_suffixes": lambda value: suffix_list(list(_texts(value))),
    "durations": _years,
    "key_types": _key_types,
    "rsa_min_bits": _number(MIN_RSA_BITS, MAX_RSA_BITS),
    "rsa_max_bits": _number(MIN_RSA_BITS, MAX_RSA_BITS),
    "max_names": _number(1, MAX_NAMES),
    "wildcards": _choice(*Handling),
    "outside_suffix": _choice(Handling.MANUAL, Handling.REFUSE),
    "caa": _choice(*CaaMode),
    "caa_unknown": _choice(Handling.MANUAL, Handling.REFUSE),
    "first_request_waits": _yes_or_no,
    "daily_cap": _number(0, MAX_CAP),
    "reused_key": _choice(*Handling),
}
#: The rules that a file may set, in the order in which they are shown.
RULE_NAMES: tuple[str, ...] = tuple(_PARSERS)
