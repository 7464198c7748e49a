"""The token that carries a preview to its confirmation: signed, bound to the person, and complete.

Everything that is confirmed is read from it again, so it is byte for byte what was shown. Its
random key is the idempotency key: two clicks make one request. A CSR that may
hold a secret is encrypted in it.
"""

import secrets
from base64 import b64decode, b64encode
from typing import Any

from django.core import signing

from certdesk.domain.errors import InvalidInput
from certdesk.domain.issuing.states import OrganisationId, UserId
from certdesk.services.requests.asking import Submission
from certdesk.services.system.sealing import csr_from_store, csr_to_store

SALT = "certdesk.requests.preview"
ANOTHER_SALT = "certdesk.requests.another"
LIFETIME = 12 * 3600  # as long as a session may last


def make_token(*, submission: Submission, csr_der: bytes, user_id: UserId) -> str:
    """A token for exactly this CSR and these choices, by this person."""
    payload = {
        "u": user_id,
        "o": submission.organisation_id,
        "c": _packed(csr_der),
        "d": submission.duration_years,
        "s": submission.server_software,
        "p": submission.profile_id,
        "n": submission.note,
        "k": secrets.token_urlsafe(24),
    }
    return signing.dumps(payload, salt=SALT, compress=True)


def read_token(text: str, *, user_id: UserId | None) -> tuple[Submission, str]:
    """The submission, and the key that makes its confirmation idempotent.

    Raises InvalidInput if the token is altered, too old or another person's.
    """
    payload = _opened(text, salt=SALT, user_id=user_id)
    submission = Submission(
        organisation_id=OrganisationId(payload["o"]),
        upload=_unpacked(payload["c"]),
        duration_years=payload["d"],
        server_software=payload["s"],
        profile_id=payload["p"],
        note=payload["n"],
    )
    return submission, payload["k"]


def make_another_token(*, number: int, csr_der: bytes, user_id: UserId) -> str:
    """A token for exactly this CSR under this request, by this person."""
    payload = {"u": user_id, "r": number, "c": _packed(csr_der), "k": secrets.token_urlsafe(24)}
    return signing.dumps(payload, salt=ANOTHER_SALT, compress=True)


def read_another_token(text: str, *, number: int, user_id: UserId | None) -> tuple[bytes, str]:
    """The CSR (DER) and the key. Raises InvalidInput as `read_token` does, or for another request's."""
    payload = _opened(text, salt=ANOTHER_SALT, user_id=user_id)
    if payload["r"] != number:
        raise InvalidInput("This preview was made for another request. Upload the CSR again.")
    return _unpacked(payload["c"]), payload["k"]


def _opened(text: str, *, salt: str, user_id: UserId | None) -> dict[str, Any]:
    try:
        payload: dict[str, Any] = signing.loads(text, salt=salt, max_age=LIFETIME)
    except signing.BadSignature:
        raise InvalidInput(
            "The preview is too old, or was altered on its way. Upload the CSR again."
        ) from None
    if payload["u"] != user_id:
        raise InvalidInput("This preview was made by someone else. Upload the CSR again.")
    return payload


def _packed(csr_der: bytes) -> str:
    return b64encode(csr_to_store(csr_der)).decode()


def _unpacked(text: str) -> bytes:
    return csr_from_store(b64decode(text))
