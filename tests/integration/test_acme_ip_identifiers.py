"""IP addresses by ACME (RFC 8738): by their profile alone, after an officer, proven by the address itself."""

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

import pytest

from certdesk.dcv.addresses import AddressPolicy
from certdesk.dcv.base import Network
from certdesk.dcv.conformance import ScriptedResolver
from certdesk.dcv.fetch import FetchConfig, SafeFetcher
from certdesk.dcv.http import AcmeHttpValidator
from certdesk.domain.acme.credentials import Limits
from certdesk.domain.issuing.states import Status
from certdesk.domain.policy.file import read_policy
from certdesk.domain.validation.evidence import Method
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.asking import preview_request
from certdesk.store.models import AcmeAuthorization, CaaCheck, Domain, Request, ValidationRecord
from tests.harness.acme_client import AcmeClient, addresses_in, make_csr, names_in
from tests.harness.challenge_web import ChallengeWeb
from tests.harness.served import answering
from tests.integration.acme_support import (
    AcmeWorld,
    Scripts,
    credential,
    registered,
    scripted_network,
    waiting,
)
from tests.integration.support import (
    NOW,
    approve,
    audit_problems,
    configured,
    signed_in,
    state_of,
    submission,
)

ADDRESS, SIX, NAME = "127.0.0.1", "2001:db8::1", "www.example.ac.uk"
PROFILE = "tls-server-ip"


@pytest.fixture
def web() -> Iterator[ChallengeWeb]:
    """A server on the loopback address that shows key authorizations."""
    with answering(ChallengeWeb()) as server:
        yield server


def _network(web: ChallengeWeb, *allowed: str) -> Network:
    ports = MappingProxyType({80: web.server_port, 443: web.server_port})
    config = FetchConfig(addresses=AddressPolicy.allowing(allowed), ports=ports, total_seconds=5.0)
    resolver = ScriptedResolver()
    return Network(resolver=resolver, fetcher=SafeFetcher(config, resolver))


def _waiting(one: AcmeClient, *names: str) -> int:
    return waiting(one, *names, profile=PROFILE, says="so an officer checks who owns the IP address")


def _approved(here: AcmeWorld, *names: str) -> AcmeClient:
    one = here.registered()
    number = _waiting(one, *names)
    approve(here.world.olga, number, clock=lambda: NOW)
    assert state_of(number) is Status.ACCEPTED
    return one


def test_the_default_profile_refuses_addresses(here: AcmeWorld) -> None:
    reply = here.registered().order(ADDRESS)
    assert reply.refusal == (400, "unsupportedIdentifier")
    assert reply.json["subproblems"][0]["identifier"] == {"type": "ip", "value": ADDRESS}
    assert not Request.objects.exists()


def test_an_approved_address_proves_itself_and_is_certified(here: AcmeWorld, web: ChallengeWeb) -> None:
    one = _approved(here, ADDRESS, NAME)
    validators = {Method.ACME_HTTP: AcmeHttpValidator()}
    with configured(network=_network(web, "127.0.0.1/32"), validators=validators):
        ordered = one.order(ADDRESS, NAME, profile=PROFILE)
        assert ordered.status == 201, ordered.body
        assert ordered.json["identifiers"] == [
            {"type": "ip", "value": ADDRESS},
            {"type": "dns", "value": NAME},
        ]
        url = ordered.json["authorizations"][0]
        assert one.post(url).json["identifier"] == {"type": "ip", "value": ADDRESS}
        assert one.answer(url, "http-01", web.show).json["status"] == "valid"
        assert web.hosts == [ADDRESS]
        assert one.finalize(ordered.json, make_csr("127.0.0.2", NAME)).refusal == (400, "badCSR")
        assert one.finalize(ordered.json, make_csr(NAME)).refusal == (400, "badCSR")
        done = one.finalize(ordered.json, make_csr(NAME, ADDRESS))
    assert done.json["status"] == "valid", done.body
    chain = one.post(done.json["certificate"]).body
    assert (list(addresses_in(chain)), list(names_in(chain))) == ([ADDRESS], [NAME])
    proof = ValidationRecord.objects.get(method=Method.ACME_HTTP)
    assert proof.domain.adn == ADDRESS
    assert one.order(ADDRESS, profile=PROFILE).json["status"] == "ready"  # the proof counts again
    assert audit_problems() == []


