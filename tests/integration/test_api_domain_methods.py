"""Proving domains over REST by something published, and their deadlines: what programs see."""

import pytest
from django.utils import timezone

from certdesk.domain.evidence import METHODS, Method
from certdesk.store.models import Domain, MethodChallenge, ValidationRecord
from tests.integration.api_calls import Callers
from tests.integration.proving import Outside

pytestmark = pytest.mark.django_db(transaction=True)
DOMAIN = "lab.ac.uk"


@pytest.fixture
def here(users: Callers) -> str:
    made = users.alice.post("/domains", {"domain": DOMAIN})
    return f"/domains/{made.json['id']}"


@pytest.mark.parametrize("method", ["dns_txt", "dns_cname", "http_file"])
def test_what_is_published_is_found(users: Callers, net: Outside, here: str, method: str) -> None:
    made = users.alice.post(f"{here}/validations", {"method": method})
    assert made.status == 201, made.json
    published = made.json
    assert published["domain"] == DOMAIN
    assert users.bob.get(f"{here}/publications").json["items"] == [published]
    check = published["links"]["check"].removeprefix("/api/v1")
    missed = users.alice.post(check)
    assert missed.status == 200
    assert not missed.json["found"]
    assert missed.json["problem"] == {
        "code": "dcv.persist.no_record",
        "detail": "There is no such record.",
        "retry": True,
    }
    assert users.alice.post(check).status == 429
    MethodChallenge.objects.update(looked_at=None)
    net.published.add((DOMAIN, published["value"].removesuffix(".")))
    assert users.alice.post(check).json == {
        "found": True,
        "domain": DOMAIN,
        "problem": None,
        "next_look_at": None,
    }
    assert users.alice.get(here).json["is_validated"]
    assert users.alice.get(f"{here}/publications").json["items"] == []
    assert users.alice.post(check).status == 404


def test_a_persistent_record_and_its_end(users: Callers, net: Outside, here: str) -> None:
    made = users.alice.post(f"{here}/validations", {"method": "dns_persist", "wildcard": False})
    assert made.status == 201
    assert "policy" not in made.json["value"]
    assert made.json["line"].startswith(f"_validation-persist.{DOMAIN}. 300 IN TXT")
    net.persistent[DOMAIN] = Method.DNS_PERSIST
    assert users.alice.post(f"{here}/publications/dns_persist/check").json["found"]
    assert users.alice.call("DELETE", f"{here}/publications/dns_persist").status == 204
    assert users.alice.call("DELETE", f"{here}/publications/dns_persist").status == 404


def test_mail_still_needs_its_mailbox_and_nonsense_is_refused(
    users: Callers, net: Outside, here: str
) -> None:
    for body in ({}, {"method": "email"}, {"method": "whois"}, {"method": "dns_txt", "extra": 1}):
        assert users.alice.post(f"{here}/validations", body).status == 422, body


def test_deadlines_tell_private_and_public_cas_apart(users: Callers, here: str) -> None:
    empty = users.alice.get(f"{here}/deadlines").json
    assert (empty["standing"], empty["private"], empty["public"]) == ("never", None, None)
    now = timezone.now()
    ValidationRecord.objects.create(
        domain=Domain.objects.get(adn=DOMAIN),
        method=Method.EMAIL_CONSTRUCTED,
        source=METHODS[Method.EMAIL_CONSTRUCTED].source,
        evidence={},
        validated_at=now,
        expires_at=now.replace(year=now.year + 1),
    )
    found = users.alice.get(f"{here}/deadlines").json
    assert found["standing"] == "validated"
    assert found["private"]["until"] > found["public"]["until"]
    assert "method.ends" in {flag["code"] for flag in found["flags"]}
