"""ACME credentials and accounts over REST. What ACME clients themselves talk to is `certdesk.acme`."""

from typing import Annotated

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema, Status
from pydantic import AwareDatetime, Field, StringConstraints

from certdesk.api.auth import actor_of
from certdesk.api.inputs import (
    Body,
    IdempotencyKey,
    Limit,
    Number,
    NumberCursor,
    SearchText,
    ShortText,
    Slug,
    organisation_filter,
    organisation_of,
)
from certdesk.api.schemas import ROOT, Moment, Page, ProblemOut, Row, numbered_page
from certdesk.domain.acme.credentials import MAX_ACCOUNTS, MAX_NAME, Limits
from certdesk.domain.actors import Actor
from certdesk.services.acme.addresses import account_url, directory_url
from certdesk.services.acme.credentials import (
    CredentialKey,
    change_credential,
    create_credential,
    end_account,
    reveal_key,
    revoke_credential,
    rotate_credential,
)
from certdesk.store.selectors.acme import (
    AccountRow,
    AccountStatus,
    CredentialRow,
    find_accounts,
    find_credentials,
    get_account,
    get_credential,
)

router = Router(tags=["acme"])
_CREDENTIAL = "/acme/credentials/{int:credential_id}"
#: More than the limit of names, so that the service's own words tell of it.
MAX_GIVEN = 1000
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


class RotateIn(Body):
    """What ends with the old key."""

    end_accounts: bool = Field(
        default=False, description="Deactivate the accounts that registered with the credential, for good."
    )


class CredentialsQuery(Schema):
    """How the list of credentials is narrowed."""

    q: SearchText = Field(
        "", description="Part of a name, of a key identifier or of the organisation's name."
    )
    organisation: Slug = ""
    limit: Limit = 50
    cursor: NumberCursor = ""


class AccountsQuery(Schema):
    """How the list of accounts is narrowed."""

    credential: Number | None = Field(None, description="The id of a credential.")
    organisation: Slug = ""
    limit: Limit = 50
    cursor: NumberCursor = ""


class SeenOut(Row):
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
    names: list[str] = Field(validation_alias="limits.suffixes")
    profile: str = Field(validation_alias="limits.profile_id")
    max_accounts: int | None = Field(validation_alias="limits.max_accounts")
    expires_at: Moment | None = Field(validation_alias="limits.expires_at")
    is_usable: bool
    accounts: int
    seen_by: list[SeenOut]
    owner: str
    created_by: str
    created_at: Moment
    rotated_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None
    links: dict[str, str]

    @staticmethod
    def resolve_directory(_row: CredentialRow) -> str:
        return directory_url()

    @staticmethod
    def resolve_is_usable(row: CredentialRow) -> bool:
        return row.is_usable(now=timezone.now())

    @staticmethod
    def resolve_links(row: CredentialRow) -> dict[str, str]:
        return {
            "self": f"{ROOT}/acme/credentials/{row.id}",
            "accounts": f"{ROOT}/acme/accounts?credential={row.id}",
        }


class CredentialKeyOut(CredentialOut):
    """A credential with its HMAC key: base64url without padding (RFC 8555 7.3.4)."""

    hmac_key: str

    @staticmethod
    def resolve_hmac_key(_row: CredentialRow, context: dict[str, str]) -> str:
        """The key that was made or revealed just now; the row has none."""
        return context["hmac_key"]


class AccountOut(Schema):
    """An ACME account. `url` is what CAA's `accounturi` names (RFC 8657)."""

    id: int
    url: str
    status: AccountStatus
    credential: int = Field(validation_alias="credential_id")
    credential_name: str = Field(validation_alias="credential")
    organisation: str
    organisation_slug: str
    thumbprint: str
    contacts: list[str]
    created_at: Moment
    last_used_at: Moment
    deactivated_at: Moment | None
    last_problem: str
    last_problem_at: Moment | None
    links: dict[str, str]

    @staticmethod
    def resolve_url(row: AccountRow) -> str:
        return account_url(row.id)

    @staticmethod
    def resolve_links(row: AccountRow) -> dict[str, str]:
        return {
            "self": f"{ROOT}/acme/accounts/{row.id}",
            "credential": f"{ROOT}/acme/credentials/{row.credential_id}",
        }


@router.get(
    "/acme/credentials",
    operation_id="listAcmeCredentials",
    summary="List ACME credentials",
    response={200: Page[CredentialOut]},
)
def index(request: HttpRequest, response: HttpResponse, query: Query[CredentialsQuery]) -> object:
    """Those of the caller's organisation if the caller manages it; for officers and auditors, of all."""
    actor = actor_of(request)
    found = find_credentials(
        actor=actor,
        organisation_id=organisation_filter(actor, query.organisation),
        query=query.q,
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
    )
    return numbered_page(request, response, found, query.limit)


@router.post(
    "/acme/credentials",
    operation_id="createAcmeCredential",
    summary="Make an ACME credential",
    response={201: CredentialKeyOut, (404, 409): ProblemOut},
)
def create(
    request: HttpRequest, response: HttpResponse, body: CredentialIn, key: IdempotencyKey = ""
) -> Status[CredentialKeyOut]:
    """Makes a credential, and answers with its HMAC key.

    `Idempotent-Replayed: true` says that an earlier call had made it; that its key was shown is recorded.
    """
    actor = actor_of(request)
    limits = Limits(tuple(body.names), body.profile, body.max_accounts, body.expires_at)
    made = create_credential(
        actor=actor,
        organisation_id=organisation_of(actor, body.organisation),
        name=body.name,
        limits=limits,
        idempotency_key=key,
        now=timezone.now(),
    )
    response["Location"] = f"{ROOT}/acme/credentials/{made.credential_id}"
    if made.replayed:
        response["Idempotent-Replayed"] = "true"
    return Status(201, _with_key(actor, made))


