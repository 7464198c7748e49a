"""ACME from directory to certificate (RFC 8555), pre-validated and with challenges, through the edge."""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import pytest
from cryptography import x509

from certdesk.domain.issuing.certificates import Intent, Issued
from certdesk.domain.issuing.states import Status
from certdesk.domain.validation.evidence import Method
from certdesk.store.models import (
    AcmeAuthorization,
    AcmeOrder,
    AuditEvent,
    Certificate,
    Issuance,
    Request,
    UsedNonce,
    ValidationRecord,
)
from tests.harness.acme_client import AcmeClient, make_csr, names_in
from tests.integration.acme_support import AcmeWorld, Scripts, client
from tests.integration.support import ScriptedCa, audit_problems, backend, events_of, signed

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "www.example.ac.uk"


def test_the_directory_says_what_there_is() -> None:
    one = client()
    reply = one.get(one.directory)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json["meta"]["externalAccountRequired"] is True
    assert reply.json["meta"]["profiles"] == {
        "tls-server": "TLS server",
        "tls-server-ip": "TLS server, IP addresses too",
    }
    assert set(reply.json) == {
        *("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo", "meta")
    }
    assert 'rel="index"' in reply.headers["Link"]


def test_a_nonce_costs_no_row_until_it_is_used(here: AcmeWorld) -> None:
    one = client()
    seen = {one.get(one.at["newNonce"]).headers["Replay-Nonce"] for _ in range(50)}
    assert len(seen) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", nonce) for nonce in seen)
    assert not UsedNonce.objects.exists()


def test_a_validated_name_needs_three_signed_requests(here: AcmeWorld, one: AcmeClient) -> None:
    """NewOrder is ready at once; finalize issues; the certificate is fetched. Like any other request."""
    ordered = one.order(NAME)
    assert ordered.status == 201
    assert ordered.json["status"] == "ready"
    assert ordered.headers["Location"] == ordered.json["finalize"].removesuffix("/finalize")
    authorization = one.post(ordered.json["authorizations"][0]).json
    assert authorization["status"] == "valid"
    done = one.finalize(ordered.json, make_csr(NAME))
    assert (done.status, done.json["status"]) == (200, "valid")
    chain = one.post(done.json["certificate"])
    assert chain.headers["Content-Type"] == "application/pem-certificate-chain"
    assert names_in(chain.body) == [NAME]
    leaf, *above = x509.load_pem_x509_certificates(chain.body)
    assert [ca.subject != ca.issuer for ca in above] == [True]  # the root is not served …
    alternate = re.search(r'<([^>]+)>;rel="alternate"', chain.headers["Link"])
    assert alternate
    whole = x509.load_pem_x509_certificates(one.post(alternate[1]).body)
    assert whole[-1].subject == whole[-1].issuer  # … but in the alternate
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert timedelta(days=89) < life < timedelta(days=90)
    request = Request.objects.get(channel="acme")
    assert Status(request.status) is Status.ISSUED
    assert (request.names, request.requester_id) == ([NAME], here.meg.user_id)
    assert events_of(request.pk) == ["create", "claim", "ca_accept", "issue"]
    actions = list(AuditEvent.objects.order_by("seq").values_list("action", flat=True))
    wanted = [
        *("acme_account.create", "acme_order.create", "request.create", "request.claim"),
        *("acme_order.finalize", "request.ca_accept", "request.issue"),
    ]
    assert [a for a in actions if a in wanted] == wanted
    assert audit_problems() == []


def test_a_renewal_is_issued_under_the_same_request(one: AcmeClient) -> None:
    """One entitlement, many certificates, each with a key of its own."""
    for _ in range(3):
        one.issue(NAME)
    request = Request.objects.get(channel="acme")
    assert Certificate.objects.filter(request=request).count() == 3
    assert events_of(request.pk) == ["create", "claim", "ca_accept", "issue", "issue", "issue"]
    assert len(set(Certificate.objects.values_list("spki_sha256", flat=True))) == 3


def test_a_name_that_nobody_has_shown_needs_a_challenge(
    here: AcmeWorld, one: AcmeClient, network: Scripts
) -> None:
    ordered = one.order("www.another.ac.uk")
    assert ordered.json["status"] == "pending"
    url = ordered.json["authorizations"][0]
    offered = one.post(url).json["challenges"]
    assert [c["type"] for c in offered] == ["http-01", "dns-01", "tls-alpn-01"]
    assert len({c["token"] for c in offered}) == 3
    assert one.finalize(ordered.json, make_csr("www.another.ac.uk")).refusal == (403, "orderNotReady")
    assert one.answer(url, "http-01", network[Method.ACME_HTTP].proofs.add).json["status"] == "valid"
    assert one.post(url).json["status"] == "valid"
    assert [c["type"] for c in one.post(url).json["challenges"]] == ["http-01"]
    assert one.post(ordered.headers["Location"]).json["status"] == "ready"
    assert one.finalize(ordered.json, make_csr("www.another.ac.uk")).json["status"] == "valid"
    # The proof counts for the portal as well, and the next order needs none.
    record = ValidationRecord.objects.get(method=Method.ACME_HTTP)
    assert (record.domain.adn, record.domain.organisation_id) == ("www.another.ac.uk", here.world.university)
    assert one.order("www.another.ac.uk").json["status"] == "ready"
    # http-01 shows one name, and none below or beside it (BR 3.2.2.4.19).
    assert one.order("a.www.another.ac.uk").json["status"] == "pending"


