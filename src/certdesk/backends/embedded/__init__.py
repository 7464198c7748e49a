"""The embedded CA: a private two-tier CA of one's own, for a start, for tests and for internal services."""

from certdesk.backends.embedded.authority import create_authority, open_authority
from certdesk.backends.embedded.backend import EmbeddedBackend, JournallingEmbeddedBackend
from certdesk.backends.embedded.config import EmbeddedConfig, read_config

__all__ = [
    "EmbeddedBackend",
    "EmbeddedConfig",
    "JournallingEmbeddedBackend",
    "create_authority",
    "open_authority",
    "read_config",
]