@router.get(
    _CREDENTIAL,
    operation_id="showAcmeCredential",
    summary="Show an ACME credential",
    response={200: CredentialOut},
)
def show(request: HttpRequest, credential_id: int) -> CredentialRow:
    """One credential, without its key."""
    return get_credential(actor=actor_of(request), credential_id=credential_id)


@router.patch(
    _CREDENTIAL,
    operation_id="changeAcmeCredential",
    summary="Change the name and limits of an ACME credential",
    response={200: CredentialOut, 409: ProblemOut},
)
def change(request: HttpRequest, credential_id: int, body: CredentialChangeIn) -> CredentialRow:
    """What is given takes the place of what was; accounts that exist go on, within the new limits."""
    actor = actor_of(request)
    row = get_credential(actor=actor, credential_id=credential_id)
    given, limits = body.model_fields_set, row.limits
    change_credential(
        actor=actor,
        credential_id=credential_id,
        name=row.name if body.name is None else body.name,
        limits=Limits(
            suffixes=tuple(body.names or ()) if "names" in given else limits.suffixes,
            profile_id=(body.profile or "") if "profile" in given else limits.profile_id,
            max_accounts=body.max_accounts if "max_accounts" in given else limits.max_accounts,
            expires_at=body.expires_at if "expires_at" in given else limits.expires_at,
        ),
        now=timezone.now(),
    )
    return get_credential(actor=actor, credential_id=credential_id)


@router.post(
    f"{_CREDENTIAL}/rotate",
    operation_id="rotateAcmeCredential",
    summary="Give an ACME credential a new key",
    response={200: CredentialKeyOut, 409: ProblemOut},
)
def rotate(request: HttpRequest, credential_id: int, body: RotateIn | None = None) -> CredentialKeyOut:
    """No client can register with the old key; existing accounts go on, unless they are to end with it.

    Answers with the new key.
    """
    actor = actor_of(request)
    get_credential(actor=actor, credential_id=credential_id)
    end = body is not None and body.end_accounts
    made = rotate_credential(actor=actor, credential_id=credential_id, end_accounts=end, now=timezone.now())
    return _with_key(actor, made)


@router.post(
    f"{_CREDENTIAL}/reveal",
    operation_id="revealAcmeCredential",
    summary="Show the key of an ACME credential once more",
    response={200: CredentialKeyOut, 409: ProblemOut},
)
def reveal(request: HttpRequest, credential_id: int) -> CredentialKeyOut:
    """For configuring another client; that it was shown is recorded."""
    actor = actor_of(request)
    get_credential(actor=actor, credential_id=credential_id)
    return _with_key(actor, reveal_key(actor=actor, credential_id=credential_id, now=timezone.now()))


@router.post(
    f"{_CREDENTIAL}/revoke",
    operation_id="revokeAcmeCredential",
    summary="Revoke an ACME credential and its accounts",
    response={200: CredentialOut, 409: ProblemOut},
)
def revoke(request: HttpRequest, credential_id: int) -> CredentialRow:
    """For good. Certificates that were issued stay valid."""
    actor = actor_of(request)
    get_credential(actor=actor, credential_id=credential_id)
    revoke_credential(actor=actor, credential_id=credential_id, now=timezone.now())
    return get_credential(actor=actor, credential_id=credential_id)


@router.get(
    "/acme/accounts",
    operation_id="listAcmeAccounts",
    summary="List ACME accounts",
    response={200: Page[AccountOut]},
)
def accounts(request: HttpRequest, response: HttpResponse, query: Query[AccountsQuery]) -> object:
    """Clients that have registered, the newest first, and what each was refused last."""
    actor = actor_of(request)
    found = find_accounts(
        actor=actor,
        credential_id=query.credential,
        organisation_id=organisation_filter(actor, query.organisation),
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
    )
    return numbered_page(request, response, found, query.limit)


@router.get(
    "/acme/accounts/{int:account_id}",
    operation_id="showAcmeAccount",
    summary="Show an ACME account",
    response={200: AccountOut},
)
def account(request: HttpRequest, account_id: int) -> AccountRow:
    """One account."""
    return get_account(actor=actor_of(request), account_id=account_id)


@router.post(
    "/acme/accounts/{int:account_id}/deactivate",
    operation_id="deactivateAcmeAccount",
    summary="Deactivate an ACME account",
    response={200: AccountOut, 409: ProblemOut},
)
def deactivate(request: HttpRequest, account_id: int) -> AccountRow:
    """For good: its client can neither order nor renew. Its credential goes on."""
    actor = actor_of(request)
    get_account(actor=actor, account_id=account_id)
    end_account(actor=actor, account_id=account_id, now=timezone.now())
    return get_account(actor=actor, account_id=account_id)


def _with_key(actor: Actor, made: CredentialKey) -> CredentialKeyOut:
    row = get_credential(actor=actor, credential_id=made.credential_id)
    return CredentialKeyOut.from_orm(row, context={"hmac_key": made.hmac_key})
