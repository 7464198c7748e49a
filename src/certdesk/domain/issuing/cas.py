"""What an operator says of a CA besides how to reach it: the certificates that it is asked for. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from certdesk.domain.csr.keys import key_facts
from certdesk.domain.issuing.certificates import Intent
from certdesk.domain.policy.in_force import KeyType
from certdesk.domain.policy.limits import KeyKind
from certdesk.domain.rules import RuleId, in_force


@dataclass(frozen=True, slots=True, kw_only=True)
class CaLimits:
    """Limits of one CA, for which it is not asked; None is no limit of its own.

    `public` says that browsers trust it, so that the dated rules for certificates hold (BR 6.3.2).
    """

    max_days: int | None = None
    key_types: tuple[KeyType, ...] = tuple(KeyType)
    public: bool = False

    def objection(self, intent: Intent, *, at: datetime | None = None) -> str:
        """Why the CA is not asked for this at `at`, or when it begins, in a sentence; empty where it is."""
        # `not_after` is the last valid second (RFC 5280 4.1.2.5).
        lasts = intent.not_after - intent.not_before
        if self.max_days and lasts >= timedelta(days=self.max_days):
            return f"No certificate of this CA lasts longer than {self.max_days} days. Choose a shorter term."
        if self.public:
            rule = in_force(RuleId.PUBLIC_VALIDITY, at or intent.not_before)
            if lasts >= timedelta(days=rule.value):
                return f"No public certificate lasts longer than {rule.value} days now ({rule.source})."
        if (
            self.key_types != tuple(KeyType)
            and KeyKind.of(key_facts(intent.spki_der)).name not in self.key_types
        ):
            return f"This CA certifies these kinds of keys alone: {', '.join(self.key_types)}."
        return ""


#: Of a CA of which nothing is said.
UNLIMITED = CaLimits()
