"""A program of the site's own as a CA: an intent as JSON on its input, an outcome as JSON on its output."""

from certdesk.backends.command.backend import CommandBackend
from certdesk.backends.command.config import CommandConfig

__all__ = ["CommandBackend", "CommandConfig"]
