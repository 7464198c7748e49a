"""Settings of the scripted CA: where its files are, and how it behaves towards which names.

Frozen and checked when made. The passphrase never shows in a repr.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from certdesk.domain.errors import Misconfigured


class Behaviour(StrEnum):
    ISSUE = "issue"  # at once
    ACCEPT = "accept"  # acknowledges, and issues after the delay
    REFUSE = "refuse"  # at once, with a reason
    ACCEPT_THEN_REFUSE = "accept_then_refuse"  # acknowledges, and refuses after the delay
    UNAVAILABLE = "unavailable"  # can't be reached for so many tries, then issues
    TIMEOUT_AFTER_ACCEPTING = "timeout_after_accepting"  # acts, and its answer is lost on the way
    WRONG_NAMES = "wrong_names"  # issues something that nobody asked for


class Revoking(StrEnum):
    AT_ONCE = "at_once"
    REFUSE = "refuse"  # for good, with a reason
    UNAVAILABLE = "unavailable"  # can't be reached for so many tries, then revokes
    ANSWER_LOST = "answer_lost"  # revokes, and its answer is lost on the way for so many tries


@dataclass(frozen=True, slots=True)
class Rule:
    """How the CA behaves towards requests with a name of this pattern; the first rule that matches counts.

    `names` is a shell pattern such as `slow-*`. `tries` is for UNAVAILABLE: how many tries fail.
    """

    behaviour: Behaviour
    names: str = "*"
    delay: timedelta = timedelta(0)
    reason: str = ""
    tries: int = 1
    revoking: Revoking = Revoking.AT_ONCE

    def __post_init__(self) -> None:
        """Raises Misconfigured for a rule that could not be followed."""
        if self.delay < timedelta(0) or self.tries < 0:
            raise Misconfigured(f"The rule for “{self.names}” has a delay or a number of tries below nought.")
        refuses = self.behaviour in (Behaviour.REFUSE, Behaviour.ACCEPT_THEN_REFUSE)
        refuses = refuses or self.revoking is Revoking.REFUSE
        if refuses and not self.reason:
            raise Misconfigured(f"The rule for “{self.names}” refuses; give the reason that it shall state.")

    def matches(self, names: Iterable[str]) -> bool:
        return any(fnmatchcase(name, self.names) for name in names)


TITLE = "Scripted CA"
ISSUE_AT_ONCE = Rule(behaviour=Behaviour.ISSUE)

#: The demo's rules: the beginning of a host name says what will happen (docs/slow-cas.md).
DEMO_RULES = (
    Rule(names="slow-*", behaviour=Behaviour.ACCEPT, delay=timedelta(minutes=1)),
    Rule(names="refuse-*", behaviour=Behaviour.REFUSE, reason="The name is on this CA's list of risks."),
    Rule(
        names="later-refuse-*",
        behaviour=Behaviour.ACCEPT_THEN_REFUSE,
        delay=timedelta(seconds=30),
        reason="The CA could not confirm that the organisation exists.",
    ),
    Rule(names="down-*", behaviour=Behaviour.UNAVAILABLE, tries=2),
    Rule(names="timeout-*", behaviour=Behaviour.TIMEOUT_AFTER_ACCEPTING),
    Rule(names="wrong-*", behaviour=Behaviour.WRONG_NAMES),
    Rule(Behaviour.ISSUE, "keep-*", revoking=Revoking.REFUSE, reason="This CA revokes by telephone only."),
    Rule(names="deaf-*", behaviour=Behaviour.ISSUE, revoking=Revoking.UNAVAILABLE, tries=2),
    Rule(names="lost-*", behaviour=Behaviour.ISSUE, revoking=Revoking.ANSWER_LOST),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedConfig:
    """Where the CA keeps its key and its orders, and the rules that it follows.

    `tests_and_demo_only` has to be said: whoever sets this CA up shall have read that it is none to rely on.
    """

    directory: Path
    passphrase: bytes = field(repr=False)
    tests_and_demo_only: bool
    name: str = "scripted"
    title: str = TITLE
    rules: tuple[Rule, ...] = ()
    default: Rule = ISSUE_AT_ONCE
    #: Whether an empty folder may become a CA: nothing was issued before.
    may_create: Callable[[], bool] = lambda: True

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        if self.tests_and_demo_only is not True:
            raise Misconfigured(
                f"The CA “{self.name}” is scripted: it refuses, delays and errs as its rules say, and serves "
                "tests and the demo alone. Use another back end, or set tests_and_demo_only to true."
            )
        if not self.passphrase:
            told = "The scripted CA has no passphrase. Set one; its key is never stored in clear."
            raise Misconfigured(told)

    def rule_for(self, names: Iterable[str]) -> Rule:
        listed = tuple(names)
        return next((rule for rule in self.rules if rule.matches(listed)), self.default)


_KNOWN = frozenset(
    {"directory", "passphrase", "tests_and_demo_only", "title", "rules", "default", "may_create"}
)


def read_config(*, name: str, settings: Mapping[str, object]) -> ScriptedConfig:
    """The configuration from plain settings. Raises Misconfigured for an unknown or mistyped one."""
    if unknown := sorted(set(settings) - _KNOWN):
        raise Misconfigured(f"Back end {name}: unknown settings {', '.join(unknown)}. Remove them.")
    directory, passphrase = settings.get("directory"), settings.get("passphrase")
    if not isinstance(directory, (str, Path)) or not str(directory):
        raise Misconfigured(f"Back end {name}: set directory to a folder.")
    if not isinstance(passphrase, (str, bytes)):
        raise Misconfigured(f"Back end {name}: set a passphrase for the CA's key.")
    may_create = settings.get("may_create", lambda: True)
    if not callable(may_create):
        raise Misconfigured(f"Back end {name}: may_create must be a function.")
    rules, default = settings.get("rules", ()), settings.get("default", ISSUE_AT_ONCE)
    if not isinstance(rules, (list, tuple)):
        raise Misconfigured(f"Back end {name}: rules must be a list.")
    if not isinstance(default, Rule) or not all(isinstance(rule, Rule) for rule in rules):
        raise Misconfigured(f"Back end {name}: each rule must be a Rule.")
    return ScriptedConfig(
        directory=Path(directory),
        passphrase=passphrase.encode() if isinstance(passphrase, str) else passphrase,
        tests_and_demo_only=settings.get("tests_and_demo_only") is True,
        name=name,
        title=str(settings.get("title", TITLE)),
        rules=tuple(rules),
        default=default,
        may_create=may_create,
    )
