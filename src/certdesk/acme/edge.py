"""What every signed request goes through (RFC 8555 6): form, address, nonce, signature, account, transaction.

A view gets a checked `Call` and answers. One write transaction holds the nonce and the work of a step, unless
the view says that it has transactions of its own because something slow lies between them.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from wsgiref.types import WSGIEnvironment

from django.utils import timezone

from certdesk.acme import problems
from certdesk.acme.render import Reply
from certdesk.domain.acme.jws import (
    MAX_BODY,
    AccountKey,
    Envelope,
    account_key,
    decoded,
    json_object,
    read_envelope,
    stored_key,
    verify,
)
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, malformed
from certdesk.domain.errors import CertdeskError
from certdesk.services.acme.accounts import account_by_id
from certdesk.services.acme.nonces import burn_nonce, spend_nonce
from certdesk.services.acme.orders import note_problem
from certdesk.services.system import runtime
from certdesk.store.db import write_transaction
from certdesk.store.models import AcmeAccount

MEDIA_TYPE = "application/jose+json"
_NUMBER = re.compile("[1-9][0-9]{0,17}")  # spelled in one way, as in addresses
_METHODS = "Access-Control-Allow-Methods"
_PREFLIGHT = {"Access-Control-Allow-Headers": "Content-Type", "Access-Control-Max-Age": "86400"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request by HTTP. `target` is its address below the service's own, as clients sign it."""

    method: str
    target: str
    content_type: str
    environ: WSGIEnvironment


class SignedBy(Enum):
    """Which key a request is signed with: an account's, by its address, or one that it carries itself."""

    ACCOUNT = "kid"
    KEY = "jwk"
    EITHER = "either"


@dataclass(slots=True, kw_only=True)
class Call:
    """A request whose signature was checked. Exactly one of `account` and `key` is set."""

    envelope: Envelope
    account: AcmeAccount | None
    key: AccountKey | None
    now: datetime
    is_spent: bool = False

    @property
    def owner(self) -> AcmeAccount:
        """The account that signed; views that take accounts alone have one."""
        if self.account is None:
            raise malformed("Sign with the account's address as “kid”.")
        return self.account

    def spend(self) -> None:
        """Spends the nonce, once, in the transaction of the step's work. Raises AcmeRefused (badNonce)."""
        if not self.is_spent:
            spend_nonce(self.envelope.nonce, now=self.now)
            self.is_spent = True

    def body(self) -> dict[str, Any]:
        """The payload as an object. Raises AcmeRefused (malformed), also for POST-as-GET."""
        return json_object(self.envelope.payload)

    def der(self, member: str, what: str) -> bytes:
        """A member of the payload that is base64url of DER. Raises AcmeRefused (malformed)."""
        text = self.body().get(member)
        with suppress(ValueError):
            if isinstance(text, str) and text and "=" not in text:
                return decoded(text)
        raise malformed(f"“{member}” is base64url, without padding, of a {what} in DER.")

    def only_reads(self) -> None:
        """Raises AcmeRefused (malformed) unless this is a POST-as-GET (RFC 8555 6.3)."""
        if self.envelope.payload:
            raise malformed("This is read with an empty payload (POST-as-GET).")


View = Callable[..., Reply]


def signed(
    *, by: SignedBy = SignedBy.ACCOUNT, own_transactions: bool = False, durable: bool = True
) -> Callable[[View], Callable[..., Reply]]:
    """Makes a view of a signed operation: `view(call, **parts of the address)`.

    Without `durable`, a power cut may lose what it did; its client then does it again.
    """

    def decorate(view: View) -> Callable[..., Reply]:
        def handle(request: Request, **parts: Any) -> Reply:
            if request.method != "POST":
                return not_allowed(request.method, "POST")
            call = _checked(request, by=by)
            try:
                if own_transactions:
                    return view(call, **parts)
                with write_transaction(durable=durable):
                    call.spend()
                    return view(call, **parts)
            except CertdeskError as error:
                _after_refusal(call, error)
                raise

        handle.__name__ = view.__name__
        handle.__doc__ = view.__doc__
        return handle

    return decorate


def not_allowed(method: str, *methods: str) -> Reply:
    """405 for any other method; 204 for OPTIONS, by which browsers ask first (RFC 8555 6.1)."""
    allowed = ", ".join((*methods, "OPTIONS"))
    if method == "OPTIONS":
        return Reply(status=204, headers={"Allow": allowed, **_PREFLIGHT, _METHODS: allowed})
    error = malformed(f"Use {' or '.join(methods)} here.", status=405)
    error.headers["Allow"] = allowed
    return problems.answer_of(error)


def _checked(request: Request, *, by: SignedBy) -> Call:
    """The request as a call. Raises AcmeRefused for whatever is wrong with it, in RFC 8555's order."""
    envelope = read_envelope(_body(request))
    expected = runtime.configured().base_url + request.target
    if envelope.url != expected:
        raise AcmeRefused(
            ProblemType.UNAUTHORIZED,
            f"The message was signed for another address than {expected}.",
            status=401,
        )
    if by is SignedBy.ACCOUNT and envelope.jwk is not None:
        raise malformed("Sign with the account's address as “kid”, not with its key as “jwk”.")
    if by is SignedBy.KEY and envelope.jwk is None:
        raise malformed("Sign with the key itself as “jwk”.")
    now = timezone.now()
    if envelope.jwk is not None:
        key = account_key(envelope.jwk)
        verify(envelope, key.key)
        return Call(envelope=envelope, account=None, key=key, now=now)
    account = account_by_id(_account_id(envelope.kid))
    verify(envelope, stored_key(account.jwk))
    return Call(envelope=envelope, account=account, key=None, now=now)


def _body(request: Request) -> bytes:
    if request.content_type != MEDIA_TYPE:
        raise malformed(f"Send {MEDIA_TYPE}.", status=415)
    length = request.environ.get("CONTENT_LENGTH") or ""  # a chunked body has none
    if not length.isdecimal() or int(length) <= MAX_BODY:
        body: bytes = request.environ["wsgi.input"].read(MAX_BODY + 1)
        if len(body) <= MAX_BODY:
            return body
    raise malformed(f"Messages have at most {MAX_BODY // 1024} KB.", status=413)


def _account_id(kid: str) -> int:
    prefix = f"{runtime.configured().base_url}/acme/acct/"
    if not kid.startswith(prefix) or not _NUMBER.fullmatch(number := kid.removeprefix(prefix)):
        raise AcmeRefused(ProblemType.ACCOUNT_DOES_NOT_EXIST, "“kid” is not the address of an account here.")
    return int(number)


def _after_refusal(call: Call, error: CertdeskError) -> None:
    """A refused request does not come back: its nonce is spent, and an account's people can see the reason.

    Raises AcmeRefused (badNonce) where an earlier request has spent it (RFC 8555 6.5).
    For strangers nothing is written: sending the same refused message again gets them the same answer.
    """
    if call.account is None:
        return
    with write_transaction():
        if call.is_spent:  # by this request, in a transaction that may have been taken back
            burn_nonce(call.envelope.nonce, now=call.now)
        else:
            spend_nonce(call.envelope.nonce, now=call.now)
        if not isinstance(error, AcmeRefused) or error.kind is not ProblemType.BAD_NONCE:
            note_problem(call.account, error.detail, now=call.now)
