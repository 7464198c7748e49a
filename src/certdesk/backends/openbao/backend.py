"""An OpenBao or Vault PKI mount as a back end: sign under one role, look up what was signed, revoke.

The server knows no idempotency: the same CSR twice is two certificates. So whatever may have been sent before
is looked up first, by key, names and validity.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.backends.base import Listed
from certdesk.backends.chains import (
    outlives,
    refuse_outliving,
    refuse_unknown_reason,
    signed,
    without_repeats,
)
from certdesk.backends.http.config import read_config
from certdesk.backends.openbao.api import MISSING, OpenBaoApi, plain
from certdesk.backends.openbao.checks import findings
from certdesk.backends.openbao.config import OpenBaoConfig
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    InvariantViolated,
    Misconfigured,
    OutcomeUnknown,
    Unavailable,
)
from certdesk.domain.findings import Check
from certdesk.domain.issuing.certificates import (
    UNREADABLE,
    Absent,
    Intent,
    Issued,
    Outcome,
    Refused,
    certificate_facts,
)
from certdesk.domain.issuing.profiles import BACKDATE
from certdesk.domain.names.identifiers import is_ip_address

#: Longer than any claim's first send takes to begin, shorter than the ten seconds after which another process
#: takes a claim over.
_JUST_CLAIMED = timedelta(seconds=5)
#: Certificates in one page of the list, and how many single ones are read where the list tells no more.
_PAGE, _MOST_READ = 1000, 5000
#: Of a list that is compared with ours.
_MOST_PAGES = 10_000
_MOST_REMEMBERED = 10_000
#: For so long the CA's chain is not read again.
_CHAIN_SECONDS = 60.0
_COMMON_NAME = x509.NameOID.COMMON_NAME.dotted_string


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OpenBaoBackend:
    """A role of a PKI mount; answers at once. Safe to share between threads."""

    inline = True
    lists_all = True

    def __init__(self, config: OpenBaoConfig, *, clock: Callable[[], datetime] = _utc_now) -> None:
        """Asks nobody yet. Raises Misconfigured when a file can't be used."""
        self.name, self.title = config.name, config.title or config.name
        self._config, self._clock = config, clock
        self._api = OpenBaoApi(config)
        self._lock = threading.Lock()
        #: Idempotency key → monotonic time: when this process sent it, and when it began to look and saw that
        #: nobody had.
        self._sent: OrderedDict[str, float] = OrderedDict()
        self._unsent: OrderedDict[str, float] = OrderedDict()
        self._known_chain: tuple[bytes, ...] = ()
        self._read_again_at = 0.0  # monotonic

    @classmethod
    def from_settings(cls, *, name: str, settings: Mapping[str, object]) -> Self:
        """The back end for plain settings. Raises Misconfigured."""
        return cls(read_config(OpenBaoConfig, name=name, settings=settings))

    def submit(self, intent: Intent) -> Outcome:
        """Has it signed, unless it was; what may have been sent before is looked up first.

        Raises: Unavailable (for a wrong token or role too), BackendRefused, OutcomeUnknown; Misconfigured
        when it can't be looked up.
        """
        begun = time.monotonic()
        with self._lock:
            sent = intent.idempotency_key in self._sent
            looked = self._unsent.pop(intent.idempotency_key, None)
        just_looked = looked is not None and begun - looked < _JUST_CLAIMED.total_seconds()
        # With the look before it, it has to end before another process takes over and looks as well.
        until = (looked if just_looked and looked is not None else begun) + self._config.total_seconds
        if sent and not just_looked:
            found: Outcome | Absent = self.find(intent)
        elif just_looked or self._is_just_claimed(intent):
            found = Absent()
        else:
            found = self._looked_up(intent)
        if not isinstance(found, Absent):
            return found
        self._refuse_outliving(intent)
        try:
            csr = x509.load_der_x509_csr(intent.csr_der).public_bytes(Encoding.PEM).decode()
        except UNREADABLE as error:
            raise BackendRefused("The CSR can't be read.") from error
        asked = {
            "csr": csr,
            "alt_names": ",".join(name for name in intent.names if not is_ip_address(name)),
            "ip_sans": ",".join(name for name in intent.names if is_ip_address(name)),
            # Names stand in the SAN once and in our order; the role adds the common name again otherwise.
            "exclude_cn_from_sans": True,
            "not_after": f"{intent.not_after:%Y-%m-%dT%H:%M:%SZ}",
        }
        if common_name := dict(intent.subject).get(_COMMON_NAME):
            asked["common_name"] = common_name
        self._remember(self._sent, intent, at=time.monotonic())
        try:
            answer = self._api.act(f"{self._config.mount}/sign/{self._config.role}", asked, within=until)
        except (Unavailable, BackendRefused):  # it has certainly done nothing
            self._forget(intent)
            raise
        except Misconfigured as error:  # nor here, and it may be mended: as a back end that can't be used
            self._forget(intent)
            raise Unavailable(error.detail) from error
        pem, above = answer.data.get("certificate"), answer.data.get("ca_chain")
        above = above if isinstance(above, list) and above else [answer.data.get("issuing_ca")]
        try:
            chain = tuple(_der(one) for one in (pem, *above))
            ends = x509.load_der_x509_certificate(chain[0]).not_valid_after_utc
        except UNREADABLE as error:
            told = f"{self.title} has answered with something that is no certificate."
            raise OutcomeUnknown(told) from error
        if ends >= intent.not_after:
            return Issued(chain=without_repeats(chain))
        warnings = answer.body.get("warnings")
        told = plain(" ".join(map(str, warnings))) if isinstance(warnings, list) else ""
        fault = f"It ends on {ends:%d %B %Y}, sooner than was asked for. {told}".strip()
        return Issued(chain=without_repeats(chain), fault=fault)

    def poll(self, intent: Intent, handle: str) -> Outcome:
        """Never called rightly: nothing is ever left open here."""
        raise InvariantViolated(f"{self.name} issues at once, and was polled for {handle}: {intent.names}")

    def find(self, intent: Intent) -> Outcome | Absent:
        """The certificate of this key, these names and this end that was signed since the claim.

        Raises: OutcomeUnknown while the server may still be at work on it; Unavailable, Misconfigured.
        """
        begun = time.monotonic()
        found = self._looked_up(intent)
        if not isinstance(found, Absent):
            return found
        with self._lock:
            sent = self._sent.get(intent.idempotency_key)
        if sent is None:  # by this process, that is
            age = self._clock() - (intent.not_before + BACKDATE)
            is_settled = self._is_just_claimed(intent) or age.total_seconds() >= self._config.settle_seconds
        else:
            is_settled = begun - sent >= self._config.settle_seconds
        if not is_settled:
            raise OutcomeUnknown(f"{self.title} has no such certificate yet, and may still be at work on it.")
        self._remember(self._unsent, intent, at=begun)
        return found

    def _looked_up(self, intent: Intent) -> Outcome | Absent:
        """The same, by what the server has stored up to now. Raises as `find` does."""
        until = time.monotonic() + self._config.total_seconds
        # A server's clock may be behind ours by the back-dating, less the little that the role back-dates by.
        since, claimed_at, wanted = intent.not_before, intent.not_before + BACKDATE, sorted(intent.names)
        matching: list[tuple[timedelta, x509.Certificate, bool]] = []
        for serial in self._candidates(intent, until=until):
            answer = self._api.read(f"{self._config.mount}/cert/{serial}", within=until)
            if answer.status in MISSING:  # tidied up since the list was made
                continue
            try:
                leaf = x509.load_der_x509_certificate(_der(answer.data.get("certificate")))
                same = _spki(leaf) == intent.spki_der
                same = same and sorted(certificate_facts(leaf.public_bytes(Encoding.DER)).names) == wanted
            except UNREADABLE:  # of another use of the mount
                continue
            begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
            if same and ends == intent.not_after and begins >= since:
                revoked = answer.data.get("revocation_time") not in (None, 0)
                matching.append((abs(begins - claimed_at), leaf, revoked))
        if matching:
            _distance, leaf, revoked = min(matching, key=lambda one: one[0])
            if revoked:
                return Refused(reason="The CA had issued the certificate, and has revoked it since.")
            above = self._issuers_of(leaf, within=until)
            if not above:
                raise OutcomeUnknown(
                    f"{self.title} has the certificate, and no longer the CA that signed it."
                )
            return Issued(chain=(leaf.public_bytes(Encoding.DER), *above))
        return Absent()

    def listed(self, *, since: datetime) -> Iterator[Listed]:
        """What the mount has stored, under whichever role, but for its own CAs; then all that is revoked.

        Raises Misconfigured where the list tells no dates, as Vault's does; else as the protocol says.
        """
        mount, own = self._config.mount, self._own_serials()
        if not any(self._pages(f"{mount}/certs/detailed")) and any(self._pages(f"{mount}/certs")):
            raise Misconfigured(f"{self.title} has no list of certificates with dates, which Vault lacks.")
        for key, detail in self._pages(f"{mount}/certs/detailed"):
            begins = _time_of(detail.get("not_before"))
            if begins is None:
                told = f"{self.title} lists its certificates without dates, so they can't be compared."
                raise Misconfigured(told)
            serial = _serial_of(key)
            if begins >= since and serial is not None and serial not in own:
                yield Listed(serial=serial, issued_at=begins)
        for key, _detail in self._pages(f"{mount}/certs/revoked"):
            serial = _serial_of(key)
            if serial is not None:
                yield Listed(serial=serial, is_revoked=True)

    def fetch(self, listed: Listed) -> Listed | None:
        """See the protocol. The server keeps no reason of a revocation."""
        octets = f"{listed.serial or 0:x}"
        octets = octets.zfill(len(octets) + len(octets) % 2)
        pairs = ":".join(octets[n : n + 2] for n in range(0, len(octets), 2))
        until = time.monotonic() + self._config.total_seconds
        answer = self._api.read(f"{self._config.mount}/cert/{pairs}", within=until)
        if answer.status in MISSING:
            return None
        at, pem = answer.data.get("revocation_time"), answer.data.get("certificate")
        try:
            revoked_at = datetime.fromtimestamp(at, UTC) if isinstance(at, int) and at > 0 else None
        except (ValueError, OverflowError, OSError):
            revoked_at = self._clock()
        listed = replace(listed, is_revoked=revoked_at is not None, revoked_at=revoked_at)
        try:
            leaf = x509.load_der_x509_certificate(_der(pem))
            return replace(
                listed,
                issued_at=leaf.not_valid_before_utc,
                der=leaf.public_bytes(Encoding.DER),
                above=self._issuers_of(leaf, within=until),
            )
        except UNREADABLE:
            return replace(listed, der=str(pem).encode("utf-8", "replace"))

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """Revokes a certificate of this mount's CAs; the server keeps no reason.

        Raises: BackendRefused for another CA's certificate or a reason that RFC 5280 does not know.
        """
        refuse_unknown_reason(reason)
        try:
            leaf = x509.load_der_x509_certificate(certificate_der)
            ours = self._issuers_of(leaf, within=time.monotonic() + self._config.total_seconds)
        except UNREADABLE as error:
            raise BackendRefused("This certificate can't be read.") from error
        if not ours:
            raise BackendRefused("This certificate was not issued by this CA.")
        pem = leaf.public_bytes(Encoding.PEM).decode()
        self._api.act(f"{self._config.mount}/revoke", {"certificate": pem})

    def check(self) -> tuple[Check, ...]:
        return tuple(findings(self._api, self._config, chain=self._read_chain, clock=self._clock))

    def chain(self) -> tuple[bytes, ...]:
        """The issuing CA and those above it; what was read last where it can't be read now.

        Not asked for at each call: anybody may have us look, over HTTP.
        """
        now = time.monotonic()
        if now >= self._read_again_at:
            self._read_again_at = now + _CHAIN_SECONDS
            try:
                self._known_chain = self._read_chain()
            except BackendError:
                return self._known_chain
        return self._known_chain

    def _read_chain(self) -> tuple[bytes, ...]:
        """Raises Unavailable, Misconfigured."""
        until = time.monotonic() + self._config.total_seconds
        return self._issuer(self._config.issuer, within=until)

    def _issuer(self, reference: str, *, within: float) -> tuple[bytes, ...]:
        """The certificate of one of the mount's CAs and those above it."""
        path = f"{self._config.mount}/issuer/{reference}/json"
        answer = self._api.read(path, within=within, open_to_all=True)
        if answer.status in MISSING:
            raise Misconfigured(f"{self.name} has no CA at {path}. Check mount, or make the CA.")
        above = answer.data.get("ca_chain")
        pems = above if isinstance(above, list) and above else [answer.data.get("certificate")]
        try:
            return without_repeats(tuple(_der(pem) for pem in pems))
        except UNREADABLE as error:
            raise Unavailable(f"{self.name}: the CA's certificate at {path} can't be read.") from error

    def _issuers_of(self, leaf: x509.Certificate, *, within: float) -> tuple[bytes, ...]:
        """The CA of this mount that signed it and those above; empty where none did."""
        if self._known_chain and signed(leaf, self._known_chain[0]):
            return self._known_chain
        listed = self._api.read(
            f"{self._config.mount}/issuers", method="LIST", within=within, open_to_all=True
        )
        keys = listed.data.get("keys")
        for reference in keys if isinstance(keys, list) else ():
            chain = self._issuer(str(reference), within=within)
            if signed(leaf, chain[0]):
                return chain
        return ()

    def _candidates(self, intent: Intent, *, until: float) -> Iterator[str]:
        """Serial numbers of certificates that may be the intent's, from the list that tells most."""
        names = {name for name in intent.names if not is_ip_address(name)}
        path, after, read = f"{self._config.mount}/certs/detailed", "", 0
        while True:
            # OpenBao lists serials with colons and sorts them as it stores them, with hyphens: with colons,
            # `after` would skip all that begin with the same octet.
            params = {"limit": str(_PAGE), **({"after": after.replace(":", "-")} if after else {})}
            page = self._api.read(path, method="LIST", within=until, params=params)
            if page.status in MISSING and not after and path.endswith("/detailed"):
                path = path.removesuffix("/detailed")  # Vault has no such list, and an empty mount has none
                continue
            keys, details = page.data.get("keys"), page.data.get("key_info")
            keys = [str(key) for key in keys] if isinstance(keys, list) else []
            # The end is a page without anything new: a short one says nothing, and Vault knows no pages.
            if not keys or keys[-1] == after:
                return
            for key in keys:
                detail = details.get(key) if isinstance(details, dict) else None
                if isinstance(detail, dict):
                    listed = detail.get("dns_names")
                    if isinstance(listed, list) and {str(name) for name in listed} != names:
                        continue
                read += 1
                if read > _MOST_READ:
                    told = f"{self.title} has too many certificates to look through. Look it up there."
                    raise OutcomeUnknown(told)
                yield key
            after = keys[-1]

    def _pages(self, path: str) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Serial numbers of a list with what it tells of each, page by page. Raises as `listed` does."""
        after, pages = "", 0
        while True:
            params = {"limit": str(_PAGE), **({"after": after.replace(":", "-")} if after else {})}
            until = time.monotonic() + self._config.total_seconds
            page = self._api.read(path, method="LIST", within=until, params=params)
            if page.status in MISSING:  # nothing is there, or nothing more
                return
            keys, details = page.data.get("keys"), page.data.get("key_info")
            if not isinstance(keys, list):
                raise Unavailable(f"{self.title}: its list of certificates can't be read.")
            keys = [str(key) for key in keys]
            # A list that does not come to its end, or goes back, is none that anything can be compared with.
            pages += 1
            if not keys or keys[-1] == after:
                return
            if (after and keys[-1].replace(":", "-") < after.replace(":", "-")) or pages > _MOST_PAGES:
                raise Unavailable(f"{self.title}: its list of certificates has no end.")
            for key in keys:
                detail = details.get(key) if isinstance(details, dict) else None
                yield key, detail if isinstance(detail, dict) else {}
            after = keys[-1]

    def _own_serials(self) -> set[int]:
        """Those of the mount's CAs, which stand in its list as well."""
        until, found = time.monotonic() + self._config.total_seconds, set[int]()
        path = f"{self._config.mount}/issuers"
        keys = self._api.read(path, method="LIST", within=until, open_to_all=True).data.get("keys")
        if not isinstance(keys, list):
            raise Unavailable(f"{self.title}: its list of CAs can't be read.")
        for reference in keys:
            for der in self._issuer(str(reference), within=until)[:1]:
                found.add(x509.load_der_x509_certificate(der).serial_number)
        return found

    def _refuse_outliving(self, intent: Intent) -> None:
        """Before anything is sent: an issuer may be set to shorten instead of to refuse."""
        if self._known_chain and not outlives(self._known_chain, intent.not_after):
            return
        self._read_again_at = 0.0  # the CA may have been renewed
        refuse_outliving(self.chain(), intent.not_after)

    def _is_just_claimed(self, intent: Intent) -> bool:
        """Whether so recently that no other process can have taken it over and sent it."""
        return self._clock() - (intent.not_before + BACKDATE) < _JUST_CLAIMED

    def _remember(self, where: OrderedDict[str, float], intent: Intent, *, at: float) -> None:
        with self._lock:
            where[intent.idempotency_key] = at
            where.move_to_end(intent.idempotency_key)
            if where is self._sent:
                self._unsent.pop(intent.idempotency_key, None)
            while len(where) > _MOST_REMEMBERED:
                where.popitem(last=False)

    def _forget(self, intent: Intent) -> None:
        with self._lock:
            self._sent.pop(intent.idempotency_key, None)


def _serial_of(key: str) -> int | None:
    """A serial number as the server writes it; None for what is none."""
    try:
        return int(key.replace(":", "").replace("-", ""), 16)
    except ValueError:
        return None


def _time_of(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _der(pem: object) -> bytes:
    """One PEM certificate as DER. Raises one of UNREADABLE."""
    if not isinstance(pem, str):
        raise TypeError("there is no certificate")
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
