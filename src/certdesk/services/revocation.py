"""What a CA publishes about revoked certificates. Revoking itself comes with a later issue."""

from datetime import datetime, timedelta

from certdesk.backends.base import PublishesCrl, RevokedEntry
from certdesk.domain.errors import NotFound
from certdesk.services import runtime
from certdesk.store.models import Certificate

CRL_VALID_FOR = timedelta(days=7)


def current_crl(*, backend_name: str, now: datetime) -> bytes:
    """The CRL of a CA that we sign for, DER, fresh. Raises NotFound for any other.

    Its number is the time in seconds: it only grows, and needs no row of its own (RFC 5280 5.2.3).
    """
    backend = runtime.current().backends.get(backend_name)
    if backend is None or not isinstance(backend, PublishesCrl):
        raise NotFound("There is no such CRL.")
    revoked = Certificate.objects.filter(
        attempt__backend=backend_name, revoked_at__isnull=False, not_after__gt=now
    )
    return backend.crl(
        revoked=[
            RevokedEntry(serial=int(serial, 16), revoked_at=at, reason=reason)
            for serial, at, reason in revoked.values_list("serial", "revoked_at", "revocation_reason")
            if at is not None
        ],
        number=int(now.timestamp()),
        this_update=now,
        next_update=now + CRL_VALID_FOR,
    )
