"""The scripted CA as a back end: it looks up what it shall do with a request, records it, and does it.

It answers at once, if only to say that it will take its time; what was recorded never changes, so that the
same idempotency key always gets the same answer.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509

from certdesk.backends.base import Listed
from certdesk.backends.chains import refuse_unknown_reason
from certdesk.backends.scripted.authority import open_or_make, sign_leaf
from certdesk.backends.scripted.config import Behaviour, Revoking, Rule, ScriptedConfig, read_config
from certdesk.backends.scripted.orders import ORDERS, Order, Orders
from certdesk.domain.errors import BackendRefused, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import Absent, Accepted, Intent, Issued, Outcome, Refused

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
#: What WRONG_NAMES certifies instead of what was asked for.
WRONG_NAME = "somebody-else.example.org"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ScriptedBackend:
    """A CA that does as its rules say. Several processes may work with the same folder."""

    inline = True
    lists_all = True
    #: The composition root sets such a CA up in the demo alone.
    for_tests_and_demo = True

    def __init__(self, config: ScriptedConfig, *, clock: Callable[[], datetime] = _utc_now) -> None:
        """Makes the CA on first use. Raises Misconfigured when its files can't be used."""
        self.name, self.title = config.name, config.title
        self._config, self._clock = config, clock
        self._authority = open_or_make(
            config.directory, config.passphrase, now=clock(), may_create=config.may_create
        )
        self._orders = Orders(config.directory / ORDERS)

    @classmethod
    def from_settings(cls, *, name: str, settings: Mapping[str, object]) -> Self:
        """The back end for plain settings. Raises Misconfigured."""
        return cls(read_config(name=name, settings=settings))

    def submit(self, intent: Intent) -> Outcome:
        """Does as the rule for the intent's names says; the same key again gets the recorded answer.

        Raises: Unavailable before anything is recorded; OutcomeUnknown after it, once.
        """
        order = self._orders.by_key(intent.idempotency_key)
        if order is not None:
            return self._outcome(order)
        rule = self._config.rule_for(intent.names)
        # The same for every attempt at the same request: each attempt has a key of its own.
        content = hashlib.sha256(
            b"\0".join([intent.spki_der, *(n.encode() for n in intent.names)])
        ).hexdigest()
        if rule.behaviour is Behaviour.UNAVAILABLE and self._orders.knock(content) <= rule.tries:
            raise Unavailable(f"{self.title} does not answer.")
        recorded = self._record(intent, rule)
        if recorded and rule.behaviour is Behaviour.TIMEOUT_AFTER_ACCEPTING:
            raise OutcomeUnknown(f"{self.title} took the request, and its answer was lost.")
        order = self._orders.by_key(intent.idempotency_key)
        if order is None:
            raise OutcomeUnknown(f"{self.title} has lost the order that it has just recorded.")
        return self._outcome(order)

    def poll(self, intent: Intent, handle: str) -> Outcome:  # noqa: ARG002 - an order's number is enough here
        """What has become of the order of this number. Raises BackendRefused when there is none."""
        order = self._orders.by_handle(handle)
        if order is None:
            raise BackendRefused(f"{self.title} knows no order “{handle}”.")
        return self._outcome(order)

    def find(self, intent: Intent) -> Outcome | Absent:
        order = self._orders.by_key(intent.idempotency_key)
        return Absent() if order is None else self._outcome(order)

    def listed(self, *, since: datetime) -> Iterator[Listed]:
        """See the protocol; what an order has not settled yet is not there."""
        revoked, now = self._orders.revocations(), self._clock()
        for key, at, der in self._orders.issued(since=min(since, now)):
            reason, ended_at = revoked.pop(der, ("", None))
            if at <= now:
                yield _listed(der, at=at, revoked_at=ended_at, reason=reason, key=key)
        for der, (reason, ended_at) in revoked.items():
            yield _listed(der, at=None, revoked_at=ended_at, reason=reason)

    def fetch(self, listed: Listed) -> Listed | None:
        """See the protocol."""
        everything = datetime.fromtimestamp(0, UTC)
        return next((one for one in self.listed(since=everything) if one.serial == listed.serial), None)

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """Does as the rule for the certificate's names says; revoking once more changes nothing.

        Raises: BackendRefused for another CA's certificate or an unknown reason as well; Unavailable before
        anything is recorded, OutcomeUnknown after it.
        """
        refuse_unknown_reason(reason)
        if not self._orders.knows_leaf(certificate_der):
            raise BackendRefused("This certificate was not issued by this CA.")
        extensions = x509.load_der_x509_certificate(certificate_der).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        rule = self._config.rule_for(names.get_values_for_type(x509.DNSName))
        fails = rule.revoking in (Revoking.UNAVAILABLE, Revoking.ANSWER_LOST)
        fails = fails and self._orders.knock(hashlib.sha256(certificate_der).hexdigest()) <= rule.tries
        if rule.revoking is Revoking.REFUSE:
            raise BackendRefused(rule.reason)
        if fails and rule.revoking is Revoking.UNAVAILABLE:
            raise Unavailable(f"{self.title} does not answer.")
        self._orders.revoke(certificate_der, reason=reason, at=self._clock())
        if fails:
            raise OutcomeUnknown(f"{self.title} has revoked it, and its answer was lost.")

    def check(self) -> tuple[Check, ...]:
        message = f"{self.title} delays, refuses and errs as its rules say. It is for tests and the demo."
        return (Check("backend.tests_and_demo_only", Verdict.WARN, message),)

    def chain(self) -> tuple[bytes, ...]:
        return self._authority.chain

    def _record(self, intent: Intent, rule: Rule) -> bool:
        """Decides, once and for all; False when another process has just done so."""
        problem = "" if intent.names else "There is no name to certify."
        for name in intent.names:  # no CA could certify what is no host's
            if not all(_LABEL.fullmatch(label) for label in name.removeprefix("*.").split(".")):
                problem = f"“{name}” is not the name of a host."
                break
        refused = rule.behaviour in (Behaviour.REFUSE, Behaviour.ACCEPT_THEN_REFUSE)
        reason = problem or (rule.reason if refused else "")
        # Only a CA that acknowledges can take its time, or lose its answer and then take its time.
        slow = (Behaviour.ACCEPT, Behaviour.ACCEPT_THEN_REFUSE, Behaviour.TIMEOUT_AFTER_ACCEPTING)
        delay = timedelta(0) if problem or rule.behaviour not in slow else rule.delay
        names = (WRONG_NAME,) if rule.behaviour is Behaviour.WRONG_NAMES else intent.names
        return self._orders.add(
            key=intent.idempotency_key,
            settles_at=self._clock() + delay,
            leaf=None if reason else sign_leaf(self._authority, intent, names=names),
            reason=reason,
        )

    def _outcome(self, order: Order) -> Outcome:
        if self._clock() < order.settles_at:
            return Accepted(handle=order.handle)
        if order.leaf is None:
            return Refused(reason=order.reason)
        return Issued(chain=(order.leaf, *self._authority.chain))


def _listed(
    der: bytes, *, at: datetime | None, revoked_at: datetime | None, reason: str, key: str = ""
) -> Listed:
    serial = x509.load_der_x509_certificate(der).serial_number
    return Listed(
        serial=serial,
        key=key,
        issued_at=at,
        is_revoked=revoked_at is not None,
        revoked_at=revoked_at,
        reason=reason,
        der=der,
    )
