"""Settings of an ACME CA. Frozen, checked when made; secrets stay in files until they are needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from certdesk.backends.acme.dcv import Dcv, read_dcv
from certdesk.backends.acme.limits import Limits, read_limits
from certdesk.backends.acme.reading import Settings
from certdesk.domain.errors import Misconfigured

#: Sectigo's finalize can take longer than certbot's 45 seconds; a time-out there is looked up afterwards.
_SECONDS = 60.0
_KNOWN = (
    *("directory_url", "folder", "title", "ca_file", "contact", "terms_agreed", "eab_kid", "eab_hmac_file"),
    *("profile", "preferred_root", "send_not_after", "timeout", "dcv", "limits"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeConfig:
    """An ACME CA and our account there.

    `folder` keeps the account (key and address), the journal of orders and the last chain; it belongs to this
    CA alone. `ca_file` holds the root that the CA's *web server* chains to, PEM, where the system doesn't
    know it. `profile` is one of the directory's `meta.profiles`. `preferred_root` chooses among alternate
    chains: a common name of a root or intermediate, or the SHA-256 of such a certificate in hexadecimal
    digits. `send_not_after`: orders say when the certificate shall end. `timeout` is in seconds, for each
    answer. Without `dcv` every name has to be validated at the CA beforehand. `limits` are the CA's, and
    kept before it is asked.
    """

    name: str
    directory_url: str
    folder: Path
    title: str = ""
    ca_file: Path | None = None
    contact: tuple[str, ...] = ()
    terms_agreed: bool = False
    eab_kid: str = ""
    eab_hmac_file: Path | None = None
    profile: str = ""
    preferred_root: str = ""
    send_not_after: bool = False
    timeout: float = _SECONDS
    dcv: Dcv | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        where = f"Back end {self.name}"
        if not self.directory_url.startswith("https://"):  # RFC 8555 6.1
            raise Misconfigured(f"{where}: directory_url must begin with https://.")
        if bool(self.eab_kid) != (self.eab_hmac_file is not None):
            raise Misconfigured(f"{where}: set both eab_kid and eab_hmac_file, or neither.")
        if wrong := [one for one in self.contact if not one.startswith(("mailto:", "tel:"))]:
            raise Misconfigured(
                f"{where}: write the contact “{wrong[0]}” as an address such as mailto:ra@example.org."
            )
        if self.ca_file is not None and not self.ca_file.is_file():
            raise Misconfigured(f"{where}: there is no ca_file {self.ca_file}.")


def read_config(*, name: str, settings: Mapping[str, object]) -> AcmeConfig:
    """The configuration from plain settings. Raises Misconfigured for an unknown, missing or mistyped one."""
    where = f"Back end {name}"
    given = Settings(where, settings, known=_KNOWN)
    section = given.section("dcv")
    return AcmeConfig(
        name=name,
        directory_url=given.text("directory_url"),
        folder=given.existing_path("folder"),
        title=given.text("title", default=""),
        ca_file=given.path("ca_file"),
        contact=given.texts("contact"),
        terms_agreed=given.flag("terms_agreed"),
        eab_kid=given.text("eab_kid", default=""),
        eab_hmac_file=given.path("eab_hmac_file"),
        profile=given.text("profile", default=""),
        preferred_root=given.text("preferred_root", default=""),
        send_not_after=given.flag("send_not_after"),
        timeout=given.number("timeout", default=_SECONDS),
        dcv=None if section is None else read_dcv(where=f"{where}, dcv", settings=section),
        limits=read_limits(where=f"{where}, limits", section=given.section("limits", short_for="preset")),
    )
