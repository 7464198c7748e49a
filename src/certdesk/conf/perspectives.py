"""More than one vantage point, from the configuration: whom to ask, whom to trust, how many must agree.

Off unless perspectives are named. Then every validation by machine and every CAA look-up goes through them.
"""

import ssl
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import structlog

from certdesk.conf.config import Config
from certdesk.dcv.base import Network, Validator
from certdesk.dcv.caa import CaaChecked, check_caa
from certdesk.dcv.mpic.coordinator import (
    Coordinator,
    CorroboratingValidator,
    PerspectiveAddress,
    corroborated_caa,
)
from certdesk.domain.errors import Misconfigured
from certdesk.domain.validation.caa import Question
from certdesk.domain.validation.corroboration import (
    WARN_AHEAD,
    Quorum,
    coming_shortfall,
    public_quorum,
    regions_of,
    suffices,
)
from certdesk.domain.validation.evidence import Method
from certdesk.services.system.runtime import AskCaa

log = structlog.get_logger()

MIN_TOKEN = 32


def make_coordinator(config: Config, *, now: datetime) -> Coordinator | None:
    """The coordinator of the perspectives that are set; None without any.

    Raises Misconfigured for addresses that can't be trusted, and for fewer than have to be asked now.
    """
    if not config.perspectives:
        return None
    token = config.perspective_token.get_secret_value().strip()
    if len(token) < MIN_TOKEN:
        raise Misconfigured(
            f"CERTDESK_PERSPECTIVE_TOKEN (or CERTDESK_PERSPECTIVE_TOKEN_FILE) is missing or shorter than "
            f"{MIN_TOKEN} characters."
        )
    # What the rules ask of public CAs on the day, unless the operator has set a number of their own.
    own = Quorum(perspectives=config.perspective_quorum)
    quorum = (lambda _now: own) if config.perspective_quorum else public_quorum
    codes, needed = tuple(config.perspectives), quorum(now)
    if not suffices(codes, needed):  # every validation would fail, one by one
        raise Misconfigured(
            f"CERTDESK_PERSPECTIVES names {len(codes)} in {len(regions_of(codes))} regions; "
            f"{needed.perspectives} in {needed.regions} have to be asked (BR 3.2.2.9). Add some, or set "
            "CERTDESK_PERSPECTIVE_QUORUM for a CA that is not public."
        )
    if lack := coming_shortfall(ruled_perspectives(config), now=now, ahead=WARN_AHEAD):
        log.warning("perspectives.too_few_soon", on=lack.on.isoformat(), why=lack.message, to_do=lack.to_do)
    try:
        addresses = tuple(
            PerspectiveAddress(code=code, url=url.rstrip("/"), token=token)
            for code, url in config.perspectives.items()
        )
        cafile = config.perspective_ca
        tls = None if cafile is None else ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as error:  # ssl's errors are OSErrors
        raise Misconfigured(f"CERTDESK_PERSPECTIVES: {error}.") from None
    return Coordinator(addresses, quorum, tls=tls)


def ruled_perspectives(config: Config) -> tuple[str, ...]:
    """The perspectives, where the dated rules say how many there have to be; none where the operator does."""
    return () if config.perspective_quorum else tuple(config.perspectives)


def corroborated(
    validators: Mapping[Method, Validator], coordinator: Coordinator | None
) -> Mapping[Method, Validator]:
    if coordinator is None:
        return validators
    return MappingProxyType(
        {method: CorroboratingValidator(one, coordinator) for method, one in validators.items()}
    )


def caa_asker(network: Network | None, coordinator: Coordinator | None) -> AskCaa | None:
    """What looks CAA up: from here, and from every perspective where there are some."""
    if network is None:
        return None
    resolver = network.resolver

    def ask(question: Question, now: datetime) -> CaaChecked:
        if coordinator is None:
            return check_caa(question, resolver=resolver, now=now)
        return corroborated_caa(question, resolver=resolver, coordinator=coordinator, now=now)

    return ask
