"""The embedded CA as a back end: prepare, lint, record elsewhere, sign exactly what was recorded.

It keeps no rows: intents and revocations are stored by the services and handed in when they are needed. Its
journal, if it has one, is written and never asked by anything but a reconciliation.
"""

import functools
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.backends.base import Listed, RevokedEntry
from certdesk.backends.chains import refuse_unknown_reason
from certdesk.backends.credentials import open_to_everybody
from certdesk.backends.embedded.authority import open_authority
from certdesk.backends.embedded.config import EmbeddedConfig, read_config
from certdesk.backends.embedded.constraints import forbidden, limits_of
from certdesk.backends.embedded.encoding import issuer_parts, sign_crl, signed, specimen_of
from certdesk.backends.embedded.journal import Journal
from certdesk.backends.embedded.keys import Signer
from certdesk.backends.own_ca import Authority
from certdesk.domain.errors import BackendRefused, InvalidInput, InvariantViolated, Unavailable
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import UNREADABLE, Intent, Issued, Outcome
from certdesk.domain.issuing.lint import Finding, blocking, lint_certificate
from certdesk.domain.issuing.lint_shapes import SHAPES, How

#: BR 7.1.2.7 asks for 64 random bits and RFC 5280 for at most 20 octets. The top bit of 127 is always set,
#: so that every serial number is positive and 16 octets long.
_RANDOM_BITS = 126

#: Longer than the longest term: a CA that ends sooner can't serve every applicant any more.
_RENEW_BEFORE = timedelta(days=4 * 365)
#: What a look at the key has signed: nothing that could be taken for a certificate.
_PROBE = b"Certdesk looks whether the key signs."


def _utc_now() -> datetime:
    return datetime.now(UTC)


