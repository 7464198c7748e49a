"""Bodies and answers about blocked keys (OpenAPI)."""

from datetime import datetime
from typing import Annotated, Literal

from ninja import Schema
from pydantic import Field, StringConstraints

from certdesk.api.schemas import Body, Text


class BlockKeyIn(Body):
    """A key that is not to be certified, and why."""

    evidence: Annotated[str, StringConstraints(max_length=65_536)] = Field(
        description="A CSR, a certificate, a public key or a leaked private key, PEM. Nothing of it is kept."
    )
    reason: Text = Field(min_length=1, description="What you saw, and where; at most 200 characters.")


class UnblockKeyIn(Body):
    """Why a key may be certified again."""

    reason: Text = Field(min_length=1, description="It stays on record.")


class BlockedKeysQuery(Schema):
    """How the list of blocked keys is narrowed."""

    key: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:]{0,95}$")] = Field(
        "", description="The beginning of the SHA-256 of the key's SubjectPublicKeyInfo, in hex."
    )
    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,18}$")] = ""


class BlockedKeyOut(Schema):
    """A block, in force until `ended_at` is set. `organisation` null: it is for everybody."""

    id: int
    spki_sha256: str
    organisation: str | None
    reason: str
    proof: Literal["possession", "officer", "claim"] = Field(
        description="`possession`: the reporter had the private key; `officer`: an officer decided; "
        "`claim`: the organisation says so of its own key, and the block is for it alone."
    )
    by: str
    at: datetime
    certificates_in_use: int
    ended_at: datetime | None
    ended_by: str
    ended_reason: str


class BlockedKeysOut(Schema):
    """A page of blocked keys."""

    items: list[BlockedKeyOut]
    next_cursor: str | None
