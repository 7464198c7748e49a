"""What back ends say alike of chains, of revocations and of a CA's words. No I/O, and no CA's own ways."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certdesk.domain.errors import BackendRefused
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import UNREADABLE

_RENEW_CA_BEFORE = timedelta(days=4 * 365)
_REASONS = tuple(sorted(flag.value for flag in x509.ReasonFlags if flag.value != "removeFromCRL"))


def chain_check(chain: tuple[bytes, ...], *, now: datetime) -> Check:
    """As the embedded CA tells of itself: no certificate may outlive one of the CAs above it."""
    at = min(x509.load_der_x509_certificate(der).not_valid_after_utc for der in chain)
    ends = f"{at:%-d %B %Y}"
    if at <= now:
        return Check(
            "backend.ca_ended", Verdict.REFUSE, "A certificate of the CA's chain has ended.", seen=ends
        )
    if at - now < _RENEW_CA_BEFORE:
        told = "The CA or one above it ends soon, and no certificate may outlive it. Plan its renewal."
        return Check("backend.ca_ends_soon", Verdict.WARN, told, seen=ends)
    return Check("backend.ready", Verdict.PASS, "The CA answers, and its chain is valid.", seen=ends)


def refuse_outliving(chain: tuple[bytes, ...], not_after: datetime) -> None:
    """Raises BackendRefused where the issuing CA (the first of the chain, if known) ends before that."""
    if outlives(chain, not_after):
        ends = x509.load_der_x509_certificate(chain[0]).not_valid_after_utc
        raise BackendRefused(f"The CA itself ends on {ends:%d %B %Y}, and no certificate may outlive it.")


def outlives(chain: tuple[bytes, ...], not_after: datetime) -> bool:
    """Whether the issuing CA is known, and ends before that."""
    return bool(chain) and not_after > x509.load_der_x509_certificate(chain[0]).not_valid_after_utc


def refuse_unknown_reason(reason: str) -> None:
    """Raises BackendRefused for what is no reason of RFC 5280 5.3.1."""
    if reason not in _REASONS:
        offered = ", ".join(_REASONS)
        raise BackendRefused(f"“{reason}” is not a reason for a revocation. Use one of: {offered}.")


def one_line(text: str, *, most: int) -> str:
    """What a CA has said, as it can be stored and shown: one line of so many characters at most."""
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(printable.split())[:most]


def signed(leaf: x509.Certificate, issuer: bytes) -> bool:
    """Whether this CA (DER) signed it."""
    try:
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(issuer))
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def without_repeats(chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The chain with each certificate once, in its order."""
    return tuple(dict.fromkeys(chain))
