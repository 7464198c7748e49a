"""Sectigo Certificate Manager's REST API: enrol, look up, collect, revoke.

Written from Sectigo's reference of version 25.5, and not run against Sectigo. Our idempotency key is in the
comments of a request: custom fields can't be searched for either, and have to be set up, and an external
requester has to be an address, which gets mail.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from cryptography import x509

from certdesk.backends.http.backend import FindingBackend, csr_pem, whole_days
from certdesk.backends.http.config import HttpConfig
from certdesk.backends.http.transport import Reply
from certdesk.backends.sectigo.config import SectigoConfig
from certdesk.domain.errors import BackendRefused, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import Absent, Accepted, Intent, Outcome, Refused

_PAGE = 200
#: Details of so many requests for a name are read, which takes a request each.
_MOST_READ = 1000
#: "Certificate has not been collected yet", "is not available now", "is not collectable", and "The request is
#: being processed".
_NOT_YET = frozenset({-103, -109, -183, -1400})
_ALREADY_REVOKED = frozenset({-159, -192})
#: "Wrong SSL certificate id", "Certificate not found".
_UNKNOWN = frozenset({-124, -5101})
#: Unknown and internal errors, "Connection error while applying certificate", "CA is not available now".
_UNSURE = frozenset({-1, -2, -14, -65, -129, -195})
#: RFC 5280's codes, as far as SCM takes them; for the others it is told in words.
_REASONS = {"keyCompromise": 1, "affiliationChanged": 3, "superseded": 4, "cessationOfOperation": 5}
_DEAD = {"declined", "rejected", "invalid"}
_ISSUED = {"issued", "replaced", "expired"}


class SectigoBackend(FindingBackend[SectigoConfig]):
    """One certificate profile under one organization of a customer."""

    base_path = "/api/"
    config_type: ClassVar[type[HttpConfig]] = SectigoConfig

    def _look_up(self, intent: Intent, *, until: float) -> Outcome | Absent:
        """The request with our comment, among those of the profile for the first name."""
        position, read, marker = 0, 0, _marker(intent)
        params = {
            "orgId": str(self._config.organization_id),
            "sslTypeId": str(self._config.profile_id),
            "subjectAlternativeName": intent.names[0],
            "size": str(_PAGE),
        }
        while True:
            page = self._read(
                self._call("GET", "ssl/v1", until=until, params={**params, "position": str(position)})
            )
            if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
                raise Unavailable(f"{self.title}: the list of certificates can't be read.")
            for one in page:
                read += 1
                if read > _MOST_READ:
                    raise OutcomeUnknown(f"{self.title} has too many requests for this name to look through.")
                handle = self._handle(one.get("sslId"))
                details = self._details(handle, until=until)
                if details is not None and details.get("comments") == marker:
                    return self._become(handle, details, until=until)
            if len(page) < _PAGE:
                return Absent()
            position += len(page)

    def _order(self, intent: Intent, *, until: float) -> object:
        """Names are the intent's; the term is the longest that ends in time."""
        days = whole_days(intent, now=self._clock())
        fitting = [term for term in self._config.terms if term <= days]
        if not fitting:
            shortest = min(self._config.terms)
            raise BackendRefused(f"The CA's shortest term is {shortest} days, and {days} are left at most.")
        body = {
            "orgId": self._config.organization_id,
            "csr": csr_pem(intent),
            "subjAltNames": ",".join(intent.names),
            "certType": self._config.profile_id,
            "term": max(fitting),
            "comments": _marker(intent),
            "customFields": [
                {"name": name, "value": text} for name, text in self._config.custom_fields.items()
            ],
        }
        reply = self._call("POST", "ssl/v1/enroll", until=until, acting=True, body=body)
        if not reply.is_good:
            if _code(reply) in _UNSURE:
                raise OutcomeUnknown(
                    f"{self.title} could not say whether it was ordered: {self._told(reply)}."
                )
            raise self._refused(reply)
        data = reply.data
        return data.get("sslId") if isinstance(data, dict) else None

    def _outcome(self, handle: str, *, until: float) -> Outcome:
        details = self._details(handle, until=until)
        if details is None:
            raise OutcomeUnknown(f"{self.title} no longer knows the request {handle}.")
        return self._become(handle, details, until=until)

    def _become(self, handle: str, details: Mapping[str, object], *, until: float) -> Outcome:
        """What a request's status comes to."""
        status = str(details.get("status", "")).lower()
        if status in _DEAD:
            return Refused(reason=f"The request {handle} is {status} at {self.title}.")
        if status == "revoked":
            return Refused(reason="The CA had issued the certificate, and has revoked it since.")
        if status not in _ISSUED:
            return Accepted(handle=handle)
        reply = self._call("GET", f"ssl/v1/collect/{handle}", until=until, params={"format": "pem"})
        if not reply.is_good and _code(reply) in _NOT_YET:
            return Accepted(handle=handle)
        if not reply.is_good:
            raise Unavailable(f"{self.title} does not hand out the certificate: {self._told(reply)}.")
        return self._issued_pem(reply)

    def _details(self, handle: str, *, until: float) -> Mapping[str, object] | None:
        reply = self._call("GET", f"ssl/v1/{handle}", until=until)
        if not reply.is_good and _code(reply) in _UNKNOWN:
            return None
        data = self._read(reply)
        if not isinstance(data, dict):
            raise Unavailable(f"{self.title}: the request {handle} can't be read.")
        return data

    def _revoke(self, leaf: x509.Certificate, serial: str, *, reason: str) -> None:  # noqa: ARG002 - the serial is enough
        body = {"reasonCode": _REASONS.get(reason, 0), "reason": f"Asked for through Certdesk: {reason}."}
        reply = self._call(
            "POST", f"ssl/v1/revoke/serial/{serial}", until=self._until(), acting=True, body=body
        )
        if not reply.is_good and _code(reply) not in _ALREADY_REVOKED:
            raise self._refused(reply)

    def _probe(self, *, until: float) -> Iterator[Check]:
        params = {"organizationId": str(self._config.organization_id)}
        found = self._read(self._call("GET", "ssl/v1/types", until=until, params=params))
        profiles = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        own = next((one for one in profiles if one.get("id") == self._config.profile_id), None)
        if own is None:
            seen = ", ".join(f"{one.get('id')} ({self._plain(one.get('name'))})" for one in profiles)
            told = (
                f"The organization has no certificate profile {self._config.profile_id}. Correct profile_id."
            )
            yield Check("backend.profile", Verdict.REFUSE, told, seen=self._plain(seen))
            return
        offered = own.get("terms")
        terms = (
            set(offered) if isinstance(offered, list) and all(isinstance(n, int) for n in offered) else set()
        )
        if missing := sorted(set(self._config.terms) - terms):
            told = f"The profile has no term of {', '.join(map(str, missing))} days. Correct terms."
            yield Check("backend.profile", Verdict.REFUSE, told, seen=", ".join(map(str, sorted(terms))))
        else:
            yield Check("backend.profile", Verdict.PASS, "The profile is there, with these terms.")

    def _told(self, reply: Reply) -> str:
        data = reply.data
        return self._plain(data.get("description")) if isinstance(data, dict) else ""

    def _call(
        self,
        method: str,
        path: str,
        *,
        until: float,
        acting: bool = False,
        body: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        headers = {
            "login": self._config.login,
            "password": self._secret(self._config.password_file, what="the password"),
            "customerUri": self._config.customer_uri,
            "Accept": "*/*",
        }
        return self._ask(method, path, until=until, acting=acting, headers=headers, json=body, params=params)


def _marker(intent: Intent) -> str:
    return f"Certdesk {intent.idempotency_key}"


def _code(reply: Reply) -> object:
    data = reply.data
    return data.get("code") if isinstance(data, dict) else None
