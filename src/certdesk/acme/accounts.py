"""Accounts (RFC 8555 7.3): registering, reading and changing, ending, and the change of key."""

from typing import Any

from certdesk.acme.edge import Call, SignedBy, signed
from certdesk.acme.render import Reply, account_answer, address, answer
from certdesk.domain.acme.jws import (
    account_key,
    envelope_of,
    flattened_object,
    is_spelling_of,
    json_object,
    read_binding,
    verify,
)
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, malformed
from certdesk.services.acme import accounts
from certdesk.services.acme.challenges import account_uri
from certdesk.services.acme.orders import ORDERS_A_PAGE, list_orders, not_there
from certdesk.services.system import runtime


@signed(by=SignedBy.KEY)
def new_account(call: Call) -> Reply:
    """Registers a key with an EAB credential, or finds its account."""
    assert call.key is not None  # noqa: S101 - `signed` lets no other in
    body = call.body()
    if _flag(body, "onlyReturnExisting"):
        found = accounts.account_by_key(call.key)
        if found is None:
            raise AcmeRefused(ProblemType.ACCOUNT_DOES_NOT_EXIST, "This key has no account.")
        return account_answer(found)
    agreed = _flag(body, "termsOfServiceAgreed")
    raw = body.get("externalAccountBinding")
    binding = None if raw is None else read_binding(raw, url=call.envelope.url, jwk=call.key.jwk)
    terms = runtime.current().acme.terms_url
    if terms and not agreed and accounts.account_by_key(call.key) is None:
        raise AcmeRefused(
            ProblemType.USER_ACTION_REQUIRED,
            f"Agree to the terms of service first: {terms}",
            headers={"Link": f'<{terms}>;rel="terms-of-service"'},
        )
    made = accounts.register(
        key=call.key, binding=binding, contacts=body.get("contact"), terms_agreed=agreed, now=call.now
    )
    return account_answer(made.account, status=201 if made.is_new else 200)


@signed()
def account(call: Call, number: int) -> Reply:
    """Reads, changes or ends the account that signed (RFC 8555 7.3.2, 7.3.6)."""
    _refuse_other(call, number)
    if call.envelope.payload:
        body = call.body()
        status = body.get("status")
        if status not in (None, "valid", "deactivated"):
            raise malformed("“status” can only become “deactivated”.")
        if status == "deactivated":
            accounts.deactivate(account=call.owner, now=call.now)
        elif "contact" in body:
            accounts.update_contacts(account=call.owner, contacts=body["contact"], now=call.now)
    return account_answer(call.owner)


@signed()
def orders(call: Call, number: int, before: int | None = None) -> Reply:
    """The account's orders, newest first, in pages (RFC 8555 7.1.2.1)."""
    _refuse_other(call, number)
    call.only_reads()
    found = list_orders(account=call.owner, before=before, now=call.now)
    headers = {}
    if len(found) == ORDERS_A_PAGE:
        headers["Link"] = f'<{address(f"orders/{number}/{found[-1]}")}>;rel="next"'
    return answer({"orders": [address(f"order/{one}") for one in found]}, headers=headers)


@signed()
def key_change(call: Call) -> Reply:
    """Gives the account a new key, which signs the inner message (RFC 8555 7.3.5)."""
    inner = envelope_of(flattened_object(call.body()), is_inner=True)
    if inner.jwk is None:
        raise malformed("The inner message carries the new key as “jwk”.")
    if inner.url != call.envelope.url:
        raise malformed("The inner message was signed for another address.")
    new = account_key(inner.jwk)
    verify(inner, new.key)
    asked = json_object(inner.payload)
    if asked.get("account") != account_uri(call.owner):
        raise malformed("“account” of the inner message is not the account that signs the outer one.")
    if not is_spelling_of(call.owner.jwk, asked.get("oldKey")):
        raise malformed("“oldKey” is not the account's present key, public and as RFC 7518 spells it.")
    try:
        accounts.change_key(account=call.owner, new=new, now=call.now)
    except accounts.KeyInUse as taken:
        taken.headers["Location"] = address(f"acct/{taken.account_id}")
        raise
    return account_answer(call.owner)


def _refuse_other(call: Call, number: int) -> None:
    if call.owner.pk != number:
        raise not_there()


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise malformed(f"“{name}” is true or false.")
    return value
