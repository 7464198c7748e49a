"""Configuration: environment, secret files and one TOML file into a typed, frozen object.

Unknown keys, missing secrets and insecure defaults stop start-up. Outside the demo there
are no default secrets. The demo makes its own, in `<data>/secrets`, readable by their owner alone.
"""

import ipaddress
import os
import re
import secrets
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from certdesk.domain.errors import Misconfigured
from certdesk.domain.names.identifiers import url_host

PREFIX = "CERTDESK_"
#: Variables with the prefix that belong to the client commands or name the files read here.
NOT_SETTINGS = frozenset({"CERTDESK_URL", "CERTDESK_TOKEN", "CERTDESK_TOKEN_FILE", "CERTDESK_CONFIG"})
MINIMUM_SECRET = 32
_HOST = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")

SERVER_SOFTWARE = (
    "Apache httpd",
    "nginx",
    "Microsoft IIS",
    "Microsoft Exchange",
    "Apache Tomcat",
    "HAProxy",
    "Caddy",
    "Postfix or Dovecot",
    "F5 BIG-IP",
    "Citrix NetScaler",
    "Kubernetes",
    "Cisco",
    "Other",
)


def _host_name(value: str) -> str:
    """An issuer's domain name as it stands in CAA and persistent records. Raises ValueError for another."""
    name = value.strip().lower().rstrip(".")
    if not _HOST.fullmatch(name):
        raise ValueError(f"{value!r} is not a domain name such as ca.example.ac.uk")
    return name


def is_loopback(host: str) -> bool:
    """Whether a host name or an IP address is this machine's own, which nobody else can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fits_certificates(url: str) -> bool:
    """Whether clients can fetch from below this address, and certificates may name it (RFC 5280 4.2.1.6)."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
        named = _HOST.fullmatch(host) or ipaddress.ip_address(host)
    except ValueError:
        return False
    plain = parts.scheme == "http" and "@" not in parts.netloc and "%" not in parts.netloc
    return bool(named) and plain and re.fullmatch(r"[!-~]+", url) is not None and not set(url) & set("?#")


