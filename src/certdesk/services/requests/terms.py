"""What a term comes to: until when, about how many certificates, when the next one comes. Reads only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from certdesk.domain.issuing.profiles import BACKDATE, Profile
from certdesk.domain.issuing.states import State
from certdesk.domain.issuing.terms import longest, series
from certdesk.services.requests.preflight import ACME
from certdesk.services.system import runtime
from certdesk.store.models import Renewal
from certdesk.store.selectors.requests import RequestDetail

#: Beyond that nobody counts: some two years of certificates that last a day.
_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """How a term is filled. `certificates` is about how many in all, None where nobody can say; `first` is
    from when to when the first would be valid, where there is none yet.

    `next_at` is when the next one is due, None where none follows without a person's doing. `problem` is what
    stands in its way now, and `needs_csr` whether nothing but a new CSR helps. A key that was met first
    `same_key_days` ago is not certified again.
    """

    ends_at: datetime
    first: tuple[datetime, datetime] | None = None
    certificates: int | None = None
    next_at: datetime | None = None
    problem: str = ""
    needs_csr: bool = False
    same_key_days: int = 0


def foreseen(profile: Profile, *, ca: str, begins: datetime, ends_at: datetime) -> Term:
    """What becomes of a term whose first certificate, by this CA, begins at `begins`."""
    first, *more = islice(_series(profile, ca, begins=begins, ends_at=ends_at), _MOST)
    is_known = bool(more) or not getattr(runtime.current().backends.get(ca), "chooses_validity", False)
    return Term(
        ends_at=ends_at,
        first=first,
        certificates=1 + len(more) if is_known else None,
        next_at=more[0][0] + BACKDATE if more else None,
        same_key_days=profile.same_key_days,
    )


def term_of(request: RequestDetail, *, now: datetime) -> Term | None:
    """How the term of a request is filled, as far as is known now; None while it has none.

    ACME clients renew by themselves, so that nothing is known of how many certificates they get.
    """
    ends_at, rt, there = request.term_ends_at, runtime.current(), len(request.certificates)
    if ends_at is None:
        return None
    profile = rt.standing_profile(request.profile_id)
    if request.channel == ACME:
        return Term(ends_at=ends_at)
    if request.state is not State.APPROVED:
        return Term(ends_at=ends_at, certificates=there)
    if not request.certificates:
        return foreseen(profile, ca=rt.cas_of(profile)[0], begins=now - BACKDATE, ends_at=ends_at)
    if all(one.not_after >= ends_at for one in request.certificates):
        return Term(ends_at=ends_at, certificates=there)
    rows = Renewal.objects.filter(certificate__request_id=request.number, next_attempt_at__isnull=False)
    columns = ("due_at", "problem", "needs_csr", "certificate__issuance__backend")
    ahead = list(rows.order_by("due_at").values_list(*columns))
    if not ahead:
        return Term(ends_at=ends_at, certificates=there)
    due_at, ca = max(ahead[0][0], now), ahead[0][3]
    newest = request.certificates[0]
    lasts = newest.not_after - newest.not_before + timedelta(seconds=1)
    more = islice(_series(profile, ca, begins=due_at - BACKDATE, ends_at=ends_at, most=lasts), _MOST)
    problem, needs_csr = next(((text, needs) for _due, text, needs, _ca in ahead if text), ("", False))
    return Term(
        ends_at=ends_at,
        certificates=there + sum(1 for _one in more) if due_at < ends_at else there,
        next_at=ahead[0][0],
        problem=problem,
        needs_csr=needs_csr,
        same_key_days=profile.same_key_days,
    )


def _series(
    profile: Profile, ca: str, *, begins: datetime, ends_at: datetime, most: timedelta | None = None
) -> Iterator[tuple[datetime, datetime]]:
    """The certificates from a moment to the end of the term; `most` is how long the CA made the last one."""
    limits = runtime.current().limits_of(ca)

    def cap(at: datetime) -> timedelta | None:
        caps = [one for one in (longest(profile, limits, at=at), most) if one is not None]
        return min(caps, default=None)

    return series(begins=begins, ends=ends_at, cap=cap)
