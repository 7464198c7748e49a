"""Settings of an AD CS web enrolment server. Frozen, checked when made; the password stays in its file."""

import re
from dataclasses import dataclass
from pathlib import Path

from certdesk.backends.http.config import HttpConfig

_TEMPLATE = re.compile(r"[A-Za-z0-9._-]{1,100}")
AUTHENTICATIONS = ("basic", "ntlm", "negotiate")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdcsConfig(HttpConfig):
    """The template to enrol with, and an account that may, with its domain (`name@domain`).

    `authentication`: by password over TLS (`basic`), or by NTLM or SPNEGO (`negotiate`: Kerberos or NTLM).
    """

    template: str
    username: str
    password_file: Path
    authentication: str = "negotiate"

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        HttpConfig.__post_init__(self)
        if not _TEMPLATE.fullmatch(self.template):
            raise self.wrong("template", "give its name, not its display name, such as WebServer")
        if self.authentication not in AUTHENTICATIONS:
            raise self.wrong("authentication", f"give one of {', '.join(AUTHENTICATIONS)}")
        if not self.username.isprintable() or (self.authentication == "basic" and ":" in self.username):
            raise self.wrong("username", "give one such as EXAMPLE\\certdesk")
