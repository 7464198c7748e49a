"""Keeps codes out of the logs: they are in the addresses of confirmations and invitations."""

import logging
import re

_CODE = re.compile(r"(/dcv/|/accounts/invitation/)[^/\s]+")


def without_code(path: str) -> str:
    """A path for the log."""
    return _CODE.sub(r"\1(code)", path)


class WithoutCodes(logging.Filter):
    """For Django's own loggers, which name the path."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets everything pass, with codes struck out."""
        if isinstance(record.args, tuple):
            record.args = tuple(without_code(a) if isinstance(a, str) else a for a in record.args)
        return True
