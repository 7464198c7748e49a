"""The checks that a policy's limits ask for: keys, names, CAA answers, caps. Pure, like `decide`, the caller.

With the seed's rules none of them says anything, save that a key used before is told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from certdesk.domain.csr.keys import KeyFacts
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.names.identifiers import DnsName, is_ip_address
from certdesk.domain.policy.in_force import USUAL_KEY_TYPES, CaaMode, Handling, KeyType, Rules
from certdesk.domain.rules import RuleId, in_force

_VERDICTS = {Handling.AUTO: Verdict.WARN, Handling.MANUAL: Verdict.MANUAL, Handling.REFUSE: Verdict.REFUSE}
_MAX_SHOWN = 5
_SEED = Rules()
#: Kinds of which there is neither a size nor a curve to say.
_ALONE = frozenset(KeyType) - frozenset(USUAL_KEY_TYPES)


@dataclass(frozen=True, slots=True)
class KeyKind:
    """A key's kind as policy sees it; `name` is of `KeyType` for the kinds that can be certified."""

    name: str
    bits: int = 0

    @classmethod
    def of(cls, key: KeyFacts) -> Self:
        """The kind of a key that was read from a CSR."""
        return cls(key.curve or key.algorithm, key.size)

    @classmethod
    def parse(cls, described: str) -> Self | None:
        """The kind that a stored request's `RSA 2048` or `EC P-256` describes; None for anything else."""
        algorithm, _space, rest = described.partition(" ")
        if algorithm == "RSA" and rest.isdecimal():
            return cls(algorithm, int(rest))
        if described in _ALONE:
            return cls(described)
        return cls(rest) if algorithm == "EC" and rest else None


@dataclass(frozen=True, slots=True)
class KeyUses:
    """Where the service has met a public key before.

    `earlier_request` is the request of the same organisation that used it last; `elsewhere` says that another
    organisation has used it.
    """

    earlier_request: int | None = None
    elsewhere: bool = False


#: A key that the service has never met.
UNSEEN = KeyUses()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaaAnswer:
    """What the CAA records in force for one name said of our CA, and when they were read (RFC 8659).

    Without `answered` the DNS said nothing that counts, which permits nothing; `detail` tells why. `found`
    are the records that decided, `to_add` is one that would permit.
    """

    name: str
    permits: bool
    answered: bool = True
    detail: str = ""
    found: tuple[str, ...] = ()
    to_add: str = ""
    at: datetime


def key_limit_checks(key: KeyKind | None, rules: Rules) -> Iterator[Check]:
    """Keys that the CSR's own checks let pass, and this policy does not."""
    limits = (rules.key_types, rules.rsa_min_bits, rules.rsa_max_bits)
    is_usual = key is None or key.name in _SEED.key_types
    if is_usual and limits == (_SEED.key_types, _SEED.rsa_min_bits, _SEED.rsa_max_bits):
        return
    bits = " to ".join(map(str, dict.fromkeys(limits[1:])))
    kinds = (
        f"RSA with {bits} bits" if kind is KeyType.RSA else f"EC {kind}" if kind in _SEED.key_types else kind
        for kind in rules.key_types
    )
    offered = " or ".join(kinds)
    if key is None:
        yield Check("key.kind_unknown", Verdict.MANUAL, "The kind of key is not known; an officer looks.")
    elif key.name not in rules.key_types:
        told = f"Keys of the kind {key.name} are not accepted here. Make a new key, {offered}, and a new CSR."
        yield Check("key.not_allowed", Verdict.REFUSE, told, seen=key.name)
    elif key.name == KeyType.RSA and not rules.rsa_min_bits <= key.bits <= rules.rsa_max_bits:
        told = f"RSA keys of {key.bits} bits are not accepted here. Make a new key, {offered}, and a new CSR."
        yield Check("key.not_allowed", Verdict.REFUSE, told, seen=f"RSA {key.bits} bits")


def key_use_checks(uses: KeyUses, rules: Rules) -> Iterator[Check]:
    """A key that was met before. Whose request it was is told to its own organisation alone."""
    if uses.elsewhere:
        told = (
            "This key is not yours alone: the service has met it before, elsewhere. "
            "Make a new key and CSR, unless you know why."
        )
        yield Check("key.used_elsewhere", _VERDICTS[rules.reused_key], told)
    if uses.earlier_request is not None:
        told = (
            f"Your request {uses.earlier_request} has the same key. A new key for each certificate is safer."
        )
        yield Check("key.reused", Verdict.WARN, told, seen=f"request {uses.earlier_request}")


