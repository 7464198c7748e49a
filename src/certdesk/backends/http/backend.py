"""What the thin clients of vendors' APIs share: asking within limits, looking up before sending, the chain.

A client says how its CA is asked: `_look_up`, `_order`, `_outcome`, `_revoke` and `_probe`.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.backends.chains import (
    chain_check,
    one_line,
    refuse_outliving,
    refuse_unknown_reason,
    signed,
    without_repeats,
)
from certdesk.backends.credentials import open_to_everybody
from certdesk.backends.http.config import HttpConfig, read_config
from certdesk.backends.http.transport import Exchanges, Reply, read_secret
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    Misconfigured,
    OutcomeUnknown,
    Unavailable,
)
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import UNREADABLE, Absent, Accepted, Intent, Issued, Outcome
from certdesk.domain.issuing.profiles import BACKDATE

#: As for the other CAs: longer than any claim's first send takes to begin, and shorter than the ten seconds
#: after which another process takes a claim over.
JUST_CLAIMED = timedelta(seconds=5)
_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY, _SERVER_ERROR = 401, 403, 429, 500
_MOST_TOLD = 300
#: Shorter ones stand in too many words.
_LEAST_SECRET = 4
#: A CA that asks for more patience than this is asked again nevertheless.
_LONGEST_PAUSE = 15 * 60.0
#: What a CA asks for that says "too many" and not until when.
_PAUSE = 30.0
#: The numbers that a CA acknowledges with are recorded, shown, and put into paths.
_HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")

_Config = TypeVar("_Config", bound=HttpConfig)


def utc_now() -> datetime:
    return datetime.now(UTC)


class HttpBackend(Generic[_Config]):
    """A CA behind an HTTP API, which takes its time. Safe to share between threads."""

    inline = False
    #: Below the address.
    base_path: ClassVar[str] = "/"
    config_type: ClassVar[type[HttpConfig]]

    def __init__(self, config: _Config, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Asks nobody yet. Raises Misconfigured when a file can't be used."""
        self.name, self.title = config.name, config.title or config.name
        self._config, self._clock = config, clock
        self._secrets: set[str] = set()
        self._quiet_until = 0.0  # monotonic
        self._known_chain: tuple[bytes, ...] = ()
        self._exchanges = Exchanges(
            name=config.name,
            base_url=config.address.rstrip("/") + self.base_path,
            ca_file=config.ca_file,
            connect_seconds=config.connect_seconds,
            auth=self._auth(),
        )
        if config.chain_file is not None:
            try:
                self._known_chain = ordered(x509.load_pem_x509_certificates(config.chain_file.read_bytes()))
            except (OSError, *UNREADABLE) as error:
                reason = getattr(error, "strerror", None) or "it holds no certificates in PEM"
                raise config.wrong("chain_file", f"{config.chain_file}: {reason}") from None

    @classmethod
    def from_settings(cls, *, name: str, settings: Mapping[str, object]) -> Self:
        """The back end for plain settings. Raises Misconfigured."""
        return cls(read_config(cls.config_type, name=name, settings=settings))  # type: ignore[arg-type]  # the subclass's

    def poll(self, intent: Intent, handle: str) -> Outcome:  # noqa: ARG002 - the number is enough
        """What has become of the request with the CA's number. Raises Unavailable, Misconfigured."""
        return self._outcome(handle, until=self._until())

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """Returns once the CA says that it is revoked.

        Raises: BackendRefused for another CA's certificate, or a reason that RFC 5280 does not know;
        OutcomeUnknown while it awaits somebody at the CA, or its answer is lost; Unavailable, Misconfigured.
        """
        refuse_unknown_reason(reason)
        try:
            leaf = x509.load_der_x509_certificate(certificate_der)
            serial = f"{leaf.serial_number:X}"
        except UNREADABLE as error:
            raise BackendRefused("This certificate can't be read.") from error
        self._revoke(leaf, serial if len(serial) % 2 == 0 else f"0{serial}", reason=reason)

    def check(self) -> tuple[Check, ...]:
        """Files that others can read; whether the CA answers and takes our credentials; its chain."""
        found = list(open_to_everybody(self._config.secret_files))
        try:
            found += self._probe(until=self._until())
        except Misconfigured as error:
            return (*found, Check("backend.misconfigured", Verdict.REFUSE, error.detail))
        except BackendError as error:
            return (*found, Check("backend.unreachable", Verdict.REFUSE, error.detail))
        chain = self.chain()
        told = "The CA answers. Its chain is known once it has issued, or from a chain_file."
        last = chain_check(chain, now=self._clock()) if chain else Check("backend.ready", Verdict.PASS, told)
        return (*found, last)

    def chain(self) -> tuple[bytes, ...]:
        """From `chain_file`, else as it came with the last certificate that this process has fetched."""
        return self._known_chain

    def _auth(self) -> httpx2.Auth | None:
        """How a connection is signed in, where it is."""
        return None

    def _outcome(self, handle: str, *, until: float) -> Outcome:
        raise NotImplementedError

    def _revoke(self, leaf: x509.Certificate, serial: str, *, reason: str) -> None:
        """`serial` is in hexadecimal, big letters, an even number of them."""
        raise NotImplementedError

    def _probe(self, *, until: float) -> Iterator[Check]:
        """Asks for something that needs our credentials; findings besides. Raises BackendError."""
        raise NotImplementedError

    def _told(self, reply: Reply) -> str:
        """What the CA says was wrong, as `_plain` makes it."""
        raise NotImplementedError

    def _ask(
        self,
        method: str,
        path: str,
        *,
        until: float,
        acting: bool = False,
        headers: Mapping[str, str],
        **content: Any,
    ) -> Reply:
        """The answer, where it is one of success (2xx) or about what was asked (4xx).

        Raises: Unavailable when nothing was done; OutcomeUnknown when it may have been; Misconfigured for
        credentials that are not taken.
        """
        now = time.monotonic()
        if now < self._quiet_until:
            raise Unavailable(f"{self.title} takes no more for {self._quiet_until - now:.0f} seconds.")
        reply = self._exchanges.exchange(method, path, until=until, acting=acting, headers=headers, **content)
        if reply.status == _TOO_MANY:
            self._quiet_until = time.monotonic() + _pause(reply.headers.get("retry-after", ""), self._clock())
            raise Unavailable(f"{self.title} takes no more at present (429).")
        if httpx2.codes.is_redirect(reply.status):
            raise Unavailable(f"{self.title} redirects ({reply.status}). Give its own address.")
        if reply.status >= _SERVER_ERROR:
            told = f"{reply.status} {self._told(reply)}".rstrip()
            raise self._exchanges.lost(f"it failed ({told})", acting=acting)
        if reply.status in (_UNAUTHORIZED, _FORBIDDEN):
            told = self._told(reply) or str(reply.status)
            raise Misconfigured(
                f"{self.title} does not let us ({told}). Check the credentials, and what they may do."
            )
        return reply

    def _refused(self, reply: Reply) -> BackendRefused:
        return BackendRefused(
            f"The CA refused: {self._told(reply) or f'it gave no reason ({reply.status})'}."
        )

    def _read(self, reply: Reply) -> object:
        """The JSON of an answer to a question. Raises Misconfigured for an error, Unavailable for no JSON."""
        if not reply.is_good:
            told = self._told(reply) or str(reply.status)
            raise Misconfigured(f"{self.title} does not answer as it should ({told}). Check the settings.")
        data = reply.data
        if data is None:
            raise self._exchanges.lost("its answer can't be read", acting=False)
        return data

    def _handle(self, found: object) -> str:
        """The CA's number as it can be recorded. Raises OutcomeUnknown for none, after it was asked."""
        handle = str(found) if isinstance(found, (int, str)) and not isinstance(found, bool) else ""
        if not _HANDLE.fullmatch(handle):
            raise OutcomeUnknown(f"{self.title} took the request, and gave no number for it.")
        return handle

    def _issued(self, certificates: list[x509.Certificate]) -> Issued:
        """The certificate and what came with it, in the order of their signatures; the engine judges them.

        Raises: Unavailable for none that can be read; it is fetched again.
        """
        try:
            chain = ordered(certificates)
            above = self._known_chain
            if len(chain) == 1 and above and signed(x509.load_der_x509_certificate(chain[0]), above[0]):
                chain += above
        except UNREADABLE:
            chain = ()
        if not chain:
            raise Unavailable(f"{self.title} has sent something that is no certificate.")
        if self._config.chain_file is None and len(chain) > 1:
            self._known_chain = chain[1:]
        return Issued(chain=without_repeats(chain))

    def _issued_pem(self, reply: Reply) -> Issued:
        """The same for an answer in PEM."""
        try:
            certificates = x509.load_pem_x509_certificates(reply.content) if reply.is_good else []
        except UNREADABLE:
            certificates = []
        return self._issued(certificates)

    def _secret(self, path: Path, *, what: str, in_header: bool = True) -> str:
        """What a file holds. It is struck from what the CA says. Raises Misconfigured."""
        found = read_secret(path, name=self._config.name, what=what, in_header=in_header)
        self._secrets.add(found)
        return found

    def _plain(self, text: object) -> str:
        """A CA's words as they can be stored and shown: one line, not too long, without our secrets."""
        told = text if isinstance(text, str) else ""
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) >= _LEAST_SECRET:
                told = told.replace(secret, "…")
        return one_line(told, most=_MOST_TOLD).rstrip(".")

    def _until(self) -> float:
        return time.monotonic() + self._config.total_seconds


