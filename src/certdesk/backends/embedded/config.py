"""Settings of the embedded CA. Frozen, checked when made; the passphrase never shows in a repr."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from certdesk.backends.embedded.keys import KINDS
from certdesk.backends.embedded.token import Place
from certdesk.domain.errors import Misconfigured

_TEXTS = ("name", "status_url", "key")
_PATHS = ("directory", "root_directory", "passphrase_file")
_SECRETS = ("passphrase_file", "pin_file")
_TOKEN = ("module", "token", "label", "pin_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedConfig:
    """Where the CA keeps its keys and what it calls itself.

    `root_directory` is needed only when the CA is made and may be taken away afterwards; None for a CA below
    a root of somebody else's. `status_url` and `slug` make the addresses in certificates:
    `<status_url>/ca/<slug>.cer` and `.crl`. `lint_in_full`: before each signature, not only before the first
    of a shape. `key` is the kind of key to make; `token` the HSM in which it lies, if it does. `secret_files`
    hold the passphrase or the PIN. `journal` is
    the folder in which it writes down what it signs; None for no journal.
    """

    directory: Path
    root_directory: Path | None = None
    passphrase: bytes = field(default=b"", repr=False)
    name: str = "Certdesk Demo"
    status_url: str = "http://127.0.0.1:8000"
    slug: str = "embedded"
    lint_in_full: bool = False
    key: str = "P-256"
    token: Place | None = None
    secret_files: tuple[Path, ...] = ()
    journal: Path | None = None

    def __post_init__(self) -> None:
        """Raises Misconfigured for settings that could only fail later."""
        if not self.passphrase and self.token is None:
            told = "The embedded CA has no passphrase. Set one; its keys are never stored in clear."
            raise Misconfigured(told)
        if self.key not in KINDS:
            raise Misconfigured(f"Back end {self.slug}: the setting key must be one of {', '.join(KINDS)}.")
        if self.token is not None and KINDS[self.key].hash is None:
            raise Misconfigured(f"Back end {self.slug}: keys of the kind {self.key} are made in files alone.")
        if self.root_directory and self.directory.resolve() == self.root_directory.resolve():
            told = "The embedded CA's root key must be kept in a folder of its own, apart from the rest."
            raise Misconfigured(told)
        if not self.slug.replace("-", "").isalnum() or not self.slug.isascii():
            told = f"The embedded CA's slug “{self.slug}” may contain letters, digits and hyphens only."
            raise Misconfigured(told)
        if not self.status_url.startswith("http://"):
            # RFC 5280 4.2.2.1 and BR 7.1.2.7.7: over TLS a client would need the answer to get the answer.
            raise Misconfigured("The embedded CA's status_url must begin with http:// (not https://).")

    @property
    def issuer_url(self) -> str:
        """Where the issuing certificate is published (AIA caIssuers)."""
        return f"{self.status_url.rstrip('/')}/ca/{self.slug}.cer"

    @property
    def crl_url(self) -> str:
        """Where the CRL is published (CRL distribution point)."""
        return f"{self.status_url.rstrip('/')}/ca/{self.slug}.crl"


def read_config(*, name: str, settings: Mapping[str, object]) -> EmbeddedConfig:
    """The configuration from plain settings; the back end's name is the slug, by which it is published.

    Raises: Misconfigured for an unknown, missing or mistyped setting.
    """
    known = {*_PATHS, *_TEXTS, *_TOKEN, "passphrase", "lint_in_full", "journal"}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise Misconfigured(f"Back end {name}: unknown settings {', '.join(unknown)}. Remove them.")
    texts = {key: _text(name, settings, key) for key in _TEXTS if key in settings}
    token, passphrase = None, settings.get("passphrase", "")
    if any(key in settings for key in _TOKEN):
        label, holder = (_text(name, settings, key) for key in ("label", "token"))
        module, pin_file = (_path(name, settings, key) for key in ("module", "pin_file"))
        token = Place(module=module, token=holder, label=label, pin_file=pin_file)
    elif "passphrase_file" in settings:
        path = _path(name, settings, "passphrase_file")
        try:
            passphrase = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"Back end {name}: {path} can't be read: {error}") from None
    if token is None and (not isinstance(passphrase, (str, bytes)) or not passphrase):
        raise Misconfigured(f"Back end {name}: set a passphrase for the CA's keys.")
    return EmbeddedConfig(
        directory=_path(name, settings, "directory"),
        root_directory=_path(name, settings, "root_directory") if "root_directory" in settings else None,
        secret_files=tuple(_path(name, settings, key) for key in _SECRETS if key in settings),
        passphrase=passphrase if isinstance(passphrase, bytes) else str(passphrase).encode(),
        lint_in_full=settings.get("lint_in_full") is True,
        token=token,
        journal=None if settings.get("journal") is None else _path(name, settings, "journal"),
        slug=name,
        **texts,
    )


def _text(name: str, settings: Mapping[str, object], key: str) -> str:
    value = settings.get(key)
    if not isinstance(value, str) or not value:
        raise Misconfigured(f"Back end {name}: the setting {key} must be a text that is not empty.")
    return value


def _path(name: str, settings: Mapping[str, object], key: str) -> Path:
    value = settings.get(key)
    if not isinstance(value, (str, Path)) or not str(value):
        what = "file" if key in ("module", "pin_file", "passphrase_file") else "folder"
        raise Misconfigured(f"Back end {name}: set {key} to a {what}.")
    return Path(value)
