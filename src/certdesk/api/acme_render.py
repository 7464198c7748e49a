"""ACME credentials and accounts as JSON; `acme_schemas` describes them."""

from datetime import datetime

from certdesk.api.render import ROOT, Json, moment
from certdesk.services.acme_addresses import account_url, directory_url
from certdesk.store.selectors.acme import AccountRow, CredentialRow


def credential_json(row: CredentialRow, *, now: datetime) -> Json:
    """A credential, without its key."""
    here = f"{ROOT}/acme/credentials/{row.id}"
    return {
        "id": row.id,
        "name": row.name,
        "kid": row.kid,
        "directory": directory_url(),
        "organisation": row.organisation,
        "organisation_slug": row.organisation_slug,
        "names": list(row.limits.suffixes),
        "profile": row.limits.profile_id,
        "max_accounts": row.limits.max_accounts,
        "expires_at": moment(row.limits.expires_at),
        "is_usable": row.is_usable(now=now),
        "accounts": row.accounts,
        "seen_by": [
            {"username": one.username, "knows_key": one.knows_key, "has_left": one.has_left}
            for one in row.seen_by
        ],
        "owner": row.owner,
        "created_by": row.created_by,
        "created_at": moment(row.created_at),
        "rotated_at": moment(row.rotated_at),
        "revoked_at": moment(row.revoked_at),
        "last_used_at": moment(row.last_used_at),
        "links": {"self": here, "accounts": f"{ROOT}/acme/accounts?credential={row.id}"},
    }


def account_json(row: AccountRow) -> Json:
    """An account."""
    return {
        "id": row.id,
        "url": account_url(row.id),
        "status": row.status.value,
        "credential": row.credential_id,
        "credential_name": row.credential,
        "organisation": row.organisation,
        "organisation_slug": row.organisation_slug,
        "thumbprint": row.thumbprint,
        "contacts": list(row.contacts),
        "created_at": moment(row.created_at),
        "last_used_at": moment(row.last_used_at),
        "deactivated_at": moment(row.deactivated_at),
        "last_problem": row.last_problem,
        "last_problem_at": moment(row.last_problem_at),
        "links": {
            "self": f"{ROOT}/acme/accounts/{row.id}",
            "credential": f"{ROOT}/acme/credentials/{row.credential_id}",
        },
    }
