"""Climbs the DNS for CAA records and has the domain decide. What was asked and answered is the evidence.

Re-checked at signing, when the answer is older than the rule allows (`domain.rules`, BR 3.2.2.8: 8 hours).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from certdesk.dcv.resolver import Resolver
from certdesk.domain.validation.caa import Decision, LookUp, Question, climb, decide


@dataclass(frozen=True, slots=True, kw_only=True)
class CaaChecked:
    """The decision for one name, the look-ups that led to it, and when they were made.

    `corroboration` is what other perspectives said, where they were asked (`dcv.mpic`).
    """

    name: str
    decision: Decision
    looked: tuple[LookUp, ...]
    at: datetime
    corroboration: Mapping[str, object] = field(default_factory=dict)

    def evidence(self) -> Mapping[str, object]:
        """The whole check as JSON."""
        decision = self.decision
        return {
            "name": self.name,
            "allowed": decision.allowed,
            "code": decision.code.value,
            "detail": decision.detail,
            "where": decision.where,
            "to_add": decision.to_add,
            "at": self.at.isoformat(),
            "looked": [asdict(look) for look in self.looked],
            "corroboration": dict(self.corroboration),
        }


def check_caa(question: Question, *, resolver: Resolver, now: datetime) -> CaaChecked:
    """What CAA says now about one name. The first look-up with records, or that fails, ends the climb."""
    looked: list[LookUp] = []
    for name in climb(question.name):
        # An alias is followed, its target's parents are not (RFC 8659 3).
        answer = resolver.lookup(name, "CAA")
        looked.append(
            LookUp(
                name=name,
                records=answer.values,
                failure="" if answer.status.answered else answer.status.value,
                chain=answer.chain,
                authenticated=answer.authenticated,
                server=answer.server,
            )
        )
        if looked[-1].records or looked[-1].failure:
            break
    return CaaChecked(name=question.name, decision=decide(question, looked), looked=tuple(looked), at=now)
