"""Whatever is wrong with a message is its RFC error, never a 500 (RFC 8555 6, 10; S1 to S11)."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.acme.jws import ALGORITHMS, json_object
from certdesk.domain.acme.problems import AcmeRefused
from certdesk.services.acme.credentials import revoke_credential
from certdesk.services.revocation.blocked_keys import block_key
from certdesk.store.models import AcmeAccount, AcmeOrder, Certificate, KeyProof, Request
from tests.harness.acme_client import AcmeClient, Reply, b64, make_csr, public, sign
from tests.integration.acme_support import AcmeWorld, client, credential, registered, tampered
from tests.integration.support import NOW

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "www.example.ac.uk"


def _message(one: AcmeClient, address: str, payload: object = None, **changes: object) -> dict[str, object]:
    raw = b"" if payload is None else json.dumps(payload).encode()
    return sign(raw, one.key, {**one.header(address), **changes})


def _is(reply: Reply, status: int, problem: str) -> None:
    """The answer is this problem, is a problem document, and brings a nonce for the next try."""
    assert reply.refusal == (status, problem), reply.body
    assert reply.json["status"] == status
    assert reply.json["detail"]
    assert reply.headers["Replay-Nonce"]
    assert 'rel="index"' in reply.headers["Link"]


def _headed(message: Mapping[str, object], header: Mapping[str, object]) -> bytes:
    """A message under another protected header than the one that was signed."""
    return tampered(message, protected=b64(json.dumps(header).encode()))


def _hmac_with_public_key(one: AcmeClient) -> bytes:
    """The classic: a MAC made with the public key as its secret."""
    secret = OctKey.import_key({"kty": "oct", "k": str(public(one.key)["x"])})
    return tampered(sign(b"", secret, one.header(one.kid, alg="HS256")))


def _alg_none(one: AcmeClient) -> bytes:
    return _headed({"payload": "", "signature": ""}, one.header(one.kid, alg="none"))


def _unlisted(one: AcmeClient) -> bytes:
    return _headed(_message(one, one.kid), one.header(one.kid, alg="ES256K"))


@pytest.mark.parametrize("made", [_alg_none, _hmac_with_public_key, _unlisted])
def test_algorithms_that_are_not_listed_are_refused_with_the_list(
    one: AcmeClient, made: Callable[[AcmeClient], bytes]
) -> None:
    reply = one.post_raw(one.kid, made(one))
    _is(reply, 400, "badSignatureAlgorithm")
    assert reply.json["algorithms"] == list(ALGORITHMS)


def _padded(message: dict[str, object]) -> bytes:
    return tampered(message, signature=f"{message['signature']}==")


def _two_signatures(message: dict[str, object]) -> bytes:
    part = {"protected": message["protected"], "signature": message["signature"]}
    return json.dumps({"payload": message["payload"], "signatures": [part, part]}).encode()


@pytest.mark.parametrize(
    "spoilt",
    [
        _padded,
        _two_signatures,
        lambda m: tampered(m, header={"kid": "x"}),
        lambda m: tampered(m, protected=None),
        lambda m: tampered(m, payload=None),
        lambda m: tampered(m, payload=5),
        lambda m: tampered(m, protected=b64(b"[1]")),
        lambda m: tampered(m, protected=b64(b"\xff\xfe")),
        lambda m: tampered(m, protected="A"),
        lambda m: tampered(m, signature=""),
        lambda m: tampered(m, signature=b64(b"x" * 64)),
        lambda m: tampered(m, payload=b64(b'{"contact": []}')),
        lambda _m: b"\x00\xff",
        lambda _m: b"[]",
        lambda _m: b'"a"',
        lambda _m: b"[" * 20_000,
        lambda m: json.dumps(m).encode() + b"x",
    ],
)
def test_messages_that_are_no_jws_are_malformed(
    one: AcmeClient, spoilt: Callable[[dict[str, object]], bytes]
) -> None:
    _is(one.post_raw(one.kid, spoilt(_message(one, one.kid))), 400, "malformed")


@pytest.mark.parametrize(
    "changes",
    [
        {"jwk": "KEY"},  # beside the kid
        {"kid": None},  # neither
        {"kid": None, "jwk": "KEY"},  # an account's requests name the account
        {"kid": 7},
        {"crit": ["b64"], "b64": False},
        {"url": None},
        {"url": 5},
    ],
)
def test_headers_that_say_too_little_or_too_much_are_malformed(
    one: AcmeClient, changes: dict[str, object]
) -> None:
    changes = {name: public(one.key) if value == "KEY" else value for name, value in changes.items()}
    header = {**one.header(one.kid), **changes}
    kept = {name: value for name, value in header.items() if value is not None}
    _is(one.post_raw(one.kid, _headed(_message(one, one.kid), kept)), 400, "malformed")


@pytest.mark.parametrize("wrong", ["http://localhost/acme/new-order", "/acme/new-order", "DIRECTORY", ""])
def test_a_message_for_another_address_is_unauthorized(one: AcmeClient, wrong: str) -> None:
    """RFC 8555 6.4: the address in the message is that of the request, on the configured base URL."""
    url = one.directory if wrong == "DIRECTORY" else wrong
    message = _message(one, one.at["newOrder"], {"identifiers": []}, url=url)
    _is(one.post_raw(one.at["newOrder"], json.dumps(message).encode()), 401, "unauthorized")


def test_a_nonce_works_once_for_a_request_that_succeeds_or_fails(one: AcmeClient) -> None:
    body = json.dumps(_message(one, one.kid)).encode()
    assert one.post_raw(one.kid, body).status == 200
    _is(one.post_raw(one.kid, body), 400, "badNonce")
    refused = json.dumps(_message(one, one.kid, {"status": "nonsense"})).encode()
    _is(one.post_raw(one.kid, refused), 400, "malformed")
    _is(one.post_raw(one.kid, refused), 400, "badNonce")
    good = one.fresh_nonce()
    spoilt = good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1]
    for nonce in ("bm9uc2Vuc2U", "", "=", "A" * 43, "é", spoilt, good + "A"):
        _is(one.post(one.kid, nonce=nonce), 400, "badNonce")


def test_a_nonce_from_an_hour_ago_is_too_old(one: AcmeClient) -> None:
    old = one.fresh_nonce()
    with time_machine.travel(NOW + timedelta(hours=2), tick=False):
        _is(one.post(one.kid, nonce=old), 400, "badNonce")


def test_a_foreign_kid_does_not_fit_the_signature(here: AcmeWorld, one: AcmeClient) -> None:
    other = here.registered()
    _is(other.post(one.kid, kid=one.kid), 400, "malformed")


ACCOUNT_NUMBERS = ("999", "x", "9" * 20, "0" * 20 + "9" * 20, "0" * 5000)


@pytest.mark.parametrize(
    "kid", ["http://elsewhere/acme/acct/1", "acct/1", *("{}" + number for number in ACCOUNT_NUMBERS)]
)
def test_an_unknown_account_does_not_exist(one: AcmeClient, kid: str) -> None:
    base = one.kid.rpartition("/")[0] + "/"
    _is(one.post(one.at["newOrder"], {}, kid=kid.format(base)), 400, "accountDoesNotExist")


def test_bodies_are_small_and_of_their_own_kind(one: AcmeClient) -> None:
    body = json.dumps(_message(one, one.kid)).encode()
    for kind in ("application/json", "text/plain", ""):
        _is(one.post_raw(one.kid, body, content_type=kind), 415, "malformed")
    _is(one.post_raw(one.kid, b" " * 200_000), 413, "malformed")


def test_reading_takes_an_empty_payload(one: AcmeClient) -> None:
    order = one.order(NAME)
    _is(one.post(order.headers["Location"], {}), 400, "malformed")
    payloads: tuple[object, ...] = ([], "x", 5)
    for payload in payloads:
        _is(one.post(one.at["newOrder"], payload), 400, "malformed")


def _identifier(value: object, kind: object = "dns") -> list[object]:
    return [{"type": kind, "value": value}]


NOT_OURS = (
    *("192.0.2.1", "", "localhost", "host.local", "www..example.ac.uk"),
    *("www.example.ac.uk.", "bücher.example.ac.uk", "xn--a.example.ac.uk", "*.ac.uk", "*.co.uk"),
    *("co.uk", "w*.example.ac.uk", "*.*.example.ac.uk", "a" * 64 + ".example.ac.uk", "a.b\0.example.ac.uk"),
    "x.onion",
)


@pytest.mark.parametrize(
    "identifiers, problem",
    [
        (None, "malformed"),
        ([], "malformed"),
        ([{}], "malformed"),
        (_identifier("192.0.2.1", kind="ip"), "unsupportedIdentifier"),
        (_identifier("2001:db8::1", kind="ip"), "unsupportedIdentifier"),
        (_identifier("2001:DB8::1", kind="ip"), "rejectedIdentifier"),
        (_identifier("fe80::1%eth0", kind="ip"), "rejectedIdentifier"),
        (_identifier("::ffff:192.0.2.1", kind="ip"), "rejectedIdentifier"),
        (_identifier("192.0.2.0/24", kind="ip"), "rejectedIdentifier"),
        (_identifier("www.example.ac.uk", kind="ip"), "rejectedIdentifier"),
        (_identifier("x", kind="email"), "unsupportedIdentifier"),
        *((_identifier(name), "rejectedIdentifier") for name in NOT_OURS),
        ([{"type": "dns", "value": f"h{n}.example.ac.uk"} for n in range(101)], "rejectedIdentifier"),
    ],
)
def test_names_that_nobody_may_have(one: AcmeClient, identifiers: object, problem: str) -> None:
    _is(one.post(one.at["newOrder"], {"identifiers": identifiers}), 400, problem)
    assert not AcmeOrder.objects.exists()
    assert not Request.objects.filter(channel="acme").exists()


@pytest.mark.parametrize("member", ["type", "value"])
def test_half_of_a_surrogate_pair_is_no_text(one: AcmeClient, member: str) -> None:
    identifier = {"type": "dns", "value": "www.example.ac.uk", member: "\ud800"}
    _is(one.post(one.at["newOrder"], {"identifiers": [identifier]}), 400, "malformed")


def test_each_bad_name_has_a_subproblem_of_its_own(one: AcmeClient) -> None:
    reply = one.order("ok.example.ac.uk", "localhost", "*.ac.uk")
    _is(reply, 400, "rejectedIdentifier")
    assert [p["identifier"]["value"] for p in reply.json["subproblems"]] == ["localhost", "*.ac.uk"]
    mixed = one.post(
        one.at["newOrder"], {"identifiers": [*_identifier("localhost"), *_identifier("192.0.2.1", kind="ip")]}
    )
    _is(mixed, 400, "compound")
    assert [p["identifier"] for p in mixed.json["subproblems"]] == [
        {"type": "dns", "value": "localhost"},
        {"type": "ip", "value": "192.0.2.1"},
    ]


@pytest.mark.parametrize(
    "extra, problem",
    [
        ({"profile": "no-such"}, "invalidProfile"),
        ({"notAfter": "2030-01-01T00:00:00Z"}, "malformed"),
        ({"replaces": "nonsense"}, "malformed"),
        ({"replaces": "AAAA.AAAA"}, "malformed"),
    ],
)
def test_orders_with_wishes_that_can_t_be_met(
    one: AcmeClient, extra: dict[str, object], problem: str
) -> None:
    _is(one.order(NAME, **extra), 400, problem)


def test_csrs_that_differ_from_their_order(one: AcmeClient, here: AcmeWorld) -> None:
    order = one.order(NAME, "mail.example.ac.uk").json
    account_keys = [key for who in (one, here.registered()) if isinstance(key := who.key, ECKey)]
    both = (NAME, "mail.example.ac.uk")
    small, blocked = ec.generate_private_key(ec.SECP192R1()), ec.generate_private_key(ec.SECP256R1())
    spki = ECKey.import_key(blocked.public_key()).as_der(private=False)
    digest = hashlib.sha256(spki).hexdigest()
    block_key(digest, proof=KeyProof.OFFICER, reason="found on the web", actor=here.world.olga, now=NOW)
    bad = [
        make_csr(NAME),
        make_csr(*both, "www2.example.ac.uk"),
        make_csr(NAME, "mail2.example.ac.uk"),
        *(make_csr(*both, key=key.private_key) for key in account_keys),  # RFC 8555 11.1
        make_csr(*both, key=small),
        make_csr(*both)[:-3],
        b"",
        b"nonsense",
    ]
    for csr in bad:
        _is(one.finalize(order, csr), 400, "badCSR" if csr else "malformed")
    _is(one.finalize(order, make_csr(*both, key=blocked)), 400, "badPublicKey")
    for value in ("a=", "é"):
        _is(one.post(order["finalize"], {"csr": value}), 400, "malformed")
    assert not Certificate.objects.exists()
    assert one.finalize(order, make_csr(*both)).json["status"] == "valid"


def test_a_private_key_sent_as_csr_is_blocked(one: AcmeClient) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    order = one.order(NAME).json
    pasted = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    _is(one.finalize(order, pasted), 400, "badCSR")
    _is(one.finalize(order, make_csr(NAME, key=key)), 400, "badPublicKey")


def test_challenges_that_are_not_on_offer_are_not_there(one: AcmeClient) -> None:
    number = one.order(NAME).json["authorizations"][0].rpartition("/")[2]
    base = one.directory.removesuffix("directory")
    for kind in ("nonsense", "dns-02", "http-01x"):
        _is(one.post(f"{base}chall/{number}/{kind}", {}), 404, "malformed")


@pytest.mark.parametrize(
    "path", ["nonsense", "order/x", "order/99999999999999999999999", "acct/", "", "order/5/x"]
)
def test_addresses_of_nothing(one: AcmeClient, path: str) -> None:
    base = one.directory.removesuffix("directory")
    _is(one.post(base + path), 404, "malformed")


@pytest.mark.usefixtures("here")
class TestAccounts:
    """RFC 8555 7.3."""

    def test_without_a_binding_no_account(self) -> None:
        one = client()
        _is(one.post(one.at["newAccount"], {}), 401, "externalAccountRequired")
        assert not AcmeAccount.objects.exists()

    def test_a_binding_that_does_not_fit_tells_nothing_about_credentials(self, here: AcmeWorld) -> None:
        eab = here.credential
        revoked = credential(here.meg, here.world.university)
        revoke_credential(actor=here.meg, credential_id=revoked.credential_id, now=NOW)
        ended = credential(here.meg, here.world.university, Limits(expires_at=NOW + timedelta(seconds=1)))
        wrong_key = eab.hmac_key[:-4] + "AAAA"
        answers = []
        with time_machine.travel(NOW + timedelta(minutes=10), tick=False):
            for kid, key in (
                (eab.kid, wrong_key),
                ("no-such", eab.hmac_key),
                ("no\0such", eab.hmac_key),
                (revoked.kid, revoked.hmac_key),
                (ended.kid, ended.hmac_key),
            ):
                answers.append(client().register(kid, key))
                _is(answers[-1], 401, "unauthorized")
        assert len({answer.body for answer in answers}) == 1

    def test_a_binding_is_about_this_key_and_this_address(self, here: AcmeWorld) -> None:
        eab, other = here.credential, client()
        for binding in (
            client().binding(eab.kid, eab.hmac_key),  # of another key
            other.binding(eab.kid, eab.hmac_key, url=other.at["newOrder"]),
            other.binding(eab.kid, eab.hmac_key, nonce="abc"),
            other.binding(eab.kid, eab.hmac_key, kid=""),
            "nonsense",
            {},
        ):
            _is(other.register(eab.kid, eab.hmac_key, externalAccountBinding=binding), 400, "malformed")
        signed = sign(
            json.dumps(public(other.key)).encode(),
            other.key,
            {"alg": "ES256", "kid": eab.kid, "url": other.at["newAccount"]},
        )
        _is(
            other.register(eab.kid, eab.hmac_key, externalAccountBinding=signed), 400, "badSignatureAlgorithm"
        )
        assert not AcmeAccount.objects.exists()

    @pytest.mark.parametrize(
        "contact, problem",
        [
            (["tel:+441632960000"], "unsupportedContact"),
            (["mailto:nonsense"], "invalidContact"),
            (["mailto:a@example.ac.uk?subject=x"], "invalidContact"),
            (["mailto:a@example.ac.uk,b@example.ac.uk"], "invalidContact"),
            (["mailto:a\n@example.ac.uk"], "invalidContact"),
            (["mailto:a@example.ac.uk"] * 11, "invalidContact"),
        ],
    )
    def test_contacts_are_plain_addresses(self, here: AcmeWorld, contact: object, problem: str) -> None:
        _is(client().register(here.credential.kid, here.credential.hmac_key, contact=contact), 400, problem)

    def test_weak_and_strange_keys_sign_for_nobody(self) -> None:
        two = client()
        for jwk in (
            {"kty": "RSA", "e": "AQAB", "n": b64(b"\xc1" + b"\x01" * 127)},  # 1024 bits
            {"kty": "RSA", "e": "AQAB", "n": b64(b"\xc1" + b"\x01" * 1023)},  # 8192 bits
            {"kty": "RSA", "e": "Aw", "n": b64(b"\xc1" + b"\x01" * 255)},
            {"kty": "RSA", "e": "AQAB", "n": b64(b"\xc3" + b"\x03" * 255)},  # has small factors
            {"kty": "oct", "k": "c2VjcmV0"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
            {"kty": "EC", "crv": "P-256", "x": 5, "y": 6},
            {"kty": "nonsense"},
            {},
            two.key.as_dict(private=True),
        ):
            url = two.at["newAccount"]
            message = _headed(_message(two, url, {}), {**two.header(url), "jwk": jwk})
            _is(two.post_raw(url, message), 400, "badPublicKey")

    @pytest.mark.parametrize(
        "key, alg",
        [
            (lambda: ECKey.generate_key("P-384"), "ES384"),
            (lambda: ECKey.generate_key("P-521"), "ES512"),
            (lambda: RSAKey.generate_key(2048), "RS256"),
            (lambda: RSAKey.generate_key(3072), "PS256"),
            (lambda: OKPKey.generate_key("Ed25519"), "Ed25519"),
        ],
    )
    def test_every_listed_algorithm_signs(
        self, here: AcmeWorld, key: Callable[[], ECKey | RSAKey | OKPKey], alg: str
    ) -> None:
        one = registered(here.credential, key=key(), alg=alg)
        assert one.post(one.kid).json["status"] == "valid"
        wrong = one.header(one.kid, alg="ES256")
        _is(one.post_raw(one.kid, _headed(_message(one, one.kid), wrong)), 400, "malformed")


@pytest.mark.parametrize(
    "text", [b'{"a": "\xed\xa0\x80"}', '{"a": "b"}'.encode("utf-16"), b'{"a": "\\ud800"}']
)
def test_json_is_utf_8_alone(text: bytes) -> None:
    with pytest.raises(AcmeRefused, match="is not JSON"):
        json_object(text)
