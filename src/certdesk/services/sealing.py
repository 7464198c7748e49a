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

from certdesk.domain.errors import InvariantViolated


def sealed(text: str, *, purpose: bytes) -> str:
    """A secret as it is stored: encrypted with the first key of the ring."""
    return _ring(_secrets(), purpose).encrypt(text.encode()).decode()


def opened(stored: str, *, purpose: bytes) -> str:
    """A stored secret in clear; any key of the ring opens it. Raises InvariantViolated if none does."""
    try:
        return _ring(_secrets(), purpose).decrypt(stored.encode()).decode()
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
