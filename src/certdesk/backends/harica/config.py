"""Settings of a HARICA account. Frozen, checked when made; password and TOTP seed stay in their files."""

from dataclasses import dataclass
from pathlib import Path

from certdesk.backends.http.config import HttpConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class HaricaConfig(HttpConfig):
    """An account for this service alone, with a password and the seed of its second factor, in base 32.

    `validation` is what is asked for: OV, with the organization that the names belong to, or DV.
    `organization_id` is needed where they belong to several.
    """

    address: str = "https://cm.harica.gr"
    email: str
    password_file: Path
    totp_file: Path
    validation: str = "OV"
    organization_id: str = ""

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        HttpConfig.__post_init__(self)
        if self.validation not in ("OV", "DV"):
            raise self.wrong("validation", "give OV or DV")
        if "@" not in self.email or not self.email.isprintable():
            raise self.wrong("email", "give the address that the account signs in with")
