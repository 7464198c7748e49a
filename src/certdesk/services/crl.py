"""The list of revoked certificates of a CA that we sign for (RFC 5280 5), made when it is asked for.

A list of 10,000 takes a fifth of a second to sign and anybody may fetch it, so each process keeps the last
one for as long as nothing more was revoked.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from certdesk.backends.base import PublishesCrl, RevokedEntry
from certdesk.domain.errors import NotFound
from certdesk.services import runtime
from certdesk.store.models import Certificate, Revocation, RevocationOutcome

VALID_FOR = timedelta(days=7)
#: A list is made anew at least this often, so that its end is never near.
KEPT_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A list, when it was made, and of which revocations."""

    state: tuple[object, ...]
    at: datetime
    der: bytes


_kept: dict[str, _Kept] = {}


def current_crl(*, backend_name: str, now: datetime) -> bytes:
    """The CRL of a CA that we sign for, DER, with every revocation so far (O1). Raises NotFound."""
    backend = runtime.current().backends.get(backend_name)
    if backend is None or not isinstance(backend, PublishesCrl):
        raise NotFound("There is no such CRL.")
    state = (hashlib.sha256(backend.chain()[0]).digest(), *_state())
    kept = _kept.get(backend_name)
    if kept is None or kept.state != state or not timedelta(0) <= now - kept.at < KEPT_FOR:
        # The state was read before the rows: a revocation in between makes the next call look again.
        kept = _Kept(state=state, at=now, der=_make(backend, backend_name, now=now))
        _kept[backend_name] = kept
    return kept.der


def _state() -> tuple[object, ...]:
    """Changes with each revocation that is done, of whichever CA."""
    done = Revocation.objects.filter(outcome=RevocationOutcome.DONE)
    last = done.order_by("-ended_at", "-id").values_list("id", "ended_at", "certificate__sha256").first()
    return (done.count(), *(last or ()))


def _make(backend: PublishesCrl, backend_name: str, *, now: datetime) -> bytes:
    """Its number is the time in microseconds: it only grows, and needs no row of its own (RFC 5280 5.2.3).

    What was revoked stays on it until a CRL from after the certificate's end has told of it (RFC 5280 3.3).
    """
    revoked = Certificate.objects.filter(
        issuance__backend=backend_name, revoked_at__isnull=False, not_after__gt=now - VALID_FOR
    )
    return backend.crl(
        revoked=[
            RevokedEntry(serial=int(serial, 16), revoked_at=at, reason=reason)
            for serial, at, reason in revoked.values_list("serial", "revoked_at", "revocation_reason")
            if at is not None
        ],
        number=int(now.timestamp() * 1_000_000),
        this_update=now,
        next_update=now + VALID_FOR,
    )
