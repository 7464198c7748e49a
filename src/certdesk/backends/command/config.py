"""Settings of a CA behind a program. Frozen, checked when made; the program's file is looked at each time."""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType

from certdesk.domain.errors import Misconfigured

#: An issuance is claimed for ten seconds; then another process looks what became of it.
_MOST_SECONDS = 9.0
_MOST_VARIABLES, _MOST_TEXT = 20, 4096
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandConfig:
    """The program, what it is started with, and for how long it may run: `timeout_seconds` for a whole call.

    `environment` is added to PATH and LANG, which alone are handed on. `chain_file`: PEM of the issuing CA
    and those above it; without one the program is asked. `can_find`, `can_list`: whether it
    answers `find` and `list`.
    """

    name: str
    program: Path
    arguments: tuple[str, ...] = ()
    title: str = ""
    timeout_seconds: float = 8.0
    chain_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    can_find: bool = False
    can_list: bool = False

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        if not 0 < self.timeout_seconds <= _MOST_SECONDS:
            raise self._wrong("timeout_seconds", f"{_MOST_SECONDS:g} at most, after which others take over")
        if len(self.environment) > _MOST_VARIABLES:
            raise self._wrong("environment", f"name {_MOST_VARIABLES} variables at most")
        for variable in self.environment:
            if not _VARIABLE.fullmatch(variable):
                raise self._wrong("environment", f"“{variable}” is no name of a variable, such as CA_FOLDER")
        for text in (*self.arguments, *self.environment.values()):
            if "\0" in text or len(text) > _MOST_TEXT:
                raise self._wrong("arguments", f"texts have {_MOST_TEXT} characters at most, and no NUL")
        self.refuse_unsafe()

    def refuse_unsafe(self) -> None:
        """Looks at the program's file and the folders above it: who can change it acts as the service.

        Raises: Misconfigured when it is missing, can't be run, or others than its owner can replace it.
        """
        if not self.program.is_absolute():
            raise self._wrong("program", "give the whole path, such as /etc/certdesk/ca-program")
        try:
            real = self.program.resolve(strict=True)
            # A link's own folder, and what it leads to; the latter first, for its name is to be told.
            places = {place: place.stat() for path in (real, self.program) for place in (path, *path.parents)}
        except (OSError, RuntimeError, ValueError) as error:  # a circle of links; a NUL
            reason = getattr(error, "strerror", None) or "it is no path that can be followed"
            raise self._wrong("program", f"{self.program}: {reason}") from None
        if not stat.S_ISREG(places[real].st_mode) or not os.access(real, os.X_OK):
            raise self._wrong("program", f"{self.program} can't be run. Make it executable (chmod 755)")
        for place, found in places.items():
            # In a folder with the sticky bit, such as /tmp, nobody replaces what is another's.
            is_shared = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
            if found.st_mode & _OTHERS_WRITE and not is_shared:
                raise self._wrong("program", f"others can write to {place}. Take that away (chmod go-w)")
            if found.st_uid not in (0, os.geteuid()):
                raise self._wrong("program", f"{place} has to belong to root or to the service's account")

    def _wrong(self, setting: str, advice: str) -> Misconfigured:
        return Misconfigured(f"Back end {self.name}: the setting {setting} can't be used: {advice}.")


def read_config(*, name: str, settings: Mapping[str, object]) -> CommandConfig:
    """The configuration from plain settings. Raises Misconfigured for unknown, missing or mistyped ones."""
    known = {one.name: one.type for one in fields(CommandConfig) if one.name != "name"}
    if unknown := sorted(set(settings) - set(known)):
        raise Misconfigured(f"Back end {name}: unknown settings {', '.join(unknown)}. Remove them.")
    if "program" not in settings:
        raise Misconfigured(f"Back end {name}: set program.")
    values: dict[str, object] = {}
    for key, value in settings.items():
        if key == "timeout_seconds" and isinstance(value, (int, float)) and not isinstance(value, bool):
            values[key] = float(value)
        elif (key in ("can_find", "can_list") and isinstance(value, bool)) or (
            key == "title" and _is_text(value)
        ):
            values[key] = value
        elif key in ("program", "chain_file") and (_is_text(value) or isinstance(value, Path)):
            values[key] = Path(str(value))
        elif key == "arguments" and isinstance(value, (list, tuple)) and all(map(_is_text, value)):
            values[key] = tuple(value)
        elif key == "environment" and isinstance(value, Mapping) and all(map(_is_text, value.values())):
            values[key] = MappingProxyType({str(one): text for one, text in value.items()})
        else:
            raise Misconfigured(f"Back end {name}: the setting {key} must be {_KINDS.get(key, 'a text')}.")
    return CommandConfig(name=name, **values)  # type: ignore[arg-type]  # each was looked at


_KINDS = {
    "timeout_seconds": "a number",
    "can_find": "true or false",
    "can_list": "true or false",
    "arguments": "a list of texts",
    "environment": "a table of texts",
}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
