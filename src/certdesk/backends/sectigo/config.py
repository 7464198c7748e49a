"""Settings of an SCM customer. Frozen, checked when made; the password stays in its file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from certdesk.backends.http.config import HttpConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SectigoConfig(HttpConfig):
    """The certificate profile to enrol under, its terms in days, and an administrator for REST alone.

    `custom_fields` are those that the customer has made mandatory, by their names.
    """

    address: str = "https://cert-manager.com"
    customer_uri: str
    login: str
    password_file: Path
    organization_id: int
    profile_id: int
    terms: tuple[int, ...]
    custom_fields: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        HttpConfig.__post_init__(self)
        self.refuse_unprintable("customer_uri", "login")
