"""Reconciliation: what a CA has issued against what we have, both ways (ADR 25). What differs is a finding.

A certificate that belongs to an attempt of ours goes to the engine, which judges it as any late one. Nothing
is handed out, sent or revoked here. CAs are asked outside any transaction; rows are written in batches, so
that what was interrupted loses nothing, and begins again where the last complete look did.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from itertools import islice
from typing import Protocol

import structlog
from django.db.models import Min, Q

from certdesk.backends.base import Backend, Finds, Listed, Lists, PublishesCrl
from certdesk.backends.chains import one_line
from certdesk.backends.registry import UnusableBackend
from certdesk.domain.actors import SYSTEM
from certdesk.domain.errors import BackendError, InvalidInput, StateConflict
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import (
    CertificateFacts,
    Issued,
    certificate_content,
    certificate_facts,
    compare,
)
from certdesk.domain.issuing.states import DONE, IssuanceId, Work
from certdesk.services.issuance.engine import issue
from certdesk.services.issuance.findings import (
    close,
    known_reason,
    open_findings,
    revoked_there,
    settle_revoked,
    tell,
)
from certdesk.services.issuance.intents import LEASE, lock_issuance, recorded_intent
from certdesk.services.issuance.kept import withhold
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import (
    Certificate,
    Domain,
    Finding,
    FindingKind,
    FindingState,
    Issuance,
    Reconciliation,
)
from certdesk.store.selectors.facts import adns_of

log = structlog.get_logger()

Clock = Callable[[], datetime]

#: Looked at again each time: clocks differ, and what was under way at the last look has ended since.
OVERLAP = timedelta(days=1)
#: What is younger may be on its way still: in the engine, or in another process's look.
SETTLED = timedelta(minutes=5)
#: As far as a CA's clock may be from ours, with the time by which it back-dates.
SKEW = timedelta(hours=1)
#: When the nightly look begins, UTC; and when one that failed is tried again.
NIGHT, AGAIN = time(2, 30), timedelta(hours=1)
#: Who looks at a CA has so long for each batch before another process may.
LEASED = timedelta(minutes=30)
BATCH = 500
#: Findings of a CA that are open at once; more are counted.
MOST_OPEN = 1000
_MOST_NAMES, _MOST_BYTES = 100, 1 << 16


class Listing(Backend, Lists, Protocol):
    """A CA that keeps a list."""


@dataclass(slots=True, kw_only=True)
class Look:
    """One look at a CA. `seen` are the numbers of our certificates that it has; `problem` ended it early."""

    ca: str
    title: str
    since: datetime
    began: datetime
    lists_all: bool
    listed: int = 0
    adopted: int = 0
    settled: int = 0
    left_out: int = 0
    problem: str = ""
    seen: set[int] = field(default_factory=set, repr=False)


def lists(backend: Backend) -> bool:
    """Whether a CA can be compared with us at all."""
    return isinstance(backend, Lists)


def why_not(backend: Backend) -> str:
    """Why a CA can't be compared with us, in a sentence; empty where it can."""
    if isinstance(backend, UnusableBackend):
        return f"It can’t be used as it is set up: {backend.reason}"
    return "" if lists(backend) else "It keeps no list that can be compared."


def looks_due(*, now: datetime) -> bool:
    """Whether a CA is to be looked at, by any worker."""
    names = [name for name, one in runtime.current().backends.items() if lists(one)]
    known = dict(Reconciliation.objects.filter(backend__in=names).values_list("backend", "next_at"))
    return any(name not in known or known[name] <= now for name in names)


def take_looks(*, clock: Clock, limit: int = 20) -> None:
    """Looks at every CA whose night has come, one after the other."""
    for name, backend in list(runtime.current().backends.items())[:limit]:
        if not lists(backend):
            continue
        if Reconciliation.objects.filter(backend=name, next_at__gt=clock()).exists():
            continue
        try:
            reconcile(name=name, clock=clock)
        except StateConflict:  # another process is at it
            continue


