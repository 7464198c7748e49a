"""A token in a TXT or CNAME record (BR 3.2.2.4.7), and ACME's dns-01 (RFC 8555 8.4) and dns-account-01.

dns-account-01 is BR 3.2.2.4.21: draft-ietf-acme-dns-account-label. All of them prove the ADN and all below.
"""

from certdesk.dcv.dns.acme import AcmeDnsAccountValidator, AcmeDnsValidator, account_label, txt_digest
from certdesk.dcv.dns.record import LABEL, CnameTokenValidator, TxtTokenValidator

__all__ = [
    "LABEL",
    "AcmeDnsAccountValidator",
    "AcmeDnsValidator",
    "CnameTokenValidator",
    "TxtTokenValidator",
    "account_label",
    "txt_digest",
]
