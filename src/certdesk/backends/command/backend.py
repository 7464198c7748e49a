"""A CA behind a program of the site's own: docs/cas.md is the contract, docs/examples has programs.

That the same intent again yields no second certificate is the program's duty; it has the idempotency key.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509

from certdesk.backends.base import Listed
from certdesk.backends.chains import (
    chain_check,
    outlives,
    refuse_outliving,
    refuse_unknown_reason,
    signed,
    without_repeats,
)
from certdesk.backends.command import messages
from certdesk.backends.command.config import CommandConfig, read_config
from certdesk.backends.command.messages import Unreadable
from certdesk.backends.command.process import Ended, plain, run
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    Misconfigured,
    OutcomeUnknown,
    Unavailable,
)
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import (
    UNREADABLE,
    Absent,
    Accepted,
    Intent,
    Issued,
    Outcome,
    Refused,
)

#: For so long the CA's chain is not asked for again.
_CHAIN_SECONDS = 60.0
_MOST_PAGES = 10_000
#: sysexits.h, EX_TEMPFAIL: the program's word that nothing has reached the CA.
_NOTHING_SENT = 75
#: Acts after which the CA may have changed something, whatever became of the program.
_ACTING = frozenset({"submit", "poll", "revoke"})

_OTHER = "its outcome does not answer what was asked"

T = TypeVar("T")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CommandBackend:
    """One program, started anew for each act. Safe to share between threads."""

    inline = True

    def __init__(self, config: CommandConfig, *, clock: Callable[[], datetime] = _utc_now) -> None:
        """Runs nothing yet. Raises Misconfigured when `chain_file` can't be used."""
        self.name, self.title = config.name, config.title or config.name
        self._config, self._clock = config, clock
        self._known_chain: tuple[bytes, ...] = ()
        self._read_again_at = 0.0  # monotonic
        if config.chain_file is not None:
            self._known_chain = self._read_chain(until=self._until())

    @classmethod
    def from_settings(cls, *, name: str, settings: Mapping[str, object]) -> "CommandBackend":
        """The back end for plain settings, which say whether it finds and lists. Raises Misconfigured."""
        config = read_config(name=name, settings=settings)
        kinds = {
            (True, False): FindingCommandBackend,
            (False, True): ListingCommandBackend,
            (True, True): FindingAndListingCommandBackend,
        }
        return kinds.get((config.can_find, config.can_list), cls)(config)

    def submit(self, intent: Intent) -> Outcome:
        """Raises: Unavailable when nothing was sent, BackendRefused, OutcomeUnknown."""
        until = self._until()
        if not self._known_chain or outlives(self._known_chain, intent.not_after):
            self._read_again_at = 0.0  # the CA may have been renewed
            refuse_outliving(self._chain(until=until), intent.not_after)
        return self._asked("submit", self._outcome(until=until), until=until, intent=_intent(intent))

    def poll(self, intent: Intent, handle: str) -> Outcome:
        """Raises: Unavailable, BackendRefused, OutcomeUnknown."""
        until = self._until()
        about = {"intent": _intent(intent), "handle": handle}
        return self._asked("poll", self._outcome(until=until), until=until, **about)

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """Raises: Unavailable, OutcomeUnknown; BackendRefused, as for a reason that is none of RFC 5280's."""
        refuse_unknown_reason(reason)
        try:
            pem = messages.pem(certificate_der)
        except UNREADABLE as error:
            raise BackendRefused("This certificate can't be read.") from error

        def read(said: Mapping[str, object]) -> None:
            if said["outcome"] == "refused":
                raise BackendRefused(self._reason(said))
            _expect(said, "revoked")

        self._asked("revoke", read, until=self._until(), certificate=pem, reason=reason)

    def check(self) -> tuple[Check, ...]:
        """What the program finds, and its chain. One that can't be asked is not asked for more."""

        def read(said: Mapping[str, object]) -> list[Check]:
            _expect(said, "checked")
            return [replace(one, message=self._plain(one.message)) for one in messages.findings_of(said)]

        until = self._until()
        try:
            self._config.refuse_unsafe()
            found = self._asked("check", read, until=until)
            self._read_again_at = 0.0
            return (*found, chain_check(self._read_chain(until=until), now=self._clock()))
        except Misconfigured as error:
            return (Check("backend.misconfigured", Verdict.REFUSE, error.detail),)
        except BackendError as error:
            return (Check("backend.unreachable", Verdict.REFUSE, error.detail),)

    def chain(self) -> tuple[bytes, ...]:
        """The issuing CA and those above it; what was read last where it can't be read now.

        Not asked for at each call: anybody may have us look, over HTTP.
        """
        return self._chain(until=self._until())

    def _chain(self, *, until: float) -> tuple[bytes, ...]:
        now = time.monotonic()
        if now >= self._read_again_at:
            self._read_again_at = now + _CHAIN_SECONDS
            try:
                self._known_chain = self._read_chain(until=until)
            except BackendError:
                return self._known_chain
        return self._known_chain

    def _read_chain(self, *, until: float) -> tuple[bytes, ...]:
        """Raises Misconfigured, Unavailable."""
        path = self._config.chain_file
        if path is not None:
            try:
                return messages.chain_of({"chain": [path.read_text(encoding="ascii")]})
            except (OSError, UnicodeDecodeError, Unreadable) as error:
                reason = getattr(error, "strerror", None) or "it holds no certificates in PEM"
                told = f"Back end {self.name}: chain_file {path} can't be used: {reason}."
                raise Misconfigured(told) from None

        def read(said: Mapping[str, object]) -> tuple[bytes, ...]:
            _expect(said, "chain")
            return without_repeats(messages.chain_of(said))

        return self._asked("chain", read, until=until)

    def _outcome(self, *, until: float) -> Callable[[Mapping[str, object]], Outcome]:
        """Reads the outcome of `submit`, `poll` and `find`; what it reads raises Unreadable."""

        def read(said: Mapping[str, object]) -> Outcome:
            match said["outcome"]:
                case "issued":
                    return Issued(chain=self._completed(messages.chain_of(said), until=until))
                case "accepted":
                    return Accepted(handle=messages.handle_of(said))
                case "refused":
                    return Refused(reason=self._reason(said))
            raise Unreadable(_OTHER)

        return read

    def _completed(self, chain: tuple[bytes, ...], *, until: float) -> tuple[bytes, ...]:
        """With what stands above, where the program left it out; the engine judges the whole.

        Raises: Unreadable for a certificate alone while the CA's can't be read: it is not to be withheld.
        """
        above = self._chain(until=until)
        if chain[-1] in above:
            chain += above[above.index(chain[-1]) + 1 :]
        elif above and signed(x509.load_der_x509_certificate(chain[-1]), above[0]):
            chain += above
        if len(chain) == 1 and not above:
            raise Unreadable("it printed the certificate alone, and the CA's can't be read")
        return without_repeats(chain)

    def _reason(self, said: Mapping[str, object]) -> str:
        return self._plain(messages.text_of(said, "reason")) or "The CA refused and gave no reason."

    def _plain(self, text: str) -> str:
        return plain(self._config, text)

    def _until(self) -> float:
        return time.monotonic() + self._config.timeout_seconds

    def _asked(
        self, act: str, read: Callable[[Mapping[str, object]], T], *, until: float, **about: object
    ) -> T:
        """What the program says to an act, as `read` understands it.

        Raises: Unavailable when nothing has reached the CA, or nothing was to change there; OutcomeUnknown.
        """
        ended = run(self._config, act, messages.question(act, **about), until=until)
        if ended.status == _NOTHING_SENT and not ended.fault:
            raise Unavailable(f"{self.title} can't be reached, says the program that asks it.")
        try:
            said = messages.answer(_printed(ended))
            if said["outcome"] == "unavailable":
                detail = self._plain(messages.text_of(said, "detail"))
                raise Unavailable(f"{self.title} can't be reached. {detail}".strip())
            return read(said)
        except Unreadable as error:
            kind = OutcomeUnknown if act in _ACTING else Unavailable
            raise kind(f"{self.title}: the program that asks the CA failed: {error}.") from error


