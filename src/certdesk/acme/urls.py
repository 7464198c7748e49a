"""Addresses below /acme/. Clients keep those of accounts and orders: none of them may change."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from certdesk.acme import accounts, certificates, directory, orders
from certdesk.acme.render import Reply

View = Callable[..., Reply]

#: `<number>` and `<before>` fit a row's id: larger ones are addresses of nothing.
VIEWS: Mapping[str, View] = {
    "directory": directory.directory,
    "new-nonce": directory.new_nonce,
    "renewal-info/<identifier>": directory.renewal,
    "new-account": accounts.new_account,
    "acct/<number>": accounts.account,
    "orders/<number>": accounts.orders,
    "orders/<number>/<before>": accounts.orders,
    "key-change": accounts.key_change,
    "new-order": orders.new_order,
    "order/<number>": orders.order,
    "order/<number>/finalize": orders.finalize,
    "authz/<number>": orders.authorization,
    "chall/<number>/<kind>": orders.challenge,
    "cert/<number>": certificates.certificate,
    "cert/<number>/with-root": partial(certificates.certificate, with_root=True),
    "revoke-cert": certificates.revoke,
}
_ROWS = ("number", "before")
_ROW, _TEXT = "[0-9]{1,18}", "[^/]+"
_PARTS = [
    (
        re.compile(
            re.sub(
                "<([a-z]+)>", lambda part: rf"(?P<{part[1]}>{_ROW if part[1] in _ROWS else _TEXT})", address
            )
        ),
        view,
    )
    for address, view in VIEWS.items()
]


def find(address: str) -> tuple[View, dict[str, int | str]] | None:
    """The view of an address below /acme/, and the parts of the address; None where there is nothing."""
    for pattern, view in _PARTS:
        if (found := pattern.fullmatch(address)) is not None:
            parts = found.groupdict()
            return view, {name: int(text) if name in _ROWS else text for name, text in parts.items()}
    return None
