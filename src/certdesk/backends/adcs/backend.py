"""The pages of AD CS's web enrolment: submit, fetch. They can't look up what was submitted, nor revoke.

Written from what the pages are known to send (Windows Server 2012 to 2022, in English), and not run against
AD CS. What was sent and not answered is for an officer to settle.
"""

import base64
import html
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import ClassVar

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from certdesk.backends.adcs.config import AdcsConfig
from certdesk.backends.adcs.sign_in import SignIn
from certdesk.backends.http.backend import HttpBackend, csr_pem, ordered, utc_now
from certdesk.backends.http.config import HttpConfig
from certdesk.backends.http.transport import Reply
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    Misconfigured,
    OutcomeUnknown,
    Unavailable,
)
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import UNREADABLE, Accepted, Intent, Outcome, Refused
from certdesk.domain.issuing.profiles import BACKDATE

#: Longer than any claim's first send takes; what is older may have been sent by another process.
_FIRST_SEND_SECONDS = 10
_MOST_REMEMBERED = 10_000
_CHAIN_SECONDS = 60.0
_ISSUED = re.compile(r"certnew\.cer\?ReqID=(\d{1,10})\b")
_PENDING = re.compile(r"Certificate Pending")
_NUMBER = re.compile(r"Your Request Id is (\d{1,10})\b")
_TAG = re.compile(r"<[^>]*>")
_DISPOSITION = re.compile(r'disposition message(?: is| was)?[:\s]*"?([^"\r\n]+)', re.IGNORECASE)
_TAKEN = re.compile(r"Taken Under Submission|under submission", re.IGNORECASE)
_NO = re.compile(r"denied|revoked", re.IGNORECASE)
_RENEWALS = re.compile(r"\bnRenewals\s*=\s*(\d{1,4})\s*;")
#: RFC 5280's codes, as certutil takes them.
_REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
}


