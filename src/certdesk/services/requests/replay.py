"""Deciding past requests again, under the rules in force and under proposed ones; nothing is stored.

The facts are those of the day, from what was stored with each request (docs/policy.md says which, and what
can't be known any more). What the two sets of rules decide alike is not listed.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache

from certdesk.domain.actors import Actor
from certdesk.domain.findings import QUIET, Check, Verdict, from_record, worst
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.catalogue import CATALOGUE, Origin
from certdesk.domain.policy.decide import FIRST_REQUEST, Facts, OrganisationFacts, judge
from certdesk.domain.policy.in_force import CaaMode, Rules
from certdesk.domain.policy.limits import UNSEEN, CaaAnswer, KeyKind, KeyUses
from certdesk.domain.settings import OTHER
from certdesk.domain.validation.evidence import Validation
from certdesk.services.requests.preflight import CAP_PERIOD
from certdesk.services.system.runtime import Runtime
from certdesk.store.selectors.operations import (
    PastOrganisation,
    PastRequest,
    past_organisations,
    past_requests,
)

#: Requests between two words about progress.
PROGRESS_EVERY = 5000
#: The gravest verdict in the words of a decision.
_FATES = {
    Verdict.PASS: "auto",
    Verdict.NOT_CHECKED: "auto",
    Verdict.WARN: "auto",
    Verdict.PENDING: "pending",
    Verdict.MANUAL: "manual",
    Verdict.REFUSE: "refuse",
}
_OF_CSR = frozenset(code for code, info in CATALOGUE.items() if info.origin is Origin.CSR)
_OF_PREFLIGHT = frozenset(code for code, info in CATALOGUE.items() if info.origin is Origin.PREFLIGHT)
_SOUND = Check(code="csr.readable", verdict=Verdict.PASS, message="As it was then.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one set of rules makes of a request: `auto`, `pending`, `manual` or `refuse`, and why."""

    outcome: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A request that would be decided otherwise; `recorded` is what was decided on the day."""

    number: int
    organisation: str
    name: str
    created_at: datetime
    recorded: str
    old: Side
    new: Side


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of a replay, filled as it goes on.

    `alike` requests have the same rules on both sides and are not judged; `drifted` ones come out
    otherwise than recorded under the rules in force now; `unknown` counts facts that were not stored.
    """

    seen: int = 0
    alike: int = 0
    drifted: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


def replay(
    *,
    actor: Actor,
    old: Runtime,
    new: Runtime,
    since: datetime,
    tally: Tally,
    progress: Callable[[int], None] = lambda _seen: None,
) -> Iterator[Difference]:
    """Every request since then that the two would decide differently, oldest first, as it is found.

    `progress` is told now and then how many were looked at. Raises NotFound for whoever does not run
    the service.
    """
    organisations = past_organisations(actor=actor)
    rules: dict[tuple[int, str], tuple[Rules, Rules]] = {}
    recent: dict[int, deque[datetime]] = {}
    # A cap looks back a day: those before the time asked for are counted and not judged.
    for past in past_requests(actor=actor, since=since - CAP_PERIOD):
        organisation = organisations[past.organisation_id]
        place = (past.organisation_id, past.profile_id)
        if place not in rules:
            slug, kind = organisation.slug, past.profile_id
            rules[place] = (
                old.rules_for(organisation=slug, profile=kind),
                new.rules_for(organisation=slug, profile=kind),
            )
        both, before = rules[place], None
        if any(one.daily_cap for one in both):
            before = _count(recent.setdefault(organisation.id, deque()), past.created_at)
        if past.created_at < since:
            continue
        tally.seen += 1
        if tally.seen % PROGRESS_EVERY == 0:
            progress(tally.seen)
        if both[0].digest == both[1].digest:
            tally.alike += 1
        elif (found := _compared(past, organisation, both, before, tally)) is not None:
            yield found


def _count(recent: deque[datetime], at: datetime) -> int:
    """How many requests there were in the 24 hours before this one, which is then counted too."""
    while recent and recent[0] <= at - CAP_PERIOD:
        recent.popleft()
    recent.append(at)
    return len(recent) - 1


