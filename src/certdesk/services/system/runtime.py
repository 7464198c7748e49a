"""What the use cases work with and the composition root provides: back ends, rules, addresses."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import cast

import structlog
from django.utils import timezone

from certdesk.backends.base import Backend
from certdesk.dcv.base import Network, Validator
from certdesk.dcv.caa import CaaChecked
from certdesk.domain.csr.known_keys import NO_LIST, KnownKeys
from certdesk.domain.errors import InvalidInput, InvariantViolated, Misconfigured
from certdesk.domain.issuing.cas import UNLIMITED, CaLimits
from certdesk.domain.issuing.certificates import Intent
from certdesk.domain.issuing.profiles import BUILT_IN, Profile, no_longer_offered, profile
from certdesk.domain.policy.file import NO_FILE, PolicyFile
from certdesk.domain.policy.in_force import Rules, strictest
from certdesk.domain.settings import ServiceSettings, changed
from certdesk.domain.validation.caa import Question
from certdesk.domain.validation.evidence import Method
from certdesk.store.db import write_mark

log = structlog.get_logger()

#: Seconds after which a page notices another process's change of the settings.
FRESH_FOR = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeSettings:
    """What is configured of the ACME server. `orders_per_hour` and `pending_orders` are for one account."""

    certificate_days: int = 90
    orders_per_hour: int = 2000
    pending_orders: int = 300
    terms_url: str = ""
    website_url: str = ""
    caa_identities: tuple[str, ...] = ()


#: Looks up what CAA says now about one name: from here, or from every perspective.
AskCaa = Callable[[Question, datetime], CaaChecked]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaaSettings:
    """Whom CAA records have to name: the CA that issues, and the account there (RFC 8657), if it has one.

    `ask` is None where nothing outside can be asked.
    """

    issuers: tuple[str, ...] = ("certdesk.example",)
    account_uri: str = ""
    ask: AskCaa | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """How persistent DNS records are read: the names of our CA, how often, and for how long one counts.

    `issuers` begins with the name to publish; the others are accepted as well. `days` is for private CAs;
    public ones have a rule of their own (BR 3.2.2.4.22).
    """

    issuers: tuple[str, ...] = ("certdesk.example",)
    check_every: timedelta = timedelta(hours=24)
    days: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Made at start-up; `settings` are what an operator may change while it runs.

    `network` is None where nothing outside can be asked: no challenge is then offered.
    `known_keys` yields the list of known compromised keys as it is at present.
    """

    backends: Mapping[str, Backend]
    default_backend: str
    profiles: Mapping[str, Profile] = field(default_factory=lambda: BUILT_IN)
    limits: Mapping[str, CaLimits] = field(default_factory=dict)
    settings: ServiceSettings
    base_url: str
    mail_from: str
    acme: AcmeSettings = field(default_factory=AcmeSettings)
    caa: CaaSettings = field(default_factory=CaaSettings)
    network: Network | None = None
    validators: Mapping[Method, Validator] = field(default_factory=dict)
    #: Codes of the perspectives whose number the dated rules decide.
    ruled_perspectives: tuple[str, ...] = ()
    policy: PolicyFile = NO_FILE
    known_keys: Callable[[], KnownKeys] = lambda: NO_LIST
    persistence: Persistence = field(default_factory=Persistence)

    @property
    def rules(self) -> Rules:
        """What policy decides by where nothing more particular is set: portal over file (ADR 12)."""
        return self.policy.over(
            Rules(
                trusted_suffixes=self.settings.trusted_suffixes,
                durations=self.settings.durations,
                server_software=self.settings.server_software,
                ra=self.settings.ra,
            )
        )

    def rules_for(self, *, organisation: str, profile: str, cas: tuple[str, ...] | None = None) -> Rules:
        """What policy decides by for an organisation (its slug) and profile.

        Where one of several CAs may be asked, the strictest of their rules holds; `cas` stand in place of
        those that the profile lists.
        """
        kind, rules = self.standing_profile(profile), self.rules
        for_each = (
            self.policy.rules_for(rules, organisation=organisation, profile=profile, ca=name)
            for name in cas or self.cas_of(kind)
        )
        return kind.within(reduce(strictest, for_each))

    def profile(self, profile_id: str) -> Profile:
        """The profile of this id. Raises InvalidInput when none is on offer."""
        return profile(profile_id, self.profiles)

    def standing_profile(self, profile_id: str) -> Profile:
        """The same for what was asked for before; where it is gone, one under which nothing is issued."""
        return self.profiles.get(profile_id) or no_longer_offered(profile_id, 0)

    def profiles_for(self, organisation: str) -> Mapping[str, Profile]:
        """Those that an organisation (its slug) may use."""
        return {one.id: one for one in self.profiles.values() if one.is_for(organisation)}

    def cas_of(self, kind: Profile) -> tuple[str, ...]:
        """The names of the CAs to ask for a profile, the first that can do it first."""
        return kind.cas or (self.default_backend,)

    def limits_of(self, name: str) -> CaLimits:
        """What a CA is asked for at most."""
        return self.limits.get(name, UNLIMITED)

    def objection(self, intent: Intent, *, at: datetime | None = None) -> str:
        """Why the intent's CA is not asked for it at `at`, by its limits; empty where it is."""
        return self.limits_of(intent.backend).objection(intent, at=at)

    @property
    def ownership_days(self) -> int:
        """How long a proof of control counts."""
        return self.settings.ownership_days

    def offers(self, method: Method) -> bool:
        """Whether a method can be looked at from here."""
        return self.network is not None and method in self.validators

    def backend(self, name: str) -> Backend:
        """The back end of that name. Raises Misconfigured when it is no longer set up."""
        try:
            return self.backends[name]
        except KeyError:
            raise Misconfigured(f"The CA “{name}” is not set up.") from None


