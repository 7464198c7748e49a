"""Renewing certificates under a term, without anybody's doing: for the same CSR, or else people are told.

Nothing is signed here: what is due becomes an issuance like any other, which the worker drives and the engine
judges again. ACME clients renew by themselves (RFC 9773).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from certdesk.backends.base import Suggestion, SuggestsRenewal
from certdesk.domain.actors import SYSTEM, Action, Actor, can
from certdesk.domain.csr.csr import Csr
from certdesk.domain.errors import BackendError
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.states import OPEN, OrganisationId, RequestId, State, UserId, Work
from certdesk.domain.issuing.terms import renewal_at, tellings
from certdesk.domain.policy.limits import CAA_UNKNOWN
from certdesk.services.acme.renewal import advised_window
from certdesk.services.issuance.intents import NOT_IN_TIME, OWN_KEY, RENEWAL, kept_csr, record_issuance
from certdesk.services.issuance.kept import ASK_CA_EVERY
from certdesk.services.requests.preflight import Subject, intent_of, judged, obstacles_under, subject_of
from certdesk.services.system import runtime
from certdesk.store import audit, jobs
from certdesk.store.db import write_transaction
from certdesk.store.driver import swap
from certdesk.store.models import Certificate, Issuance, Organisation, Renewal, Request, Revocation
from certdesk.store.selectors.facts import lock_organisation, organisation_row
from certdesk.store.selectors.people import person_now
from certdesk.store.sql import request_now
from certdesk.store.transitions import NOT_RENEWED, note_line

log = structlog.get_logger()

#: Whoever looks at a certificate has this long, the CA's answer about its renewal included.
LEASE = timedelta(minutes=5)
RETRY_FIRST, RETRY_MOST = timedelta(minutes=15), timedelta(days=1)
#: What has ended for so long is no longer missed by anybody: it is not renewed on its own.
ABANDONED_AFTER = timedelta(days=30)
#: A CA is asked about one certificate no more often than the one and no less often than the other, whatever
#: it says: it may have to revoke.
ASK_CA_AT_MOST, ASK_CA_AT_LEAST = timedelta(hours=1), timedelta(days=1)
#: What can't be moved to another CA for now is looked at again after this long.
LOOK_AGAIN_TO_MOVE = timedelta(hours=1)
#: From then on people are told that a renewal is on its way, and not here yet.
USUAL_WAIT = timedelta(days=1)
_ON_ITS_WAY = (
    "The next certificate is on its way, but not here yet: the CA, or the DNS about CAA records, has not "
    "answered. We keep asking."
)
#: Reasons that a new CSR settles, and nothing else.
ABOUT_THE_KEY = ("key.", "csr.")


def any_due(*, now: datetime) -> bool:
    """Whether a certificate has to be looked at."""
    return Renewal.objects.filter(next_attempt_at__lte=now).exists()


def renew_due(*, clock: Callable[[], datetime], limit: int) -> None:
    """Looks at what is due, longest overdue first. A CA that does not answer is asked once a round."""
    silent = set[str]()
    due = Renewal.objects.filter(next_attempt_at__lte=clock()).order_by("next_attempt_at")
    for number in list(due.values_list("id", flat=True)[:limit]):
        try:
            renew(renewal_id=number, clock=clock, silent=silent)
        except Exception:  # worker loop: its lease puts it off, and the others are not held up
            log.exception("renewal.failed", renewal=number)


def renew(
    *, renewal_id: int, clock: Callable[[], datetime], silent: set[str] | None = None
) -> Issuance | None:
    """Looks at a certificate under its term: records the issuance that follows it, once it is due and may.

    What stands in the way is on its request's page and in its history, people are told by mail, and it is
    tried again, later and later. Safe to call at any time, by any number of processes. `silent` are CAs that
    have not answered just now, which grow by this one's.
    """
    # 1. Take it, so that no other process looks at it as well.
    now, rows = clock(), Renewal.objects.filter(id=renewal_id)
    row = rows.select_related("certificate__issuance", "certificate__request").get()
    certificate, last, leased = row.certificate, row.certificate.issuance, now + LEASE
    seen = row.next_attempt_at
    if seen is None or seen > now:
        return None
    with write_transaction():
        if not swap(Renewal, {"id": row.pk, "next_attempt_at": seen}, {"next_attempt_at": leased}):
            return None

    # 2. Look, outside any transaction: what its CA says, an operator's advice, and the CSR.
    suggestion = _suggestion(certificate, set() if silent is None else silent)
    due_at = renewal_at(
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        seed=bytes.fromhex(certificate.sha256),
        suggested=None if suggestion is None else suggestion.window,
        advised=advised_window(certificate),
    )
    csr = kept_csr(last)
    with write_transaction():
        # 3. Judge, under the lock that ending the request and asking for another certificate take too.
        lock_organisation(
            OrganisationId(certificate.organisation_id),
            f"request {certificate.request_id}",
            certificate.spki_sha256,
            shared=True,
        )
        now = clock()
        row = rows.get()
        if row.next_attempt_at != leased:
            return None  # this process was suspended, and another has looked meanwhile
        rows = rows.filter(next_attempt_at=leased)  # a sooner time that an operator sets meanwhile stays
        request = request_now(certificate.request_id)
        if _is_over(certificate, request, moves=bool(row.move_to), now=now):
            rows.update(next_attempt_at=None, problem="")
            return None
        due_at = _due_at(row, certificate, request, csr, usual=due_at, now=now)
        if now < due_at:
            look_at = _next_look(row, last.backend, suggestion, due_at=due_at, now=now)
            rows.update(due_at=due_at, next_attempt_at=look_at, problem="", needs_csr=False)
            return None
        pause = min(RETRY_FIRST * 2 ** min(row.attempts, 10), _most_patience(certificate))
        ours = f"{OWN_KEY}{request.pk} renews {certificate.pk} "
        issuances = Issuance.objects.filter(request_id=request.pk, order__isnull=True)
        open_one = issuances.filter(state__in=OPEN).first()
        if open_one is not None and open_one.created_at > now - USUAL_WAIT:
            rows.update(next_attempt_at=now + pause)  # the CA takes its time, or it is another's turn
            return None
        before = issuances.filter(idempotency_key__startswith=ours).order_by("-id").first()
        if open_one is None:
            against = against_renewal(certificate, request, csr, before=before, now=now)
        else:
            against = (Check("certificate.on_its_way", Verdict.PENDING, _ON_ITS_WAY),)
        columns: dict[str, Any] = {
            "due_at": due_at,
            "next_attempt_at": now + pause,
            "attempts": row.attempts + 1,
        }
        columns["needs_csr"] = any(check.code.startswith(ABOUT_THE_KEY) for check in against)
        columns["problem"] = " ".join(check.message for check in against) or (before.detail if before else "")

        # 4. Say what stands in the way, or failed the last time; each reason once in the history.
        if columns["problem"]:
            told = tellings(certificate.not_before, certificate.not_after, now=now)
            if told > row.told:
                columns["told"] = told
                jobs.enqueue("mail_not_renewed", due_at=now, renewal_id=row.pk)
        if against and open_one is None and columns["problem"] != row.problem:
            number, note = RequestId(request.pk), "\n".join(check.message for check in against)
            note_line(request_id=number, event=NOT_RENEWED, actor=SYSTEM, note=note, now=now)
            said = {"request": request.pk, "codes": sorted({check.code for check in against})}
            audit.record(
                SYSTEM, "certificate.not_renewed", certificate.pk, request.organisation_id, now=now, data=said
            )
        rows.update(**columns)
        if against:
            return None

        # 5. Record the issuance that follows, which the worker takes up.
        user_id = None if last.user_id is None else UserId(last.user_id)
        issuance = record_issuance(
            request=request,
            csr=csr,
            actor=Actor(label=last.asked_by, user_id=user_id),
            channel=RENEWAL,
            idempotency_key=f"{ours}{row.attempts}",
            next_attempt_at=now,
            now=now,
        )
        data = {"request": request.pk, "csr_sha256": csr.sha256, "renews": certificate.pk}
        audit.record(SYSTEM, "issuance.create", issuance.pk, request.organisation_id, now=now, data=data)
    return issuance


def _suggestion(certificate: Certificate, silent: set[str]) -> Suggestion | None:
    """What the CA that issued it says of its renewal; None where it says nothing now."""
    backend = runtime.current().backends.get(certificate.issuance.backend)
    if backend is None or not isinstance(backend, SuggestsRenewal) or backend.name in silent:
        return None
    try:
        return backend.suggested_window(certificate_der=bytes(certificate.der))
    except BackendError as error:
        log.warning("renewal.ca_says_nothing", backend=backend.name, detail=error.detail)
    except Exception:  # plug-in boundary: without its word, the usual time holds
        log.exception("renewal.suggestion_broke", backend=backend.name)
    silent.add(backend.name)
    return None


def _due_at(
    row: Renewal, certificate: Certificate, request: Request, csr: Csr, *, usual: datetime, now: datetime
) -> datetime:
    """When it is to be renewed, which what is to move is now: once the CA that it moves to is the one to be
    asked, so not while that is stopped, and not when the profile has been changed back.
    """
    if row.move_to and row.move_to == ca_for(request, csr, now=now):
        return min(usual, now)
    fills = request.term_ends_at is not None and certificate.not_after >= request.term_ends_at
    return certificate.not_after if fills else usual


def _next_look(
    row: Renewal, ca: str, suggestion: Suggestion | None, *, due_at: datetime, now: datetime
) -> datetime:
    """When to look at what is not due yet: its CA may change its word, and the CA to move to may be free."""
    if row.move_to:
        due_at = min(due_at, now + LOOK_AGAIN_TO_MOVE)
    if not isinstance(runtime.current().backends.get(ca), SuggestsRenewal):
        return due_at
    ask_at = now + ASK_CA_EVERY
    if suggestion is not None:
        ask_at = min(max(suggestion.ask_again_at, now + ASK_CA_AT_MOST), now + ASK_CA_AT_LEAST)
    return min(due_at, ask_at)


def _is_over(certificate: Certificate, request: Request, *, moves: bool, now: datetime) -> bool:
    """Whether nothing is to follow a certificate: its request or term has ended, somebody wanted it revoked
    for whatever reason, a newer one has taken its place, which may be revoked by now, or it ended long ago;
    or it fills its term, and is not to move (`moves`) to another CA.
    """
    ends_at = request.term_ends_at
    if request.state != State.APPROVED or ends_at is None or ends_at <= now:
        return True
    if certificate.not_after >= ends_at and not moves:
        return True
    if now > certificate.not_after + ABANDONED_AFTER or certificate.revoked_at is not None:
        return True
    if Revocation.objects.filter(certificate=certificate).exists():
        return True
    newer = Certificate.objects.filter(request_id=request.pk, id__gt=certificate.pk, withheld=False)
    names = set(certificate.issuance.names)
    return any(names == set(others) for others in newer.values_list("issuance__names", flat=True))


def ca_for(request: Request, csr: Csr, *, cas: tuple[str, ...] | None = None, now: datetime) -> str:
    """The name of the CA that would be asked now for another certificate under a request; `cas` stand in
    place of those that its profile lists.
    """
    organisation = organisation_row(OrganisationId(request.organisation_id))
    return intent_of(_subject(request, organisation, csr, cas), now=now).backend


def _subject(request: Request, organisation: Organisation, csr: Csr, cas: tuple[str, ...] | None) -> Subject:
    subject = subject_of(request, organisation, csr)
    return subject if cas is None else replace(subject, profile=replace(subject.profile, cas=cas))


def against_renewal(
    certificate: Certificate,
    request: Request,
    csr: Csr,
    *,
    before: Issuance | None = None,
    cas: tuple[str, ...] | None = None,
    now: datetime,
) -> tuple[Check, ...]:
    """What stands against the same CSR again, as of now: it holds under the lock alone. Without CAA, which
    the engine asks about.

    `before` is the last try, if there was one; `cas` stand in place of those that the profile lists.
    """
    rt, last = runtime.current(), certificate.issuance
    found = list[Check]()
    person = person_now(last.user_id or request.requester_id)
    own = OrganisationId(request.organisation_id)
    organisation = organisation_row(own)
    # Who still has to choose a password has not left; of a disabled organisation nobody may ask for any.
    may = person is not None and can(
        replace(person, must_change_password=False), Action.REQUEST_CREATE, organisation_id=own
    )
    if organisation.is_active and not may:
        told = (
            f"{last.asked_by} sent this CSR, may have its key, and no longer acts for the organisation. "
            "Send a CSR with a new key."
        )
        found.append(Check("key.of_a_former_member", Verdict.REFUSE, told))
    profile = rt.standing_profile(request.profile_id)
    met = Issuance.objects.filter(spki_sha256=certificate.spki_sha256).order_by("id")
    since, days = met.values_list("created_at", flat=True)[0], profile.same_key_days
    if not days or now >= since + timedelta(days=days):
        told = f"The key has been in use for {days} days. Send a CSR with a new key."
        if not days:
            told = "Each certificate of this kind has a key of its own. Send a CSR with a new key."
        found.append(Check("key.too_old", Verdict.REFUSE, told))
    if before is not None and before.state == Work.REFUSED and before.detail == NOT_IN_TIME:
        told = (
            f"The CA has not said what became of the last try, so we don't ask it again. {rt.rules.ra} can "
            "find out there. You can request another certificate."
        )
        found.append(Check("certificate.outcome_unknown", Verdict.REFUSE, told))
    subject = _subject(request, organisation, csr, cas)
    decision = judged(subject, now=now)[1]
    against = obstacles_under(request, subject, decision, now=now)
    found += [check for check in against if check.code != CAA_UNKNOWN]
    if not found:
        backend = rt.backends.get(intent_of(subject, now=now).backend)
        lasts, ends_at = certificate.not_after - certificate.not_before, request.term_ends_at
        if getattr(backend, "chooses_validity", False) and ends_at is not None and now + lasts > ends_at:
            told = (
                "The next certificate of this CA would last longer than the term, which ends on "
                f"{ends_at:%-d %B %Y}. Make a new request for the time from then on."
            )
            found.append(Check("certificate.beyond_term", Verdict.REFUSE, told))
    return tuple(found)


def _most_patience(certificate: Certificate) -> timedelta:
    """The longest pause between two tries: short for what does not last long."""
    return max(RETRY_FIRST, min(RETRY_MOST, (certificate.not_after - certificate.not_before) / 24))
