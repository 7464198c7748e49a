"""The form of ACME's messages: members, nulls and types, spellings of keys, methods and headers of HTTP."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from certdesk.domain.acme.jws import decoded
from certdesk.domain.acme.renewal import renewal_identifier
from certdesk.store.models import AcmeAccount, Certificate
from tests.harness.acme_client import JOSE, AcmeClient, Key, b64, make_csr, new_key, public, sign
from tests.integration.acme_support import AcmeWorld, client

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "good"
NAME = "www.example.ac.uk"
IDENTIFIERS = [{"type": "dns", "value": NAME}]


def test_what_an_order_replaces_stands_in_it(one: AcmeClient) -> None:
    """RFC 9773 5: in the answer, and in every later one about the order."""
    leaf = x509.load_pem_x509_certificates(one.issue(NAME))[0]
    identifier = renewal_identifier(leaf)
    ordered = one.order(NAME, replaces=identifier)
    assert ordered.json["replaces"] == identifier
    done = one.finalize(ordered.json, make_csr(NAME))
    assert done.json["replaces"] == one.post(ordered.headers["Location"]).json["replaces"] == identifier
    assert "replaces" not in one.order(NAME).json
    key, _dot, serial = identifier.partition(".")
    for respelled in (f"{key}.{b64(bytes(1) + decoded(serial))}", f"{key}=.{serial}"):
        assert one.order(NAME, replaces=respelled).problem == "malformed"


def test_an_account_says_whether_its_client_agreed_to_the_terms(here: AcmeWorld) -> None:
    for agreed in (True, False, None):
        one = client()
        made = one.register(here.credential.kid, here.credential.hmac_key, termsOfServiceAgreed=agreed)
        for found in (made.json, one.post(one.kid).json):
            assert found.get("termsOfServiceAgreed") is (True if agreed else None)


def test_null_is_the_same_as_absent_when_registering_and_ordering(here: AcmeWorld) -> None:
    one = client()
    eab = here.credential
    nulls = dict.fromkeys(("contact", "onlyReturnExisting", "termsOfServiceAgreed", "status", "orders"))
    assert one.register(eab.kid, eab.hmac_key, **nulls).json["contact"] == []
    refused = client()
    assert (
        refused.register("", eab.hmac_key, externalAccountBinding=None).problem == "externalAccountRequired"
    )
    order = one.order(NAME, **dict.fromkeys(("profile", "replaces", "notBefore", "notAfter")))
    assert (order.status, order.json["profile"]) == (201, "tls-server")


def test_null_changes_nothing_of_what_there_is(one: AcmeClient) -> None:
    before = one.post(one.kid).json
    assert before["contact"]
    assert one.post(one.kid, {"contact": None, "status": None}).json == before
    order = one.order(NAME)
    url = order.json["authorizations"][0]
    assert one.post(url, {"status": None}).problem == "malformed"  # as without it
    assert one.post(url).json["status"] == "valid"
    chain = one.issue(NAME)
    der = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)
    assert one.post(one.at["revokeCert"], {"certificate": b64(der), "reason": None}).status == 200
    pending = one.order("www.another.ac.uk").json
    challenge = one.post(pending["authorizations"][0]).json["challenges"][0]["url"]
    assert one.post(challenge, {"keyAuthorization": None}).status == 200


MEMBERS = {
    "newAccount": ("contact", "termsOfServiceAgreed", "onlyReturnExisting", "externalAccountBinding"),
    "account": ("contact", "status"),
    "authorization": ("status",),
    "newOrder": ("identifiers", "profile", "replaces", "notBefore", "notAfter", "type", "value"),
    "finalize": ("csr",),
    "revokeCert": ("certificate", "reason"),
    "keyChange": ("account", "oldKey"),
}


@pytest.mark.parametrize(
    "where, member", [(where, member) for where, found in MEMBERS.items() for member in found]
)
def test_a_member_of_another_type_is_named(one: AcmeClient, where: str, member: str) -> None:
    order = one.order(NAME).json
    addresses = {
        **one.at,
        "account": one.kid,
        "authorization": order["authorizations"][0],
        "finalize": order["finalize"],
    }
    sender = client() if where == "newAccount" else one
    for bad in (1.5, ["x", 5]):
        body: dict[str, object] = {"identifiers": IDENTIFIERS, "certificate": b64(b"x"), member: bad}
        if member in ("type", "value"):
            body["identifiers"] = [{**IDENTIFIERS[0], member: bad}]
        if where == "keyChange":
            body = one.key_change(new_key(), None, **{member: bad})
        reply = sender.post(addresses[where], body)
        assert (reply.problem, f"“{member}”" in reply.json["detail"]) == ("malformed", True), reply.json


@pytest.mark.parametrize("file", ["openssl-default-subject.csr", "openssl-acme-sh-subject.csr"])
def test_the_subject_of_a_csr_is_ignored(one: AcmeClient, file: str) -> None:
    """The profile sets O; clients and openssl send a placeholder."""
    csr = x509.load_pem_x509_csr((VECTORS / file).read_bytes()).public_bytes(Encoding.DER)
    leaf = x509.load_pem_x509_certificates(one.issue(NAME, csr=csr))[0]
    names = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert [name.value for name in names] == ["Example University"]


def _short_x() -> ECKey:
    """A key whose x begins with a zero octet, which one in 256 does."""
    while True:
        key = new_key()
        if decoded(public(key)["x"])[0] == 0:
            return key


_RSA = RSAKey.generate_key(2048)


@pytest.mark.parametrize(
    "key, alg, member, respelled",
    [
        (new_key(), "ES256", "x", lambda x: b64(bytes(1) + decoded(x))),
        (new_key(), "ES256", "y", lambda y: y + "="),
        (new_key(), "ES256", "x", lambda x: x[:-1] + chr(ord(x[-1]) + 1)),  # bits that nothing carries
        (_short_x(), "ES256", "x", lambda x: b64(decoded(x)[1:])),
        (_RSA, "RS256", "n", lambda n: b64(bytes(1) + decoded(n))),
        (_RSA, "RS256", "e", lambda e: b64(bytes(1) + decoded(e))),
        (OKPKey.generate_key("Ed25519"), "Ed25519", "x", lambda x: x + "="),
    ],
)
def test_a_key_has_one_spelling(
    here: AcmeWorld, key: Key, alg: str, member: str, respelled: Callable[[str], str]
) -> None:
    """RFC 7518 6: otherwise one key has several thumbprints, and several accounts."""
    one = client(key=key, alg=alg)
    odd = {**public(key), member: respelled(public(key)[member])}
    eab, url = here.credential, one.at["newAccount"]

    def binding(jwk: Mapping[str, object]) -> dict[str, object]:
        secret = OctKey.import_key({"kty": "oct", "k": eab.hmac_key})
        return sign(json.dumps(jwk).encode(), secret, {"alg": "HS256", "kid": eab.kid, "url": url})

    for jwk, bound, problem in (
        (odd, odd, "badPublicKey"),
        (odd, public(key), "badPublicKey"),
        (public(key), odd, "malformed"),
    ):
        assert one.post(url, {"externalAccountBinding": binding(bound)}, jwk=jwk).problem == problem
    assert one.register(eab.kid, eab.hmac_key).status == 201
    assert AcmeAccount.objects.get().thumbprint == key.thumbprint()
    other = here.registered()
    assert other.change_key(key, {"alg": alg, "jwk": odd}).problem == "badPublicKey"


def test_a_key_that_is_shown_with_its_private_half_or_otherwise_is_not_the_old_key(one: AcmeClient) -> None:
    padded = {**public(one.key), "x": public(one.key)["x"] + "="}
    for old in (padded, one.key.as_dict(private=True)):
        assert one.change_key(new_key(), oldKey=old).problem == "malformed"


def test_a_certificate_s_key_revokes_in_its_one_spelling(one: AcmeClient) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    chain = one.issue(NAME, csr=make_csr(NAME, key=key))
    body = {"certificate": b64(x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER))}
    holder = client(key=ECKey.import_key(key))
    odd = {**public(holder.key), "y": public(holder.key)["y"] + "="}
    assert holder.post(holder.at["revokeCert"], body, jwk=odd).problem == "badPublicKey"
    assert Certificate.objects.get().revoked_at is None
    assert holder.post(holder.at["revokeCert"], body).status == 200


@pytest.mark.parametrize("method", ["TRACE", "PUT", "DELETE", "PATCH", "NONSENSE", "GET", "HEAD"])
def test_other_methods_are_refused_with_those_that_work(one: AcmeClient, method: str) -> None:
    for url, allowed in (
        (one.directory, "GET, HEAD, OPTIONS"),
        (one.at["newNonce"], "GET, HEAD, OPTIONS"),
        (f"{one.at['renewalInfo']}/a.b", "GET, HEAD, OPTIONS"),
        (one.at["newOrder"], "POST, OPTIONS"),
        (one.kid, "POST, OPTIONS"),
    ):
        if method not in allowed:
            reply = one.send(method, url, body=b"", headers={})
            assert (reply.status, reply.problem, reply.headers["Allow"]) == (405, "malformed", allowed)


def test_clients_in_browsers_may_read_every_answer(one: AcmeClient) -> None:
    """RFC 8555 6.1."""
    for reply in (one.get(one.directory), one.post(one.kid), one.post(f"{one.kid}0"), one.get(one.kid)):
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        exposed = reply.headers["Access-Control-Expose-Headers"].split(", ")
        assert set(exposed) == {"Replay-Nonce", "Location", "Link", "Retry-After"}
    asked = {"Origin": "https://client.example", "Access-Control-Request-Method": "POST"}
    answer = one.send("OPTIONS", one.at["newOrder"], body=b"", headers=asked)
    assert (answer.status, answer.body, answer.headers["Allow"]) == (204, b"", "POST, OPTIONS")
    assert answer.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
    assert one.send("OPTIONS", f"{one.directory}x", body=b"", headers=asked).status == 404


def test_a_body_needs_no_length_and_has_its_limit_all_the_same(one: AcmeClient) -> None:
    """Chunked bodies tell no length."""
    body = json.dumps(sign(b"", one.key, one.header(one.kid))).encode()
    for sent, status in ((body, 200), (b" " * 200_000, 413)):
        headers = {"Content-Type": JOSE, "Content-Length": ""}
        assert one.send("POST", one.kid, body=sent, headers=headers).status == status
