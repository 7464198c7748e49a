"""ACME's objects as JSON (RFC 8555 7.1), and their addresses. Nothing is decided here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from certdesk.domain.acme.orders import ChallengeStatus, OrderStatus, identifier_type
from certdesk.services.acme.accounts import is_valid
from certdesk.services.acme.challenges import account_uri, issuer_names
from certdesk.services.acme.orders import AuthorizationView, ChallengeView, OrderView
from certdesk.services.system import runtime
from certdesk.store.models import AcmeAccount

JSON = "application/json"
#: Whole seconds are the least that HTTP can say.
POLL_SECONDS = "1"
_PERSIST = "dns-persist-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer by HTTP."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def address(path: str) -> str:
    """An address below the directory's, as clients reach it."""
    return f"{runtime.configured().base_url}/acme/{path}"


def json_bytes(value: Mapping[str, object]) -> bytes:
    """The bytes of a JSON object."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def answer(
    body: Mapping[str, object], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    """A JSON answer; the room adds what every answer has."""
    return Reply(status=status, headers={"Content-Type": JSON, **(headers or {})}, body=json_bytes(body))


def account_answer(account: AcmeAccount, *, status: int = 200) -> Reply:
    """An account object (RFC 8555 7.1.2) with its address."""
    body: dict[str, object] = {
        "status": "valid" if is_valid(account) else "deactivated",
        "contact": account.contacts,
        "externalAccountBinding": account.binding,
        "orders": address(f"orders/{account.pk}"),
    }
    if account.terms_agreed:
        body["termsOfServiceAgreed"] = True
    return answer(body, status=status, headers={"Location": account_uri(account)})


def order_answer(order: OrderView, *, status: int = 200) -> Reply:
    """An order object (RFC 8555 7.1.3) with its address, and when to look again while the CA is at work."""
    headers = {"Location": address(f"order/{order.id}")}
    if order.status is OrderStatus.PROCESSING:
        headers["Retry-After"] = POLL_SECONDS
    body: dict[str, object] = {
        "status": order.status.value,
        "expires": timestamp(order.expires_at),
        "identifiers": [identifier_json(name) for name in order.names],
        "profile": order.profile_id,
        "authorizations": [address(f"authz/{number}") for number in order.authorizations],
        "finalize": address(f"order/{order.id}/finalize"),
    }
    if order.replaces:
        body["replaces"] = order.replaces  # RFC 9773 5
    if order.certificate_id is not None:
        body["certificate"] = address(f"cert/{order.certificate_id}")
    if order.problem is not None:
        body["error"] = order.problem
    return answer(body, status=status, headers=headers)


def identifier_json(name: str) -> dict[str, object]:
    """An identifier object (RFC 8555 7.1.3, RFC 8738 3)."""
    return {"type": identifier_type(name), "value": name}


def authorization_answer(authorization: AuthorizationView) -> Reply:
    """An authorization object (RFC 8555 7.1.4), and when to look again."""
    waits = any(one.status is ChallengeStatus.PROCESSING for one in authorization.challenges)
    body: dict[str, object] = {
        "identifier": identifier_json(authorization.name),
        "status": authorization.status.value,
        "expires": timestamp(authorization.expires_at),
        "challenges": [challenge_json(one) for one in authorization.challenges],
    }
    if authorization.wildcard:
        body["wildcard"] = True
    return answer(body, headers={"Retry-After": POLL_SECONDS} if waits else {})


def challenge_answer(challenge: ChallengeView) -> Reply:
    """A challenge object (RFC 8555 7.1.5) that names its authorization."""
    headers = {"Link": f'<{address(f"authz/{challenge.authorization_id}")}>;rel="up"'}
    if challenge.status is ChallengeStatus.PROCESSING:
        headers["Retry-After"] = POLL_SECONDS
    return answer(challenge_json(challenge), headers=headers)


def challenge_json(challenge: ChallengeView) -> dict[str, object]:
    """A challenge object; a persistent record needs the names of the issuer instead of a token."""
    body: dict[str, object] = {
        "type": challenge.type.name,
        "url": address(f"chall/{challenge.authorization_id}/{challenge.type.name}"),
        "status": challenge.status.value,
    }
    if challenge.type.name == _PERSIST:
        # The first name is that of draft -01, the second that of -02.
        body["issuer-domain-names"] = body["issuerDomainNames"] = list(issuer_names())
    else:
        body["token"] = challenge.token
    if challenge.validated_at is not None:
        body["validated"] = timestamp(challenge.validated_at)
    if challenge.problem is not None:
        body["error"] = challenge.problem
    return body


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