def reconcile(*, name: str, clock: Clock, since: datetime | None = None) -> Look:
    """Compares a CA with us from the last complete look on, or from `since`; what differs is recorded.

    A CA that does not answer leaves the last result as it is, and `problem` says why. Raises InvalidInput for
    a CA that keeps no list, Misconfigured for one that is not set up, StateConflict while another process
    looks.
    """
    backend = runtime.current().backend(name)
    if not isinstance(backend, Lists):
        raise InvalidInput(f"{backend.title}: {why_not(backend)}", {"name": "Choose another CA."})

    # 1. One look at a time.
    now = clock()
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    with write_transaction():
        row, _new = Reconciliation.objects.get_or_create(backend=name, defaults={"next_at": now})
        if not Reconciliation.objects.filter(free, id=row.pk).update(leased_until=now + LEASED, tried_at=now):
            raise StateConflict(f"{backend.title} is being reconciled by another process.")
    row.refresh_from_db()
    begun = row.complete_at
    if begun is None:  # what the CA had issued before we ever asked it is none of ours
        asked = Issuance.objects.filter(backend=name).aggregate(first=Min("claimed_at"))
        begun = asked["first"] or now
    look = Look(
        ca=name,
        title=backend.title,
        since=since or begun - OVERLAP,
        began=now,
        lists_all=backend.lists_all,
    )

    # 2. Its list against our rows, batch by batch. 3. Our rows against its list, once that is complete.
    try:
        for batch in _batches(backend.listed(since=look.since)):
            _compare(batch, backend, look, clock=clock)
            with write_transaction(durable=False):
                Reconciliation.objects.filter(id=row.pk).update(leased_until=clock() + LEASED)
        if look.lists_all:
            _find_missing(backend, look, clock=clock)
            _find_attempts(backend, look, clock=clock)
        _close_gone(backend, look, clock=clock)
    except BackendError as error:
        look.problem = error.detail
    except Exception:  # plug-in boundary: what a CA lists may be anything, and breaks no other work
        log.exception("reconciliation.broke", backend=name)
        look.problem = "The look broke on our side; the log of the worker says where."

    # 4. How far it came; and whoever operates the service is told of what is new.
    now = clock()
    with write_transaction():
        Reconciliation.objects.filter(id=row.pk).update(
            leased_until=None,
            problem=look.problem,
            **(
                {"next_at": now + AGAIN}
                if look.problem
                else {
                    "next_at": _next_night(now),
                    "complete_at": look.began,
                    "since": look.since,
                    "listed": look.listed,
                    "adopted": look.adopted,
                    "left_out": look.left_out,
                }
            ),
        )
        tell(name, now=now)
    log.info(
        "reconciliation.done",
        backend=name,
        listed=look.listed,
        adopted=look.adopted,
        settled=look.settled,
        left_out=look.left_out,
        problem=look.problem,
    )
    return look


def _next_night(now: datetime) -> datetime:
    tonight = datetime.combine(now.date(), NIGHT, tzinfo=now.tzinfo)
    return tonight if tonight > now else tonight + timedelta(days=1)


def _batches(listed: Iterator[Listed]) -> Iterator[list[Listed]]:
    """What is no key of ours can't be looked for in every database."""
    while batch := list(islice(listed, BATCH)):
        yield [replace(one, key=one.key if one.key.isprintable() else "") for one in batch]


def _about(one: Listed) -> str:
    """By which a certificate is known again in the CA's list, which may use a serial number twice."""
    place = one.number if one.serial is None else f"{one.serial:x}"
    return one_line(f"{place} {hashlib.sha256(one.der).hexdigest()[:16]}" if one.der else place, most=255)


