"""When the CA wants a certificate to be renewed (RFC 9773): asked for, and never decided here."""

from datetime import datetime, timedelta

from cryptography import x509

from certdesk.backends.acme.connection import Connection, ask_after
from certdesk.backends.base import Suggestion
from certdesk.domain.acme.renewal import Window, renewal_identifier

#: Where the CA does not say, and at least: RFC 9773 4.3.2 and 4.3.3.
_USUAL, _SOONEST = timedelta(hours=6), timedelta(minutes=1)


def suggestion(connection: Connection, certificate_der: bytes, *, now: datetime) -> Suggestion | None:
    """The CA's word on one certificate; None where it gives none for any.

    Raises ValueError for a window that is none; else as `connection`.
    """
    url = getattr(connection.directory, "renewalInfo", None)
    if url is None:
        return None
    identifier = renewal_identifier(x509.load_der_x509_certificate(certificate_der))
    answer = connection.network.get(f"{url.rstrip('/')}/{identifier}")
    told = answer.json()
    start, end = (datetime.fromisoformat(told["suggestedWindow"][key]) for key in ("start", "end"))
    if start.tzinfo is None or not start < end:
        raise ValueError("a window that does not end after it begins")
    why = str(told.get("explanationURL", ""))
    window = Window(start=start, end=end, explanation_url=why if why.startswith("https://") else "")
    again = ask_after(answer, now=now, longest=timedelta(days=1))
    return Suggestion(window=window, ask_again_at=max(again, now + _SOONEST) if again > now else now + _USUAL)
