"""The file of CAs and profiles: TOML in, settings of back ends, limits and profiles out (ADR 22).

An unknown section or key refuses the whole file, and all that is wrong is told at once. What a back end needs
is for the back end to judge.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from certdesk.domain.csr.keys import MAX_RSA_BITS, MIN_RSA_BITS
from certdesk.domain.errors import Misconfigured
from certdesk.domain.issuing.cas import CaLimits
from certdesk.domain.issuing.profiles import (
    BUILT_IN,
    CLIENT_AUTH,
    CLIENT_KEY_USAGE,
    SAME_KEY_DAYS,
    SERVER_AUTH,
    SERVER_KEY_USAGE,
    Profile,
)
from certdesk.domain.policy.file import lines_of, no_such
from certdesk.domain.policy.in_force import USUAL_KEY_TYPES, KeyType

#: CAs that the service sets up itself: names that a file can't have, nor the last of them as a kind.
OWN = ("embedded", "scripted")
#: What is asked for where nobody names a profile.
USUAL = "tls-server"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PROFILE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: What to do, by pydantic's name of the mistake, where its own words are about our classes.
_ADVICE = {
    "missing": "It has to be set.",
    "dict_type": "It has to be a section.",
    "model_type": "It has to be a section.",
    "string_pattern_mismatch": "Write it in one line.",
}
_OIDS = {"server": SERVER_AUTH, "client": CLIENT_AUTH}

_Kinds = Annotated[list[Annotated[KeyType, Strict(strict=False)]], Field(min_length=1)]
_Days = Annotated[int, Field(ge=1, le=3650)]
_Bits = Annotated[int, Field(ge=MIN_RSA_BITS, le=MAX_RSA_BITS)]


class _Ca(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    kind: str
    max_days: _Days | None = None
    key_types: _Kinds = list(USUAL_KEY_TYPES)
    public: bool = False


class _Profile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    title: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\p{C}]*$")]
    cas: Annotated[list[str], Field(min_length=1)]
    fail_over: bool = False
    version: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    max_days: _Days | None = None
    same_key_days: Annotated[int, Field(ge=0, le=3650)] = SAME_KEY_DAYS
    usages: Annotated[list[Literal["server", "client"]], Field(min_length=1)] = ["server"]
    common_name: bool = True
    subject: Literal["OV", "DV"] = "OV"
    ip_addresses: bool = False
    key_types: _Kinds = list(USUAL_KEY_TYPES)
    rsa_min_bits: _Bits = MIN_RSA_BITS
    rsa_max_bits: _Bits = MAX_RSA_BITS
    organisations: list[str] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    cas: dict[str, _Ca] = Field(default_factory=dict)
    profiles: dict[str, _Profile] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CasFile:
    """What a file says; without one, the two profiles that are built in, and no CAs but our own."""

    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    limits: Mapping[str, CaLimits] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=lambda: BUILT_IN)


def read_cas(path: Path, *, own: Collection[str] = OWN) -> CasFile:
    """The CAs and profiles in a file. `own` are the CAs that profiles may name besides those of the file.

    Raises: Misconfigured, with file, line, section and key of everything that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"The file of CAs {path} can't be read: {error}") from None
    problems: list[tuple[str, str, str]] = []
    read = _File()
    try:
        read = _File.model_validate(tables)
    except ValidationError as error:
        problems = [
            _problem(*map(str, one["loc"]), kind=one["type"], message=one["msg"]) for one in error.errors()
        ]
    else:
        problems = list(_mistakes(read, own))
    if problems:
        lines = lines_of(text)
        raise Misconfigured(
            f"The file of CAs {path} can't be used: {'; '.join(_told(lines, *one) for one in problems)}"
        )
    return CasFile(
        settings={name: _settings(ca, path.parent) for name, ca in read.cas.items()},
        limits={
            name: CaLimits(max_days=ca.max_days, key_types=_kinds(ca.key_types), public=ca.public)
            for name, ca in read.cas.items()
        },
        profiles=MappingProxyType({name: _made(name, one) for name, one in read.profiles.items()})
        or BUILT_IN,
    )


