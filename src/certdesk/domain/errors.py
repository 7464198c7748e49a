"""Every error that Certdesk raises on purpose. A policy that refuses is a result, not one of these.

Three families: `Refused` (the caller can put it right), `BackendError` (the CA's side),
`InvariantViolated` (our own bug: the detail goes to the log, never to a person).
"""

from typing import TypeVar

T = TypeVar("T")


class CertdeskError(Exception):
    """An expected failure: a stable `code` for machines and a `detail` that tells a person what to do."""

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class Refused(CertdeskError):
    """The caller can put it right; `detail` says how."""

    code = "refused"


class BadCsr(Refused):
    """What was sent can't be read as exactly one PKCS#10 request (RFC 2986)."""

    code = "csr.unreadable"


class BadKey(Refused):
    """The public key may not be certified (BR 6.1.1.3)."""

    code = "key.refused"


class RejectedIdentifier(Refused):
    """The name may not stand in a certificate (RFC 8555 6.7, BR 7.1.4.2)."""

    code = "names.rejected"


class InvalidInput(Refused):
    """A field is missing or has a value that is not on offer; `fields` maps a field to what to do."""

    code = "input.invalid"

    def __init__(self, detail: str, fields: dict[str, str] | None = None, *, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.fields = fields or {}


class NotAuthorized(Refused):
    """The actor may see the object and may not do this to it."""

    code = "not_authorized"


class MissingScope(NotAuthorized):
    """The person may do this, the API token that they use may not (RFC 6750 3.1)."""

    code = "token.scope"

    def __init__(self, detail: str, *, scope: str = "") -> None:
        super().__init__(detail)
        self.scope = scope


class NotFound(Refused):
    """There is no such object for this actor: a foreign object is never told from a missing one."""

    code = "not_found"


def existing(row: T | None, told: str) -> T:
    """The object, where there is one. Raises NotFound with these words."""
    if row is None:
        raise NotFound(told)
    return row


class StateConflict(Refused):
    """Somebody else was faster: the object is no longer in the state that the caller saw."""

    code = "state_conflict"


class IdempotencyMismatch(Refused):
    """The idempotency key was used before, for something else."""

    code = "idempotency_mismatch"


class PolicyRefused(Refused):
    """A request was submitted that policy refuses; `checks` carries the whole explanation."""

    code = "policy.refused"

    def __init__(self, detail: str, *, checks: tuple[object, ...] = ()) -> None:
        super().__init__(detail)
        self.checks = checks


class RateLimited(Refused):
    """Too many attempts; `retry_after` is in seconds."""

    code = "rate_limited"

    def __init__(self, detail: str, *, retry_after: int = 60) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class BackendError(CertdeskError):
    """The CA did not do what was asked."""

    code = "backend"


class Unavailable(BackendError):
    """Nothing reached the CA: trying again later is safe.

    `lead` goes before the detail while it is tried again, `gave_up` once it no longer is.
    """

    code = "backend.unavailable"
    lead, gave_up = "The CA can't be reached; trying again. ", "It could not be reached in time. "


class Postponed(Unavailable):
    """The CA is not asked yet, or said when to come again: within its limits. `detail` says until when."""

    code = "backend.postponed"
    lead, gave_up = "", "It did not take it in time. "


class BackendRefused(BackendError):
    """The CA said no, for good."""

    code = "backend.refused"


class OutcomeUnknown(BackendError):
    """The CA may have acted: look it up by idempotency key, never retry blindly."""

    code = "backend.outcome_unknown"


class Misconfigured(BackendError):
    """The back end can't work as it is set up; start-up stops."""

    code = "backend.misconfigured"


class InvariantViolated(CertdeskError):
    """Our own bug. Its detail is logged and never shown."""

    code = "internal"