class AdcsBackend(HttpBackend[AdcsConfig]):
    """One template of the CA behind a web enrolment server. It has no `find`: a lost answer stays unknown."""

    base_path = "/certsrv/"
    config_type: ClassVar[type[HttpConfig]] = AdcsConfig
    #: The template says how long a certificate runs.
    chooses_validity = True

    def __init__(self, config: AdcsConfig, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Asks nobody yet. Raises Misconfigured when a file or pyspnego is missing."""
        super().__init__(config, clock=clock)
        self._lock = threading.Lock()
        #: Idempotency key → the CA's number, empty while its answer is not known.
        self._sent: OrderedDict[str, str] = OrderedDict()
        self._read_again_at = 0.0  # monotonic

    def submit(self, intent: Intent) -> Outcome:
        """Sends it, once. Names are the CSR's, and so have to be the intent's.

        Raises: Unavailable (for credentials that are not taken, too), BackendRefused, OutcomeUnknown.
        """
        until, key = self._until(), intent.idempotency_key
        csr = csr_pem(intent)
        if _names(csr) != sorted(intent.names):
            raise BackendRefused("The CA takes the names from the CSR, which has others than those approved.")
        with self._lock:
            sent = self._sent.get(key)
        age = self._clock() - (intent.not_before + BACKDATE)
        if sent:
            return self._outcome(sent, until=until)
        if sent is not None or age.total_seconds() > _FIRST_SEND_SECONDS:
            told = f"It may have been sent to {self.title} before, and its pages can't tell."
            raise OutcomeUnknown(f"{told} An officer has to look it up there.")
        try:
            self._enter(until=until)  # while nothing can be lost
            self._remember(key, "")
            reply = self._page("POST", "certfnsh.asp", until=until, acting=True, form=self._form(csr))
        except Misconfigured as error:  # nothing was done, and it may be mended
            self._forget(key)
            raise Unavailable(error.detail) from error
        except Unavailable:
            self._forget(key)
            raise
        found = _ISSUED.search(reply.text) or (_PENDING.search(reply.text) and _NUMBER.search(reply.text))
        if found:
            self._remember(key, found.group(1))
            return Accepted(handle=found.group(1))
        if not self._told(reply):
            raise OutcomeUnknown(f"{self.title} has answered with a page that can't be read.")
        raise self._refused(reply)

    def chain(self) -> tuple[bytes, ...]:
        """From `chain_file`, else as the CA gives it; what was read last where it can't be read now.

        Not asked for at each call: anybody may have us look, over HTTP.
        """
        now = time.monotonic()
        if self._config.chain_file is None and now >= self._read_again_at:
            self._read_again_at = now + _CHAIN_SECONDS
            try:
                self._known_chain = self._read_chain(until=self._until())
            except BackendError:
                return self._known_chain
        return self._known_chain

    def _outcome(self, handle: str, *, until: float) -> Outcome:
        """By the chain of the request, which begins with its certificate; a page says why there is none."""
        reply = self._page("GET", "certnew.p7b", until=until, params={"ReqID": handle, "Enc": "bin"})
        try:
            return self._issued(load_der_pkcs7_certificates(reply.content))
        except UNREADABLE:
            told = self._told(reply)
        if _TAKEN.search(told):
            return Accepted(handle=handle)
        if _NO.search(told):
            return Refused(reason=f"The CA refused: {told}.")
        raise Unavailable(f"{self.title} does not hand out the request {handle}: {told or reply.status}.")

    def _revoke(self, leaf: x509.Certificate, serial: str, *, reason: str) -> None:  # noqa: ARG002 - the serial is enough
        """Not by its pages. Raises BackendRefused, with what an administrator of the CA has to do."""
        command = f"certutil -revoke {serial.lower()} {_REASONS.get(reason, 0)}"
        told = "The web pages of AD CS can't revoke. Ask an administrator of the CA to run"
        raise BackendRefused(f"{told}: {command}")

    def _probe(self, *, until: float) -> Iterator[Check]:
        self._enter(until=until)
        yield Check("backend.credentials", Verdict.PASS, "The account can sign in.")
        self._read_again_at = 0.0
        if self._config.chain_file is None:
            self._known_chain = self._read_chain(until=until)

    def _read_chain(self, *, until: float) -> tuple[bytes, ...]:
        """The newest of the CA's certificates, and those above it. Raises Unavailable, Misconfigured."""
        renewals = _RENEWALS.search(self._page("GET", "certcarc.asp", until=until).text)
        if renewals is None:
            raise Unavailable(f"{self.title}: its page with the CA's certificates can't be read.")
        params = {"ReqID": "CACert", "Renewal": renewals.group(1), "Enc": "bin"}
        reply = self._page("GET", "certnew.p7b", until=until, params=params)
        try:
            return ordered(load_der_pkcs7_certificates(reply.content))
        except UNREADABLE as error:
            raise Unavailable(f"{self.title}: the CA's certificates can't be read.") from error

    def _form(self, csr: str) -> dict[str, str]:
        return {
            "Mode": "newreq",
            "CertRequest": csr,
            "CertAttrib": f"CertificateTemplate:{self._config.template}\r\n",
            "FriendlyType": "Saved-Request Certificate",
            "TargetStoreFlags": "0",
            "SaveCert": "yes",
        }

    def _told(self, reply: Reply) -> str:
        found = _DISPOSITION.search(html.unescape(_TAG.sub(" ", reply.text)))
        return self._plain(found.group(1)) if found else ""

    def _enter(self, *, until: float) -> None:
        """Raises Misconfigured where there are no such pages, or our account may not see them."""
        reply = self._page("GET", "", until=until)
        if not reply.is_good:
            told = f"{self.title} has no web enrolment at /certsrv/ ({reply.status})"
            raise Misconfigured(f"{told}. Correct address, or install the role.")

    def _page(
        self,
        method: str,
        path: str,
        *,
        until: float,
        acting: bool = False,
        form: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> Reply:
        # Its scripts give certificates a type of their own to browsers alone.
        headers = {"User-Agent": "Mozilla/5.0 (compatible; Certdesk)"}
        if self._config.authentication == "basic":
            pair = f"{self._config.username}:{self._password()}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return self._ask(method, path, until=until, acting=acting, headers=headers, data=form, params=params)

    def _auth(self) -> httpx2.Auth | None:
        config = self._config
        if config.authentication == "basic":
            return None
        return SignIn(
            name=config.name,
            scheme=config.authentication,
            username=config.username,
            password=self._password,
        )

    def _password(self) -> str:
        return self._secret(self._config.password_file, what="the password", in_header=False)

    def _remember(self, key: str, handle: str) -> None:
        with self._lock:
            self._sent[key] = handle
            while len(self._sent) > _MOST_REMEMBERED:
                self._sent.popitem(last=False)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._sent.pop(key, None)


def _names(csr: str) -> list[str]:
    """The subject alternative names of a CSR in PEM; none where they can't be read."""
    try:
        extensions = x509.load_pem_x509_csr(csr.encode()).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return sorted(str(name.value) for name in names)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return []