def test_a_wildcard_is_shown_by_dns_alone(one: AcmeClient, network: Scripts) -> None:
    ordered = one.order("*.another.ac.uk", "another.ac.uk")
    found = [one.post(url).json for url in ordered.json["authorizations"]]
    assert [a.get("wildcard", False) for a in found] == [True, False]
    assert [a["identifier"]["value"] for a in found] == ["another.ac.uk", "another.ac.uk"]
    assert [c["type"] for c in found[0]["challenges"]] == ["dns-01"]
    for url in ordered.json["authorizations"]:
        assert one.answer(url, "dns-01", network[Method.ACME_DNS].proofs.add).json["status"] == "valid"
    done = one.finalize(ordered.json, make_csr("*.another.ac.uk", "another.ac.uk"))
    assert done.json["status"] == "valid", done.body
    assert sorted(names_in(one.post(done.json["certificate"]).body)) == ["*.another.ac.uk", "another.ac.uk"]


def test_a_failed_challenge_says_why_and_ends_the_order(one: AcmeClient) -> None:
    ordered = one.order("www.another.ac.uk", NAME)
    url = ordered.json["authorizations"][0]
    reply = one.answer(url, "dns-01", lambda _proof: None)
    assert reply.json["status"] == "invalid"
    assert reply.json["error"]["type"].endswith(":unauthorized")
    assert reply.json["error"]["detail"] == "The proof is not there."
    assert one.post(url).json["status"] == "invalid"
    assert one.post(ordered.headers["Location"]).json["status"] == "invalid"
    assert one.finalize(ordered.json, make_csr("www.another.ac.uk", NAME)).problem == "orderNotReady"
    account = AcmeOrder.objects.get().account
    assert "orderNotReady" not in account.last_problem
    assert account.last_problem_at is not None
    assert not ValidationRecord.objects.filter(method=Method.ACME_DNS).exists()


def test_a_given_up_authorization_ends_its_order(one: AcmeClient) -> None:
    ordered = one.order(NAME)
    url = ordered.json["authorizations"][0]
    assert one.post(url, {"status": "deactivated"}).json["status"] == "deactivated"
    assert one.post(url).json["status"] == "deactivated"
    assert one.post(ordered.headers["Location"]).json["status"] == "invalid"
    assert one.finalize(ordered.json, make_csr(NAME)).problem == "orderNotReady"
    assert not Issuance.objects.filter(order__isnull=False).exists()


def test_finalizing_twice_with_the_same_csr_is_finalizing_once(one: AcmeClient) -> None:
    ordered, csr = one.order(NAME).json, make_csr(NAME)
    first, again = one.finalize(ordered, csr), one.finalize(ordered, csr)
    assert first.json == again.json
    assert one.finalize(ordered, make_csr(NAME)).refusal == (403, "orderNotReady")
    assert Certificate.objects.count() == 1


def test_orders_are_listed_for_their_account(one: AcmeClient) -> None:
    account = one.post(one.kid).json
    made = [one.order(NAME).headers["Location"] for _ in range(3)]
    assert one.post(account["orders"]).json["orders"] == made[::-1]
    assert AcmeAuthorization.objects.count() == 3


def test_a_ca_that_says_itself_how_long_is_not_held_to_the_days_of_acme_clients(one: AcmeClient) -> None:
    """Its 90 days begin later than ours; what it may not do is to outlive the term."""

    @dataclass(slots=True)
    class Chooses(ScriptedCa):
        chooses_validity: bool = True

    def ninety_days(intent: Intent) -> Issued:
        begins = intent.not_before + timedelta(minutes=5)
        return signed(replace(intent, not_before=begins, not_after=begins + timedelta(days=90)))

    ca = Chooses(answers=[ninety_days], inline=True)
    with backend(ca):
        one.issue(NAME)
        assert Certificate.objects.get().withheld is False
        (intent,) = ca.submitted
        assert intent.not_after - intent.not_before > timedelta(days=360)
        ca.answers = [partial(signed, longer=timedelta(days=1))]
        order = one.order("www2.example.ac.uk").json
        assert one.finalize(order, make_csr("www2.example.ac.uk")).json["status"] == "invalid"
    assert Certificate.objects.filter(withheld=False).count() == 1
