"""OpenBao's (and Vault's) PKI secrets engine as a CA: sign under a role, look up, revoke."""

from certdesk.backends.openbao.backend import OpenBaoBackend
from certdesk.backends.openbao.config import OpenBaoConfig

__all__ = ["OpenBaoBackend", "OpenBaoConfig"]