class FindingCommandBackend(CommandBackend):
    """One whose program answers `find`: after a crash or a lost answer it is asked before anything else."""

    def find(self, intent: Intent) -> Outcome | Absent:
        """Raises: Unavailable when the program can't tell, BackendRefused."""
        until = self._until()

        def read(said: Mapping[str, object]) -> Outcome | Absent:
            return Absent() if said["outcome"] == "absent" else self._outcome(until=until)(said)

        return self._asked("find", read, until=until, intent=_intent(intent))


class ListingCommandBackend(CommandBackend):
    """One whose program answers `list`: everything that the CA has issued since a moment, page by page."""

    lists_all = True

    def listed(self, *, since: datetime) -> Iterator[Listed]:
        """Raises Unavailable, also where the pages do not end."""

        def read(said: Mapping[str, object]) -> tuple[list[Listed], str]:
            _expect(said, "listed")
            return messages.listed_of(said)

        at, about = f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", dict[str, object]()
        for _page in range(_MOST_PAGES):
            page, following = self._asked("list", read, until=self._until(), since=at, **about)
            yield from page
            if not following:
                return
            about = {"after": following}
        raise Unavailable(f"{self.title}: the list of the program that asks the CA has no end.")

    def fetch(self, listed: Listed) -> Listed | None:
        """The same: its list tells everything."""
        return listed if listed.der else None


class FindingAndListingCommandBackend(FindingCommandBackend, ListingCommandBackend):
    """One whose program answers both."""


def _printed(ended: Ended) -> bytes:
    """Its output, where it ended well. Raises Unreadable."""
    if ended.fault:
        raise Unreadable(f"{ended.fault} and was stopped")
    if ended.status != 0:
        raise Unreadable(
            f"it ended with status {ended.status}" if ended.status > 0 else f"signal {-ended.status} ended it"
        )
    return ended.output


def _expect(said: Mapping[str, object], outcome: str) -> None:
    """Raises Unreadable for another one."""
    if said["outcome"] != outcome:
        raise Unreadable(_OTHER)


def _intent(intent: Intent) -> Mapping[str, object]:
    try:
        return messages.intent_json(intent)
    except UNREADABLE as error:
        raise BackendRefused("The CSR can't be read.") from error
