"""Random values that are shown again and never stored: derived from a nonce, bound to what they are for.

The key is the service's secret key. A former one still derives what it derived: the digest in the store says
which key it was.
"""

import base64
import hashlib
import hmac
import secrets

from django.conf import settings

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.evidence import Method

NONCE_BYTES = 32
_PURPOSE = "certdesk.validation"


def new_nonce() -> str:
    """256 random bits, in hex."""
    return secrets.token_hex(NONCE_BYTES)


def new_value(*, nonce: str, domain_id: int, adn: str, method: Method) -> str:
    """The value for a new challenge: 256 bits as 52 small letters and digits, as a DNS label can hold."""
    return _derive(settings.SECRET_KEY, "value", nonce, str(domain_id), adn, method.value)


def value_again(*, nonce: str, digest: str, domain_id: int, adn: str, method: Method) -> str:
    """The value that was made before, found by its SHA-256.

    Raises InvariantViolated when no key of ours makes it any more.
    """
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        value = _derive(key, "value", nonce, str(domain_id), adn, method.value)
        if hmac.compare_digest(digest_of(value), digest):
            return value
    raise InvariantViolated("the key that a challenge was derived with is gone")


def public_token(nonce: str) -> str:
    """A file's name for a challenge. It tells nothing of the value, which may not stand in the request for
    the file (BR 3.2.2.4.18).
    """
    return hashlib.sha256(f"{_PURPOSE}.token\n{nonce}".encode()).hexdigest()[:32]


def digest_of(value: str) -> str:
    """What the store keeps of a value: SHA-256, hex."""
    return hashlib.sha256(value.encode()).hexdigest()


def _derive(key: str, *parts: str) -> str:
    message = "\n".join((_PURPOSE, *parts)).encode()
    raw = hmac.new(key.encode(), message, hashlib.sha256).digest()
    return base64.b32encode(raw).decode().rstrip("=").lower()