class EmbeddedBackend:
    """A private CA inside Certdesk; answers at once. Safe to share between threads."""

    inline = True

    def __init__(
        self,
        config: EmbeddedConfig,
        *,
        authority: Authority[Signer] | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Raises Misconfigured when the CA's files can't be used."""
        self.name = config.slug
        self.title = config.name
        self._clock = clock
        self._lint_in_full, self._secret_files = config.lint_in_full, config.secret_files
        self._authority = authority or open_authority(config)
        issuing = self._authority.issuing
        self._parts = issuer_parts(issuing, issuer_url=config.issuer_url, crl_url=config.crl_url)
        self._specimen = functools.lru_cache(maxsize=256)(self._made_specimen)
        self._ends = min(ca.not_valid_after_utc for ca in (issuing, *self._authority.above))
        self._chain = self._authority.chain
        self._limits = limits_of((issuing, *self._authority.above))

    @classmethod
    def from_settings(cls, *, name: str, settings: Mapping[str, object]) -> "EmbeddedBackend":
        """The back end for plain settings, one that lists where it keeps a journal. Raises Misconfigured."""
        config = read_config(name=name, settings=settings)
        return cls(config) if config.journal is None else JournallingEmbeddedBackend(config)

    def prepare(self, intent: Intent) -> Intent:
        """The intent with a fresh serial number (unless it has one) and the linted bytes to be signed.

        Raises: BackendRefused when the intent can't be encoded, outlives the CA, has names that are not
        the CA's to certify, or does not lint clean.
        """
        self._refuse_outliving(intent)
        serial = intent.serial if intent.serial is not None else _new_serial()
        numbered = replace(intent, serial=serial, tbs=None)
        specimen = self._specimen(numbered)
        _refuse_unclean(specimen, in_full=self._lint_in_full)
        return replace(numbered, tbs=specimen.tbs_certificate_bytes)

    def specimen(self, intent: Intent) -> bytes:
        """What `prepare` would lint, for a look at it: DER, signed with the throw-away key.

        Raises: BackendRefused when the intent can't be encoded, outlives the CA, or has names that are not
        the CA's to certify.
        """
        self._refuse_outliving(intent)
        return self._specimen(replace(intent, serial=_new_serial())).public_bytes(Encoding.DER)

    @property
    def is_repeatable(self) -> bool:
        """Whether a repeat yields the same signature too. The content is the same in any case."""
        return self._authority.key.is_repeatable

    def submit(self, intent: Intent) -> Outcome:
        """Signs the recorded bytes. Any number of repeats yields the same certificate, byte for byte but for
        the signature of a key that draws random numbers; whoever calls records one before it is handed out.

        Raises: InvariantViolated for an intent that was not prepared or that no longer yields those bytes;
        BackendRefused once the CA has ended; Unavailable where the HSM is.
        """
        if intent.tbs is None or intent.serial is None:
            raise InvariantViolated("an intent was submitted that had not been prepared")
        self._refuse_outliving(intent)
        # Encoded and linted again (remembered within the process) with the throw-away key: the CA's key only
        # ever meets bytes that were recorded and lint clean, whoever made the intent.
        specimen = self._specimen(replace(intent, tbs=None))
        if specimen.tbs_certificate_bytes != intent.tbs:
            raise InvariantViolated("the intent no longer yields the bytes that were recorded")
        _refuse_unclean(specimen, in_full=self._lint_in_full)
        return Issued(chain=(signed(intent.tbs, self._authority.key), *self._chain))

    def poll(self, intent: Intent, handle: str) -> Outcome:
        """Never called rightly: nothing is ever left open here."""
        told = f"the embedded CA answers at once, and was polled for {handle}: {intent.names}"
        raise InvariantViolated(told)

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """Checks that the certificate is this CA's. The caller's rows are the record that `crl` publishes.

        Raises: BackendRefused for another CA's certificate or a reason that RFC 5280 does not know.
        """
        refuse_unknown_reason(reason)
        try:
            certificate = x509.load_der_x509_certificate(certificate_der)
            certificate.verify_directly_issued_by(self._authority.issuing)
        except (*UNREADABLE, InvalidSignature) as error:
            raise BackendRefused("This certificate was not issued by this CA.") from error

    def check(self) -> tuple[Check, ...]:
        """Whether the CA can sign certificates of every term, and how this process has linted."""
        left, ends = self._ends - self._clock(), f"{self._ends:%-d %B %Y}"
        if left <= timedelta(0):
            told = "The CA's certificate has ended: it issues nothing any longer, and its CRL goes on."
            term = Check("backend.ca_ended", Verdict.REFUSE, told, seen=ends)
        elif left < _RENEW_BEFORE:
            told = "The issuing CA ends soon, and no certificate may outlive it. Plan a new embedded CA."
            term = Check("backend.ca_ends_soon", Verdict.WARN, told, seen=ends)
        else:
            told = "The CA's key is open and its certificate is valid."
            term = Check("backend.ready", Verdict.PASS, told, seen=ends)
        # Since the start; a certificate is linted for a preview as well.
        by_shape, new, other = (SHAPES.counts[how] for how in How)
        told = (
            f"Linted since this process started: {by_shape} by their shape, {new} in full as the first of "
            f"their shape, {other} in full for another reason."
        )
        if self._lint_in_full:
            told = f"Every certificate is linted in full before it is signed. {told}"
        lint = Check("backend.lint", Verdict.PASS, told, seen=f"{by_shape}/{new}/{other}")
        try:
            self._authority.key.sign(_PROBE)
        except Unavailable as error:
            term = Check("backend.key_unreachable", Verdict.REFUSE, error.detail)
        return (*open_to_everybody(self._secret_files), term, lint)

    def chain(self) -> tuple[bytes, ...]:
        return self._chain

    def crl(
        self, *, revoked: Iterable[RevokedEntry], number: int, this_update: datetime, next_update: datetime
    ) -> bytes:
        return sign_crl(
            revoked,
            parts=self._parts,
            key=self._authority.key,
            number=number,
            this_update=this_update,
            next_update=next_update,
        )

    def _refuse_outliving(self, intent: Intent) -> None:
        begins, ends = self._authority.issuing.not_valid_before_utc, self._ends
        if self._clock() >= ends:
            raise BackendRefused(
                f"The CA's own certificate ended on {ends:%d %B %Y}, so it issues nothing any longer. "
                "Ask the operator for another CA."
            )
        if intent.not_after > ends or intent.not_before < begins:
            span = f"{begins:%d %B %Y} to {ends:%d %B %Y}"
            raise BackendRefused(f"The CA itself is valid from {span}. Choose a duration within that time.")

    def _made_specimen(self, intent: Intent) -> x509.Certificate:
        """The certificate signed with the throw-away key, for a look at the bytes before they are signed."""
        try:
            specimen = specimen_of(intent, self._parts, self._authority.key.kind)
            names = ", ".join(forbidden(intent, self._limits))
        except InvalidInput as error:
            raise BackendRefused(error.detail) from error
        except (ValueError, TypeError) as error:
            raise BackendRefused(f"This can't be put into a certificate: {error}") from error
        if names:
            raise BackendRefused(f"The certificate of the CA itself does not allow it to certify {names}.")
        return specimen


class JournallingEmbeddedBackend(EmbeddedBackend):
    """One that writes down what it signs, and can say so after the database was restored from a backup."""

    #: A certificate from before there was a journal is as good as any other.
    lists_all = False

    def __init__(
        self,
        config: EmbeddedConfig,
        *,
        authority: Authority[Signer] | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Raises Misconfigured when the CA's files, or the journal's folder, can't be used."""
        super().__init__(config, authority=authority, clock=clock)
        if config.journal is None:
            raise InvariantViolated("a journal was to be kept nowhere")
        self._journal = Journal(config.journal)

    def submit(self, intent: Intent) -> Outcome:
        """As above; the certificate is in the journal before it is handed out. Raises Unavailable as well."""
        outcome = super().submit(intent)
        if isinstance(outcome, Issued):
            self._journal.issued(outcome.chain[0], key=intent.idempotency_key, at=self._clock())
        return outcome

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """As above, and it is in the journal. Raises Unavailable as well."""
        super().revoke(certificate_der=certificate_der, reason=reason)
        serial = x509.load_der_x509_certificate(certificate_der).serial_number
        self._journal.revoked(serial, reason=reason, at=self._clock())

    def listed(self, *, since: datetime) -> Iterator[Listed]:
        """See the protocol."""
        return self._journal.listed(since=since)

    def fetch(self, listed: Listed) -> Listed | None:
        """The same: its list tells everything."""
        return listed if listed.der else None


def _refuse_unclean(specimen: x509.Certificate, *, in_full: bool) -> None:
    found = _lint(specimen.public_bytes(Encoding.DER), in_full=in_full)
    if found:
        rules = "; ".join(f"{finding.code} {finding.message}".strip() for finding in found)
        raise BackendRefused(f"The certificate would break rules and is not signed: {rules}")


def _new_serial() -> int:
    return 1 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)


@functools.lru_cache(maxsize=256)
def _lint(specimen: bytes, *, in_full: bool) -> tuple[Finding, ...]:
    """What forbids signing. Specimens are deterministic, so `submit` finds what `prepare` had linted."""
    return blocking(lint_certificate(specimen)) if in_full else SHAPES.objections(specimen)