class FindingBackend(HttpBackend[_Config]):
    """One whose CA can be asked for what it has of an intent, which is done before anything is sent."""

    def submit(self, intent: Intent) -> Outcome:
        """Orders it, unless it was ordered.

        Raises: Unavailable (for credentials that are not taken, too), BackendRefused, OutcomeUnknown.
        """
        until = self._until()
        try:
            found = self._look_up(intent, until=until)
            if not isinstance(found, Absent):
                return found
            if JUST_CLAIMED < self._age(intent) < timedelta(seconds=self._config.settle_seconds):
                raise self._unsettled()
            if self._config.chain_file is not None:  # else the CA may well take another issuer this time
                refuse_outliving(self._known_chain, intent.not_after)
            return Accepted(handle=self._handle(self._order(intent, until=until)))
        except Misconfigured as error:  # nothing was done, and it may be mended
            raise Unavailable(error.detail) from error

    def find(self, intent: Intent) -> Outcome | Absent:
        """What the CA has of an earlier submit.

        Raises: OutcomeUnknown while it may still be at work on one; Unavailable, Misconfigured.
        """
        found = self._look_up(intent, until=self._until())
        if isinstance(found, Absent) and self._age(intent) < timedelta(seconds=self._config.settle_seconds):
            raise self._unsettled()
        return found

    def _look_up(self, intent: Intent, *, until: float) -> Outcome | Absent:
        raise NotImplementedError

    def _order(self, intent: Intent, *, until: float) -> object:
        """Asks for the certificate; returns the CA's number. Raises as `submit` does, and Misconfigured."""
        raise NotImplementedError

    def _age(self, intent: Intent) -> timedelta:
        return self._clock() - (intent.not_before + BACKDATE)

    def _unsettled(self) -> OutcomeUnknown:
        return OutcomeUnknown(f"{self.title} has no such request yet, and may still be at work on it.")


