"""What every back end offers, and the capabilities that some have. No CA's own ways live here.

Results are types; exceptions are `domain.errors.BackendError`: Unavailable (nothing reached the CA),
OutcomeUnknown (it may have acted), BackendRefused, Misconfigured.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from certdesk.domain.acme.renewal import Window
from certdesk.domain.findings import Check
from certdesk.domain.issuing.certificates import Absent, Intent, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedEntry:
    """One line of a CRL; `reason` is a name of RFC 5280 5.3.1 such as `keyCompromise`, or empty."""

    serial: int
    revoked_at: datetime
    reason: str = ""


@runtime_checkable
class Backend(Protocol):
    """A CA that can be asked for certificates.

    `inline` says that it answers fast enough to be asked while a person waits.
    """

    @property
    def name(self) -> str:
        """The name that the configuration gives it; intents record it."""

    @property
    def title(self) -> str:
        """What people read."""

    @property
    def inline(self) -> bool:
        """Whether `submit` answers within a web request."""

    def submit(self, intent: Intent) -> Outcome:
        """Asks for the certificate. The same intent again never yields a second, different certificate."""

    def poll(self, intent: Intent, handle: str) -> Outcome:
        """What has become of an accepted request; `handle` is what the CA acknowledged it with."""

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """Revokes; `reason` is a name of RFC 5280 5.3.1. Returns once the CA has taken it.

        The same again does no harm: a certificate that the CA has revoked already is no refusal.
        """

    def check(self) -> tuple[Check, ...]:
        """Whether the CA can be used now; never raises."""

    def chain(self) -> tuple[bytes, ...]:
        """The issuing CA's certificate and those above it, DER, up to the root where known.

        Empty while it is not known: some CAs show it with a certificate only.
        """


@runtime_checkable
class Prepares(Protocol):
    """A back end that fixes serial and content before anything is signed."""

    def prepare(self, intent: Intent) -> Intent:
        """The intent with `serial` and linted `tbs`; does no I/O.

        Raises: BackendRefused when lint or the CA's own limits stop it.
        """


@runtime_checkable
class ShowsSpecimens(Protocol):
    """A back end that can show what it would sign, before there is anything to sign."""

    def specimen(self, intent: Intent) -> bytes:
        """The certificate for an intent as DER, signed with a throw-away key and not linted; no I/O.

        Raises: BackendRefused when the CA's own limits stop it.
        """


@runtime_checkable
class Finds(Protocol):
    """A back end that can tell after a crash whether it had acted."""

    def find(self, intent: Intent) -> Outcome | Absent:
        """What became of an earlier submit of this intent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A certificate as the list of a CA has it, which may tell less than `fetch` does.

    `number` is the CA's own for it. `key` is the idempotency key of the intent that it was issued for, where
    the CA keeps that. Without `issued_at` the list tells of a revocation alone. `above` are the DER
    certificates above it; where there are none it hangs below the CA's chain. `reason` is as for `revoke`.
    """

    number: str = ""
    serial: int | None = None
    key: str = ""
    issued_at: datetime | None = None
    is_revoked: bool = False
    revoked_at: datetime | None = None
    reason: str = ""
    der: bytes = b""
    above: tuple[bytes, ...] = ()


@runtime_checkable
class Lists(Protocol):
    """A back end that can say which certificates it has issued, whoever asked for them."""

    @property
    def lists_all(self) -> bool:
        """Whether the CA does not have what is not in its list, and no longer stands by it."""

    def listed(self, *, since: datetime) -> Iterator[Listed]:
        """What was issued since then, and everything revoked that the CA can tell, whenever it was issued.

        In any order, page by page, and perhaps twice. Raises Unavailable, Misconfigured, also amid the list.
        """

    def fetch(self, listed: Listed) -> Listed | None:
        """The same with everything that the CA knows, DER at least; None where it has no such certificate.

        By `number`, else by `serial`. Raises as `listed` does.
        """


@runtime_checkable
class ChoosesValidity(Protocol):
    """A CA that says itself how long a certificate runs; an intent's `not_after` is a wish at most.

    A certificate that runs longer than was intended is found when it is compared, and withheld.
    """

    @property
    def chooses_validity(self) -> bool:
        """Whether it does, as it is set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """When a CA wants a certificate to be renewed, and when to ask it again."""

    window: Window
    ask_again_at: datetime


@runtime_checkable
class SuggestsRenewal(Protocol):
    """A CA that says when to renew, which may be at once: before it revokes, for instance (RFC 9773)."""

    def suggested_window(self, *, certificate_der: bytes) -> Suggestion | None:
        """Its word on a certificate that it has issued; None where it gives none. Asks the CA."""


@runtime_checkable
class PublishesCrl(Protocol):
    """A back end whose revocation list is ours to publish."""

    def crl(
        self, *, revoked: Iterable[RevokedEntry], number: int, this_update: datetime, next_update: datetime
    ) -> bytes:
        """The signed CRL, DER (RFC 5280 5)."""
