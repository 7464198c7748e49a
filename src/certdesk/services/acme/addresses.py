"""Addresses of the ACME server and its accounts: clients and DNS records keep them for years."""

from certdesk.services.system import runtime


def directory_url() -> str:
    """What every client is configured with (RFC 8555 7.1.1)."""
    return f"{runtime.current().base_url}/acme/directory"


def account_hash_prefix() -> str:
    """What hashed account URIs in persistent records begin with; as lasting as the accounts' addresses."""
    return f"{runtime.current().base_url}/acme/account-hash/"


def account_url(account_id: int) -> str:
    """An account's address: its `kid`, and what CAA's accounturi and persistent records name (RFC 8657)."""
    return f"{runtime.current().base_url}/acme/acct/{account_id}"
