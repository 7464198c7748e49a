"""Whether an ACME CA can be used now: directory, account, terms, profile, chain, validation and orders."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from cryptography import x509

from certdesk.backends.acme.account import account_status, known_account
from certdesk.backends.acme.chains import Chains
from certdesk.backends.acme.config import AcmeConfig
from certdesk.backends.acme.connection import Connection
from certdesk.backends.acme.limits import moment
from certdesk.backends.acme.problems import Doing, translated
from certdesk.backends.acme.roll_over import AccountKey
from certdesk.domain.errors import BackendError
from certdesk.domain.findings import Check, Verdict

#: A page waits for it.
_SECONDS = 5.0
#: Of its time: public CAs' intermediates last for years, those of Caddy for a week.
_ENDS_SOON = 0.1


def checked(
    config: AcmeConfig,
    keys: AccountKey,
    *,
    chain: tuple[bytes, ...],
    problem: Callable[..., tuple[str, str] | None],
    fullest: Callable[..., tuple[str, int, float] | None],
    asks_account: bool,
    now: datetime,
) -> tuple[Check, ...]:
    """The findings; never raises. `asks_account`: whether the CA is asked about our account, or believed."""
    quick = replace(config, timeout=min(config.timeout, _SECONDS))
    found: list[Check] = []
    try:
        found.extend(_at_the_ca(quick, keys, asks_account=asks_account))
    except BackendError as error:
        found.append(Check("backend.unreachable", Verdict.REFUSE, error.detail))
    found.extend(_chain(config, chain, now=now))
    if config.dcv is None:
        told = "No validation is set up (dcv): every name has to be validated at the CA beforehand."
        found.append(Check("backend.validation", Verdict.WARN, told))
    else:
        told = f"Names are validated by DNS records through {config.dcv.driver.title}."
        found.append(Check("backend.validation", Verdict.PASS, told))
    found.extend(_limits(config, fullest, now=now))
    if (last := problem(now=now)) is not None:
        names, why = last
        found.append(Check("backend.order_waits", Verdict.WARN, f"An order for {names} waits. {why}"))
    return tuple(found)


def _at_the_ca(config: AcmeConfig, keys: AccountKey, *, asks_account: bool) -> Iterator[Check]:
    title = config.title or config.name
    with translated(title, Doing.READING):
        connection = Connection(
            config.directory_url,
            key=keys.settled(),
            ca_file=None if config.ca_file is None else str(config.ca_file),
            timeout=config.timeout,
            fresh_key=keys.settled,
        )
        meta = connection.directory.meta
        terms, offered = str(meta.terms_of_service or ""), sorted(meta.profiles or {})
    yield Check("backend.directory", Verdict.PASS, f"{title} answers.", seen=config.directory_url)

    account = known_account(config)
    if account is None:
        told = "No account is registered at the CA yet. The first request registers one."
        if meta.external_account_required and not config.eab_kid:
            told = "The CA wants external account binding. Set eab_kid and eab_hmac_file as the CA gave them."
            yield Check("backend.account", Verdict.REFUSE, told)
        elif terms and not config.terms_agreed:
            told = "The CA has terms of service. Read them, then set terms_agreed to true."
            yield Check("backend.account", Verdict.REFUSE, told, seen=terms)
        else:
            yield Check("backend.account", Verdict.WARN, told)
    else:
        connection.act_as(account.url)
        with translated(title, Doing.READING):
            status = account_status(connection) if asks_account else "valid"
        if status == "valid":
            yield Check("backend.account", Verdict.PASS, "Our account is registered.", seen=account.url)
        else:
            told = f"The CA says that our account is {status}."
            yield Check("backend.account", Verdict.REFUSE, told, seen=account.url)
        if terms and terms != account.terms:
            told = "The CA has other terms of service than those that we agreed to. Read them."
            yield Check("backend.terms", Verdict.WARN, told, seen=terms)

    if config.profile and config.profile not in offered:
        told = f"The CA doesn't offer the profile {config.profile}."
        yield Check("backend.profile", Verdict.REFUSE, told, seen=", ".join(offered))
    elif config.profile:
        yield Check("backend.profile", Verdict.PASS, f"The CA offers the profile {config.profile}.")


def _limits(
    config: AcmeConfig, fullest: Callable[..., tuple[str, int, float] | None], *, now: datetime
) -> Iterator[Check]:
    """How much of each limit is used, by what has used most of it."""
    for kind, limit in () if config.limits is None else config.limits.of.items():
        subject, used, next_at = fullest(kind, limit, now=now) or ("", 0, 0.0)
        title, left = config.title or config.name, limit.count - used
        told = f"{title} allows {limit.words(kind)}: {used} used, {left} left"
        if next_at > now.timestamp():
            told, verdict = f"{told}, the next on {moment(next_at)}.", Verdict.WARN
        else:
            told, verdict = f"{told}.", Verdict.PASS
        yield Check(f"backend.limit.{kind}", verdict, told, seen=subject)


def _chain(config: AcmeConfig, chain: tuple[bytes, ...], *, now: datetime) -> Iterator[Check]:
    if not chain:
        told = "The CA's chain is not known before its first certificate."
        yield Check("backend.chain", Verdict.NOT_CHECKED, told)
        return
    first = min(map(x509.load_der_x509_certificate, chain), key=lambda one: one.not_valid_after_utc)
    ends = first.not_valid_after_utc
    seen = f"{ends:%-d %B %Y}"
    if ends <= now:
        # The next certificate may come with another chain, so this alone refuses nothing.
        told = "The chain of the CA's last certificate has ended."
        yield Check("backend.chain", Verdict.WARN, told, seen=seen)
    elif ends - now < _ENDS_SOON * (ends - first.not_valid_before_utc):
        told = "The chain of the CA's last certificate ends soon."
        yield Check("backend.chain", Verdict.WARN, told, seen=seen)
    else:
        told = "The chain of the CA's last certificate is valid."
        yield Check("backend.chain", Verdict.PASS, told, seen=seen)
    if not Chains(config.folder, preferred=config.preferred_root).prefers((b"", *chain)):
        told = f"The CA's last certificate came without a chain to {config.preferred_root}."
        yield Check("backend.preferred_root", Verdict.WARN, told)
