"""Proving the names of an order by DNS records (RFC 8555 7.5.1, 8.4), as far as that goes now."""

import logging
import time
from dataclasses import dataclass, field

from acme import challenges, messages
from josepy.jwk import JWK

from certdesk.backends.acme.account import title_of
from certdesk.backends.acme.config import AcmeConfig
from certdesk.backends.acme.connection import Connection, Payload
from certdesk.backends.acme.journal import Journal
from certdesk.backends.acme.problems import Doing, plain, translated
from certdesk.domain.errors import BackendRefused, Misconfigured

log = logging.getLogger(__name__)

#: A poll begins no further name after so many seconds; the next one goes on.
_PATIENCE = 20.0


@dataclass(slots=True)
class Proofs:
    """How far the names of an order are: what is awaited still, for people, and whether the CA looks now."""

    waits: list[str] = field(default_factory=list)
    looks: bool = False


def prove(
    order: messages.Order,
    url: str,
    connection: Connection,
    *,
    config: AcmeConfig,
    journal: Journal,
    key: JWK,
) -> Proofs:
    """Puts the records there, and has the CA look where all servers show them."""
    title, dcv, proofs, until = title_of(config), config.dcv, Proofs(), time.monotonic() + _PATIENCE
    for link in order.authorizations:
        if time.monotonic() > until:
            break
        with translated(title, Doing.READING):
            authorization = connection.authorization(link)
        if authorization.status != messages.STATUS_PENDING:
            continue
        domain = authorization.identifier.value
        if dcv is None:
            told = f"{title} wants {domain} validated, and no way to do so is set up (dcv)."
            raise Misconfigured(f"{told} Validate it at the CA, or set one up.")
        found = [one for one in authorization.challenges if isinstance(one.chall, challenges.DNS01)]
        if not found:
            raise BackendRefused(
                f"The CA doesn't validate {domain} by DNS, and nothing else can be done here."
            )
        challenge = found[0]
        if challenge.status != messages.STATUS_PENDING:
            continue  # the CA is looking
        if challenge.error is not None:  # smallstep's CAs look again whenever they are asked
            proofs.waits.append(f"The CA could not validate {domain} yet. {plain(challenge.error)}")
        at = dcv.lookup.target(challenge.chall.validation_domain_name(domain))
        value = challenge.chall.validation(key)
        record = {"url": url, "name": at.to_text(), "value": value}
        if not journal.note(**record):
            dcv.driver.add(at, value)
            journal.put_there(**record)
        if missing := dcv.lookup.missing_at(at, value):
            proofs.waits.append(f"{domain}: {'; '.join(missing)}.")
            continue
        try:
            with translated(title, Doing.ASKING):
                connection.post(challenge.uri, Payload({}))
            proofs.looks = True
        except BackendRefused as error:  # another process has answered it meanwhile; the order tells
            log.info("%s: the challenge for %s was not taken: %s", config.name, domain, error.detail)
    return proofs
