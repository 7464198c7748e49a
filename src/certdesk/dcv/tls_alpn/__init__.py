"""ACME's tls-alpn-01 (RFC 8737, BR 3.2.2.4.20): a certificate made for the challenge, shown on port 443.

It proves exactly one FQDN: neither its children nor a wildcard.
"""

from certdesk.dcv.tls_alpn.certificate import (
    ACME_IDENTIFIER,
    OCTET_STRING_OF_32,
    TlsAlpnValidator,
    identifier_value,
)

__all__ = ["ACME_IDENTIFIER", "OCTET_STRING_OF_32", "TlsAlpnValidator", "identifier_value"]
