"""Any CA that speaks ACME (RFC 8555) as a back end: it validates names on behalf of the organisations."""

from certdesk.backends.acme.backend import AcmeBackend
from certdesk.backends.acme.config import AcmeConfig

__all__ = ["AcmeBackend", "AcmeConfig"]
