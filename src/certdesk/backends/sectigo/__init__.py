"""Sectigo Certificate Manager (SCM) as a CA, by its REST API."""

from certdesk.backends.sectigo.backend import SectigoBackend
from certdesk.backends.sectigo.config import SectigoConfig

__all__ = ["SectigoBackend", "SectigoConfig"]
