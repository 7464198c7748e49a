"""Validation on behalf: `dns-01` records put where the CA looks for them, by drivers of several kinds.

Each driver adds and removes one TXT value and touches no other. What the CA is told, and when, is decided in
`backend`; whether every server shows a record is looked up in `lookup`.
"""

from certdesk.backends.acme.dcv.base import Dcv, Driver
from certdesk.backends.acme.dcv.config import read_dcv

__all__ = ["Dcv", "Driver", "read_dcv"]
