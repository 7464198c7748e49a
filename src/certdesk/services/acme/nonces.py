"""Nonces (RFC 8555 6.5): signed and timed, so that none is stored when it is made; those spent are.

A row for each nonce handed out would let anybody fill the table, and cost more than the rest of a step. A
power cut may lose what was spent just before, so that a nonce ends with the machine's start it was made in.
"""

import hmac
import secrets
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from certdesk.domain.acme.jws import decoded, encoded
from certdesk.domain.acme.problems import AcmeRefused, ProblemType
from certdesk.services.system.sealing import derived_keys
from certdesk.store.db import start_of_machine, write_statement, write_transaction
from certdesk.store.models import UsedNonce
from certdesk.store.sql import SPEND

_PURPOSE = b"certdesk ACME nonces v1"
_RANDOM, _MAC = 12, 16
_LENGTH = 43  # 32 bytes in base64url
LIFE = timedelta(hours=1)
CLEARED_AT_ONCE = 10_000


def make_nonce(*, now: datetime) -> str:
    """A fresh nonce: the time, 96 random bits and a MAC over both."""
    content = struct.pack(">I", int(now.timestamp())) + secrets.token_bytes(_RANDOM)
    return encoded(content + _mac(derived_keys(_PURPOSE)[0], content))


def spend_nonce(nonce: str, *, now: datetime) -> None:
    """Marks a nonce as used, in the caller's transaction: of two requests with one nonce, one wins.

    Raises AcmeRefused (badNonce) for one that is not ours, too old or spent.
    """
    if not burn_nonce(nonce, now=now):
        told = "The nonce is unknown, too old or was used before. Send again with a fresh one."
        raise AcmeRefused(ProblemType.BAD_NONCE, told)


def burn_nonce(nonce: str, *, now: datetime) -> bool:
    """Spends a nonce, as of a request that was refused; False when it could not be spent any more."""
    if len(nonce) != _LENGTH:
        return False
    raw = decoded(nonce)
    content, mac = raw[:-_MAC], raw[-_MAC:]
    if not any(hmac.compare_digest(mac, _mac(key, content)) for key in derived_keys(_PURPOSE)):
        return False
    issued_at = datetime.fromtimestamp(struct.unpack(">I", content[:4])[0], tz=UTC)
    is_fresh = now - LIFE < issued_at <= now + timedelta(minutes=1)
    if (
        encoded(raw) != nonce or not is_fresh
    ):  # the last character has bits to spare: a nonce has one spelling
        return False
    with write_statement():
        return (
            SPEND.change(nonce=UUID(bytes=content), expires_at=issued_at + LIFE + timedelta(minutes=2)) == 1
        )


def clear_nonces(*, now: datetime) -> None:
    """Deletes spent nonces that are too old to be accepted anyway."""
    with write_transaction():
        old = UsedNonce.objects.filter(expires_at__lt=now).values_list("nonce", flat=True)
        UsedNonce.objects.filter(nonce__in=list(old[:CLEARED_AT_ONCE])).delete()


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content + start_of_machine().encode(), "sha256")[:_MAC]
