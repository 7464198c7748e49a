"""What goes in and out about ACME credentials and accounts, as pydantic models like those of `schemas`."""

from datetime import datetime
from typing import Annotated

from ninja import Schema
from pydantic import AwareDatetime, Field, StringConstraints

from certdesk.api.schemas import Body, ShortText, Slug
from certdesk.domain.acme_credentials import MAX_ACCOUNTS, MAX_NAME
from certdesk.store.selectors.acme import AccountStatus

#: More than the limit of names, so that the service's own words tell of it.
MAX_GIVEN = 1000
Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{0,18}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=MAX_NAME)]
Names = Annotated[list[ShortText], Field(max_length=MAX_GIVEN)]
ProfileId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,64}$")]
Accounts = Annotated[int, Field(ge=1, le=MAX_ACCOUNTS)]


class CredentialIn(Body):
    """A credential to be made. A limit that is left out limits nothing."""

    name: Name = Field(min_length=1, description="What uses it, such as “web servers”.")
    names: Names = Field(default=[], description="These names, and all below them, may be asked for.")
    profile: ProfileId = Field(default="", description="The only profile that may be asked for.")
    max_accounts: Accounts | None = Field(default=None, description="How many clients may register.")
    expires_at: AwareDatetime | None = Field(default=None, description="Until when it works (RFC 3339).")
    organisation: Slug = Field(
        default="", description="Slug; needed by officers, and by managers of several organisations."
    )


class CredentialChangeIn(Body):
    """What is to change. What is left out stays; null or an empty list takes a limit away."""

    name: Name | None = Field(default=None, min_length=1)
    names: Names | None = None
    profile: ProfileId | None = None
    max_accounts: Accounts | None = None
    expires_at: AwareDatetime | None = None


class CredentialsQuery(Schema):
    """How the list of credentials is narrowed."""

    q: Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=200)] = Field(
        "", description="Part of a name, of a key identifier or of the organisation's name."
    )
    organisation: Slug = ""
    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = ""


class AccountsQuery(Schema):
    """How the list of accounts is narrowed."""

    credential: int | None = Field(None, ge=1, le=2**63 - 1, description="The id of a credential.")
    organisation: Slug = ""
    limit: int = Field(50, ge=1, le=200)
    cursor: Cursor = ""


class RotateIn(Body):
    """What ends with the old key."""

    end_accounts: bool = Field(
        default=False, description="Deactivate the accounts that registered with the credential, for good."
    )


class SeenOut(Schema):
    """Somebody who made, rotated or revealed a credential. `knows_key`: the key of today."""

    username: str
    knows_key: bool
    has_left: bool


class CredentialOut(Schema):
    """A credential, without its key. `accounts` counts those that are not deactivated."""

    id: int
    name: str
    kid: str
    directory: str
    organisation: str
    organisation_slug: str
    names: list[str]
    profile: str
    max_accounts: int | None
    expires_at: datetime | None
    is_usable: bool
    accounts: int
    seen_by: list[SeenOut]
    owner: str
    created_by: str
    created_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    links: dict[str, str]


class CredentialKeyOut(CredentialOut):
    """A credential with its HMAC key: base64url without padding (RFC 8555 7.3.4)."""

    hmac_key: str


class CredentialsOut(Schema):
    """A page of credentials."""

    items: list[CredentialOut]
    next_cursor: str | None


class AccountOut(Schema):
    """An ACME account. `url` is what CAA's `accounturi` names (RFC 8657)."""

    id: int
    url: str
    status: AccountStatus
    credential: int
    credential_name: str
    organisation: str
    organisation_slug: str
    thumbprint: str
    contacts: list[str]
    created_at: datetime
    last_used_at: datetime
    deactivated_at: datetime | None
    last_problem: str
    last_problem_at: datetime | None
    links: dict[str, str]


class AccountsOut(Schema):
    """A page of accounts."""

    items: list[AccountOut]
    next_cursor: str | None
