"""Settings of a CertCentral account. Frozen, checked when made; the API key stays in its file."""

import re
from dataclasses import dataclass
from pathlib import Path

from certdesk.backends.http.config import HttpConfig

_PRODUCT = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigiCertConfig(HttpConfig):
    """The product to order, for which of the account's organizations, by which key.

    `skip_approval` asks for what the key's owner may do without another administrator: it needs a key of an
    administrator, and is for orders and revocations alike.
    """

    address: str = "https://www.digicert.com"
    product: str
    organization_id: int
    api_key_file: Path
    payment_method: str = "balance"
    skip_approval: bool = False

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        HttpConfig.__post_init__(self)
        if not _PRODUCT.fullmatch(self.product):
            raise self.wrong("product", "give its identifier in the API, such as ssl_basic")
