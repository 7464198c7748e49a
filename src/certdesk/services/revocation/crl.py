"""The list of revoked certificates of a CA that we sign for (RFC 5280 5), made when it is asked for.

A list of 10,000 takes a fifth of a second to sign and anybody may fetch it, so the last one is kept in the
database for as long as nothing more was revoked.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.backends.base import Backend, PublishesCrl, RevokedEntry
from certdesk.domain.errors import Misconfigured, NotFound
from certdesk.domain.issuing.profiles import BACKDATE
from certdesk.services.system import runtime
from certdesk.store.db import write_transaction
from certdesk.store.models import (
    Certificate,
    Finding,
    FindingState,
    Issuance,
    PublishedCrl,
    Revocation,
    RevocationOutcome,
)

VALID_FOR = timedelta(days=7)
#: A list is made again at least this often, so that its end is never near.
KEPT_FOR = timedelta(hours=1)


def current_crl(*, backend_name: str, now: datetime) -> bytes:
    """The CRL of a CA that we sign for, DER, with every revocation so far.

    Raises: NotFound; Misconfigured when the CA is not the one that has published under this name before.
    """
    backend = runtime.current().backends.get(backend_name)
    if backend is None or not isinstance(backend, PublishesCrl):
        raise NotFound("There is no such CRL.")
    while True:
        # 1. What is published will do unless more was revoked since, it is old, or it is from the future.
        #    Revocations are counted before the list is read: one in between makes the next call look again.
        found = Finding.objects.filter(backend=backend_name, state=FindingState.REVOKED)
        done = Revocation.objects.filter(outcome=RevocationOutcome.DONE).count() + found.count()
        last = _published(backend_name, backend)
        if last and last.revocations == done and last.this_update <= now < last.made_at + KEPT_FOR:
            return bytes(last.der)

        # 2. Its number is above the last, and not below the clock, so that a database restored from a backup
        #    gives none a second time. It is back-dated as certificates are: clocks differ by minutes, and no
        #    list shall be from the future, nor older than the one before unless that one is.
        number, this_update = int(now.timestamp()), now - BACKDATE
        if last:
            number = max(number, last.number + 1)
            if last.this_update <= now:
                this_update = max(this_update, last.this_update)
        # What was revoked stays until a list from after the certificate's end has told of it (RFC 5280 3.3).
        rows = Certificate.objects.filter(
            issuance__backend=backend_name, revoked_at__isnull=False, not_after__gt=now - VALID_FOR
        )
        revoked = [
            RevokedEntry(serial=int(serial, 16), revoked_at=at, reason=reason)
            for table, columns in (
                (rows, ("serial", "revoked_at", "revocation_reason")),
                # Certificates that only the CA's own journal knows, after a restore for instance.
                (found.filter(not_after__gt=now - VALID_FOR), ("serial", "revoked_at", "reason")),
            )
            for serial, at, reason in table.values_list(*columns)
            if at is not None
        ]
        der = backend.crl(
            revoked=revoked, number=number, this_update=this_update, next_update=now + VALID_FOR
        )

        # 3. Published only as the successor of what step 1 saw; otherwise, look at what another process did.
        values = {
            "number": number,
            "der": der,
            "revocations": done,
            "this_update": this_update,
            "made_at": now,
        }
        with write_transaction():
            if last:
                PublishedCrl.objects.filter(pk=last.pk, number=last.number).update(**values)
            else:
                issuer = _issuer_sha256(backend)
                PublishedCrl.objects.get_or_create(
                    backend=backend_name, defaults={"issuer_sha256": issuer, **values}
                )


def nothing_issued() -> bool:
    """Whether this database knows of no certificate, no CRL and no attempt at a certificate."""
    tried = Issuance.objects.filter(intent_key__isnull=False).exists()
    return not tried and not any(table.objects.exists() for table in (Certificate, PublishedCrl))


def refuse_another_ca(backends: Mapping[str, Backend]) -> None:
    """Raises Misconfigured for a CA that is not the one that has published under its name before, and for two
    that are one, of which each would publish a CRL without what the other has revoked.
    """
    names = dict[str, str]()
    for name, backend in backends.items():
        if isinstance(backend, PublishesCrl):
            _published(name, backend)
            first = names.setdefault(_issuer_sha256(backend), name)
            if first != name:
                told = "Take one of the sections out, or give it a key of its own."
                raise Misconfigured(
                    f"The CAs “{first}” and “{name}” are one, of the same name and key. {told}"
                )


def _published(backend_name: str, backend: Backend) -> PublishedCrl | None:
    last = PublishedCrl.objects.filter(backend=backend_name).first()
    if last and last.issuer_sha256 != _issuer_sha256(backend):
        raise Misconfigured(
            f"The files of the CA “{backend_name}” are not those of the CA that this database knows by that "
            "name, and could not revoke its certificates. Restore them from a backup, or copy them from the "
            "machine that serves this database already."
        )
    return last


def _issuer_sha256(backend: Backend) -> str:
    """Of name and key: a certificate that was renewed for the same key verifies the same CRL."""
    issuer = x509.load_der_x509_certificate(backend.chain()[0])
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(issuer.subject.public_bytes() + key).hexdigest()