def name_limit_checks(names: Sequence[DnsName], rules: Rules) -> Iterator[Check]:
    """How many names, and whether wildcards are among them."""
    if len(names) > rules.max_names:
        told = f"The request has {len(names)} names; at most {rules.max_names} are accepted here. Split it."
        yield Check("names.limit", Verdict.REFUSE, told, seen=f"{len(names)} names")
    for name in names:
        # One check for each: an officer accepts this wildcard, and not the list that it stood in.
        if name.startswith("*.") and rules.wildcards is not Handling.AUTO:
            told, who = f"{name}: an officer reviews every wildcard.", "RA officer"
            if rules.wildcards is Handling.REFUSE:
                told = f"{name}: wildcards are not accepted here. List the hosts instead."
                who = "applicant"
            verdict = _VERDICTS[rules.wildcards]
            yield Check("names.wildcard_policy", verdict, told, seen=name, names=(name,), changed_by=who)


def caa_checks(
    names: Sequence[DnsName], answers: Sequence[CaaAnswer] | None, rules: Rules, *, now: datetime
) -> Iterator[Check]:
    """Every name has to have an answer that is young enough and permits (RFC 8659, BR 3.2.2.8).

    IP addresses have no CAA records.
    """
    if rules.caa is CaaMode.OFF:
        return
    names = [name for name in names if not is_ip_address(name)]
    young = now - timedelta(hours=in_force(RuleId.CAA_AGE, now).value)
    asked = {answer.name: answer for answer in answers or () if young <= answer.at <= now}
    known = {name: answer for name, answer in asked.items() if answer.answered}
    forbidden = [known[name] for name in names if name in known and not known[name].permits]
    unknown = [name for name in names if name not in known]
    must = rules.caa is CaaMode.REQUIRE
    for answer in forbidden:
        what = f" to add this record: {answer.to_add}" if answer.to_add else "."
        yield Check(
            "caa.forbids",
            Verdict.REFUSE if must else Verdict.WARN,
            f"{answer.name}: {answer.detail or 'Its CAA records name other CAs only.'} "
            f"Ask the people who run its DNS{what}",
            seen=f"{answer.name}: {'; '.join(answer.found)}",
            names=(answer.name,),
        )
    if unknown:
        why = " ".join(dict.fromkeys(asked[name].detail for name in unknown if name in asked))
        told = f"{listed(unknown)}: no current answer about CAA records is known. {why}".strip()
        verdict = _VERDICTS[rules.caa_unknown] if must else Verdict.WARN
        yield Check(CAA_UNKNOWN, verdict, told, seen=listed(unknown), names=tuple(unknown))
    if names and not forbidden and not unknown:
        # Said once for all names that have the same reason.
        details = [detail for detail in dict.fromkeys(known[name].detail for name in names) if detail]
        told = " ".join(["CAA records permit the CA for every name.", *details[:_MAX_SHOWN]])
        more = len(details) - _MAX_SHOWN
        yield Check(
            "caa.permits", Verdict.PASS, f"{told} The same goes for {more} more." if more > 0 else told
        )


def cap_checks(requests_last_day: int | None, rules: Rules) -> Iterator[Check]:
    """An organisation above its daily cap waits for an officer: a runaway script does not go through."""
    if not rules.daily_cap:
        return
    within = requests_last_day is not None and requests_last_day < rules.daily_cap
    count = "an unknown number of" if requests_last_day is None else str(requests_last_day)
    told = (
        f"The organisation has made {count} requests in the last 24 hours; {rules.daily_cap} go through "
        "without an officer."
    )
    verdict = Verdict.PASS if within else Verdict.MANUAL
    yield Check("organisation.daily_cap", verdict, told, seen=count)


def stopped_checks(stopped: Sequence[tuple[DnsName, int]]) -> Iterator[Check]:
    """Once the RA has stopped a request, the next one for its names is for an officer to decide."""
    for name, number in stopped:
        told = f"{name}: an RA officer has stopped request {number} for it; an officer decides."
        seen = f"{name}, request {number}"
        yield Check("names.entitlement_ended", Verdict.MANUAL, told, seen=seen, names=(name,))


#: A missing answer is waited for: no officer can waive it, since nothing else stands in for it.
CAA_UNKNOWN = "caa.unknown"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: the first few, and how many more there are."""
    shown = ", ".join(names[:_MAX_SHOWN])
    more = len(names) - _MAX_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