def csr_pem(intent: Intent) -> str:
    """Raises BackendRefused for a CSR that can't be read."""
    try:
        return x509.load_der_x509_csr(intent.csr_der).public_bytes(Encoding.PEM).decode()
    except UNREADABLE as error:
        raise BackendRefused("The CSR can't be read.") from error


def whole_days(intent: Intent, *, now: datetime) -> int:
    """The days to ask for so that a certificate that fills the last of them ends in time.

    Vendors' certificates run to the last second of a day. Raises BackendRefused for none.
    """
    days = (intent.not_after - now).days - 1
    if days < 1:
        raise BackendRefused("The CA issues for whole days, and the certificate is to end sooner.")
    return days


def ordered(certificates: list[x509.Certificate]) -> tuple[bytes, ...]:
    """The certificate that is no CA's, then its issuers as far as they are there, DER.

    CAs send them in any order. Raises one of UNREADABLE; empty for none.
    """
    chain = sorted(certificates, key=_is_above)[:1]
    while chain and chain[-1].issuer != chain[-1].subject:
        above = [one for one in certificates if one.subject == chain[-1].issuer and one not in chain]
        above = [one for one in above if signed(chain[-1], one.public_bytes(Encoding.DER))]
        if not above:
            break
        chain.append(above[0])
    return tuple(one.public_bytes(Encoding.DER) for one in chain)


def _is_above(certificate: x509.Certificate) -> tuple[bool, bool]:
    """Sorts CAs behind, and roots behind those."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_ca = constraints.ca
    except x509.ExtensionNotFound:
        is_ca = False
    return is_ca, certificate.issuer == certificate.subject


def _pause(retry_after: str, now: datetime) -> float:
    """Seconds to leave it alone, from a Retry-After (RFC 9110 10.2.3)."""
    try:
        seconds = float(retry_after) if retry_after.isdecimal() else _seconds_to(retry_after, now)
    except (ValueError, TypeError, OverflowError):
        seconds = _PAUSE
    return min(max(seconds, 1.0), _LONGEST_PAUSE)


def _seconds_to(date: str, now: datetime) -> float:
    return (parsedate_to_datetime(date) - now).total_seconds()
