"""The words for how credentials, accounts and orders stand; what else there is of them, templates read."""

from collections.abc import Mapping
from datetime import datetime

from certdesk.domain.orders import OrderStatus
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
