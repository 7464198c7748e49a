"""When a certificate is best renewed (RFC 9773): pure, the same for the same certificate each time.

The load is spread twice: each certificate has a window of its own, and its client picks a moment inside.
"""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

#: The windows begin between seven and eight twelfths of a certificate's life …
_EARLIEST, _SPREAD = 7 / 12, 1 / 12
#: … and each is so long.
_LENGTH = 1 / 24
#: What an operator asks for is cut into as many overlapping windows as this gives room for.
_SHARE = 0.1
_RESOLUTION = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From when until when to renew, and why if it is out of the ordinary."""

    start: datetime
    end: datetime
    explanation_url: str = ""


def renewal_window(
    *,
    not_before: datetime,
    not_after: datetime,
    seed: bytes,
    revoked_at: datetime | None = None,
    advised: Window | None = None,
) -> Window:
    """The window of a certificate; `seed` is its SHA-256. Aware UTC, whole seconds.

    A revoked one should have been renewed already. What an operator advises counts where it is earlier.
    """
    if revoked_at is not None:
        return Window(start=not_before, end=max(revoked_at, not_before + timedelta(seconds=1)))
    place = int.from_bytes(seed[:4], "big") / _RESOLUTION
    life = not_after - not_before
    usual = _slot(not_before + life * _EARLIEST, life * _SPREAD, length=life * _LENGTH, place=place)
    if advised is None:
        return usual
    whole = advised.end - advised.start
    early = _slot(
        advised.start,
        whole * (1 - _SHARE),
        length=whole * _SHARE,
        place=place,
        explanation_url=advised.explanation_url,
    )
    return early if early.start < usual.start else usual


def moment_in(window: Window, *, seed: bytes) -> datetime:
    """The moment at which one of many clients renews inside a window (RFC 9773 4.2); whole seconds."""
    place = int.from_bytes(seed[-4:], "big") / _RESOLUTION
    return (window.start + (window.end - window.start) * place).replace(microsecond=0)


def renewal_identifier(certificate: x509.Certificate) -> str:
    """What ARI knows a certificate by (RFC 9773 4.1); empty where it names no issuer's key."""
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return ""
    serial = certificate.serial_number
    parts = (authority.key_identifier or b"", serial.to_bytes(serial.bit_length() // 8 + 1, "big"))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _slot(
    begin: datetime, spread: timedelta, *, length: timedelta, place: float, explanation_url: str = ""
) -> Window:
    start = (begin + spread * place).replace(microsecond=0)
    end = start + max(timedelta(seconds=int(length.total_seconds())), timedelta(seconds=1))
    return Window(start=start, end=end, explanation_url=explanation_url)
