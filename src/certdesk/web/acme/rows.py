"""The words for how credentials, accounts and orders stand; what else there is of them, templates read.

And paging of lists whose newest entries come first.
"""

from collections.abc import Mapping
from datetime import datetime

from django.http import HttpRequest

from certdesk.domain.acme.orders import OrderStatus
from certdesk.store.selectors.acme import AccountStatus, CredentialRow

ACCOUNT: Mapping[AccountStatus, tuple[str, str]] = {
    AccountStatus.VALID: ("ok", "In use"),
    AccountStatus.DEACTIVATED: ("idle", "Deactivated"),
    AccountStatus.REVOKED: ("stop", "Credential revoked"),
    AccountStatus.SUSPENDED: ("idle", "Organisation disabled"),
    AccountStatus.BLOCKED: ("stop", "Key blocked"),
}
ORDER: Mapping[OrderStatus, tuple[str, str]] = {
    OrderStatus.PENDING: ("busy", "Waiting for the client’s proof"),
    OrderStatus.READY: ("busy", "Ready for the client’s CSR"),
    OrderStatus.PROCESSING: ("busy", "With the CA"),
    OrderStatus.VALID: ("ok", "Certificate issued"),
    OrderStatus.INVALID: ("stop", "Failed"),
}


def credential_look(row: CredentialRow, *, now: datetime) -> tuple[str, str]:
    """Icon and word."""
    if row.revoked_at is not None:
        return "idle", "Revoked"
    if not row.is_usable(now=now):
        return "warn", "Expired"
    if row.leavers:
        return "warn", "Rotate the key"
    return "ok", "In use"


_DIGITS = 18  # of a number that surely fits a row's id


def before(request: HttpRequest) -> int | None:
    """The id at which the page before ended; None for the first page, and for nonsense."""
    text = request.GET.get("before", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
