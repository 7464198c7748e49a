"""ACME credentials and accounts over REST. What ACME clients themselves talk to is `certdesk.acme`."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router

from certdesk.api import inputs, render
from certdesk.api.acme_render import account_json, credential_json
from certdesk.api.acme_schemas import (
    AccountOut,
    AccountsOut,
    AccountsQuery,
    CredentialChangeIn,
    CredentialIn,
    CredentialKeyOut,
    CredentialOut,
    CredentialsOut,
    CredentialsQuery,
    RotateIn,
)
from certdesk.api.auth import actor_of
from certdesk.api.openapi import IDEMPOTENCY_KEY, describe
from certdesk.domain.acme_credentials import Limits
from certdesk.domain.actors import Actor
from certdesk.services.acme_credentials import (
    CredentialKey,
    change_credential,
    create_credential,
    end_account,
    reveal_key,
    revoke_credential,
    rotate_credential,
)
from certdesk.store.selectors.acme import (
    CredentialRow,
    find_accounts,
    find_credentials,
    get_account,
    get_credential,
)

router = Router(tags=["acme"])
_CREDENTIAL = "/acme/credentials/{int:credential_id}"


@router.get(
    "/acme/credentials",
    operation_id="listAcmeCredentials",
    summary="List ACME credentials",
    response={200: CredentialsOut},
    openapi_extra=describe(404, 422),
)
def index(request: HttpRequest, query: Query[CredentialsQuery]) -> HttpResponse:
    """Those of the caller's organisation if the caller manages it; for officers and auditors, of all."""
    actor, now = actor_of(request), timezone.now()
    found = find_credentials(
        actor=actor,
        organisation_id=inputs.organisation_filter(actor, query.organisation),
        query=query.q,
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
    )
    shown = found[: query.limit]
    return render.page(
        (credential_json(row, now=now) for row in shown),
        path="/acme/credentials",
        query={"q": query.q, "organisation": query.organisation, "limit": str(query.limit)},
        next_cursor=str(shown[-1].id) if len(found) > query.limit else "",
    )


@router.post(
    "/acme/credentials",
    operation_id="createAcmeCredential",
    summary="Make an ACME credential",
    response={201: CredentialKeyOut},
    openapi_extra=describe(403, 404, 409, body=CredentialIn, headers=[IDEMPOTENCY_KEY]),
)
def create(request: HttpRequest) -> HttpResponse:
    """Makes a credential, and answers with its HMAC key.

    `Idempotent-Replayed: true` says that an earlier call had made it; that its key was shown is recorded.
    """
    actor = actor_of(request)
    key = inputs.idempotency_key(request)
    body = inputs.read_body(request, CredentialIn)
    limits = Limits(
        suffixes=tuple(body.names),
        profile_id=body.profile,
        max_accounts=body.max_accounts,
        expires_at=body.expires_at,
    )
    made = create_credential(
        actor=actor,
        organisation_id=inputs.organisation_of(actor, body.organisation),
        name=body.name,
        limits=limits,
        idempotency_key=key,
        now=timezone.now(),
    )
    headers = {"Location": f"{render.ROOT}/acme/credentials/{made.credential_id}"}
    if made.replayed:
        headers["Idempotent-Replayed"] = "true"
    return _with_key(actor, made, status=201, headers=headers)


@router.get(
    _CREDENTIAL,
    operation_id="showAcmeCredential",
    summary="Show an ACME credential",
    response={200: CredentialOut},
    openapi_extra=describe(404),
)
def show(request: HttpRequest, credential_id: int) -> HttpResponse:
    """One credential, without its key."""
    return _show(get_credential(actor=actor_of(request), credential_id=credential_id))


@router.patch(
    _CREDENTIAL,
    operation_id="changeAcmeCredential",
    summary="Name and limit an ACME credential anew",
    response={200: CredentialOut},
    openapi_extra=describe(403, 404, 409, body=CredentialChangeIn),
)
def change(request: HttpRequest, credential_id: int) -> HttpResponse:
    """What is given takes the place of what was; accounts that exist go on, within the new limits."""
    actor = actor_of(request)
    row = get_credential(actor=actor, credential_id=credential_id)
    body = inputs.read_body(request, CredentialChangeIn)
    name, limits = _changed(row, body)
    change_credential(actor=actor, credential_id=credential_id, name=name, limits=limits, now=timezone.now())
    return _show(get_credential(actor=actor, credential_id=credential_id))