class Config(BaseSettings):
    """Every setting. Names in the environment are upper case with the prefix CERTDESK_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    demo: bool = False
    data: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    base_url: str = ""
    status_url: str = ""
    behind_proxy: bool = False
    threads: int = Field(default_factory=lambda: min(8, 2 * (os.cpu_count() or 1) + 1), ge=1, le=128)
    workers: int = Field(default=1, ge=1, le=16)
    secret_key: SecretStr = SecretStr("")
    secret_key_fallbacks: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    ca_passphrase: SecretStr = SecretStr("")
    ca_root_directory: Path | None = None
    ca_journal_directory: Path | None = None
    ca_journal: bool = True
    ca_name: str = "Certdesk"
    lint_in_full: bool = False
    demo_ca: Literal["embedded", "scripted"] = "embedded"
    database_url: str = ""
    service_name: str = "Certdesk"
    ra_name: str = "JTAG"
    ra_contact: str = ""
    support_url: str = ""
    trusted_suffixes: tuple[str, ...] = ("ac.uk", "gov.uk")
    durations: tuple[int, ...] = (1, 2, 3)
    server_software: tuple[str, ...] = SERVER_SOFTWARE
    policy: Path | None = None
    cas: Path | None = None
    blocklist: Path | None = None
    ownership_days: int = Field(default=398, ge=1, le=398)
    persistent_days: int = Field(default=10, ge=2, le=398)
    persistent_check_hours: int = Field(default=24, ge=1, le=240)
    password_min_length: int = Field(default=15, ge=3)
    decision_token_days: int = Field(default=30, ge=1, le=90)
    second_factor_decision_tokens: bool = False
    require_second_factor: Literal["auto", "always", "never"] = "auto"
    mail_from: str = "certdesk@localhost"
    smtp_host: str = ""
    smtp_port: int = Field(default=25, ge=1, le=65535)
    smtp_security: Literal["none", "starttls", "tls"] = "none"
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    acme_certificate_days: int = Field(default=90, ge=1, le=398)
    acme_orders_per_hour: int = Field(default=2000, ge=1)
    acme_pending_orders: int = Field(default=300, ge=1)
    acme_terms_url: str = ""
    acme_website_url: str = ""
    acme_caa_identities: tuple[str, ...] = ()
    caa_issuers: Annotated[tuple[str, ...], Field(max_length=10)] = ()
    caa_account_uri: str = ""
    perspectives: dict[str, str] = Field(default_factory=dict)
    perspective_token: SecretStr = SecretStr("")
    perspective_ca: Path | None = None
    perspective_quorum: int = Field(default=0, ge=0, le=20)
    dns_servers: tuple[str, ...] = ()
    dns_dnssec: Literal["loopback", "ad", "off"] = "loopback"
    dcv_allowed_networks: tuple[str, ...] = ()
    dcv_http_port: int = Field(default=80, ge=1, le=65535)
    dcv_tls_port: int = Field(default=443, ge=1, le=65535)
    log_level: str = "INFO"

    @field_validator("secret_key_fallbacks", mode="before")
    @classmethod
    def _keys_by_white_space(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("acme_caa_identities", "caa_issuers")
    @classmethod
    def _issuers_are_domain_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_host_name(name) for name in value))

    @field_validator("dns_dnssec", mode="before")
    @classmethod
    def _a_resolver_validates(cls, value: object) -> object:
        if value == "validate":
            raise ValueError(
                "Certdesk doesn't validate DNSSEC itself. Run a validating resolver such as unbound on this"
                " host, name it in CERTDESK_DNS_SERVERS and leave CERTDESK_DNS_DNSSEC out"
            )
        return value

    @field_validator("server_software")
    @classmethod
    def _other_is_always_there(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return value if "Other" in value else (*value, "Other")

    @field_validator("base_url")
    @classmethod
    def _people_can_open_it(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and not (parts.scheme in ("http", "https") and parts.hostname):
            told = f"CERTDESK_BASE_URL={value} is no address such as https://certdesk.example.ac.uk"
            raise ValueError(told)
        return value

    @model_validator(mode="after")
    def _status_url_stands_in_certificates(self) -> Self:
        if not _fits_certificates(self.status):
            where = "" if self.status_url else " (made from CERTDESK_BASE_URL)"
            raise ValueError(
                f"CERTDESK_STATUS_URL{where} can't be {self.status}: certificates name it for CRLs. Set it "
                "to plain HTTP and a full host name or IP address, such as http://pki.example.ac.uk"
            )
        return self

    @model_validator(mode="after")
    def _the_demo_serves_this_machine_alone(self) -> Self:
        hosts = (self.host, urlsplit(self.url).hostname or "")
        if self.demo and (self.behind_proxy or not all(map(is_loopback, hosts))):
            raise ValueError(
                "the demo has well-known people, so it serves this machine alone. Leave out --behind-proxy "
                "(CERTDESK_BEHIND_PROXY), --host (CERTDESK_HOST) and CERTDESK_BASE_URL. For a service that "
                "others reach, leave out --demo (CERTDESK_DEMO) and set CERTDESK_DATA to an empty folder"
            )
        return self

    @model_validator(mode="after")
    def _only_the_demo_chooses_its_ca(self) -> Self:
        if self.demo_ca != "embedded" and not self.demo:
            raise ValueError(f"CERTDESK_DEMO_CA={self.demo_ca} is for `certdesk serve --demo`; leave it out")
        return self

    @model_validator(mode="after")
    def _a_mail_password_travels_by_tls_alone(self) -> Self:
        if bool(self.smtp_username) != bool(self.smtp_password.get_secret_value()):
            raise ValueError("CERTDESK_SMTP_USERNAME and CERTDESK_SMTP_PASSWORD belong together; set both")
        if self.smtp_username and self.smtp_security == "none":
            raise ValueError("CERTDESK_SMTP_PASSWORD needs CERTDESK_SMTP_SECURITY=starttls or tls")
        return self

    @property
    def second_factor_required(self) -> bool:
        """Whether RA officers and operators have to have a second factor: outside the demo, unless told."""
        return self.require_second_factor == "always" or (
            self.require_second_factor == "auto" and not self.demo
        )

    @property
    def url(self) -> str:
        """The address that people use, also in mails, without a slash at the end."""
        return (self.base_url or f"http://{url_host(self.host)}:{self.port}").rstrip("/")

    @property
    def status(self) -> str:
        """Where certificates say that their issuer and CRL are to be fetched, without a slash at the end.

        Plain HTTP: over TLS, a client would need the answer to get the answer. Where nothing is set, it is
        the base URL, or port 80 of its host if that is https; on this machine alone, it is this process.
        """
        base = urlsplit(self.url)
        if self.status_url:
            return self.status_url.rstrip("/")
        if is_loopback(base.hostname or "") and (base.scheme == "https" or base.hostname == "localhost"):
            return f"http://{'[::1]' if self.host == '::1' else '127.0.0.1'}:{self.port}"
        return self.url if base.scheme == "http" else f"http://{url_host(base.hostname or '')}{base.path}"

    @property
    def issuers(self) -> tuple[str, ...]:
        """The domain names by which DNS records may name our CA; the host of our address by default."""
        host = urlsplit(self.url).hostname or ""
        return self.acme_caa_identities or ((host,) if _HOST.fullmatch(host) else ("certdesk.example",))

    @property
    def mail_directory(self) -> Path:
        """Where mail goes as files while no SMTP server is set."""
        return self.data / "mail"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over secret files over the TOML file (both passed as initial values)."""
        return (env_settings, init_settings)


