"""Who may do what over ACME: accounts see their own objects alone, credentials have limits, keys change."""

from datetime import timedelta

import time_machine
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.validation.evidence import Method
from certdesk.services.acme.credentials import change_credential, revoke_credential, rotate_credential
from certdesk.services.people.organisations import disable_organisation
from certdesk.services.system import runtime
from certdesk.services.system.runtime import AcmeSettings
from certdesk.store.models import AcmeAccount, BlockedKey, Certificate, Revocation, UsedNonce
from tests.harness.acme_client import AcmeClient, b64, make_csr, new_key, public
from tests.integration.acme_support import AcmeWorld, Scripts, client, client_of, credential, registered
from tests.integration.support import NOW, configured, organisation, validated

NAME = "www.example.ac.uk"


def _charlie(here: AcmeWorld) -> AcmeClient:
    """A client of another organisation, in good standing."""
    college = organisation("Other College")
    validated("other.ac.uk", of=college, by=here.world.olga)
    return client_of(college)


def test_what_is_anothers_can_t_be_told_from_what_is_not_there(here: AcmeWorld) -> None:
    """Every address of every object, signed by a stranger and by a colleague's account."""
    mine = here.registered()
    pending = mine.order("www.another.ac.uk")
    ready = mine.order(NAME)
    done = mine.finalize(mine.order(NAME).json, make_csr(NAME)).json
    challenge = mine.post(pending.json["authorizations"][0]).json["challenges"][0]["url"]
    targets = [
        (pending.headers["Location"], None),
        (ready.headers["Location"], None),
        (ready.json["finalize"], {"csr": b64(make_csr(NAME))}),
        (ready.json["authorizations"][0], None),
        (pending.json["authorizations"][0], {"status": "deactivated"}),
        (challenge, None),
        (challenge, {}),
        (done["certificate"], None),
        (f"{done['certificate']}/with-root", None),
        (mine.kid, None),
        (mine.kid, {"status": "deactivated"}),
        (mine.kid.replace("acct", "orders"), None),
    ]
    before = Certificate.objects.count()
    for other in (_charlie(here), here.registered()):
        for url, payload in targets:
            parts = url.split("/")
            number = next(part for part in parts if part.isdigit())
            missing = "/".join(str(int(number) + 10_000) if part == number else part for part in parts)
            theirs, none = other.post(url, payload), other.post(missing, payload)
            assert theirs.status == none.status == 404, url
            assert theirs.json == none.json, url
    assert Certificate.objects.count() == before
    assert mine.post(ready.headers["Location"]).json["status"] == "ready"
    assert mine.post(mine.kid).json["status"] == "valid"


def test_an_organisation_s_proof_is_nobody_else_s(here: AcmeWorld) -> None:
    """The name is validated for the university; for the college it needs a challenge of its own."""
    charlie = _charlie(here)
    assert charlie.order(NAME).json["status"] == "pending"
    assert charlie.order("www.other.ac.uk").json["status"] == "ready"


def test_registering_again_finds_the_account_and_changes_nothing(one: AcmeClient) -> None:
    kid, one.kid = one.kid, ""
    again = one.post(one.at["newAccount"], {"contact": ["mailto:other@example.ac.uk"]})
    assert (again.status, again.headers["Location"]) == (200, kid)
    assert again.json["contact"] == ["mailto:webmaster@example.ac.uk"]
    only = one.post(one.at["newAccount"], {"onlyReturnExisting": True})
    assert (only.status, only.headers["Location"]) == (200, kid)
    other = client()
    assert other.post(other.at["newAccount"], {"onlyReturnExisting": True}).refusal == (
        400,
        "accountDoesNotExist",
    )
    assert AcmeAccount.objects.count() == 1


def test_an_account_changes_its_contacts_and_ends_itself(here: AcmeWorld, one: AcmeClient) -> None:
    changed = one.post(one.kid, {"contact": ["mailto:new@example.ac.uk"]})
    assert changed.json["contact"] == ["mailto:new@example.ac.uk"]
    assert one.post(one.kid, {"status": "deactivated"}).json["status"] == "deactivated"
    for refused in (one.post(one.kid), one.order(NAME)):
        assert refused.refusal == (401, "unauthorized")
    one.kid = ""
    assert one.register(here.credential.kid, here.credential.hmac_key).refusal == (401, "unauthorized")


def test_a_key_changes_and_the_old_one_is_out(here: AcmeWorld) -> None:
    """RFC 8555 7.3.5, with all that may be wrong about it."""
    one, other, new = here.registered(), here.registered(), new_key()
    for message in (
        one.key_change(new, account=other.kid),
        one.key_change(new, oldKey=public(new)),
        one.key_change(new, oldKey=None),
        one.key_change(new, {"url": one.kid}),
        {**one.key_change(new), "payload": b64(b"{}")},
        {"nonsense": 1},
    ):
        assert one.post(one.at["keyChange"], message).problem == "malformed"
    taken = one.change_key(other.key)
    assert (taken.status, taken.headers["Location"]) == (409, other.kid)
    assert one.change_key(new).status == 200
    assert one.post(one.kid).problem == "malformed"  # the old key's signature no longer fits
    one.key = new
    assert one.post(one.kid).json["status"] == "valid"
    one.issue(NAME)


