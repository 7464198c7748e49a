"""Terms over short certificates: how long one may be on a day, the series that fills a term, when to renew.

Pure. A term is how long a request allows certificates; rules, profile and CA say how long each may last.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from certdesk.domain.acme.renewal import Window, moment_in
from certdesk.domain.issuing.cas import CaLimits
from certdesk.domain.issuing.profiles import BACKDATE, Profile
from certdesk.domain.rules import RuleId, in_force

#: What is asked for on a rule's last day may be signed on the next, so the coming rule holds a day ahead.
AHEAD = timedelta(days=1)
#: A certificate is renewed after this share of its life, unless its CA says when (RFC 9773).
USUAL = 2 / 3
#: A CA's word counts until then: a certificate that is renewed at its very end leaves no time to install it.
LATEST = 9 / 10
#: Shares of a certificate's life that are left when people are told again that it is not renewed.
_TOLD_AGAIN = (1 / 6, 1 / 20, 0)

_SECOND = timedelta(seconds=1)

#: How long a certificate may last that is asked for at a moment; None is no cap of its own.
Cap = Callable[[datetime], timedelta | None]


def longest(profile: Profile, limits: CaLimits, *, at: datetime, by_ca: bool = True) -> timedelta | None:
    """The cap of a certificate that is asked for at `at` (aware): the least of profile, CA and dated rule.

    The rule is for CAs that are publicly trusted (BR 6.3.2). Without `by_ca` the CA's own days are left out,
    for a choice among CAs.
    """
    days = [profile.max_days, limits.max_days if by_ca else None]
    if limits.public:
        days.append(in_force(RuleId.PUBLIC_VALIDITY, at + AHEAD).value)
    known = [one for one in days if one is not None]
    return timedelta(days=min(known)) if known else None


def series(*, begins: datetime, ends: datetime, cap: Cap) -> Iterator[tuple[datetime, datetime]]:
    """From when to when each certificate of a term is valid, if none is missed: aware, whole seconds.

    `begins` is when the first of them does, `ends` the last second of the term, in which the last one ends.
    """
    now = begins + BACKDATE
    while True:
        most, not_before = cap(now), now - BACKDATE
        not_after = ends if most is None else min(ends, not_before + most - _SECOND)
        yield not_before, not_after
        if not_after >= ends:
            return
        now = usual_renewal(not_before, not_after)


def usual_renewal(not_before: datetime, not_after: datetime) -> datetime:
    """Two thirds of a certificate's life."""
    return (not_before + (not_after - not_before) * USUAL).replace(microsecond=0)


def renewal_at(
    *,
    not_before: datetime,
    not_after: datetime,
    seed: bytes,
    suggested: Window | None = None,
    advised: Window | None = None,
) -> datetime:
    """When a certificate is to be renewed; `seed` is its SHA-256, for the same moment each time.

    `suggested` is its CA's word, which counts in place of two thirds of its life; `advised` an operator's,
    which counts where it is earlier.
    """
    if suggested is None:
        moment = usual_renewal(not_before, not_after)
    else:
        latest = (not_before + (not_after - not_before) * LATEST).replace(microsecond=0)
        moment = min(moment_in(suggested, seed=seed), latest)
    return moment if advised is None else min(moment, moment_in(advised, seed=seed))


def tellings(not_before: datetime, not_after: datetime, *, now: datetime) -> int:
    """How often people have to be told by now that a certificate, due already, is not renewed.

    At once, and again when a sixth and a twentieth of its life is left, and when it has ended.
    """
    left, life = not_after - now, not_after - not_before
    return 1 + sum(left <= life * share for share in _TOLD_AGAIN)
