"""Secrets that are stored and needed again in clear: encrypted with keys derived from CERTDESK_SECRET_KEY.

A former secret key among CERTDESK_SECRET_KEY_FALLBACKS still opens what it sealed. Each purpose has keys of
its own, so that what was sealed for one opens for no other.
"""

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from certdesk.domain.csr.csr import may_hold_secrets
from certdesk.domain.errors import InvariantViolated

_CSR = b"certdesk.csr"
_TOKEN = b"gAAAA"  # how every Fernet token begins; DER of a request begins with 0x30


def sealed(text: str, *, purpose: bytes) -> str:
    """A secret as it is stored: encrypted with the first key of the ring."""
    return _ring(_secrets(), purpose).encrypt(text.encode()).decode()


def opened(stored: str, *, purpose: bytes) -> str:
    """A stored secret in clear; any key of the ring opens it. Raises InvariantViolated if none does."""
    return _opened(stored.encode(), purpose).decode()


def csr_to_store(der: bytes) -> bytes:
    """A CSR as it is kept: encrypted where it may hold a secret, such as a challenge password."""
    return _ring(_secrets(), _CSR).encrypt(der) if der and may_hold_secrets(der) else der


def csr_from_store(stored: bytes) -> bytes:
    """The DER of a CSR that was kept. Raises InvariantViolated as `opened` does."""
    return _opened(stored, _CSR) if is_sealed(stored) else stored


def is_sealed(stored: bytes) -> bool:
    return stored.startswith(_TOKEN)


def _opened(stored: bytes, purpose: bytes) -> bytes:
    try:
        return _ring(_secrets(), purpose).decrypt(stored)
    except InvalidToken:
        raise InvariantViolated(
            f"a secret ({purpose.decode()}) opens with no key: was CERTDESK_SECRET_KEY changed without "
            "CERTDESK_SECRET_KEY_FALLBACKS?"
        ) from None


def derived_keys(purpose: bytes) -> tuple[bytes, ...]:
    """32 bytes for a purpose from each secret key, the present one first."""
    return tuple(_derived(secret, purpose) for secret in _secrets())


def _secrets() -> tuple[str, ...]:
    config = settings.CERTDESK
    return (
        config.secret_key.get_secret_value(),
        *(old.get_secret_value() for old in config.secret_key_fallbacks),
    )


@cache
def _ring(secrets: tuple[str, ...], purpose: bytes) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(_derived(secret, purpose))) for secret in secrets])


@cache
def _derived(secret: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose).derive(secret.encode())
