"""Whether enough places on the network have seen the same proof (BR 3.2.2.9). Pure; nobody is asked here.

A remote perspective can only take a validation away: without the primary one's own proof there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.rules import RuleId, in_force

SOURCE = "BR 3.2.2.9"

#: Number of remote perspectives used, at least → how many of them may disagree (the table of BR 3.2.2.9).
_DISSENT = ((6, 2), (2, 1), (0, 0))


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
    """The verdict with the votes that led to it; evidence (V7)."""

    verdict: Verdict
    quorum: Quorum
    votes: tuple[Vote, ...]

    @property
    def reached(self) -> bool:
        return self.verdict is Verdict.CORROBORATED


def public_quorum(now: datetime) -> Quorum:
    """What the rules ask of a public CA now."""
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
