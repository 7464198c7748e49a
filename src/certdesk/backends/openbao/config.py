"""Settings of an OpenBao or Vault CA. Frozen, checked when made; credentials stay in their files."""

import re
from dataclasses import dataclass
from pathlib import Path

from certdesk.backends.http.config import ServerConfig

_SEGMENTS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBaoConfig(ServerConfig):
    """The role to sign under, where the PKI mount is, its CA, and how to sign in: by token file or AppRole.

    `settle_seconds` is the server's `default_max_request_duration`.
    """

    role: str
    mount: str = "pki"
    issuer: str = "default"
    namespace: str = ""
    token_file: Path | None = None
    role_id: str = ""
    secret_id_file: Path | None = None
    approle_mount: str = "approle"

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        ServerConfig.__post_init__(self)
        for setting in ("mount", "role", "issuer", "approle_mount"):
            if not _SEGMENTS.fullmatch(getattr(self, setting)):
                raise self.wrong(setting, "give the path without slashes around it, such as pki")
        if "/" in self.role + self.issuer:
            raise self.wrong("role", "give the names of role and issuer, not their paths")
        if self.namespace:
            self.refuse_unprintable("namespace")
        by_role = bool(self.role_id), self.secret_id_file is not None
        if (self.token_file is None) != all(by_role) or any(by_role) != all(by_role):
            raise self.wrong("token_file", "set it, or both role_id and secret_id_file, and not all three")