def _compare(batch: Sequence[Listed], backend: Listing, look: Look, *, clock: Clock) -> None:
    """What of a batch is ours; the rest is looked at one by one."""
    look.listed += sum(one.issued_at is not None for one in batch)

    # 1. Ours: the very certificate, or the serial number of one that this CA has issued; or by our own key.
    ours: dict[str, list[Certificate]] = {}
    serials = {f"{one.serial:x}" for one in batch if one.serial is not None}
    keys = {one.key for one in batch if one.key and one.serial is None}
    rows = Certificate.objects.select_related("issuance").only(
        "serial", "sha256", "revoked_at", "not_after", "issuance__backend", "issuance__intent_key"
    )
    for row in rows.filter(serial__in=serials):
        ours.setdefault(row.serial, []).append(row)
    for row in rows.filter(issuance__intent_key__in=keys):
        ours.setdefault(f"key {row.issuance.intent_key}", []).append(row)
    others = list[Listed]()
    for one in batch:
        own = next((row for row in ours.get(_place(one), ()) if _is_same(one, row, look.ca)), None)
        if own is None:
            others.append(one)
            continue
        look.seen.add(own.pk)
        if one.is_revoked and own.revoked_at is None and own.not_after > look.began:
            full = one if one.revoked_at is not None else backend.fetch(one)
            look.settled += settle_revoked(own.pk, full or one, ca=look.ca, now=clock())

    # 2. What was revoked before anybody decided about it. The CRL of a CA that we sign for has to tell.
    ended = {f"{one.serial:x}": one for one in others if one.is_revoked and one.serial is not None}
    waiting = Finding.objects.filter(
        backend=look.ca, kind=FindingKind.UNKNOWN, state=FindingState.OPEN, serial__in=ended
    )
    for serial in set(waiting.values_list("serial", flat=True)):
        revoked_there(look.ca, ended[serial], on_crl=isinstance(backend, PublishesCrl), now=clock())

    # 3. The others, unless they are findings already, or so many that they are counted alone.
    known = set(
        Finding.objects.filter(
            backend=look.ca, kind=FindingKind.UNKNOWN, about__in=list(map(_about, others))
        ).values_list("about", flat=True)
    )
    is_open = Finding.objects.filter(backend=look.ca, kind=FindingKind.UNKNOWN, state=FindingState.OPEN)
    room, found = MOST_OPEN - is_open.count(), dict[str, Finding]()
    for one in others:
        if one.issued_at is None or one.issued_at > look.began - SETTLED or _about(one) in {*known, *found}:
            continue
        if one.is_revoked and not isinstance(backend, PublishesCrl):
            continue  # nobody can use it, and the CA itself tells so
        if len(found) >= room:
            look.left_out += 1
            continue
        if (new := _looked_at(one, backend, look, clock=clock)) is not None:
            found[new.about] = new
    open_findings(found.values(), now=clock())


def _place(one: Listed) -> str:
    return f"{one.serial:x}" if one.serial is not None else f"key {one.key}"


def _is_same(one: Listed, row: Certificate, ca: str) -> bool:
    """Whether it is this certificate of ours: two CAs may use the same serial number.

    A key that draws random numbers signs the same content again in another way.
    """
    if not one.der:
        return row.issuance.backend == ca
    if hashlib.sha256(one.der).hexdigest() == row.sha256:
        return True
    try:
        return certificate_content(one.der) == certificate_content(bytes(row.der))
    except ValueError:
        return False


