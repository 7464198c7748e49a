"""Apache with mod_md fetches its own certificates, replaces a revoked one (ARI), and says what failed."""

import json
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import RSAKey

from tests.acceptance.conftest import CHALLENGED, AcmePlace
from tests.harness.acme_client import AcmeClient, Key, b64, names_in, new_key
from tests.harness.apache import Apache, is_installed
from tests.harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not is_installed(), reason="Apache or mod_md is not installed (Debian: apache2, libapache2-mod-md)"
    ),
]

KNOWN, REVOKED, PROVEN = "apache.example.ac.uk", "revoked.apache.example.ac.uk", f"apache.{CHALLENGED}"
UNKNOWN_KEY, WAITING = "wrong.apache.example.ac.uk", "apache.example.org"
_REFUSED = {UNKNOWN_KEY: "does not fit a credential", WAITING: "Waiting for manual approval"}
_SUPERSEDED = 4


@pytest.fixture(scope="module")
def first_start(acme_place: AcmePlace) -> Iterator[Apache]:
    """One server for the file's domains, after it has tried each of them and fetched what it may have.

    What it says of a refusal is gone with its next start, and it may take minutes to be refused again.
    """
    kid, key = acme_place.eab()
    one = Apache(
        domains={
            KNOWN: "",
            REVOKED: "",
            PROVEN: "",
            WAITING: "",
            UNKNOWN_KEY: f"MDExternalAccountBinding {kid} {'A' * 43}",
        },
        directives=f"MDCertificateAuthority {acme_place.front.directory}\n"
        "MDCertificateAgreement accepted\nMDContactEmail webmaster@example.ac.uk\n"
        f"MDExternalAccountBinding {kid} {key}\nMDCAChallenges tls-alpn-01\n",
        ca=acme_place.front.ca,
        http_port=acme_place.http_port,
        tls_port=acme_place.tls_port,
    )
    try:
        one.start()
        for domain in one.domains:
            _wait(one, domain, _REFUSED.get(domain, "finished"))
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def refusals(first_start: Apache) -> dict[str, str]:
    """What its status says of the domains that were refused, before it starts again."""
    return {domain: json.dumps(first_start.status(domain)["renewal"]["last"]) for domain in _REFUSED}


@pytest.fixture(scope="module")
def web_server(first_start: Apache, refusals: dict[str, str]) -> Apache:
    """The server after it has started again, with what it has fetched."""
    first_start.restart()
    return first_start


def _wait(server: Apache, domain: str, words: str) -> None:
    """Wait until mod_md has fetched a domain's certificate (`finished`), or says why not in these words."""

    def told() -> bool:
        renewal = server.status(domain).get("renewal", {})
        return (
            renewal.get("finished") is True
            if words == "finished"
            else words in json.dumps(renewal.get("last"), ensure_ascii=False)
        )

    try:
        wait_until(told, seconds=60, what=f"mod_md to say “{words}” of {domain}")
    except AssertionError as error:
        raise AssertionError(f"{server.status(domain)}\n{server.log}") from error


def _wait_served(server: Apache, domain: str, *, instead_of: bytes = b"") -> x509.Certificate:
    """Wait until a domain's page comes with a certificate of the service, another one than before."""

    def issued() -> bool:
        der = server.served(domain)
        return der not in (b"", instead_of) and b"Certdesk Issuing CA" in der

    wait_until(issued, seconds=20, what=f"Apache to serve {domain}")
    return x509.load_der_x509_certificate(server.served(domain))


@pytest.mark.parametrize("domain", [KNOWN, PROVEN])
def test_it_serves_validated_names_and_those_that_it_proves_by_tls(web_server: Apache, domain: str) -> None:
    served = _wait_served(web_server, domain)
    assert list(names_in(served.public_bytes(Encoding.PEM))) == [domain]


def test_it_replaces_a_revoked_certificate_at_its_next_start(
    acme_place: AcmePlace, web_server: Apache
) -> None:
    """Its key revokes it; renewalInfo then says "now", and the order says what it replaces (RFC 9773)."""
    first = _wait_served(web_server, REVOKED).public_bytes(Encoding.DER)
    one = _client(acme_place, RSAKey.import_key(web_server.stored(REVOKED, "privkey.pem")), "RS256")
    revoked = one.post(one.at["revokeCert"], {"certificate": b64(first), "reason": _SUPERSEDED})
    assert revoked.status == 200, revoked.body
    identifier = web_server.status(REVOKED)["cert"]["rsa"]["ari-cert-id"]
    web_server.restart()
    _wait(web_server, REVOKED, "finished")
    web_server.restart()
    _wait_served(web_server, REVOKED, instead_of=first)
    other = _client(acme_place, new_key(), "ES256")
    assert other.register(*acme_place.eab()).status == 201
    assert other.order(REVOKED, replaces=identifier).problem == "alreadyReplaced"


@pytest.mark.parametrize("domain", _REFUSED)
def test_its_status_explains_what_failed(refusals: dict[str, str], domain: str) -> None:
    assert _REFUSED[domain] in refusals[domain]


def _client(place: AcmePlace, key: Key, alg: str) -> AcmeClient:
    return AcmeClient(send=place.transport, directory=place.front.directory, key=key, alg=alg)
