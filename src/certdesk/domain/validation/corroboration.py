"""Whether enough places on the network have seen the same proof (BR 3.2.2.9). Pure; nobody is asked here.

A remote perspective can only take a validation away: without the primary one's own proof there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.rules import RULES, RuleId, begins_at, in_force

SOURCE = "BR 3.2.2.9"

#: Number of remote perspectives used, at least → how many of them may disagree (the table of BR 3.2.2.9).
_DISSENT = ((6, 2), (2, 1), (0, 0))


#: How long before the rules ask for more perspectives their want is told.
WARN_AHEAD = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one remote perspective says. `perspective` is `<registry>.<place>`, such as `ripe.cambridge`.

    An error, a time-out and an answer that can't be read are disagreement; `why` says which.
    """

    perspective: str
    agrees: bool
    why: str = ""

    @property
    def region(self) -> str:
        """The Regional Internet Registry in whose region it stands."""
        return self.perspective.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """How many remote perspectives have to be asked, and from how many regions those that agree must be."""

    perspectives: int
    regions: int = 1


class Verdict(StrEnum):
    """What came of the votes."""

    CORROBORATED = "corroborated"
    TOO_FEW = "too_few"  # perspectives asked
    DISSENT = "dissent"  # more disagree than may
    REGIONS = "regions"  # those that agree stand too close together


@dataclass(frozen=True, slots=True, kw_only=True)
class Corroboration:
    """The verdict with the votes that led to it; evidence."""

    verdict: Verdict
    quorum: Quorum
    votes: tuple[Vote, ...]

    @property
    def reached(self) -> bool:
        return self.verdict is Verdict.CORROBORATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What a rule asks for from a day on, and what is set up: too few of one or of the other."""

    on: datetime
    needed: Quorum
    perspectives: int
    regions: int

    @property
    def day(self) -> str:
        """The day in words, such as `15 December 2026`."""
        return f"{self.on.day} {self.on:%B %Y}"

    @property
    def message(self) -> str:
        return (
            f"From {self.day} (UTC) a public CA has to ask {self.needed.perspectives} remote perspectives in "
            f"{self.needed.regions} regions ({SOURCE}). Set up are {self.perspectives} in {self.regions}: "
            "from that day no domain can be validated, and the service refuses to start."
        )

    @property
    def to_do(self) -> str:
        return (
            "Add perspectives to CERTDESK_PERSPECTIVES before that day and start the service again; or, for "
            "a CA that is not public, set CERTDESK_PERSPECTIVE_QUORUM to the number that you want."
        )


def regions_of(codes: Sequence[str]) -> frozenset[str]:
    return frozenset(code.partition(".")[0] for code in codes)


def suffices(codes: Sequence[str], quorum: Quorum) -> bool:
    return len(codes) >= quorum.perspectives and len(regions_of(codes)) >= quorum.regions


def coming_shortfall(codes: Sequence[str], *, now: datetime, ahead: timedelta) -> Shortfall | None:
    """The first day within `ahead` from which the rules ask for more than these perspectives, if any.

    Without any perspective nothing is corroborated, and nothing falls short.
    """
    if not codes:
        return None
    rules = (RuleId.PUBLIC_PERSPECTIVES, RuleId.PUBLIC_PERSPECTIVE_REGIONS)
    days = sorted({begins_at(rule) for rule in RULES if rule.id in rules})
    for day in days:
        if now < day <= now + ahead and not suffices(codes, public_quorum(day)):
            return Shortfall(
                on=day, needed=public_quorum(day), perspectives=len(codes), regions=len(regions_of(codes))
            )
    return None


def public_quorum(now: datetime) -> Quorum:
    return Quorum(
        perspectives=in_force(RuleId.PUBLIC_PERSPECTIVES, now).value,
        regions=in_force(RuleId.PUBLIC_PERSPECTIVE_REGIONS, now).value,
    )


def allowed_dissent(perspectives: int) -> int:
    """How many of so many remote perspectives may disagree."""
    return next(allowed for least, allowed in _DISSENT if perspectives >= least)


def count(votes: Sequence[Vote], *, quorum: Quorum) -> Corroboration:
    """The verdict. Raises InvariantViolated when a perspective votes twice."""
    if len({vote.perspective for vote in votes}) < len(votes):
        raise InvariantViolated("a perspective has voted twice")
    agreeing = [vote for vote in votes if vote.agrees]
    verdict = Verdict.CORROBORATED
    if len(votes) < quorum.perspectives:
        verdict = Verdict.TOO_FEW
    elif len(votes) - len(agreeing) > allowed_dissent(len(votes)):
        verdict = Verdict.DISSENT
    elif len({vote.region for vote in agreeing}) < quorum.regions:
        verdict = Verdict.REGIONS
    return Corroboration(verdict=verdict, quorum=quorum, votes=tuple(votes))
