"""CertCentral's Services API, version 2: order, look up, fetch, ask for a revocation.

Written from https://dev.digicert.com/certcentral-apis/services-api.html, and not run against DigiCert. Our
idempotency key is the order's `alternative_order_id`, by which orders are found.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from cryptography import x509

from certdesk.backends.digicert.config import DigiCertConfig
from certdesk.backends.http.backend import FindingBackend, csr_pem, whole_days
from certdesk.backends.http.config import HttpConfig
from certdesk.backends.http.transport import Reply
from certdesk.domain.errors import BackendRefused, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import Absent, Accepted, Intent, Outcome, Refused

_NOT_FOUND = 404
#: CertCentral's names of reasons; it knows no more for TLS certificates (Glossary, revocation reasons).
_REASONS = {
    "unspecified": "unspecified",
    "keyCompromise": "key_compromise",
    "affiliationChanged": "affiliation_changed",
    "superseded": "superseded",
    "cessationOfOperation": "cessation_of_operation",
}
#: Orders that come to nothing. All others that are not issued are waited for.
_DEAD = frozenset({"rejected", "canceled"})


class DigiCertBackend(FindingBackend[DigiCertConfig]):
    """One product under one organization of an account."""

    base_path = "/services/v2/"
    config_type: ClassVar[type[HttpConfig]] = DigiCertConfig

    def _look_up(self, intent: Intent, *, until: float) -> Outcome | Absent:
        """The order that has our key; of several, as an administrator may make, the first that lives."""
        reply = self._call("GET", f"order/alternate/{intent.idempotency_key}", until=until)
        if reply.status == _NOT_FOUND:
            return Absent()
        data = self._read(reply)
        orders = data.get("orders") if isinstance(data, dict) else None
        if not isinstance(orders, list) or not all(isinstance(one, dict) for one in orders):
            raise Unavailable(f"{self.title}: the list of orders can't be read.")
        if not orders:
            return Absent()
        living = [one for one in orders if one.get("status") not in _DEAD] or orders
        first = min(living, key=lambda one: int(self._handle(one.get("order_id"))))
        return self._outcome(self._handle(first.get("order_id")), until=until)

    def _order(self, intent: Intent, *, until: float) -> object:
        """Names and days are the intent's; the account's organization stands in the subject."""
        reply = self._call(
            "POST",
            f"order/certificate/{self._config.product}",
            until=until,
            acting=True,
            body={
                "certificate": {
                    "common_name": intent.names[0],
                    "dns_names": list(intent.names[1:]),
                    "csr": csr_pem(intent),
                    "signature_hash": "sha256",
                    "server_platform": {"id": -1},
                },
                "organization": {"id": self._config.organization_id},
                "order_validity": {"days": whole_days(intent, now=self._clock())},
                "alternative_order_id": intent.idempotency_key,
                "payment_method": self._config.payment_method,
                "disable_renewal_notifications": True,
                "skip_approval": self._config.skip_approval,
            },
        )
        if not reply.is_good:
            raise self._refused(reply)
        data = reply.data
        return data.get("id") if isinstance(data, dict) else None

    def _outcome(self, handle: str, *, until: float) -> Outcome:
        reply = self._call("GET", f"order/certificate/{handle}", until=until)
        if reply.status == _NOT_FOUND:
            raise OutcomeUnknown(f"{self.title} no longer knows the order {handle}.")
        data = self._read(reply)
        status = data.get("status") if isinstance(data, dict) else None
        if not isinstance(status, str):
            raise Unavailable(f"{self.title}: the order {handle} can't be read.")
        if status in _DEAD:
            return Refused(reason=f"The order {handle} was {status} at {self.title}.")
        if status == "revoked":
            return Refused(reason="The CA had issued the certificate, and has revoked it since.")
        if status != "issued":
            return Accepted(handle=handle)
        fetched = self._call("GET", f"certificate/download/order/{handle}/format/pem_all", until=until)
        return self._issued_pem(fetched)

    def _revoke(self, leaf: x509.Certificate, serial: str, *, reason: str) -> None:  # noqa: ARG002 - the serial is enough
        """Revokes the order of the certificate: the API tells what became of an order, and of no less.

        A request that awaits an administrator is made once, and told as OutcomeUnknown until it is granted.
        """
        until = self._until()
        reply = self._call("GET", f"order/certificate/{serial}", until=until)
        if reply.status == _NOT_FOUND:
            raise BackendRefused("This certificate was not issued by this account at the CA.")
        data = self._read(reply)
        order = data if isinstance(data, dict) else {}
        if order.get("status") == "revoked":
            return
        requests = order.get("requests")
        asked = {
            one.get("status")
            for one in (requests if isinstance(requests, list) else ())
            if isinstance(one, dict) and one.get("type") == "revoke"
        }
        if "pending" not in asked and "rejected" in asked:
            told = f"An administrator of {self.title} has rejected the revocation."
            raise BackendRefused(f"{told} Have it revoked there, and ask again.")
        if "pending" not in asked:
            body = {"skip_approval": self._config.skip_approval, "comments": f"Reason: {reason}."}
            if reason in _REASONS:
                body["revocation_reason"] = _REASONS[reason]
            path = f"order/certificate/{self._handle(order.get('id'))}/revoke"
            answer = self._call("PUT", path, until=until, acting=True, body=body)
            if not answer.is_good:
                raise self._refused(answer)
            if answer.data == {}:  # done; else it is a request
                return
        raise OutcomeUnknown(
            f"The revocation is requested. An administrator of {self.title} has to approve it there."
        )

    def _probe(self, *, until: float) -> Iterator[Check]:
        data = self._read(self._call("GET", f"organization/{self._config.organization_id}", until=until))
        status = data.get("status") if isinstance(data, dict) else None
        if status == "active":
            yield Check("backend.credentials", Verdict.PASS, "The API key and the organization are active.")
        else:
            told = f"The organization {self._config.organization_id} is not active at the CA."
            yield Check("backend.credentials", Verdict.WARN, told, seen=self._plain(status))

    def _told(self, reply: Reply) -> str:
        data = reply.data
        errors = data.get("errors") if isinstance(data, dict) else None
        found = (
            [one.get("message") for one in errors if isinstance(one, dict)]
            if isinstance(errors, list)
            else []
        )
        return self._plain("; ".join(str(one) for one in found))

    def _call(
        self,
        method: str,
        path: str,
        *,
        until: float,
        acting: bool = False,
        body: Mapping[str, object] | None = None,
    ) -> Reply:
        key = self._secret(self._config.api_key_file, what="the API key")
        headers = {"X-DC-DEVKEY": key, "Content-Type": "application/json"}
        return self._ask(method, path, until=until, acting=acting, headers=headers, json=body)