def _looked_at(one: Listed, backend: Listing, look: Look, *, clock: Clock) -> Finding | None:
    """A certificate that we do not know: an attempt's, which the engine takes; a finding; or no concern."""
    full, now = one if one.der else backend.fetch(one), clock()
    if full is None:
        return None
    finding = Finding(backend=look.ca, kind=FindingKind.UNKNOWN, about=_about(one), found_at=now)
    try:
        facts = certificate_facts(full.der)
    except ValueError:
        finding.serial = "" if one.serial is None else f"{one.serial:x}"[:40]
        finding.detail = "What the CA has under this number can't be read as a certificate."
        return finding
    own = Certificate.objects.filter(sha256=facts.sha256).values_list("id", flat=True).first()
    if own is not None:
        look.seen.add(own)
        return None
    if facts.not_after <= now or facts.der in backend.chain():
        return None
    attempt, others = _attempt(full, facts, look), _others(facts)
    if attempt is not None and not full.is_revoked and _adopted(attempt, full, facts, backend, clock=clock):
        look.adopted += 1
        return None
    finding.serial, finding.issuer = facts.serial_hex[:40], one_line(facts.issuer, most=512)
    finding.names = [one_line(name, most=253) for name in facts.names[:_MOST_NAMES]]
    finding.names_count = len(facts.names)
    finding.not_before, finding.not_after = facts.not_before, facts.not_after
    finding.der = facts.der if len(facts.der) <= _MOST_BYTES else None
    finding.request_id = attempt.request_id if attempt else others.request_id if others else None
    finding.detail = _owner(finding.names)
    if attempt is not None and not full.is_revoked:
        finding.detail += " It has the key of an attempt under this request, and is not its certificate."
    if full.is_revoked:  # of a CA whose CRL is ours: it has to stand there
        finding.state, finding.ended_at = FindingState.REVOKED, now
        finding.revoked_at, finding.reason = full.revoked_at or now, known_reason(full)
    return finding


def _attempt(one: Listed, facts: CertificateFacts, look: Look) -> Issuance | None:
    """The attempt of ours that a certificate was issued for: by its key at the CA, else by key and names."""
    rows = Issuance.objects.filter(backend=look.ca, intent_key__isnull=False, certificate__isnull=True)
    if one.key:
        return rows.select_related("request").filter(intent_key=one.key).first()
    since = (one.issued_at or facts.not_before) + SKEW
    for row in rows.select_related("request").filter(spki_sha256=facts.spki_sha256).order_by("-id")[:20]:
        begun = row.not_before is not None and row.not_before <= since
        if begun and sorted(row.names) == sorted(facts.names) and row.serial in (None, facts.serial_hex):
            return row
    return None


def _others(facts: CertificateFacts) -> Issuance | None:
    """Another issuance for the same key, which tells people whose it may be."""
    return Issuance.objects.filter(spki_sha256=facts.spki_sha256).order_by("-id").first()


def _owner(names: Sequence[str]) -> str:
    """To whom these names belong here, in words."""
    found = Domain.objects.filter(adn__in=adns_of(names))
    owners = sorted(set(found.values_list("organisation__legal_name", flat=True)[:20]))
    if not owners:
        return "Its names belong to no organisation here."
    return f"Its names are under domains of {', '.join(owners)}."


def _adopted(
    attempt: Issuance, one: Listed, facts: CertificateFacts, backend: Listing, *, clock: Clock
) -> bool:
    """Whether an attempt has got its certificate, or it is withheld and revoked as one that came too late.

    One that is not what was asked for is no attempt's: it may have been issued behind our back.
    """
    issued = Issued(chain=(one.der, *(one.above or backend.chain())))
    intent = recorded_intent(attempt, server_software=attempt.request.server_software)
    if any(check.verdict is Verdict.REFUSE for check in compare(issued, intent)):
        return False
    now = clock()
    # What others made at the CA with the same key once we had been refused would hardly end at that second.
    is_its = bool(one.key) or attempt.serial is not None or facts.not_after == attempt.not_after
    if attempt.state in DONE and not is_its:
        return False
    if attempt.state in DONE:
        with write_transaction():
            lock_issuance(attempt, one.der)
            if Certificate.objects.filter(issuance=attempt).exists():
                return False
            if withhold(attempt, issued, "It came after its attempt had ended.", now=now) is not None:
                return False
            data = {"issuance": attempt.pk, "serial": facts.serial_hex, "request": attempt.request_id}
            owner = attempt.organisation_id
            audit.record(SYSTEM, "ca.withhold", attempt.backend, owner, now=now, data=data)
        return True
    _make_due(attempt, now=now)
    try:
        issue(issuance_id=IssuanceId(attempt.pk), clock=clock, already=issued)
    except StateConflict:  # another process is at it, and hears the same from the CA
        return False
    return True


