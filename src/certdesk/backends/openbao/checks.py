"""What can be said of an OpenBao mount before anything is asked of it: reach, clock, token, role, CA."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from certdesk.backends.chains import chain_check
from certdesk.backends.credentials import open_to_everybody
from certdesk.backends.openbao.api import MISSING, Answer, OpenBaoApi, plain
from certdesk.backends.openbao.config import OpenBaoConfig
from certdesk.domain.errors import BackendError, Misconfigured
from certdesk.domain.findings import Check, Verdict

_RENEW_TOKEN_BEFORE = timedelta(days=7)
#: A server's clock that is further off than this begins certificates in the future, or loses them to `find`.
_CLOCK_WARN, _CLOCK_REFUSE = timedelta(seconds=60), timedelta(minutes=4)
_SEALED, _NOT_INITIALISED = 503, 501

ReadChain = Callable[[], tuple[bytes, ...]]


def findings(
    api: OpenBaoApi, config: OpenBaoConfig, *, chain: ReadChain, clock: Callable[[], datetime]
) -> Iterator[Check]:
    """Each as a check with a code of its own; never raises. Nothing more is asked of one that is down."""
    secrets = open_to_everybody(config.secret_files)
    for one in (*secrets, *_answered(api, config, chain=chain, clock=clock)):
        yield replace(one, message=plain(one.message), seen=plain(one.seen))


def _answered(
    api: OpenBaoApi, config: OpenBaoConfig, *, chain: ReadChain, clock: Callable[[], datetime]
) -> Iterator[Check]:
    try:
        health = api.health()
    except BackendError as error:
        yield Check("backend.unreachable", Verdict.REFUSE, error.detail)
        return
    if health.status in (_SEALED, _NOT_INITIALISED) or health.body.get("sealed") is True:
        yield Check(
            "backend.sealed", Verdict.REFUSE, f"{config.name} is sealed or not initialised. Unseal it."
        )
        return
    yield from _clock(health, config, now=clock())
    for look in (_token, _permissions, _role):
        try:
            yield from look(api, config, now=clock())
        except Misconfigured as error:
            yield Check("backend.misconfigured", Verdict.REFUSE, error.detail)
        except BackendError as error:
            yield Check("backend.unreachable", Verdict.REFUSE, error.detail)
    try:
        yield chain_check(chain(), now=clock())
    except BackendError as error:
        yield Check("backend.no_ca", Verdict.REFUSE, error.detail)


def _clock(health: Answer, config: OpenBaoConfig, *, now: datetime) -> Iterator[Check]:
    seconds = health.body.get("server_time_utc")
    if not isinstance(seconds, int):
        return
    try:
        off = abs(datetime.fromtimestamp(seconds, tz=UTC) - now)
    except (ValueError, OverflowError, OSError):
        off = timedelta.max
    if off > _CLOCK_WARN:
        verdict = Verdict.REFUSE if off > _CLOCK_REFUSE else Verdict.WARN
        seconds = round(off.total_seconds())
        told = f"The clocks of {config.name} and of this machine differ by {seconds} seconds. Set both."
        yield Check("backend.clock", verdict, told, seen=str(off))


def _token(api: OpenBaoApi, config: OpenBaoConfig, *, now: datetime) -> Iterator[Check]:
    """Whether we can sign in, and for how long: one in a file has to be renewed from outside."""
    data = api.read("auth/token/lookup-self").data
    expires = data.get("expire_time")
    if config.token_file is None:
        yield Check("backend.credentials", Verdict.PASS, "The AppRole can sign in.")
    elif not isinstance(expires, str):
        told = "The token has no end. One that is renewed, or an AppRole, does less harm when it is stolen."
        yield Check("backend.credentials", Verdict.WARN, told)
    else:
        try:
            ends = datetime.fromisoformat(expires).astimezone(UTC)
        except (ValueError, OverflowError):
            yield Check(
                "backend.credentials", Verdict.WARN, "When the token ends can't be read.", seen=expires
            )
            return
        told = f"The token ends on {ends:%-d %B %Y}."
        if ends - now < _RENEW_TOKEN_BEFORE:
            told += " Renew it, or have `bao agent` do so; a new one in the same file is read at once."
            yield Check("backend.credentials", Verdict.WARN, told, seen=expires)
        else:
            yield Check("backend.credentials", Verdict.PASS, told, seen=expires)


def _permissions(api: OpenBaoApi, config: OpenBaoConfig, *, now: datetime) -> Iterator[Check]:  # noqa: ARG001 - as `_token`
    """What the token's policy leaves out; nothing where all is there, or nobody may ask."""
    mount, role = config.mount, config.role
    revoked = f"{mount}/certs/revoked"
    wanted = {
        f"{mount}/sign/{role}": "update",
        f"{mount}/revoke": "update",
        f"{mount}/certs/detailed": "list",
        f"{mount}/cert/00": "read",
    }
    try:
        found = api.act("sys/capabilities-self", {"paths": [*wanted, revoked]}).data
    except Misconfigured:
        return
    missing = [
        f"{need} on {path.removesuffix('00')}"
        for path, need in wanted.items()
        if not {need, "root"} & set(_listed(found.get(path)))
    ]
    if missing:
        told = (
            f"The token may not do what is needed: {', '.join(missing)}. Correct its policy, mount or role."
        )
        yield Check("backend.permissions", Verdict.REFUSE, told, seen="; ".join(missing))
    elif not {"list", "root"} & set(_listed(found.get(revoked))):
        told = f"The token may not list {revoked}, so this CA can't be reconciled. Correct its policy."
        yield Check("backend.permissions", Verdict.WARN, told, seen=f"list on {revoked}")