@router.post(
    f"{_CREDENTIAL}/rotate",
    operation_id="rotateAcmeCredential",
    summary="Give an ACME credential a new key",
    response={200: CredentialKeyOut},
    openapi_extra=describe(403, 404, 409, body=RotateIn, body_required=False),
)
def rotate(request: HttpRequest, credential_id: int) -> HttpResponse:
    """No client can register with the old key; existing accounts go on, unless they are to end with it.

    Answers with the new key.
    """
    actor = actor_of(request)
    get_credential(actor=actor, credential_id=credential_id)
    end = inputs.read_body(request, RotateIn, optional=True).end_accounts
    made = rotate_credential(actor=actor, credential_id=credential_id, end_accounts=end, now=timezone.now())
    return _with_key(actor, made)


@router.post(
    f"{_CREDENTIAL}/reveal",
    operation_id="revealAcmeCredential",
    summary="Show the key of an ACME credential once more",
    response={200: CredentialKeyOut},
    openapi_extra=describe(400, 403, 404, 409, 415, 422),
)
def reveal(request: HttpRequest, credential_id: int) -> HttpResponse:
    """For configuring another client; that it was shown is recorded."""
    actor = actor_of(request)
    get_credential(actor=actor, credential_id=credential_id)
    return _with_key(actor, reveal_key(actor=actor, credential_id=credential_id, now=timezone.now()))


@router.post(
    f"{_CREDENTIAL}/revoke",
    operation_id="revokeAcmeCredential",
    summary="Revoke an ACME credential and its accounts",
    response={200: CredentialOut},
    openapi_extra=describe(400, 403, 404, 409, 415, 422),
)
def revoke(request: HttpRequest, credential_id: int) -> HttpResponse:
    """For good. Certificates that were issued stay as they are."""
    actor = actor_of(request)
    get_credential(actor=actor, credential_id=credential_id)
    revoke_credential(actor=actor, credential_id=credential_id, now=timezone.now())
    return _show(get_credential(actor=actor, credential_id=credential_id))


@router.get(
    "/acme/accounts",
    operation_id="listAcmeAccounts",
    summary="List ACME accounts",
    response={200: AccountsOut},
    openapi_extra=describe(404, 422),
)
def accounts(request: HttpRequest, query: Query[AccountsQuery]) -> HttpResponse:
    """Clients that have registered, the newest first, and what each was refused last."""
    actor = actor_of(request)
    found = find_accounts(
        actor=actor,
        credential_id=query.credential,
        organisation_id=inputs.organisation_filter(actor, query.organisation),
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
    )
    shown = found[: query.limit]
    return render.page(
        map(account_json, shown),
        path="/acme/accounts",
        query={
            "credential": str(query.credential or ""),
            "organisation": query.organisation,
            "limit": str(query.limit),
        },
        next_cursor=str(shown[-1].id) if len(found) > query.limit else "",
    )


@router.get(
    "/acme/accounts/{int:account_id}",
    operation_id="showAcmeAccount",
    summary="Show an ACME account",
    response={200: AccountOut},
    openapi_extra=describe(404),
)
def account(request: HttpRequest, account_id: int) -> HttpResponse:
    """One account."""
    return render.answer(account_json(get_account(actor=actor_of(request), account_id=account_id)))


@router.post(
    "/acme/accounts/{int:account_id}/deactivate",
    operation_id="deactivateAcmeAccount",
    summary="Deactivate an ACME account",
    response={200: AccountOut},
    openapi_extra=describe(400, 403, 404, 409, 415, 422),
)
def deactivate(request: HttpRequest, account_id: int) -> HttpResponse:
    """For good: its client can neither order nor renew. Its credential goes on."""
    actor = actor_of(request)
    get_account(actor=actor, account_id=account_id)
    end_account(actor=actor, account_id=account_id, now=timezone.now())
    return render.answer(account_json(get_account(actor=actor, account_id=account_id)))


def _changed(row: CredentialRow, body: CredentialChangeIn) -> tuple[str, Limits]:
    """The name and the limits with what was given in their place."""
    given, limits = body.model_fields_set, row.limits
    return (
        body.name if body.name is not None else row.name,
        Limits(
            suffixes=tuple(body.names or ()) if "names" in given else limits.suffixes,
            profile_id=(body.profile or "") if "profile" in given else limits.profile_id,
            max_accounts=body.max_accounts if "max_accounts" in given else limits.max_accounts,
            expires_at=body.expires_at if "expires_at" in given else limits.expires_at,
        ),
    )


def _show(row: CredentialRow) -> HttpResponse:
    return render.answer(credential_json(row, now=timezone.now()))


def _with_key(
    actor: Actor, made: CredentialKey, *, status: int = 200, headers: dict[str, str] | None = None
) -> HttpResponse:
    row = get_credential(actor=actor, credential_id=made.credential_id)
    told = {**credential_json(row, now=timezone.now()), "hmac_key": made.hmac_key}
    return render.answer(told, status=status, headers=headers)
