"""`certdesk policy`: check a policy file, show what is in force, replay a change over past requests.

Server commands: they read CERTDESK_* settings and the database, save `check`, which reads a file alone. Data
goes to stdout, talk and progress to stderr. Nothing is stored.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certdesk.domain.actors import SYSTEM
from certdesk.domain.errors import InvalidInput
from certdesk.domain.policy.file import RULE_NAMES, read_policy
from certdesk.domain.policy.in_force import Rules

if TYPE_CHECKING:
    from certdesk.services.requests.replay import Difference, Tally
    from certdesk.services.system.runtime import Runtime

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MAX_DIGITS = 5


@click.group()
def policy() -> None:
    """Check, show and try the rules that decide (docs/policy.md)."""


@policy.command()
@click.argument("file", type=_FILE)
@click.option("--cas", type=_FILE, envvar="CERTDESK_CAS", help="The file that defines the profiles.")
def check(*, file: Path, cas: Path | None) -> None:
    """Say whether FILE can be used as a policy; a line for each problem if not.

    Whether the organisations and CAs that it names exist is for `replay` to say, which knows them.
    """
    from certdesk.conf.cas import CasFile, read_cas  # noqa: PLC0415 - only where it is needed

    try:
        profiles = (CasFile() if cas is None else read_cas(cas)).profiles
        read = read_policy(file.read_text(encoding="utf-8"), profiles=profiles)
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not text in UTF-8.") from None
    click.echo(f"{file}: version {read.version}, digest {read.digest}")


@policy.command()
@click.option("--organisation", default="", help="For an organisation, by its short name.")
@click.option("--profile", default="tls-server", help="For a profile.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(*, organisation: str, profile: str, as_json: bool) -> None:
    """Print the rules in force, for one organisation and profile or for everybody."""
    _set_up()
    from certdesk.conf.policy import remarks  # noqa: PLC0415 - models can be imported only after set-up
    from certdesk.services.system import runtime  # noqa: PLC0415 - as above

    current = runtime.current()
    kind = current.profile(profile)
    rules = current.rules_for(organisation=organisation, profile=profile)
    told = {
        "version": current.policy.version,
        "title": current.policy.title,
        "file_digest": current.policy.digest,
        "organisation": organisation,
        "profile": profile,
        "ca": ", ".join(current.cas_of(kind)),
        "digest": rules.digest,
        "rules": _in_order(rules),
    }
    click.echo(json.dumps(told, indent=2, ensure_ascii=False) if as_json else _shown(told, rules))
    _talk(remarks(current))


@policy.command()
@click.argument("file", type=_FILE)
@click.option("--since", default="365d", show_default=True, help="How far back: 365d or 12w.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line; the last one sums up.")
def replay(*, file: Path, since: str, as_json: bool) -> None:
    """List every past decision that would differ with FILE as the policy."""
    back = _period(since)
    _set_up()
    from django.utils import timezone  # noqa: PLC0415 - models can be imported only after set-up

    from certdesk.conf.policy import proposed, remarks  # noqa: PLC0415 - as above
    from certdesk.services.requests import replay as service  # noqa: PLC0415 - as above
    from certdesk.services.system import runtime  # noqa: PLC0415 - as above

    old, new, tally = runtime.current(), proposed(file), service.Tally()
    _talk(remarks(new))
    found = service.replay(
        actor=SYSTEM,
        old=old,
        new=new,
        since=timezone.now() - back,
        tally=tally,
        progress=lambda seen: _talk([f"{seen:,} requests looked at, {sum(tally.moves.values()):,} differ …"]),
    )
    for difference in found:
        click.echo(json.dumps(_record(difference), ensure_ascii=False) if as_json else _line(difference))
    if as_json:
        click.echo(json.dumps({"summary": _summary(tally, old, new)}, ensure_ascii=False))
    else:
        _talk(_told(tally))


def _set_up() -> None:
    from certdesk.conf import server  # noqa: PLC0415 - Django is loaded only when a command needs it

    server.setup()


def _talk(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


def _period(text: str) -> timedelta:
    """A length of time such as `365d` or `12w`."""
    number, days = text[:-1], {"d": 1, "w": 7}.get(text[-1:])
    if days is None or not (number.isascii() and number.isdecimal()) or len(number) > _MAX_DIGITS:
        raise click.BadParameter("Give a number of days or weeks, such as 365d or 12w.", param_hint="--since")
    return timedelta(days=int(number) * days)


def _in_order(rules: Rules) -> dict[str, object]:
    return {name: getattr(rules, name) for name in RULE_NAMES}


def _shown(told: Mapping[str, object], rules: Rules) -> str:
    file = f"{told['version']} {told['title']}".strip()
    lines = [
        f"Policy file   {f'{file}, digest ' + str(told['file_digest']) if file else 'none'}",
        f"In force for  {told['organisation'] or 'everybody'}, profile {told['profile']}, CA {told['ca']}",
        f"Digest        {told['digest']}",
        "",
        *(f"{name:<20} {_value(value)}" for name, value in _in_order(rules).items()),
    ]
    return "\n".join(lines)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _line(found: "Difference") -> str:
    when = found.created_at.astimezone(UTC)
    codes = ", ".join(found.new.codes or found.old.codes)
    return (
        f"{found.number}  {when:%Y-%m-%d}  {found.organisation}  {found.name}  "
        f"{found.old.outcome} → {found.new.outcome}  ({codes})"
    )


def _record(found: "Difference") -> dict[str, object]:
    return asdict(found) | {"created_at": found.created_at.astimezone(UTC).isoformat()}


def _summary(tally: "Tally", old: "Runtime", new: "Runtime") -> dict[str, object]:
    return {
        "requests": tally.seen,
        "differ": sum(tally.moves.values()),
        "moves": [{"old": old, "new": new, "requests": n} for (old, new), n in tally.moves.most_common()],
        "same_rules": tally.alike,
        "not_as_recorded": tally.drifted,
        "not_known": dict(tally.unknown),
        "policy": {"old": old.policy.digest, "new": new.policy.digest},
    }


def _told(tally: "Tally") -> Iterable[str]:
    yield f"{tally.seen:,} requests, {sum(tally.moves.values()):,} would be decided otherwise."
    for (old, new), number in tally.moves.most_common():
        yield f"  {old} → {new}: {number:,}"
    if tally.alike:
        yield f"{tally.alike:,} have the same rules under both and were not judged."
    if tally.drifted:
        yield (
            f"{tally.drifted:,} come out otherwise than recorded under the rules in force now: "
            "the rules have changed since."
        )
    for what, number in tally.unknown.items():
        yield f"{what}: not stored with {number:,} requests, so left out on both sides."
    yield "Requests that were refused are not stored, so what a milder policy would let in is not seen here."