def _settings(ca: _Ca, folder: Path) -> dict[str, object]:
    """What the back end gets; files are looked for beside the file that names them."""
    more = dict(ca.model_extra or {})
    for key, value in more.items():
        if (key.endswith("_file") or key == "directory") and isinstance(value, str) and value:
            more[key] = folder / value
    return {"kind": ca.kind, **more}


def _made(name: str, one: _Profile) -> Profile:
    return Profile(
        id=name,
        version=one.version,
        title=one.title,
        eku=tuple(oid for usage, oid in _OIDS.items() if usage in one.usages),
        key_usage=SERVER_KEY_USAGE if "server" in one.usages else CLIENT_KEY_USAGE,
        term_years=BUILT_IN[USUAL].term_years,
        ip_addresses=one.ip_addresses,
        max_days=one.max_days,
        same_key_days=one.same_key_days,
        key_types=_kinds(one.key_types),
        rsa_min_bits=one.rsa_min_bits,
        rsa_max_bits=one.rsa_max_bits,
        common_name=one.common_name,
        organisation=one.subject == "OV",
        organisations=None if one.organisations is None else frozenset(one.organisations),
        cas=tuple(dict.fromkeys(one.cas)),
        fail_over=one.fail_over,
    )


def _kinds(names: Collection[str]) -> tuple[KeyType, ...]:
    return tuple(kind for kind in KeyType if kind in names)


def _mistakes(read: _File, own: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Section, key and what is wrong, of what each value alone does not show."""
    known = (*own, *read.cas)
    for name, ca in read.cas.items():
        if not _NAME.fullmatch(name) or name in OWN:
            told = f"Choose another name, of small letters, digits and hyphens; {', '.join(OWN)} are taken."
            yield f"cas.{name}", "", told
        if ca.kind == OWN[1]:
            yield f"cas.{name}", "kind", "The service sets up this kind itself. Take the section out."
        if ca.public and (odd := _private_kinds(ca.key_types)):
            yield f"cas.{name}", "key_types", f"No public CA certifies {odd}. Take it out, or `public`."
    if read.profiles and USUAL not in read.profiles:
        told = f"Add [profiles.{USUAL}]: it is what is asked for where nobody names a profile."
        yield "profiles", "", told
    for name, one in read.profiles.items():
        if not _PROFILE_ID.fullmatch(name):
            told = "Choose another name, of small letters, digits, dots, hyphens and underscores."
            yield f"profiles.{name}", "", told
        public = [known for known in one.cas if known in read.cas and read.cas[known].public]
        if public and (odd := _private_kinds(one.key_types)):
            told = f"“{public[0]}” is public, and no public CA certifies {odd}. Make a profile apart for it."
            yield f"profiles.{name}", "key_types", told
        for ca_name in one.cas:
            if ca_name not in known:
                yield f"profiles.{name}", "cas", f"“{ca_name}”: {no_such(ca_name, known, what='CA')}"
        if one.rsa_min_bits > one.rsa_max_bits:
            yield f"profiles.{name}", "rsa_min_bits", "It is above rsa_max_bits, so that no RSA key would do."


def _private_kinds(kinds: Collection[KeyType]) -> str:
    """Those that private CAs alone certify, in words; empty where there are none."""
    return ", ".join(kind for kind in kinds if kind not in USUAL_KEY_TYPES)


def _problem(*loc: str, kind: str, message: str) -> tuple[str, str, str]:
    """Section, key and advice from where and what pydantic found."""
    depth = 2 if loc[0] in _File.model_fields else 0
    section, rest = ".".join(loc[:depth]), ".".join(loc[depth:])
    if kind == "extra_forbidden":
        fields: Mapping[str, Any] = _Profile.model_fields if depth else _File.model_fields
        return section, rest, no_such(loc[-1], tuple(fields), what="key" if depth else "section")
    return section, rest, _ADVICE.get(kind, f"{message}.")


def _told(lines: Mapping[tuple[str, str], int], section: str, key: str, problem: str) -> str:
    last = key.partition(".")[0]
    line = lines.get((section, last)) or lines.get((section, "")) or lines.get((last, ""))
    where = " ".join(part for part in (f"[{section}]" if section else "", key) if part)
    return f"{f'line {line}, ' if line else ''}{where}: {problem}"
