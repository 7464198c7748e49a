"""Until when a proof of control counts, under the rules of today and under those that are known to come.

Pure. For a private CA our record is the evidence. A public CA has to check for itself (BR 1.3.2): for it
our record is a gate before its own check, and the BR's dated figures say how long such a gate can stand open.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from certdesk.domain.rules import RULES, Allowance, DatedRule, RuleId, begins_at, in_force
from certdesk.domain.validation.evidence import Method, Validation

EMAIL_METHODS = frozenset({Method.EMAIL_CONSTRUCTED})
PERSISTENT_METHODS = frozenset({Method.DNS_PERSIST, Method.DNS_PERSIST_WILDCARD})
#: No public CA takes an RA's word for who owns a domain (BR 3.2.2.4).
PRIVATE_ONLY = frozenset({Method.MANUAL_OWNERSHIP})


class Authority(StrEnum):
    """Whose rules say how long a proof counts."""

    PRIVATE = "private"  # ours: the record is the evidence
    PUBLIC = "public"  # the BR: the record is a gate, the CA's own validation is what counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Until when a proof counts for one kind of CA. `today` would hold if no rule changed again, `until`
    is what will hold; `because` is the coming rule that ends it sooner, or None.
    """

    authority: Authority
    today: datetime
    until: datetime
    because: DatedRule | None = None

    def is_open(self, *, now: datetime) -> bool:
        return now < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What a coming rule does to a proof, from when, and what to do about it. `code` is stable."""

    code: str
    on: datetime
    message: str
    to_do: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a domain is proven, by the proof that lasts longest for each kind of CA; None: not at all."""

    private: Deadline | None
    public: Deadline | None
    flags: tuple[Flag, ...] = ()


def private_deadline(proof: Validation, *, now: datetime) -> Deadline:
    """What the record says, never beyond the reuse period of the RA's own rules."""
    most = proof.validated_at + timedelta(days=in_force(RuleId.PRIVATE_OWNERSHIP_REUSE, now).value)
    until = min(proof.expires_at, most)
    return Deadline(authority=Authority.PRIVATE, today=until, until=until)


def public_deadline(proof: Validation, *, now: datetime) -> Deadline | None:
    """The latest moment at which a public CA could rely on such a proof, were it its own.

    None for what public CAs never accept. A rule that begins later shortens proofs made before it: their age
    on the day of use counts. A proof of a method that a rule forbids ends with that rule's first day,
    however fresh it is (BR 3.2.2.4.4: earlier proofs unusable).
    """
    if proof.method in PRIVATE_ONLY:
        return None
    made = proof.validated_at
    reuse = RuleId.PERSISTENT_DNS_REUSE if proof.method in PERSISTENT_METHODS else RuleId.PUBLIC_DCV_REUSE
    until = min(proof.expires_at, made + timedelta(days=in_force(reuse, made).value))
    for begins, days in ((begins_at(rule), rule.value) for rule in RULES if rule.id is reuse):
        if made < begins < until:
            until = min(until, max(begins, made + timedelta(days=days)))
    today = min(proof.expires_at, made + timedelta(days=in_force(reuse, now).value))
    ends = _end_of_method(proof.method)
    if ends is not None:
        last = max(begins_at(ends), made)  # what is proven later never counts
        until = min(until, last)
        today = min(today, last) if begins_at(ends) <= now else today
    because = None
    if until < today:
        by_method = ends is not None and begins_at(ends) <= until
        because = ends if by_method else in_force(RuleId.PUBLIC_DCV_REUSE, until)
    return Deadline(authority=Authority.PUBLIC, today=today, until=until, because=because)


def deadlines_of(proofs: Iterable[Validation], *, now: datetime) -> Deadlines:
    """What the proofs of one domain amount to: for each kind of CA the one that lasts longest.

    Proofs from the future prove nothing. Flags speak of the proofs that are relied on, not of those that
    a better one outlasts.
    """
    known = [proof for proof in proofs if proof.validated_at <= now]
    private = max((private_deadline(p, now=now) for p in known), key=lambda one: one.until, default=None)
    public = [(p, d) for p in known if (d := public_deadline(p, now=now)) is not None]
    if not public:
        return Deadlines(private=private, public=None)
    proof, deadline = max(public, key=lambda pair: pair[1].until)
    flags = []
    ends = _end_of_method(proof.method)
    if ends is not None:
        gone, day = begins_at(ends) <= now, date_words(begins_at(ends))
        flags.append(
            Flag(
                code="method.ended" if gone else "method.ends",
                on=begins_at(ends),
                message="Public CAs no longer accept validation by e-mail."
                if gone
                else f"Public CAs stop accepting validation by e-mail on {day}; "
                "what was proven by e-mail before stops counting on that day.",
                to_do="Publish a persistent DNS record, or prove the domain by a DNS or web challenge.",
                rule=ends.source,
            )
        )
    because = deadline.because
    if because is not None and because.id is RuleId.PUBLIC_DCV_REUSE and now < deadline.until:
        day, last = date_words(begins_at(because)), date_words(deadline.until)
        flags.append(
            Flag(
                code="proof.shortened",
                on=deadline.until,
                message=f"From {day} a proof counts {because.value} days for public CAs: this one ends on "
                f"{last} instead of {date_words(deadline.today)}.",
                to_do=f"Validate the domain again before {last}.",
                rule=because.source,
            )
        )
    return Deadlines(private=private, public=deadline, flags=tuple(flags))


def method_ends_at(method: Method) -> datetime | None:
    """When public CAs stop accepting a method; None while no rule says so."""
    rule = _end_of_method(method)
    return begins_at(rule) if rule else None


def date_words(moment: datetime) -> str:
    """Such as `15 March 2027`, in UTC as the rules are written."""
    local = moment.astimezone(UTC)
    return f"{local.day} {local:%B %Y}"


def _end_of_method(method: Method) -> DatedRule | None:
    """The rule by which public CAs have to stop using a method, where there is one."""
    if method not in EMAIL_METHODS:
        return None
    ended = [r for r in RULES if r.id is RuleId.PUBLIC_EMAIL_DCV and r.value == Allowance.FORBIDDEN]
    return min(ended, key=begins_at, default=None)
