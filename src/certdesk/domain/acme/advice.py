"""What a person does about an ACME error: the second half of what a client's log only hints at. Pure."""

import re
from collections.abc import Mapping

from certdesk.domain.acme.problems import ProblemType

_SEE_LOG = "The client's own log has the details; update the client if it is old."
_OURS = "It is our side's fault. Run the client again; if it stays, tell the RA team."
_CREDENTIAL = "Copy the key identifier and the HMAC key from the credential's page again."

#: By the error's type. Those that no client of ours should meet say where to look.
ADVICE: Mapping[ProblemType, str] = {
    ProblemType.ACCOUNT_DOES_NOT_EXIST: "The client uses an account of another service. Register it again.",
    ProblemType.ALREADY_REPLACED: "The certificate was renewed before. Nothing has to be done.",
    ProblemType.ALREADY_REVOKED: "The certificate was revoked before. Nothing has to be done.",
    ProblemType.BAD_CSR: "The CSR does not fit the order. Let the client make it, for the same names.",
    ProblemType.BAD_NONCE: "Clients try again automatically. If it goes on, look for a proxy that caches.",
    ProblemType.BAD_PUBLIC_KEY: "Make a new key: P-256, or RSA with 2048 to 4096 bits.",
    ProblemType.BAD_REVOCATION_REASON: "Revoke without a reason, or with one that RFC 5280 knows.",
    ProblemType.BAD_SIGNATURE_ALGORITHM: "Let the client make a new account key: P-256 suits every service.",
    ProblemType.CAA: "Change the domain's CAA records so that they allow this service, or remove them.",
    ProblemType.COMPOUND: "Several names can't be had; each has its own reason.",
    ProblemType.CONNECTION: "The server could not be reached. Open port 80 (http-01) or 443 (tls-alpn-01) "
    "for this service, and look at where the name points.",
    ProblemType.DNS: "The look-up in DNS failed. Look whether the record is published on every name server.",
    ProblemType.EXTERNAL_ACCOUNT_REQUIRED: f"The client registered without a credential. {_CREDENTIAL}",
    ProblemType.INCORRECT_RESPONSE: "Something else answered than the client put there: another server "
    "behind the same name, a redirect, or an older record.",
    ProblemType.INVALID_CONTACT: "Give the client one plain e-mail address.",
    ProblemType.INVALID_PROFILE: "Leave the profile out of the client's settings, or choose one on offer.",
    ProblemType.MALFORMED: _SEE_LOG,
    ProblemType.ORDER_NOT_READY: "A name was not proven in time. Run the client again.",
    ProblemType.RATE_LIMITED: "Wait, then run the client less often: twice a day is plenty.",
    ProblemType.REJECTED_IDENTIFIER: "Remove the name from the order, or have it decided as the reason says.",
    ProblemType.SERVER_INTERNAL: _OURS,
    ProblemType.TLS: "The TLS connection failed. The server must answer tls-alpn-01 on port 443 itself.",
    ProblemType.UNAUTHORIZED: "The proof was not found. Look whether the name points to the server that "
    "the client runs on, and whether another one answers in its place.",
    ProblemType.UNSUPPORTED_CONTACT: "Give the client an e-mail address as its contact.",
    ProblemType.UNSUPPORTED_IDENTIFIER: "Order DNS names only; IP addresses are not certified here.",
    ProblemType.USER_ACTION_REQUIRED: "Do what the reason says, then run the client again.",
}
_REQUEST = re.compile(r"\bRequest (\d{1,18}) \(([^)\s]*)\)")


def advice_for(kind: ProblemType | None) -> str:
    """What to do about an error of this type; for one that is not known, where to look."""
    return _SEE_LOG if kind is None else ADVICE[kind]


def without_address(detail: str) -> str:
    """A refusal without the request's address, for a page that has a link to it."""
    return _REQUEST.sub(r"Request \1", detail)


def request_in(detail: str) -> int | None:
    """The request that a refusal points at, where a human decides."""
    found = _REQUEST.search(detail)
    return int(found[1]) if found else None