def _role(api: OpenBaoApi, config: OpenBaoConfig, *, now: datetime) -> Iterator[Check]:  # noqa: ARG001 - as `_token`
    path = f"{config.mount}/roles/{config.role}"
    try:
        answer = api.read(path)
    except Misconfigured as error:
        told = f"The role can't be looked at, so its settings are not checked. {error.detail}"
        yield Check("backend.role.unseen", Verdict.WARN, told)
        return
    if answer.status in MISSING:
        told = f"There is no role at {path}. Make it, or correct mount and role."
        yield Check("backend.role.missing", Verdict.REFUSE, told)
        return
    found = tuple(_role_problems(answer.data, config))
    yield from found
    if not found:
        yield Check("backend.role", Verdict.PASS, "The role's settings fit.", seen=_usages(answer.data))


def _role_problems(role: Mapping[str, object], config: OpenBaoConfig) -> Iterator[Check]:
    """Settings under which certificates are refused, withheld, or can't be found again."""
    refuse, warn = Verdict.REFUSE, Verdict.WARN
    if role.get("no_store") is True:
        told = (
            "The role stores no certificates: one whose answer was lost is never found. Set no_store=false."
        )
        yield Check("backend.role.no_store", refuse, told)
    if role.get("use_csr_sans") is True:
        told = (
            "The role takes the names from the CSR instead of those that were approved. A certificate is "
            "withheld when they differ. Set use_csr_sans=false."
        )
        yield Check("backend.role.csr_names", warn, told)
    if role.get("use_csr_common_name") is True:
        told = (
            "The role takes the common name from the CSR. A certificate is withheld when it is not one of "
            "the names. Set use_csr_common_name=false."
        )
        yield Check("backend.role.csr_common_name", warn, told)
    usages = _usages(role)
    if usages not in ("server", "client", "server, client"):
        told = "Its certificates are for nothing or for more than TLS, and fit no profile. See its flags."
        yield Check("backend.role.usages", refuse, told, seen=usages)
    if role.get("not_after_bound") == "forbid":
        told = "The role does not let us say when a certificate ends. Set not_after_bound=permit."
        yield Check("backend.role.not_after", refuse, told)
    elif role.get("not_after_bound") == "ttl-limited":
        told = (
            "No certificate may last longer than the role's ttl, or the mount's default where that is 0; a "
            "longer one is refused."
        )
        yield Check("backend.role.not_after", warn, told, seen=f"{role.get('ttl')} seconds")
    if not role.get("allowed_domains") and role.get("allow_any_name") is not True:
        told = "The role allows no names. Set allowed_domains with allow_subdomains, or allow_any_name."
        yield Check("backend.role.no_names", refuse, told)
    if role.get("key_type", "any") != "any":
        told = "The role certifies keys of one kind alone; requests with others are refused."
        yield Check("backend.role.keys", warn, told, seen=f"{role.get('key_type')} {role.get('key_bits')}")
    if role.get("issuer_ref", "default") != config.issuer:
        told = "The role signs with another CA of the mount than the setting issuer says. Make them the same."
        yield Check("backend.role.issuer", warn, told, seen=str(role.get("issuer_ref")))


def _usages(role: Mapping[str, object]) -> str:
    """What the role's certificates are for, as far as it says so: `server, client`."""
    flags = {
        "server": "server_flag",
        "client": "client_flag",
        "code signing": "code_signing_flag",
        "e-mail": "email_protection_flag",
    }
    more = [one for key in ("ext_key_usage", "ext_key_usage_oids") for one in _listed(role.get(key))]
    return ", ".join([*(name for name, flag in flags.items() if role.get(flag) is True), *more])


def _listed(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
