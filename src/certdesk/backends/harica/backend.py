"""CertManager's API: request, look up, fetch, revoke. An administrator at the organization approves each.

Written from https://guides.harica.gr/docs/Guides/Developer and from what public clients send, and not run
against HARICA. Our idempotency key is the friendly name of a request.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.backends.harica.config import HaricaConfig
from certdesk.backends.harica.session import Session
from certdesk.backends.http.backend import JUST_CLAIMED, FindingBackend, csr_pem, utc_now
from certdesk.backends.http.config import HttpConfig
from certdesk.backends.http.transport import Reply
from certdesk.domain.errors import BackendRefused, Misconfigured, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import (
    UNREADABLE,
    Absent,
    Accepted,
    Intent,
    Outcome,
    Refused,
    certificate_facts,
)

_MAX_LIST, _DER = 1 << 24, Encoding.DER
_DEAD = frozenset({"cancelled", "canceled", "rejected", "failed"})
#: "The Subscriber requests in writing, without specifying a CRLreason" (BR 4.9.1.1).
_UNSPECIFIED = "4.9.1.1.1.1"
_ORGANIZATION = {"C": "country", "ST": "state", "L": "locality", "O": "organizationName"}


class HaricaBackend(FindingBackend[HaricaConfig]):
    """One account, which requests for its organization and approves nothing itself."""

    config_type: ClassVar[type[HttpConfig]] = HaricaConfig
    #: HARICA offers a duration, and no end.
    chooses_validity = True

    def __init__(self, config: HaricaConfig, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Asks nobody yet. Raises Misconfigured when a file can't be used."""
        super().__init__(config, clock=clock)
        self._session = Session(title=self.title, email=config.email, clock=clock)

    def _look_up(self, intent: Intent, *, until: float) -> Outcome | Absent:
        """The request that has our friendly name.

        Raises OutcomeUnknown where there is none, but one of a lost answer could be it: for the same names,
        as recent, and without a friendly name.
        """
        transactions = self._transactions(until=until)
        for one in transactions:
            if one.get("friendlyName") == _marker(intent):
                return self._become(one, until=until)
        since = f"{intent.not_before:%Y-%m-%d}"
        for one in transactions if self._age(intent) > JUST_CLAIMED else ():
            is_alike = _names(one) == sorted(intent.names) and not one.get("friendlyName")
            if is_alike and str(one.get("requestedAt"))[:10] >= since and not _is_dead(one):
                told = f"{self.title} has a request for the same names that may be ours; look it up there"
                raise OutcomeUnknown(f"{told}: {self._handle(one.get('transactionId'))}.")
        return Absent()

    def _order(self, intent: Intent, *, until: float) -> object:
        """Names are the intent's; the subject is that of the organization which HARICA has validated."""
        domains = [{"domain": name} for name in intent.names]
        fields = {
            "domains": json.dumps(domains),
            "domainsString": json.dumps(domains),
            "csr": csr_pem(intent),
            "isManualCsr": "true",
            "consentSameKey": "true",
            "transactionType": self._config.validation,
            "duration": "1",
            "friendlyName": _marker(intent),
        }
        if self._config.validation == "OV":
            fields["organizationDN"] = self._organization(domains, until=until)
        reply = self._call(
            "ServerCertificate/RequestServerCertificate",
            until=until,
            acting=True,
            files={name: (None, text) for name, text in fields.items()},
        )
        if not reply.is_good:
            raise self._refused(reply)
        data = reply.data
        return data.get("id") if isinstance(data, dict) else None

    def _organization(self, domains: list[dict[str, str]], *, until: float) -> str:
        """The organization of names as a request gives it. Raises BackendRefused for none, or several."""
        found = self._read(
            self._call("ServerCertificate/CheckMachingOrganization", until=until, json=domains)
        )
        own = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        if self._config.organization_id:
            own = [one for one in own if one.get("id") == self._config.organization_id]
        if len(own) != 1:
            what = "no validated organization" if not own else "several organizations"
            raise BackendRefused(f"{self.title} has {what} for these names, or ours is not among them.")
        parts = [f"{short}:{own[0].get(key) or ''}" for short, key in _ORGANIZATION.items()]
        return "&".join((f"OrganizationId:{own[0].get('id')}", *parts))

    def _outcome(self, handle: str, *, until: float) -> Outcome:
        for one in self._transactions(until=until):
            if one.get("transactionId") == handle:
                return self._become(one, until=until)
        raise OutcomeUnknown(f"{self.title} no longer knows the request {handle}.")

    def _become(self, transaction: Mapping[str, object], *, until: float) -> Outcome:
        handle = self._handle(transaction.get("transactionId"))
        if _is_dead(transaction):
            why = self._plain(transaction.get("transactionStatusMessage")) or "it was not approved"
            return Refused(reason=f"{self.title} will not issue it: {why}.")
        if transaction.get("isRevoked") is True:
            return Refused(reason="The CA had issued the certificate, and has revoked it since.")
        if _status(transaction) != "completed":
            return Accepted(handle=handle)
        found = self._certificate(handle, until=until)
        try:
            pem = str(found.get("pemBundle") or found.get("certificate") or "").encode()
            return self._issued(x509.load_pem_x509_certificates(pem))
        except UNREADABLE:
            return self._issued([])

    def _revoke(self, leaf: x509.Certificate, serial: str, *, reason: str) -> None:
        """Asks for it by the request of the certificate, and looks whether it is done.

        HARICA names reasons by the rule that they come from; the one that tells of ours is taken.
        """
        until = self._until()
        handle, is_revoked = self._request_of(leaf, until=until)
        if is_revoked:
            return
        reasons = self._read(self._call("Certificate/GetRevocationReasons", until=until))
        told = [one for one in reasons if isinstance(one, dict)] if isinstance(reasons, list) else []
        name = next((one.get("name") for one in told if _tells(one, reason)), _UNSPECIFIED)
        body = {"transactionId": handle, "name": name, "notes": f"Certdesk: {reason}", "message": ""}
        reply = self._call("Certificate/RevokeCertificate", until=until, acting=True, json=body)
        if not reply.is_good:
            raise self._refused(reply)
        if self._certificate(handle, until=until).get("isRevoked") is not True:
            raise OutcomeUnknown(
                f"The revocation of {serial} is requested, and {self.title} has not done it yet."
            )

    def _request_of(self, leaf: x509.Certificate, *, until: float) -> tuple[str, bool]:
        """The number of its request, and whether it is revoked already. Raises BackendRefused for none."""
        try:
            names = sorted(certificate_facts(leaf.public_bytes(encoding=_DER)).names)
        except ValueError as error:
            raise BackendRefused("This certificate can't be read.") from error
        done = [one for one in self._transactions(until=until) if _status(one) == "completed"]
        done.sort(key=lambda one: str(one.get("requestedAt")), reverse=True)
        # One that was issued for other names than requested is revoked too: it may be any.
        for one in sorted(done, key=lambda one: _names(one) != names):
            handle = self._handle(one.get("transactionId"))
            found = self._certificate(handle, until=until)
            octets = re.sub(r"[^0-9A-Fa-f]", "", str(found.get("serial")))
            if octets and int(octets, 16) == leaf.serial_number:
                return handle, found.get("isRevoked") is True
        raise BackendRefused("This certificate was not requested by this account at the CA.")

    def _certificate(self, handle: str, *, until: float) -> Mapping[str, object]:
        found = self._read(self._call("Certificate/GetCertificate", until=until, json={"id": handle}))
        if not isinstance(found, dict):
            raise Unavailable(f"{self.title}: the certificate of the request {handle} can't be read.")
        return found

    def _transactions(self, *, until: float) -> list[Mapping[str, object]]:
        found = self._read(self._call("ServerCertificate/GetMyTransactions", until=until, most=_MAX_LIST))
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise Unavailable(f"{self.title}: the list of requests can't be read.")
        return found

    def _probe(self, *, until: float) -> Iterator[Check]:
        self._read(self._call("Certificate/GetRevocationReasons", until=until))  # a short answer
        yield Check("backend.credentials", Verdict.PASS, "The account can sign in.")

    def _told(self, reply: Reply) -> str:
        data = reply.data
        if isinstance(data, dict):
            data = data.get("message") or data.get("detail") or data.get("title")
        return self._plain(data)

    def _call(self, path: str, *, until: float, acting: bool = False, **content: Any) -> Reply:
        """Signed in; a session that has ended is made again, for nothing was done then."""
        password = self._secret(self._config.password_file, what="the password", in_header=False)
        seed = self._secret(self._config.totp_file, what="the TOTP seed")

        def ask(method: str, address: str, **more: Any) -> Reply:
            return self._ask(method, address, until=until, **more)

        headers = self._session.headers(ask, password=password, seed=seed)
        try:
            return self._ask("POST", f"api/{path}", until=until, acting=acting, headers=headers, **content)
        except Misconfigured:
            self._session.forget(headers)
            headers = self._session.headers(ask, password=password, seed=seed)
            return self._ask("POST", f"api/{path}", until=until, acting=acting, headers=headers, **content)


def _marker(intent: Intent) -> str:
    return f"Certdesk {intent.idempotency_key}"


def _names(transaction: Mapping[str, object]) -> list[str]:
    domains = transaction.get("domains")
    listed = domains if isinstance(domains, list) else []
    return sorted(str(one.get("fqdn")) for one in listed if isinstance(one, dict))


def _is_dead(transaction: Mapping[str, object]) -> bool:
    return _status(transaction) in _DEAD


def _status(transaction: Mapping[str, object]) -> str:
    return str(transaction.get("transactionStatus")).lower()


def _tells(reason: Mapping[str, object], wanted: str) -> bool:
    """Whether the text of one of HARICA's reasons is about this name of RFC 5280."""
    return wanted.lower() in str(reason.get("revocationMessage")).replace(" ", "").lower()
