"""A record that stays: `_validation-persist.<ADN>` names us and an account (BR 3.2.2.4.22).

Follows draft-ietf-acme-dns-persist-01, with account URIs in clear; draft -02's hashed ones are not read yet.
"""

from certdesk.dcv.persist.record import (
    LABEL,
    Grant,
    Rejected,
    RejectedReason,
    parse_record,
    record_value,
)
from certdesk.dcv.persist.validator import PersistValidator

__all__ = [
    "LABEL",
    "Grant",
    "PersistValidator",
    "Rejected",
    "RejectedReason",
    "parse_record",
    "record_value",
]