def test_an_address_that_may_not_be_contacted_stays_unproven(here: AcmeWorld, web: ChallengeWeb) -> None:
    """The operator names the networks, the applicant does not."""
    one = _approved(here, ADDRESS)
    with configured(network=_network(web), validators={Method.ACME_HTTP: AcmeHttpValidator()}):
        ordered = one.order(ADDRESS, profile=PROFILE)
        answered = one.answer(ordered.json["authorizations"][0], "http-01", web.show)
    assert answered.json["status"] == "invalid"
    assert answered.json["error"]["detail"] == f"{ADDRESS} is not on the public Internet."
    assert web.hosts == []


def test_an_unproven_address_is_not_certified(here: AcmeWorld) -> None:
    one = _approved(here, SIX)
    ordered = one.order(SIX, profile=PROFILE)
    assert ordered.json["status"] == "pending"
    found = one.post(ordered.json["authorizations"][0]).json
    assert [challenge["type"] for challenge in found["challenges"]] == ["http-01", "tls-alpn-01"]
    assert one.finalize(ordered.json, make_csr(SIX)).refusal == (403, "orderNotReady")


def test_a_proof_of_one_address_reaches_no_other(here: AcmeWorld, network: Scripts) -> None:
    one = _approved(here, SIX, "2001:db8::12")
    ordered = one.order(SIX, "2001:db8::12", profile=PROFILE)
    url = ordered.json["authorizations"][0]
    one.answer(url, "tls-alpn-01", network[Method.ACME_TLS_ALPN].proofs.add)
    proven = dict(AcmeAuthorization.objects.values_list("name", "valid_until"))
    assert proven[SIX] is not None
    assert proven["2001:db8::12"] is None


def test_a_credential_of_this_profile_makes_it_the_default(here: AcmeWorld) -> None:
    reply = registered(credential(here.meg, here.world.university, Limits(profile_id=PROFILE))).order(SIX)
    assert reply.problem == "rejectedIdentifier"
    assert Request.objects.get(id=reply.json["request"]).profile_id == PROFILE


def test_a_credential_of_some_names_reaches_no_address(here: AcmeWorld) -> None:
    limits = Limits(profile_id=PROFILE, suffixes=("example.ac.uk",))
    reply = registered(credential(here.meg, here.world.university, limits)).order(SIX)
    assert reply.refusal == (400, "rejectedIdentifier")
    assert reply.json["subproblems"][0]["identifier"] == {"type": "ip", "value": SIX}


def test_caa_is_not_asked_about_addresses(here: AcmeWorld) -> None:
    """RFC 8659: only names have CAA records; with CAA required and nobody to ask, an address goes on."""
    one = _approved(here, SIX)
    with (
        scripted_network() as network,
        configured(policy=read_policy("version = 1\n[default]\ncaa = 'require'")),
    ):
        ordered = one.order(SIX, profile=PROFILE)
        url = ordered.json["authorizations"][0]
        assert one.answer(url, "http-01", network[Method.ACME_HTTP].proofs.add).json["status"] == "valid"
        assert one.finalize(ordered.json, make_csr(SIX)).json["status"] == "valid"
    assert not CaaCheck.objects.exists()


def test_the_officers_and_the_domains_pages_show_an_address(here: AcmeWorld) -> None:
    """No mailbox and no DNS record is offered for it; an officer may still note what was checked."""
    number = _waiting(here.registered(), SIX)
    page = signed_in("olga").page("queue-decide", number)
    assert f'Ownership of <span class="mono">{SIX}</span>' in page
    assert "its own server prove it" in page
    owned = Evidence(domain=SIX, how="registry", details="The registry names them.")
    approve(here.world.olga, number, evidence=[owned], clock=lambda: NOW)
    domain = Domain.objects.get(adn=SIX)
    page = signed_in("olga").page("domains-show", domain.pk)
    assert SIX in page
    assert "@" + SIX not in page
    assert "DNS record" not in page
    assert SIX in signed_in("olga").page("domains-list")
    assert SIX in signed_in("meg").page("requests-show", number)


def test_a_csr_by_hand_may_have_addresses_under_the_profile_alone(here: AcmeWorld) -> None:
    upload = make_csr(SIX, NAME)
    asked = submission(here.world.university, upload=upload)
    plain = preview_request(actor=here.world.alice, submission=asked, now=NOW)
    assert [check.code for check in plain.decision.refusals] == ["names.san_type"]
    seen = preview_request(
        actor=here.world.alice, submission=replace(asked, profile_id=PROFILE), now=NOW
    ).decision
    assert seen.refusals == ()
    assert "names.outside_trusted_suffix" in {check.code for check in seen.manual_reasons}
