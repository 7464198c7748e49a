"""What needs no signature: the directory, nonces, and when to renew (RFC 8555 7.1.1, 7.2; RFC 9773)."""

from django.utils import timezone

from certdesk.acme.edge import Request, not_allowed
from certdesk.acme.render import Reply, address, answer, timestamp
from certdesk.services.acme.addresses import account_hash_prefix
from certdesk.services.acme.challenges import issuer_names
from certdesk.services.acme.nonces import make_nonce
from certdesk.services.acme.renewal import renewal_info
from certdesk.services.system import runtime

#: RFC 9773 4.3: how long a client may rely on what it was told.
RENEWAL_RETRY_SECONDS = 6 * 3600


def directory(request: Request) -> Reply:
    """Where everything is, and what is special about this server."""
    if request.method not in ("GET", "HEAD"):
        return not_allowed(request.method, "GET", "HEAD")
    rt = runtime.current()
    meta: dict[str, object] = {
        "website": rt.acme.website_url or rt.base_url,
        "caaIdentities": list(issuer_names()),
        # For persistent records that are published before anything is ordered (draft dns-persist-02 3.2).
        "issuerDomainNames": list(issuer_names()),
        "accountHashPrefix": account_hash_prefix(),
        "externalAccountRequired": True,
        "profiles": {one.id: one.title for one in rt.profiles.values()},
    }
    if rt.acme.terms_url:
        meta["termsOfService"] = rt.acme.terms_url
    return answer(
        {
            "newNonce": address("new-nonce"),
            "newAccount": address("new-account"),
            "newOrder": address("new-order"),
            "revokeCert": address("revoke-cert"),
            "keyChange": address("key-change"),
            "renewalInfo": address("renewal-info"),
            "meta": meta,
        }
    )


def new_nonce(request: Request) -> Reply:
    """A fresh nonce in the headers: 200 to HEAD, 204 to GET."""
    if request.method not in ("GET", "HEAD"):
        return not_allowed(request.method, "GET", "HEAD")
    nonce = make_nonce(now=timezone.now())
    return Reply(status=200 if request.method == "HEAD" else 204, headers={"Replay-Nonce": nonce})


def renewal(request: Request, identifier: str) -> Reply:
    """The suggested window of a certificate; anybody may ask."""
    if request.method not in ("GET", "HEAD"):
        return not_allowed(request.method, "GET", "HEAD")
    window = renewal_info(identifier=identifier)
    body: dict[str, object] = {
        "suggestedWindow": {"start": timestamp(window.start), "end": timestamp(window.end)}
    }
    if window.explanation_url:
        body["explanationURL"] = window.explanation_url
    return answer(body, headers={"Retry-After": str(RENEWAL_RETRY_SECONDS)})