def load_config(environ: dict[str, str] | None = None) -> Config:
    """The configuration, checked. Raises Misconfigured with everything that is wrong."""
    # 1. No name with the prefix that nothing reads.
    env = dict(os.environ if environ is None else environ)
    for name in env:
        if not name.startswith(PREFIX) or name in NOT_SETTINGS or name.startswith("CERTDESK_TEST_"):
            continue
        field = name.removeprefix(PREFIX).lower()
        if not {field, field.removesuffix("_file")} & Config.model_fields.keys():
            raise Misconfigured(f"{name} is not a setting. docs/configuration.md lists them all.")

    # 2. The TOML file, and over it the files with one secret each.
    values: dict[str, Any] = {}
    if path := env.get("CERTDESK_CONFIG"):
        try:
            values = tomllib.loads(Path(path).read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise Misconfigured(f"CERTDESK_CONFIG names {path}, which can't be read: {error}") from None
    for name, path in env.items():
        if name == "DATABASE_URL_FILE" or (name.startswith(PREFIX) and name.endswith("_FILE")):
            field = name.removeprefix(PREFIX).removesuffix("_FILE").lower()
            try:
                values[field] = Path(path).read_text().strip()
            except OSError as error:
                raise Misconfigured(f"{name} names {path}, which can't be read: {error.strerror}") from None

    # 3. The environment over both; everything that is wrong is told at once.
    if url := env.get("DATABASE_URL"):
        values["database_url"] = url
    try:
        config = Config(**values)
    except ValidationError as error:
        problems = "; ".join(
            ": ".join([*filter(None, [".".join(map(str, e["loc"]))]), e["msg"].removeprefix("Value error, ")])
            for e in error.errors()
        )
        raise Misconfigured(f"The configuration can't be used: {problems}") from None
    return _with_secrets(config)


def _with_secrets(config: Config) -> Config:
    changes: dict[str, Any] = {"data": config.data.resolve()}
    if not config.database_url:
        changes["database_url"] = f"sqlite:///{config.data.resolve()}/certdesk.sqlite3"
    for field in ("secret_key", "ca_passphrase"):
        value: SecretStr = getattr(config, field)
        if not value.get_secret_value() and config.demo:
            path = config.data / "secrets" / field
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                temporary = path.with_suffix(f".{os.getpid()}")
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w") as handle:
                    handle.write(secrets.token_urlsafe(48))
                temporary.replace(path)
            changes[field] = SecretStr(path.read_text())
        elif len(value.get_secret_value()) < MINIMUM_SECRET:
            variable = PREFIX + field.upper()
            raise Misconfigured(
                f"{variable} (or {variable}_FILE) is missing or shorter than {MINIMUM_SECRET} characters. "
                "`openssl rand -base64 48` makes one. `certdesk serve --demo` makes its own."
            )
    return config.model_copy(update=changes)
