"""DNS records that bind a domain to one ACME account (RFC 8657, draft dns-persist-01), as in zone files."""

from certdesk.dcv.persist.record import LABEL, record_value


def records_for(*, domain: str, issuer: str, account_url: str) -> dict[str, str]:
    """What may be published for a `domain`: `persistent` proves control, `caa` shuts everybody else out."""
    value = record_value(issuer=issuer, account_uri=account_url, wildcard=True)
    permitted = f'"{issuer}; accounturi={account_url}"'
    return {
        "domain": domain,
        "persistent": f'{LABEL}.{domain}. IN TXT "{value}"',
        "caa": f"{domain}. IN CAA 0 issue {permitted}\n{domain}. IN CAA 0 issuewild {permitted}",
    }
