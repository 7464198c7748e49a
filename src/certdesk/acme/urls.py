"""Addresses below /acme/. Clients keep those of accounts and orders: none of them may change."""

from django.urls import path, register_converter

from certdesk.acme import accounts, certificates, directory, orders


class RowId:
    """A number that fits a row's id: larger ones are addresses of nothing."""

    regex = "[0-9]{1,18}"

    def to_python(self, value: str) -> int:
        """The number."""
        return int(value)

    def to_url(self, value: int) -> str:
        """Its digits."""
        return str(value)


register_converter(RowId, "row")

app_name = "acme"
urlpatterns = [
    path("directory", directory.directory, name="directory"),
    path("new-nonce", directory.new_nonce, name="new-nonce"),
    path("renewal-info/<str:identifier>", directory.renewal, name="renewal-info"),
    path("new-account", accounts.new_account, name="new-account"),
    path("acct/<row:number>", accounts.account, name="account"),
    path("orders/<row:number>", accounts.orders, name="orders"),
    path("orders/<row:number>/<row:before>", accounts.orders, name="orders-page"),
    path("key-change", accounts.key_change, name="key-change"),
    path("new-order", orders.new_order, name="new-order"),
    path("order/<row:number>", orders.order, name="order"),
    path("order/<row:number>/finalize", orders.finalize, name="finalize"),
    path("authz/<row:number>", orders.authorization, name="authorization"),
    path("chall/<row:number>/<str:kind>", orders.challenge, name="challenge"),
    path("cert/<row:number>", certificates.certificate, name="certificate"),
    path("cert/<row:number>/with-root", certificates.certificate_with_root, name="certificate-with-root"),
    path("revoke-cert", certificates.revoke, name="revoke-cert"),
]
