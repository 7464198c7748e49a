"""HARICA CertManager as a CA, by the API of its portal."""

from certdesk.backends.harica.backend import HaricaBackend
from certdesk.backends.harica.config import HaricaConfig

__all__ = ["HaricaBackend", "HaricaConfig"]