def _compared(
    past: PastRequest,
    organisation: PastOrganisation,
    both: tuple[Rules, Rules],
    before: int | None,
    tally: Tally,
) -> Difference | None:
    stored = _Stored(past)
    facts = _facts(past, organisation, stored, before=before, software=both[0].server_software)

    # What is not known moves no decision.
    if "key.known" not in stored.codes and both[0].reused_key != both[1].reused_key:
        tally.unknown["earlier uses of the key"] += 1  # the version of the day did not look for them
    if facts.caa is None and any(rules.caa is not CaaMode.OFF for rules in both):
        tally.unknown["CAA records"] += 1
        both = _without_caa(both)

    sides = []
    for rules in both:
        checks = judge(facts, rules, now=past.created_at)
        gravest = worst(checks)
        codes = dict.fromkeys(check.code for check in checks if check.verdict is gravest)
        outcome = _FATES[gravest]
        sides.append(Side(outcome=outcome, codes=tuple(codes) if outcome != "auto" else ()))
    old, new = sides
    recorded = _FATES[stored.worst]
    tally.drifted += recorded != old.outcome
    if old.outcome == new.outcome:
        return None
    tally.moves[old.outcome, new.outcome] += 1
    return Difference(
        number=past.number,
        organisation=organisation.slug,
        name=past.names[0] if past.names else "",
        created_at=past.created_at,
        recorded=recorded,
        old=old,
        new=new,
    )


@lru_cache(maxsize=1024)
def _without_caa(both: tuple[Rules, Rules]) -> tuple[Rules, Rules]:
    return replace(both[0], caa=CaaMode.OFF), replace(both[1], caa=CaaMode.OFF)


class _Stored:
    """What the checks of the day tell, by code; passes of the CSR and the pre-flight tell nothing more."""

    def __init__(self, past: PastRequest) -> None:
        self.checks = past.checks
        self.codes = {record["code"]: record for record in past.checks}
        standing = [record for record in past.checks if record["verdict"] not in QUIET]
        self.of_csr = tuple(from_record(record) for record in standing if record["code"] in _OF_CSR)
        self.preflight = tuple(from_record(record) for record in standing if record["code"] in _OF_PREFLIGHT)
        self.worst = worst(from_record(record) for record in standing) if standing else Verdict.PASS

    @property
    def first(self) -> bool:
        check = self.codes.get("organisation.first_request")
        return check is not None and (
            check["verdict"] == Verdict.MANUAL or check.get("seen") == FIRST_REQUEST
        )

    @property
    def key_uses(self) -> KeyUses:
        if "key.used_elsewhere" not in self.codes and "key.reused" not in self.codes:
            return UNSEEN
        number = self.codes.get("key.reused", {}).get("seen", "").removeprefix("request ")
        return KeyUses(int(number) if number.isdecimal() else None, "key.used_elsewhere" in self.codes)

    @property
    def stopped(self) -> tuple[tuple[DnsName, int], ...]:
        """The names that the RA had stopped a request for, with its number."""
        told = (past["seen"] for past in self.checks if past["code"] == "names.entitlement_ended")
        found = (seen.partition(", request ") for seen in told)
        return tuple((DnsName(name), int(number)) for name, _comma, number in found)

    def caa(self, past: PastRequest) -> tuple[CaaAnswer, ...] | None:
        """The answers of the day; None where nobody asked."""
        if not {"caa.permits", "caa.forbids", "caa.unknown"} & self.codes.keys():
            return None
        told = [record["seen"] for record in past.checks if record["code"] == "caa.forbids"]
        forbidden = {name for name, _colon, _detail in (seen.partition(":") for seen in told)}
        unknown = set(self.codes.get("caa.unknown", {}).get("seen", "").split(", "))
        return tuple(
            CaaAnswer(name=name, permits=name not in forbidden, at=past.created_at)
            for name in past.names
            if name not in unknown
        )


def _facts(
    past: PastRequest,
    organisation: PastOrganisation,
    stored: _Stored,
    *,
    before: int | None,
    software: tuple[str, ...],
) -> Facts:
    """The facts of the day. What was refused then is not stored, so a stored request had none of that."""
    # The records that can reach any of the names, found by walking up: there may be thousands.
    proofs: dict[str, list[Validation]] = {}
    for name in past.names:
        labels = name.split(".")
        parents = (".".join(labels[start:]) for start in range(len(labels) - 1))
        proofs |= {above: organisation.proofs[above] for above in parents if above in organisation.proofs}
    return Facts(
        csr_findings=() if "csr.not_checked" in stored.codes else (stored.of_csr or (_SOUND,)),
        names=tuple(DnsName(name) for name in past.names),
        subject_organisations=(),
        organisation=OrganisationFacts(
            id=organisation.id,
            legal_name=organisation.legal_name,
            vetted="organisation.not_vetted" not in stored.codes,
            active=True,
            has_approved_request=not stored.first,
            validations=tuple(proof for records in proofs.values() for proof in records),
        ),
        profile_id=past.profile_id,
        profile_version=past.profile_version,
        duration_years=past.duration_years,
        # On the list of its day; whether it still is changes nothing about the rules that are compared.
        server_software=past.server_software if past.server_software in software else OTHER,
        key=KeyKind.parse(past.key),
        key_uses=stored.key_uses,
        preflight_findings=stored.preflight,
        caa=stored.caa(past),
        requests_last_day=before,
        stopped=stored.stopped,
    )
