"""Active Directory Certificate Services as a CA, by its web enrolment pages (`certsrv`)."""

from certdesk.backends.adcs.backend import AdcsBackend
from certdesk.backends.adcs.config import AdcsConfig

__all__ = ["AdcsBackend", "AdcsConfig"]
