"""Start-up: gives the services what they work with."""

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path

import structlog
from django.apps import AppConfig
from django.conf import settings
from django.core.signals import request_started
from django.utils import timezone

from certdesk.backends.base import Backend
from certdesk.backends.embedded import EmbeddedConfig, create_authority, read_config
from certdesk.backends.registry import load_backends
from certdesk.backends.scripted import DEMO_RULES
from certdesk.conf.cas import OWN, CasFile, read_cas
from certdesk.conf.config import Config
from certdesk.conf.perspectives import caa_asker, corroborated, make_coordinator, ruled_perspectives
from certdesk.dcv.base import Network
from certdesk.dcv.network import SYSTEM, make_network
from certdesk.dcv.registry import load_validators
from certdesk.dcv.resolver import Dnssec, servers_of_this_host
from certdesk.domain.csr.known_keys import NO_LIST
from certdesk.domain.errors import InvalidInput, Misconfigured
from certdesk.domain.issuing.profiles import BUILT_IN
from certdesk.domain.policy.file import NO_FILE, PORTAL, PolicyFile, read_policy
from certdesk.domain.settings import ServiceSettings, changed
from certdesk.services.revocation.known_keys import KnownKeysFolder
from certdesk.services.system.runtime import (
    AcmeSettings,
    CaaSettings,
    Persistence,
    Runtime,
    configure,
    look_again,
)


def configured_network(config: Config) -> Network | None:
    """The resolver and the fetcher; None on a host without a resolver. Raises Misconfigured."""
    if not config.dns_servers and not servers_of_this_host():
        return None
    try:
        return make_network(
            resolvers=config.dns_servers or (SYSTEM,),
            dnssec=Dnssec(config.dns_dnssec),
            allowed_networks=config.dcv_allowed_networks,
            http_port=config.dcv_http_port,
            https_port=config.dcv_tls_port,
        )
    except ValueError as error:
        told = f"CERTDESK_DNS_SERVERS or CERTDESK_DCV_ALLOWED_NETWORKS can't be used: {error}."
        raise Misconfigured(told) from None


log = structlog.get_logger()


class ConfConfig(AppConfig):
    name = "certdesk.conf"
    label = "conf"

    def ready(self) -> None:
        """Registers how the runtime is made; CA keys are opened when first needed."""
        from certdesk.store.selectors.settings import latest_settings, latest_version  # noqa: PLC0415 - models exist from here on

        configure(
            lambda: make_runtime(settings.CERTDESK), read_changes=latest_settings, read_version=latest_version
        )
        request_started.connect(look_again_at_settings)


def look_again_at_settings(*, environ: Mapping[str, object] | None = None, **_told: object) -> None:
    """Has a request that may change something go by the newest settings; receives Django's signal."""
    if environ is None or environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
        look_again()


def make_runtime(config: Config) -> Runtime:
    """The runtime from the configuration; makes the embedded CA at the very first start.

    Raises Misconfigured, also for the demo's data outside the demo, and where a CA's files are missing or
    those of another.
    """
    from certdesk.services.revocation.crl import nothing_issued, refuse_another_ca  # noqa: PLC0415 - as above
    from certdesk.services.system import demo  # noqa: PLC0415 - models exist from here on

    if not config.demo:
        demo.refuse_demo_data(data=config.data)
    create_authority(embedded_config(config), now=timezone.now(), may_create=nothing_issued)
    cas = load_cas(config)
    own = {"embedded": _embedded(config), **_scripted(config, may_create=nothing_issued)}
    backends = load_backends({**own, **ca_settings(config, cas)})
    _refuse_scripted(backends, config)
    refuse_another_ca(backends)
    policy, network = load_policy(config, cas.profiles), configured_network(config)
    coordinator = make_coordinator(config, now=timezone.now())
    refuse_unknown_cas(policy, backends)
    return Runtime(
        backends=backends,
        default_backend=config.demo_ca,
        profiles=cas.profiles,
        limits=cas.limits,
        settings=configured_settings(config, policy),
        base_url=config.url,
        mail_from=config.mail_from,
        acme=AcmeSettings(
            certificate_days=config.acme_certificate_days,
            orders_per_hour=config.acme_orders_per_hour,
            pending_orders=config.acme_pending_orders,
            terms_url=config.acme_terms_url,
            website_url=config.acme_website_url,
            caa_identities=config.acme_caa_identities,
        ),
        caa=CaaSettings(
            issuers=config.caa_issuers or config.issuers,
            account_uri=config.caa_account_uri,
            ask=caa_asker(network, coordinator),
        ),
        network=network,
        validators=corroborated(load_validators(), coordinator),
        ruled_perspectives=ruled_perspectives(config),
        policy=policy,
        known_keys=(lambda: NO_LIST) if config.blocklist is None else KnownKeysFolder(config.blocklist),
        persistence=Persistence(
            issuers=config.issuers,
            check_every=timedelta(hours=config.persistent_check_hours),
            days=config.persistent_days,
        ),
    )


def load_cas(config: Config) -> CasFile:
    """The file of CAs and profiles, if one is set. Raises Misconfigured with all that is wrong in it."""
    if config.cas is None:
        return CasFile()
    return read_cas(config.cas, own=OWN if config.demo else OWN[:1])


