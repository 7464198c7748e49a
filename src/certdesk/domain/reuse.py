"""How long a public CA may rely on a proof of control, under the rules as they change (BR 4.2.1). Pure.

For private CAs the operator's setting decides instead (`evidence.ownership_expiry`), and a persistent
record's own `persistUntil`.
"""

from datetime import UTC, datetime, time, timedelta

from certdesk.domain.evidence import Method
from certdesk.domain.rules import RULES, Allowance, RuleId, in_force

_EMAIL = frozenset({Method.EMAIL_CONSTRUCTED, Method.EMAIL_CAA_CONTACT, Method.EMAIL_DNS_CONTACT})
_PERSISTENT = frozenset({Method.DNS_PERSIST, Method.DNS_PERSIST_WILDCARD})


def public_allowance(method: Method, *, now: datetime) -> Allowance:
    """Whether a public CA may use the method now. A check by hand is none of the BR's methods."""
    if method is Method.MANUAL_OWNERSHIP:
        return Allowance.FORBIDDEN
    if method in _EMAIL:
        return Allowance(in_force(RuleId.PUBLIC_EMAIL_DCV, now).value)
    return Allowance.ALLOWED


def public_expiry(
    *, method: Method, validated_at: datetime, persist_until: datetime | None = None
) -> datetime:
    """When the proof stops counting for public certificates, if the rules known today stay as they are.

    A rule that begins later shortens proofs made before it: what counts is their age on the day of use.
    A method that ends takes its earlier proofs with it (SC-090).
    """
    if public_allowance(method, now=validated_at) is Allowance.FORBIDDEN:
        return validated_at
    rule_id = RuleId.PERSISTENT_DNS_REUSE if method in _PERSISTENT else RuleId.PUBLIC_DCV_REUSE
    ends = validated_at + timedelta(days=in_force(rule_id, validated_at).value)
    for rule in (rule for rule in RULES if rule.id == rule_id):
        begins = datetime.combine(rule.from_date, time(), tzinfo=UTC)
        if validated_at < begins < ends:
            ends = min(ends, max(begins, validated_at + timedelta(days=rule.value)))
    ends = min(ends, _end_of_method(method) or ends)
    return min(ends, persist_until or ends)


def _end_of_method(method: Method) -> datetime | None:
    """When public CAs have to stop using the method, where a date is known."""
    if method not in _EMAIL:
        return None
    dates = [
        rule.from_date
        for rule in RULES
        if rule.id == RuleId.PUBLIC_EMAIL_DCV and rule.value == Allowance.FORBIDDEN
    ]
    return datetime.combine(min(dates), time(), tzinfo=UTC)
