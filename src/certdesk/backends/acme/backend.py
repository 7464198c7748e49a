"""An ACME CA as a back end. `submit` makes the order and stops there, so that its address is recorded before
anything can be issued; `poll` takes it as far as it can go now: records, challenges, finalize, download.

Nothing here waits: what is not ready is looked at when the engine asks again (RFC 8555 7.4, 7.5.1).
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Self

import dns.name
from acme import messages
from cryptography import x509

from certdesk.backends.acme.account import Account, known_account, register
from certdesk.backends.acme.ari import suggestion
from certdesk.backends.acme.chains import Chains, read_chain
from certdesk.backends.acme.checks import checked
from certdesk.backends.acme.config import AcmeConfig, read_config
from certdesk.backends.acme.connection import (
    Connection,
    Payload,
    alternates,
    ask_after,
    read_order,
    wanted_at,
)
from certdesk.backends.acme.dcv.delegation import check_delegation
from certdesk.backends.acme.journal import Entry, Journal
from certdesk.backends.acme.limits import moment
from certdesk.backends.acme.names import identifiers, refuse_other_names
from certdesk.backends.acme.problems import Doing, answered, asked_to_wait, plain, translated
from certdesk.backends.acme.proving import Proofs, prove
from certdesk.backends.acme.revoking import base64url, revoke
from certdesk.backends.acme.roll_over import AccountKey, RolledOver, key_id, roll_over
from certdesk.backends.base import Listed, Suggestion
from certdesk.backends.chains import refuse_unknown_reason
from certdesk.domain.acme.renewal import renewal_identifier
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    Misconfigured,
    OutcomeUnknown,
    Postponed,
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
    certificate_facts,
)

log = logging.getLogger(__name__)

#: What a CA says that does not have an order replace this certificate: RFC 9773 5, boulder, Certdesk.
_NOT_REPLACED = ("alreadyReplaced", "malformed", "unauthorized")
#: A directory is read again after this long: a CA may move its addresses.
_FRESH = timedelta(hours=1)
#: Let's Encrypt's longest limit is for a week; asking once a day does no harm.
_LONGEST_PAUSE = timedelta(days=1)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class AcmeBackend:
    """A CA at an ACME directory. Threads may share it, and several processes a folder."""

    inline = False
    #: CAs forget orders, and hardly any lists them (RFC 8555 7.1.2.1): what is not there tells nothing.
    lists_all = False

    def __init__(self, config: AcmeConfig, *, clock: Callable[[], datetime] = _utc_now) -> None:
        """Asks the CA nothing yet. Raises Misconfigured when the folder can't be used."""
        self.name, self.title = config.name, config.title or config.name
        self._config, self._clock = config, clock
        self._keys = AccountKey(config)
        try:
            self._journal = Journal(config.folder)
        except (OSError, sqlite3.Error) as error:
            raise Misconfigured(
                f"The folder {config.folder} of {self.title} can't be used: {error}"
            ) from error
        self._chains = Chains(config.folder, preferred=config.preferred_root)
        self._open = threading.local()
        self._account_good_until = datetime.min.replace(tzinfo=UTC)

    @classmethod
    def from_settings(cls, *, name: str, settings: Mapping[str, object]) -> Self:
        """The back end for plain settings. Raises Misconfigured."""
        return cls(read_config(name=name, settings=settings))

    @property
    def chooses_validity(self) -> bool:
        """The CA has the last word, unless it takes orders that name an end (RFC 8555 7.4); few do."""
        return not self._config.send_not_after

    def register(self) -> Account:
        """Our account at the CA, registered now unless it is: the credential for the binding may lapse."""
        self._open.connection = None
        self._connection()
        account = known_account(self._config)
        if account is None:
            raise Misconfigured(f"{self.title} has registered no account.")
        return account

    def roll_account_key(self) -> RolledOver:
        """Gives our account a new key, and keeps the former one. Running processes take it up by themselves.

        Raises: Misconfigured, Unavailable, OutcomeUnknown; after these the same again ends what was begun.
        """
        return roll_over(self._config, self._journal, now=self._clock())

    def submit(self, intent: Intent) -> Outcome:
        """Makes an order, which issues nothing yet. The same intent again gets the same order.

        Raises: Unavailable, also while another intent has the order for these names; Misconfigured;
        BackendRefused for names that the CA or the CSR does not allow.
        """
        entry = self._journal.entry(intent.idempotency_key)
        if entry is None:
            refuse_other_names(intent)
            entry = self._ordered(intent)
        return Accepted(handle=entry.url)

    def poll(self, intent: Intent, handle: str) -> Outcome:
        """Takes the order as far as it can go now. Raises as `submit`, and OutcomeUnknown."""
        key, now = intent.idempotency_key, self._clock()
        # The journal knows better than the handle: an order that lay about may have gone to another intent.
        entry = self._journal.entry(key) or self._journal.own(
            key=key, url=handle, names=intent.names, now=now
        )
        if entry is None:
            entry = self._ordered(intent)
        if entry.ask_after > now:
            return Accepted(handle=entry.url)
        try:
            outcome = self._advanced(intent, entry)
        except BackendRefused:
            self._end(key, issued=False, now=now)
            raise
        except BackendError as error:
            self._journal.touch(key, now=now, problem=error.detail)
            if (again := wanted_at(asked_to_wait(error)[1], now=now)) > now:
                self._journal.put_off(key, until=again)
            raise
        if not isinstance(outcome, Accepted):
            self._end(key, issued=isinstance(outcome, Issued), now=now)
        return outcome

    def check_delegation(self, name: str) -> tuple[Check, ...]:
        """Whether a name can be validated by DNS, tried with a record that is removed again. Never raises."""
        if self._config.dcv is None:
            told = "No validation is set up (dcv): the name has to be validated at the CA beforehand."
            return (Check("delegation.none", Verdict.WARN, told),)
        return check_delegation(self._config.dcv, name)

    def find(self, intent: Intent) -> Outcome | Absent:
        """The order of an earlier submit. Without one nothing can have been issued: only `poll` finalizes."""
        entry = self._journal.entry(intent.idempotency_key)
        return Absent() if entry is None else Accepted(handle=entry.url)

    def listed(self, *, since: datetime) -> Iterator[Listed]:
        """Orders of ours that may have been finalized since then, by the journal; `fetch` asks the CA."""
        after = 0
        while found := self._journal.finalized(since=since, after=after):
            for number, key, url, at in found:
                after = number
                yield Listed(number=url, key=key, issued_at=at)

    def fetch(self, listed: Listed) -> Listed | None:
        """The certificate of an order; None while there is none, or once the CA has forgotten it."""
        if not listed.number:
            return None
        connection = self._connection()
        try:
            with translated(self.title, Doing.READING):
                order, _answer = connection.order(listed.number)
            if order.status != messages.STATUS_VALID or not order.certificate:
                return None
            outcome = self._downloaded(order.certificate, connection)
        except (Unavailable, OutcomeUnknown) as error:
            if answered(error)[1] == HTTPStatus.NOT_FOUND:
                return None
            raise Unavailable(error.detail) from error
        chain = outcome.chain if isinstance(outcome, Issued) else ()
        return replace(listed, der=chain[0], above=chain[1:]) if chain else None

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """Revokes with the account. A CA that does not take the reason is asked without one.

        Raises: BackendRefused for an unknown reason or a certificate that the CA says is not ours;
        Unavailable, OutcomeUnknown, Misconfigured.
        """
        refuse_unknown_reason(reason)
        revoke(
            self._connection(),
            certificate_der,
            reason=reason,
            title=self.title,
            issuers=self._journal.issuers,
        )

    def check(self) -> tuple[Check, ...]:
        """See the protocol. The worker asks every minute; the CA hears of our account once an hour."""
        now = self._clock()
        found = checked(
            self._config,
            self._keys,
            chain=self.chain(),
            problem=self._journal.last_problem,
            fullest=self._journal.fullest,
            asks_account=now >= self._account_good_until,
            now=now,
        )
        if now >= self._account_good_until and Verdict.PASS in _verdicts(found, "backend.account"):
            self._account_good_until = now + _FRESH
        elif Verdict.REFUSE in _verdicts(found, "backend.unreachable"):
            self._account_good_until = now
        return found

    def chain(self) -> tuple[bytes, ...]:
        """What stood above the last certificate; empty before the first."""
        return self._chains.last()

    def suggested_window(self, *, certificate_der: bytes) -> Suggestion | None:
        """When the CA wants the certificate to be renewed. Raises Unavailable, Misconfigured."""
        connection = self._connection()
        with translated(self.title, Doing.READING):
            return suggestion(connection, certificate_der, now=self._clock())

    def _connection(self) -> Connection:
        """This thread's connection, in the name of the registered account."""
        now = self._clock()
        connection: Connection | None = getattr(self._open, "connection", None)
        if connection is None or now - self._open.since > _FRESH:
            with self._obeying(()):
                with translated(self.title, Doing.READING):
                    connection = Connection(
                        self._config.directory_url,
                        key=self._keys.settled(),
                        ca_file=None if self._config.ca_file is None else str(self._config.ca_file),
                        timeout=self._config.timeout,
                        fresh_key=self._keys.settled,
                    )
                account = known_account(self._config) or register(self._config, connection)
            connection.act_as(account.url)
            self._open.connection, self._open.since = connection, now
        connection.network.key = self._keys.current()
        return connection

    @contextmanager
    def _obeying(self, names: tuple[str, ...]) -> Iterator[None]:
        """Keeps for all processes when the CA wants to be asked again: for these names or, where it is
        overloaded or there are none, at all.
        """
        try:
            yield
        except Unavailable as error:
            status, said = asked_to_wait(error)
            until = wanted_at(said, now=self._clock(), longest=_LONGEST_PAUSE)
            if until <= self._clock():
                raise
            self._journal.pause(() if status == HTTPStatus.SERVICE_UNAVAILABLE else names, until=until)
            raise Postponed(error.detail) from error

    def _ordered(self, intent: Intent) -> Entry:
        # 1. Not before the CA wants one. Its limits may be those of the account or of these very names; the
        #    latter last for days.
        if (paused := self._journal.paused_until(intent.names, now=self._clock())) is not None:
            until, is_for_names = paused
            what = " for these names" if is_for_names else ""
            raise Postponed(f"{self.title} wants no order{what} before {moment(until.timestamp())}.")
        # 2. What is wanted.
        connection, profile = self._connection(), self._config.profile
        offered = connection.directory.meta.profiles or {}
        if profile and profile not in offered:
            told = f"{self.title} doesn't offer the profile {profile}."
            raise Misconfigured(f"{told} It offers: {', '.join(sorted(offered)) or 'none'}.")
        wanted: dict[str, object] = {"identifiers": identifiers(intent.names)}
        if profile:
            wanted["profile"] = profile
        if self._config.send_not_after:
            wanted["notAfter"] = f"{intent.not_after:%Y-%m-%dT%H:%M:%SZ}"
        # 3. It may say what it replaces. Where the CA does not have that, or has had it: our own earlier
        #    order first, then one that does not say so.
        if replaces := self._replaced(intent, connection):
            try:
                url, order = self._new_order(intent, {**wanted, "replaces": replaces}, connection)
                self._journal.note_replacing(url, identifier=replaces)
            except BackendError as error:
                if answered(error)[0] not in _NOT_REPLACED:
                    raise
                if (entry := self._earlier(intent, replaces)) is not None:
                    return entry
                url, order = self._new_order(intent, wanted, connection)
        else:
            url, order = self._new_order(intent, wanted, connection)
        # 4. Its address is kept, unless it is another intent's.
        entry = self._journal.own(
            key=intent.idempotency_key,
            url=url,
            names=intent.names,
            now=self._clock(),
            is_open=order.status in (messages.STATUS_PENDING, messages.STATUS_READY),
        )
        if entry is None:
            raise Unavailable(
                "Another request for the same names is on its way at this CA; this one follows it."
            )
        return entry

    def _new_order(
        self, intent: Intent, wanted: Mapping[str, object], connection: Connection
    ) -> tuple[str, messages.Order]:
        """Its address and content, within the CA's limits; what was spent on none is given back."""
        if (limits := self._config.limits) is not None:
            renews = False
            if intent.replaces:
                with suppress(ValueError):
                    renews = set(certificate_facts(intent.replaces).names) == set(intent.names)
            buckets = limits.for_order(intent.names, renews=renews, replaces="replaces" in wanted)
            held = self._journal.spend(intent.idempotency_key, buckets, now=self._clock())
            if held is not None:
                bucket, next_at = held
                told = f"{self.title} allows {bucket.limit.words(bucket.kind, subject=bucket.subject)}"
                raise Postponed(f"{told}; the next on {moment(next_at)}. This one waits until then.")
        try:
            with self._obeying(intent.names), translated(self.title, Doing.ASKING):
                answer = connection.post(connection.directory["newOrder"], Payload(wanted))
                return answer.headers["Location"], read_order(answer)
        except BackendError:
            self._journal.give_back(intent.idempotency_key, order=True)
            raise

    def _replaced(self, intent: Intent, connection: Connection) -> str:
        """What names the certificate that is renewed, once the CA wants that (RFC 9773 5); else empty."""
        if not intent.replaces:
            return ""
        try:
            with translated(self.title, Doing.READING):
                told = suggestion(connection, intent.replaces, now=self._clock())
                due = told is not None and told.window.start <= self._clock()
                certificate = x509.load_der_x509_certificate(intent.replaces)
                return renewal_identifier(certificate) if due else ""
        except (BackendError, *UNREADABLE) as error:  # nothing of the renewal depends on it
            log.info("%s: what is to be replaced is not named. %s", self.name, error)
            return ""

    def _earlier(self, intent: Intent, replaces: str) -> Entry | None:
        """Our own earlier order for the same, if nobody else is at it and nothing has come of it."""
        if not (url := self._journal.replacing(replaces, names=intent.names)):
            return None
        key, now = intent.idempotency_key, self._clock()
        return self._journal.own(key=key, url=url, names=intent.names, now=now)

    def _advanced(self, intent: Intent, entry: Entry) -> Outcome:
        """One numbered walk through the order's states, as far as they allow."""
        connection, key, now = self._connection(), intent.idempotency_key, self._clock()
        # 1. Where it stands.
        try:
            with translated(self.title, Doing.READING):
                order, answer = connection.order(entry.url)
        except Unavailable as error:
            if answered(error)[1] != HTTPStatus.NOT_FOUND:
                raise
            if entry.finalizing:
                raise OutcomeUnknown(error.detail) from error
            return Refused(reason="The CA no longer knows the order: it was open for too long. Ask again.")
        # 2. Prove the names; some CAs look at once.
        proofs = Proofs()
        if order.status == messages.STATUS_PENDING:
            proofs = prove(
                order,
                entry.url,
                connection,
                config=self._config,
                journal=self._journal,
                key=self._keys.current(),
            )
        self._journal.touch(key, now=now, problem=" ".join(proofs.waits))
        if proofs.looks:
            with translated(self.title, Doing.READING):
                order, answer = connection.order(entry.url)
        # 3. Finalize: the point of no return. Whoever did so before us, the order says what came of it.
        refusal = ""
        if order.status == messages.STATUS_READY:
            if not self._journal.finalizing(key, url=entry.url):
                raise Unavailable(
                    "The order has gone to another request for the same names; this one follows."
                )
            csr = Payload({"csr": base64url(intent.csr_der)})
            try:
                with translated(self.title, Doing.ACTING):
                    answer = connection.post(order.finalize, csr)
                    order = read_order(answer)
            except BackendRefused as error:
                refusal = "" if answered(error)[0] == "orderNotReady" else error.detail
                with translated(self.title, Doing.READING):
                    order, answer = connection.order(entry.url)
        # 4. What has become of it.
        if order.status == messages.STATUS_VALID and order.certificate:
            return self._downloaded(order.certificate, connection)
        if order.status == messages.STATUS_INVALID:
            return Refused(reason=self._why(order, connection))
        if refusal and order.status == messages.STATUS_READY:
            return Refused(reason=refusal)
        if (again := ask_after(answer, now=now)) > now:
            self._journal.put_off(key, until=again)
        return Accepted(handle=entry.url)

    def _downloaded(self, url: str, connection: Connection) -> Outcome:
        """The certificate with the preferred chain. What can't be read is asked for again: it was issued."""
        try:
            with translated(self.title, Doing.READING):
                answer = connection.post(url, None)
                chain = read_chain(answer.content)
                for other in () if self._chains.prefers(chain) else alternates(answer):
                    alternate = read_chain(connection.post(other, None).content)
                    if self._chains.prefers(alternate) and alternate[0] == chain[0]:
                        chain = alternate
                        break
        except Unavailable as error:
            raise OutcomeUnknown(f"The certificate can't be fetched yet. {error.detail}") from error
        self._chains.keep(chain)
        for issuer in chain[1:2]:
            self._journal.note_issuer(issuer)
        with suppress(*UNREADABLE):  # whoever compares it with the intent says so
            ends = x509.load_der_x509_certificate(chain[0]).not_valid_after_utc
            self._journal.note_issued(key_id(self._keys.current()), until=ends)
        return Issued(chain=chain)

    def _why(self, order: messages.Order, connection: Connection) -> str:
        """Why the order is invalid: the names that were not validated, else its own problem."""
        told: list[str] = []
        for link in order.authorizations:
            with translated(self.title, Doing.READING):
                authorization = connection.authorization(link)
            domain = authorization.identifier.value
            failed = [one.error for one in authorization.challenges if one.error]
            if failed and self._config.limits is not None:
                self._journal.note_failure(domain, at=link, now=self._clock())
            told.extend(f"The CA could not validate {domain}. {plain(error)}" for error in failed)
        if not told and order.error is not None:
            told.append(plain(order.error))
        return " ".join(told) or "The CA has ended the order: its names were not validated in time."

    def _end(self, key: str, *, issued: bool, now: datetime) -> None:
        """Nothing more comes of an order. Records that nobody needs any longer go; what fails is tried again
        at the end of another order.
        """
        self._journal.end(key, issued=issued)
        if (dcv := self._config.dcv) is None:
            return
        for url, name, value in self._journal.left_over(now=now):
            try:
                dcv.driver.remove(dns.name.from_text(name), value)
            except BackendError as error:
                log.warning("%s: the record at %s stays for now: %s", self.name, name, error.detail)
                return
            self._journal.forget(url=url, name=name, value=value)


def _verdicts(found: tuple[Check, ...], code: str) -> set[Verdict]:
    return {check.verdict for check in found if check.code == code}