def test_a_credential_s_limits_hold(here: AcmeWorld) -> None:
    limits = Limits(suffixes=("lab.example.ac.uk",), max_accounts=1, expires_at=NOW + timedelta(days=1))
    eab = credential(here.meg, here.world.university, limits)
    one = registered(eab)
    assert client().register(eab.kid, eab.hmac_key).refusal == (403, "unauthorized")
    outside = one.order("a.lab.example.ac.uk", NAME, "notlab.example.ac.uk")
    assert outside.refusal == (400, "rejectedIdentifier")
    assert [p["identifier"]["value"] for p in outside.json["subproblems"]] == [NAME, "notlab.example.ac.uk"]
    one.issue("a.lab.example.ac.uk")
    with time_machine.travel(NOW + timedelta(days=2), tick=False):
        one.nonce = ""
        assert one.order("a.lab.example.ac.uk").refusal == (403, "unauthorized")
        change_credential(
            actor=here.meg, credential_id=eab.credential_id, name="lab", limits=Limits(), now=NOW
        )
        assert one.order("a.lab.example.ac.uk").status == 201


def test_rotating_keeps_accounts_and_revoking_ends_them(here: AcmeWorld, one: AcmeClient) -> None:
    new = rotate_credential(actor=here.meg, credential_id=here.credential.credential_id, now=NOW)
    assert client().register(here.credential.kid, here.credential.hmac_key).status == 401
    registered(new)
    assert one.order(NAME).status == 201
    revoke_credential(actor=here.meg, credential_id=new.credential_id, now=NOW)
    assert one.order(NAME).refusal == (401, "unauthorized")


def test_a_disabled_organisation_s_clients_stop(here: AcmeWorld, one: AcmeClient) -> None:
    disable_organisation(
        actor=here.world.olga, organisation_id=here.world.university, reason="Fees.", now=NOW
    )
    assert one.order(NAME).status == 401
    assert client().register(here.credential.kid, here.credential.hmac_key).status == 401


def test_orders_are_limited_by_the_hour_and_in_number(one: AcmeClient) -> None:
    with configured(acme=AcmeSettings(orders_per_hour=2, pending_orders=100)):
        assert [one.order(NAME).status for _ in range(2)] == [201, 201]
        refused = one.order(NAME)
        assert refused.refusal == (429, "rateLimited")
        assert 0 < int(refused.headers["Retry-After"]) <= 3600
    with time_machine.travel(NOW + timedelta(hours=2), tick=False):
        one.nonce = ""
        with configured(acme=AcmeSettings(orders_per_hour=2, pending_orders=100)):
            assert one.order(NAME).status == 201
        with configured(acme=AcmeSettings(pending_orders=3)):
            assert one.order(NAME).refusal == (429, "rateLimited")


def test_terms_of_service_are_agreed_to_where_there_are_any(here: AcmeWorld) -> None:
    with configured(acme=AcmeSettings(terms_url="https://ra.example.ac.uk/terms")):
        one = client()
        assert one.at["meta"]["termsOfService"] == "https://ra.example.ac.uk/terms"
        eab = here.credential
        refused = one.register(eab.kid, eab.hmac_key, termsOfServiceAgreed=False)
        assert refused.refusal == (403, "userActionRequired")
        assert 'rel="terms-of-service"' in refused.headers["Link"]
        assert one.register(eab.kid, eab.hmac_key).status == 201


def test_strangers_write_no_rows(here: AcmeWorld) -> None:
    """Neither nonces nor refused registrations of strangers leave anything behind."""
    for _ in range(3):
        client().register("no-such", here.credential.hmac_key)
        client().post(client().at["newAccount"], {})
    assert not UsedNonce.objects.exists()
    assert not AcmeAccount.objects.exists()


class TestRevoking:
    """RFC 8555 7.6: the account that ordered, one authorized for all names, the holder of the key."""

    def _issued(self, one: AcmeClient, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        chain = one.issue(NAME, csr=make_csr(NAME, key=key))
        return x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)

    def _revoke(self, one: AcmeClient, der: bytes, **payload: object) -> tuple[int, str]:
        reply = one.post(one.at["revokeCert"], {"certificate": b64(der), **payload})
        return reply.status, reply.problem

    def test_the_account_that_ordered_it(self, one: AcmeClient) -> None:
        der = self._issued(one)
        assert self._revoke(one, der, reason=2) == (400, "badRevocationReason")
        assert self._revoke(one, der, reason=9) == (400, "badRevocationReason")
        assert self._revoke(one, der, reason=4) == (200, "")
        assert self._revoke(one, der) == (400, "alreadyRevoked")
        assert Revocation.objects.get().certificate.revoked_at is not None

    def test_another_account_only_with_authorizations_for_all_names(
        self, here: AcmeWorld, network: Scripts
    ) -> None:
        der = self._issued(here.registered())
        colleague, charlie = here.registered(), _charlie(here)
        assert self._revoke(colleague, der) == (403, "unauthorized")
        assert self._revoke(charlie, der) == (403, "unauthorized")
        colleague.order(NAME)  # its authorization is born valid
        ordered = charlie.order(NAME)
        charlie.answer(ordered.json["authorizations"][0], "http-01", network[Method.ACME_HTTP].proofs.add)
        assert self._revoke(charlie, der) == (403, "unauthorized")
        assert self._revoke(colleague, der) == (200, "")

    def test_the_holder_of_the_key_without_an_account(self, here: AcmeWorld) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        der = self._issued(here.registered(), key)
        stranger = client()
        assert self._revoke(stranger, der) == (403, "unauthorized")
        assert self._revoke(client(key=ECKey.import_key(key)), der, reason=1) == (200, "")
        assert BlockedKey.objects.count() == 1

    def test_what_is_no_certificate_of_ours(self, one: AcmeClient) -> None:
        root = runtime.current().backend("embedded").chain()[1]
        assert self._revoke(one, root) == (404, "unauthorized")
        assert self._revoke(one, b"nonsense") == (400, "malformed")
        for value in ("", "a=", None):
            assert one.post(one.at["revokeCert"], {"certificate": value}).problem == "malformed"
