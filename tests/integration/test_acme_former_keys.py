"""A request that was signed with an account's key before that was changed, or sent twice, does nothing."""

import json
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.acme import accounts as acme_accounts
from certdesk.services.acme import orders as acme_orders
from certdesk.services.revocation import revoke as revocation
from certdesk.store.models import AcmeAccount, AcmeAuthorization, BlockedKey, Revocation
from certdesk.store.selectors.facts import lock_organisation
from tests.harness.acme_client import AcmeClient, Reply, b64, make_csr, new_key, sign

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "www.example.ac.uk"


@pytest.mark.parametrize(
    "act",
    [
        lambda one, der, _url: one.post(one.at["revokeCert"], {"certificate": b64(der), "reason": 0}),
        lambda one, der, _url: one.post(one.at["revokeCert"], {"certificate": b64(der), "reason": 1}),
        lambda one, _der, _url: one.post(one.kid, {"contact": ["mailto:new@example.ac.uk"]}),
        lambda one, _der, _url: one.post(one.kid, {"status": "deactivated"}),
        lambda one, _der, _url: one.change_key(new_key()),
        lambda one, _der, url: one.post(url, {"status": "deactivated"}),
    ],
    ids=["revokes", "reports its key", "changes contacts", "deactivates", "changes its key", "gives up"],
)
def test_a_key_that_was_changed_meanwhile_does_nothing(
    one: AcmeClient, monkeypatch: pytest.MonkeyPatch, act: Callable[[AcmeClient, bytes, str], Reply]
) -> None:
    """The account's holder changed it because it was lost; whoever found it signs with it at that moment."""
    der = x509.load_pem_x509_certificate(one.issue(NAME)).public_bytes(Encoding.DER)
    authorization = one.order(NAME).json["authorizations"][0]
    before = AcmeAccount.objects.get()

    def changed(organisation_id: OrganisationId, *keys: str) -> None:
        lock_organisation(organisation_id, *keys)
        AcmeAccount.objects.update(thumbprint="t" * 43, spki_sha256="0" * 64)

    for module in (acme_accounts, acme_orders, revocation):
        monkeypatch.setattr(module, "lock_organisation", changed)
    refused = act(one, der, authorization)
    assert refused.refusal == (401, "unauthorized")
    now = AcmeAccount.objects.get()
    assert (now.contacts, now.deactivated_at, now.jwk) == (before.contacts, None, before.jwk)
    assert not AcmeAuthorization.objects.filter(deactivated_at__isnull=False).exists()
    assert not Revocation.objects.exists()
    assert not BlockedKey.objects.exists()


@pytest.mark.parametrize("refused_early", ["other names", "foreign order", "no CSR"])
def test_a_finalize_that_was_refused_early_has_spent_its_nonce(one: AcmeClient, refused_early: str) -> None:
    """RFC 8555 6.5: the same message a second time is badNonce, whatever the first was refused for."""
    order = one.order(NAME).json
    url = (
        order["finalize"].replace("/order/", "/order/9") if "foreign" in refused_early else order["finalize"]
    )
    csr = b64(make_csr("other.example.ac.uk" if "names" in refused_early else NAME))
    payload = json.dumps({} if "no CSR" in refused_early else {"csr": csr}).encode()
    message = json.dumps(sign(payload, one.key, one.header(url))).encode()
    first, second = one.post_raw(url, message), one.post_raw(url, message)
    assert first.problem != "badNonce"
    assert first.status >= 400
    assert second.refusal == (400, "badNonce")