#: Reads the latest stored settings: their version, and name → value.
ReadChanges = Callable[[], tuple[int, Mapping[str, object]]]


class _Holder:
    make: Callable[[], Runtime] | None = None
    read_changes: ReadChanges = staticmethod(lambda: (0, {}))
    read_version: Callable[[], int] = staticmethod(lambda: 0)
    base: Runtime | None = None  # as configured
    made: tuple[int, Runtime] | None = None  # with what an operator has changed since, up to a version
    checked_at: float = 0.0


_mine = threading.local()


def configure(
    make: Callable[[], Runtime],
    *,
    read_changes: ReadChanges = lambda: (0, {}),
    read_version: Callable[[], int] = lambda: 0,
) -> None:
    """Says how the runtime is made, once and when first needed, and where changed settings are read."""
    _Holder.make, _Holder.base = make, None
    _Holder.read_changes, _Holder.read_version = staticmethod(read_changes), staticmethod(read_version)
    refresh()


def current() -> Runtime:
    """The runtime, with settings no older than `FRESH_FOR`; in a write transaction, with the newest.

    Raises InvariantViolated if none was configured.
    """
    mark = write_mark()
    if mark is not None:
        if getattr(_mine, "mark", None) is not mark:
            _mine.made, _mine.mark = newest(), mark
        return cast("Runtime", _mine.made)
    made = _Holder.made
    if made is None or time.monotonic() - _Holder.checked_at > FRESH_FOR:
        return newest()
    return made[1]


def newest(*, version: int | None = None) -> Runtime:
    """The runtime with the settings as they are now, for what is decided or written down: a look at a number.

    `version` is that number where it was read just now. Raises InvariantViolated if none was configured.
    """
    base, made = _base(), _Holder.made
    if made is None or made[0] != (_Holder.read_version() if version is None else version):
        version, values = _Holder.read_changes()
        made = version, replace(base, settings=settings_from(values, now=timezone.now()))
        _Holder.made = made
    _Holder.checked_at = time.monotonic()
    return made[1]


def note_version(version: int) -> None:
    """Takes in the settings' version that was read with something else, which spares `current()` a look."""
    made, mark = newest(version=version), write_mark()
    if mark is not None:
        _mine.made, _mine.mark = made, mark


def configured() -> Runtime:
    """The runtime with the settings as configured, for what nobody changes while it runs."""
    return _base()


def look_again() -> None:
    """Makes the next `current()` look for a newer version, as at the beginning of a form's or job's work."""
    _Holder.checked_at = -FRESH_FOR


def refresh() -> None:
    """Makes the next `current()` read the settings again, as after changing them."""
    _Holder.made = _mine.mark = None


def settings_from(
    values: Mapping[str, object], *, base: ServiceSettings | None = None, now: datetime
) -> ServiceSettings:
    """The configured settings, or those of `base`, with stored values in their place.

    A stored value that a rule of the field has overtaken since is left out and logged: the service goes on
    with what the configuration says.
    """
    settings = _base().settings if base is None else base
    for name, value in values.items():
        try:
            settings = changed(settings, {name: value}, now=now)
        except InvalidInput as error:
            log.warning("settings.stored_value_unusable", name=name, problem=error.fields.get(name, ""))
    return settings


def _base() -> Runtime:
    """The runtime as configured, made when first needed."""
    if _Holder.base is None:
        if _Holder.make is None:
            raise InvariantViolated("no runtime was configured")
        _Holder.base = _Holder.make()
    return _Holder.base