def load_policy(config: Config, profiles: Collection[str] = tuple(BUILT_IN)) -> PolicyFile:
    """The policy file, if one is set. Raises Misconfigured with everything that is wrong in it."""
    if config.policy is None:
        return NO_FILE
    policy = read_policy_file(config.policy, profiles)
    log.info("policy.loaded", version=policy.version, digest=policy.digest)
    return policy


def read_policy_file(path: Path, profiles: Collection[str]) -> PolicyFile:
    """A policy in a file, which may name these profiles. Raises Misconfigured with all that is wrong."""
    try:
        return read_policy(path.read_text(encoding="utf-8"), profiles=profiles)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The policy {path} can't be read: {error}") from None
    except InvalidInput as error:
        problems = "; ".join(f"{where}: {what}" for where, what in error.fields.items())
        raise Misconfigured(f"The policy {path} can't be used: {problems}") from None


def refuse_unknown_cas(policy: PolicyFile, backends: Mapping[str, Backend]) -> None:
    """Rules for a CA that is not there would be a mistake in its name. Raises Misconfigured."""
    if unknown := [name for name in policy.named("ca") if name not in backends]:
        known = ", ".join(backends)
        raise Misconfigured(f"The policy names a CA “{unknown[0]}”, which is not set up. Set up: {known}.")


def configured_settings(config: Config, policy: PolicyFile = NO_FILE) -> ServiceSettings:
    """The settings before anybody changes them: what the policy file says over the configuration (ADR 12).

    Raises Misconfigured for impossible ones.
    """
    values = {
        "ra": config.ra_name,
        "ra_contact": config.ra_contact,
        "service_name": config.service_name,
        "support_url": config.support_url,
        "trusted_suffixes": config.trusted_suffixes,
        "durations": config.durations,
        "server_software": config.server_software,
        "ownership_days": config.ownership_days,
        "password_min_length": config.password_min_length,
        **{name: value for name, value in policy.default.items() if name in PORTAL},
    }
    try:
        return changed(ServiceSettings(), values, now=timezone.now())
    except InvalidInput as error:
        problems = "; ".join(f"{name}: {what}" for name, what in error.fields.items())
        raise Misconfigured(f"The configuration can't be used: {problems}") from None


def _scripted(config: Config, *, may_create: Callable[[], bool]) -> dict[str, Mapping[str, object]]:
    """The demo's second CA, on which a person can see delays, refusals and errors."""
    if not config.demo:
        return {}
    settings = {
        "directory": config.data / "ca" / "scripted",
        "passphrase": config.ca_passphrase.get_secret_value(),
        "tests_and_demo_only": True,
        "rules": DEMO_RULES,
        "may_create": may_create,
    }
    return {"scripted": settings}


def _refuse_scripted(backends: Mapping[str, Backend], config: Config) -> None:
    """No service may rely on a CA that errs on purpose. Raises Misconfigured."""
    scripted = [name for name, one in backends.items() if getattr(one, "for_tests_and_demo", False)]
    if scripted and not config.demo:
        raise Misconfigured(f"The CA “{scripted[0]}” is for tests and the demo. Take it out.")


def embedded_config(config: Config, name: str = "embedded") -> EmbeddedConfig:
    """The settings of the embedded CA, or of one of its kind in the file of CAs. Raises Misconfigured."""
    settings = (
        _embedded(config) if name == "embedded" else ca_settings(config, load_cas(config)).get(name, {})
    )
    if name != "embedded" and settings.get("kind") != "embedded":
        raise Misconfigured(f"The file of CAs has no CA “{name}” of the kind “embedded”.")
    read = read_config(name=name, settings={key: value for key, value in settings.items() if key != "kind"})
    taken = {
        Path(str(path)).resolve() for key, path in _embedded(config).items() if key.endswith("directory")
    }
    if name != "embedded" and read.directory.resolve() in taken:
        raise Misconfigured(
            f"The CA “{name}” needs a folder of its own: {read.directory} is the embedded CA's."
        )
    return read


def ca_settings(config: Config, cas: CasFile) -> dict[str, Mapping[str, object]]:
    """What the back ends of the file of CAs get; those of our own kind know besides where our pages are."""
    ours = {"status_url": config.status, "lint_in_full": config.lint_in_full}
    found = dict[str, Mapping[str, object]]()
    for name, own in cas.settings.items():
        here = {**ours, **_journal(config, name), "directory": config.data / "ca" / name}
        more = here if own["kind"] == "embedded" else {}
        found[name] = {**more, **own}
    return found


def _embedded(config: Config) -> dict[str, object]:
    """The embedded CA's settings; its root key lives apart from its issuing key."""
    return {
        "directory": config.data / "ca" / "issuing",
        "root_directory": config.ca_root_directory or config.data / "ca" / "root",
        "passphrase": config.ca_passphrase.get_secret_value(),
        "name": config.ca_name,
        "status_url": config.status,
        "lint_in_full": config.lint_in_full,
        **_journal(config, "embedded"),
    }


def _journal(config: Config, name: str) -> dict[str, object]:
    """Where a CA of our own kind keeps its journal, if it keeps one."""
    folder = config.ca_journal_directory or config.data / "ca" / "journal"
    return {"journal": folder / name} if config.ca_journal else {}