def _make_due(attempt: Issuance, *, now: datetime) -> None:
    """Has it looked at now, unless another process has it."""
    with write_transaction(durable=False):
        Issuance.objects.filter(
            id=attempt.pk, version=attempt.version, next_attempt_at__gt=now + LEASE
        ).exclude(state__in=DONE).update(next_attempt_at=now)


def _find_missing(backend: Listing, look: Look, *, clock: Clock) -> None:
    """Certificates of ours that are not in the list, and not at the CA when it is asked for each."""
    rows = Certificate.objects.filter(
        issuance__backend=look.ca,
        revoked_at__isnull=True,
        not_after__gt=look.began,
        created_at__gte=look.since + SKEW,
        created_at__lte=look.began - SETTLED,
    ).order_by("id")
    found = list[Finding]()
    for pk, serial in rows.values_list("id", "serial").iterator(chunk_size=BATCH):
        if pk in look.seen:
            continue
        if len(found) >= MOST_OPEN:
            look.left_out += 1
            continue
        if backend.fetch(Listed(serial=int(serial, 16))) is not None:
            look.seen.add(pk)
            continue
        row = Certificate.objects.get(id=pk)
        facts = certificate_facts(bytes(row.der))
        found.append(
            Finding(
                backend=look.ca,
                kind=FindingKind.MISSING,
                about=str(pk),
                serial=row.serial,
                issuer=row.issuer,
                names=list(facts.names[:_MOST_NAMES]),
                names_count=len(facts.names),
                not_before=row.not_before,
                not_after=row.not_after,
                request_id=row.request_id,
                certificate=row,
                found_at=clock(),
            )
        )
    for start in range(0, len(found), BATCH):
        open_findings(found[start : start + BATCH], now=clock())


def _find_attempts(backend: Listing, look: Look, *, clock: Clock) -> None:
    """Attempts that may have reached the CA, which has issued nothing. The engine is to look again; where it
    can't, or has not cleared it up in a day, that is a finding.
    """
    rows = Issuance.objects.filter(
        backend=look.ca, state=Work.CLAIMED, claimed_at__lte=look.began - SETTLED, ended_at__isnull=True
    ).order_by("claimed_at")
    for row in rows[:MOST_OPEN]:
        _make_due(row, now=clock())
    if isinstance(backend, Finds):
        rows = rows.filter(claimed_at__lte=look.began - OVERLAP)
    found = [
        Finding(
            backend=look.ca,
            kind=FindingKind.ATTEMPT,
            about=str(row.pk),
            names=list(row.names[:_MOST_NAMES]),
            names_count=len(row.names),
            not_before=row.claimed_at,
            request_id=row.request_id,
            issuance=row,
            found_at=clock(),
        )
        for row in rows[:MOST_OPEN]
    ]
    open_findings(found, now=clock())


def _close_gone(backend: Listing, look: Look, *, clock: Clock) -> None:
    """Ends what is no longer so."""
    now = clock()
    rows = Finding.objects.filter(backend=look.ca, state=FindingState.OPEN)
    close(rows.filter(not_after__lte=now), "It has expired.", now=now)
    attempts = rows.filter(kind=FindingKind.ATTEMPT).exclude(issuance__state=Work.CLAIMED)
    close(attempts, "The attempt has come to its end.", now=now)
    ours = rows.filter(
        kind__in=(FindingKind.MISSING, FindingKind.REVOKED), certificate__revoked_at__isnull=False
    )
    close(ours, "It is revoked here.", now=now)
    for row in rows.filter(kind=FindingKind.UNKNOWN, der__isnull=False).only("der"):
        if Certificate.objects.filter(sha256=hashlib.sha256(bytes(row.der or b"")).hexdigest()).exists():
            close(rows.filter(id=row.pk), "It is here now.", now=now)
    there = [
        row.pk
        for row in rows.filter(kind=FindingKind.MISSING)
        if row.certificate_id in look.seen or backend.fetch(Listed(serial=int(row.serial, 16))) is not None
    ]
    close(rows.filter(id__in=there), "The CA has it.", now=now)
