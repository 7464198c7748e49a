"""dns-account-01 and dns-persist-01, which no packaged client speaks yet: our own, with a real name server.

The zone is changed by dynamic update (RFC 2136), as a client's hook would; Certdesk asks through a resolver.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
import pytest

from tests.acceptance.conftest import CHALLENGED, UPDATE_SECRET, AcmePlace
from tests.harness.acme_client import AcmeClient, make_csr, names_in
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.slow

_KEYRING = dns.tsigkeyring.from_text({f"{CHALLENGED}.": ("hmac-sha256", UPDATE_SECRET)})


@pytest.fixture
def client(acme_place: AcmePlace) -> AcmeClient:
    """A client with a new account of the university."""
    one = AcmeClient(send=acme_place.transport, directory=acme_place.front.directory)
    assert one.register(*acme_place.eab()).status == 201
    return one


def _publish(place: AcmePlace, name: str, text: str) -> None:
    change = dns.update.Update(CHALLENGED, keyring=_KEYRING)
    change.add(f"{name}.", 60, "TXT", f'"{text}"')
    port = place.names.authoritative_port
    assert dns.query.tcp(change, "127.0.0.1", port=port, timeout=10).rcode() == dns.rcode.NOERROR


def _account_label(uri: str) -> str:
    """The first ten octets of the account's URL's SHA-256 in base32 (draft-ietf-acme-dns-account-label)."""
    return "_" + base64.b32encode(hashlib.sha256(uri.encode()).digest()[:10]).decode().lower()


def _digest(key_authorization: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(key_authorization.encode()).digest()).rstrip(b"=").decode()


def _looked_at(client: AcmeClient, authorization: str) -> dict[str, Any]:
    """The authorization once a look has ended: with its proof, or with what was the matter.

    What may come right by itself is looked at again, so that its challenge is not over yet.
    """

    def looked() -> dict[str, Any]:
        found: dict[str, Any] = client.post(authorization).json
        told = any("error" in challenge for challenge in found["challenges"])
        return found if told or found["status"] != "pending" else {}

    return wait_until(looked, seconds=60, what="the challenge to be looked at")


def _challenged(
    client: AcmeClient, name: str, kind: str, prove: Callable[[dict[str, Any], str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The order and its one authorization, after `prove` was given the challenge and its proof."""
    ordered = client.order(name)
    assert ordered.status == 201, ordered.body
    (authorization,) = ordered.json["authorizations"]
    offered = {one["type"]: one for one in client.post(authorization).json["challenges"]}

    def proven(key_authorization: str) -> None:
        prove(offered[kind], key_authorization)

    assert client.answer(authorization, kind, proven).status == 200
    return ordered.json, _looked_at(client, authorization)


def _issued(client: AcmeClient, order: dict[str, Any], name: str) -> list[str]:
    done = client.finalize(order, make_csr(name))
    assert done.status == 200, done.body
    assert done.json["status"] == "valid", done.body
    return list(names_in(client.post(done.json["certificate"]).body))


def _assert_refused(
    client: AcmeClient, order: dict[str, Any], authorization: dict[str, Any], name: str
) -> None:
    assert authorization["status"] in ("pending", "invalid")
    (error,) = [one["error"] for one in authorization["challenges"] if "error" in one]
    assert error["type"].startswith("urn:ietf:params:acme:error:")
    assert error["detail"]
    refused = client.finalize(order, make_csr(name))
    assert (refused.status, refused.problem) == (403, "orderNotReady")


@pytest.mark.parametrize("name", [f"account.{CHALLENGED}", f"*.account-wild.{CHALLENGED}"])
def test_a_record_below_the_accounts_own_label_proves_a_name(
    acme_place: AcmePlace, client: AcmeClient, name: str
) -> None:
    bare = name.removeprefix("*.")

    def prove(_challenge: dict[str, Any], key_authorization: str) -> None:
        label = _account_label(client.kid)
        _publish(acme_place, f"{label}._acme-challenge.{bare}", _digest(key_authorization))

    order, authorization = _challenged(client, name, "dns-account-01", prove)
    assert authorization["status"] == "valid", authorization
    assert _issued(client, order, name) == [name]


def test_a_record_below_another_accounts_label_proves_nothing(
    acme_place: AcmePlace, client: AcmeClient
) -> None:
    name = f"other-account.{CHALLENGED}"

    def prove(_challenge: dict[str, Any], key_authorization: str) -> None:
        label = _account_label(f"{client.kid}0")
        _publish(acme_place, f"{label}._acme-challenge.{name}", _digest(key_authorization))
        wrong = f"{_account_label(client.kid)}._acme-challenge.{name}"
        _publish(acme_place, wrong, _digest(f"{key_authorization}x"))

    order, authorization = _challenged(client, name, "dns-account-01", prove)
    _assert_refused(client, order, authorization, name)


@pytest.mark.parametrize(
    "record_at, name, policy",
    [
        (f"persist.{CHALLENGED}", f"persist.{CHALLENGED}", ""),
        (f"wide.{CHALLENGED}", f"*.wide.{CHALLENGED}", "; policy=wildcard"),
        (f"above.{CHALLENGED}", f"www.above.{CHALLENGED}", "; policy=wildcard"),
    ],
)
def test_a_persistent_record_proves_a_name_again_and_again(
    acme_place: AcmePlace, client: AcmeClient, record_at: str, name: str, policy: str
) -> None:
    def prove(challenge: dict[str, Any], _key_authorization: str) -> None:
        assert "token" not in challenge
        issuer = challenge["issuer-domain-names"][0]
        record = f"{issuer}; accounturi={client.kid}{policy}"
        _publish(acme_place, f"_validation-persist.{record_at}", record)

    order, authorization = _challenged(client, name, "dns-persist-01", prove)
    assert authorization["status"] == "valid", authorization
    assert _issued(client, order, name) == [name]
    again = client.order(name).json
    assert again["status"] == "ready"  # proven, so that the next order needs no challenge
    assert _issued(client, again, name) == [name]


@pytest.mark.parametrize(
    "name, record",
    [
        (f"narrow.{CHALLENGED}", "{issuer}; accounturi={other}"),
        (f"stranger.{CHALLENGED}", "ca.example.net; accounturi={own}"),
        (f"over.{CHALLENGED}", "{issuer}; accounturi={own}; persistUntil=1700000000"),
        (f"*.thin.{CHALLENGED}", "{issuer}; accounturi={own}"),
    ],
    ids=["of another account", "for another CA", "that has ended", "that does not reach wildcards"],
)
def test_a_persistent_record_proves_nothing(
    acme_place: AcmePlace, client: AcmeClient, name: str, record: str
) -> None:
    def prove(challenge: dict[str, Any], _key_authorization: str) -> None:
        issuer = challenge["issuer-domain-names"][0]
        text = record.format(issuer=issuer, own=client.kid, other=f"{client.kid}0")
        _publish(acme_place, f"_validation-persist.{name.removeprefix('*.')}", text)

    order, authorization = _challenged(client, name, "dns-persist-01", prove)
    _assert_refused(client, order, authorization, name)
