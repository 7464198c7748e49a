"""Policy decides for ACME as for the portal: what a human has to decide is refused at once and waits."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import time_machine

from certdesk.domain.issuing.states import Status
from certdesk.domain.validation.evidence import Method
from certdesk.services.people.organisations import Evidence, rename_organisation
from certdesk.services.requests.asking import withdraw_request
from certdesk.services.requests.decisions import reject_request
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import refresh_waiting, wake_waiting
from certdesk.store.models import AcmeAccount, AcmeOrder, Certificate, Issuance, Request
from certdesk.store.selectors.requests import get_request
from tests.harness.acme_client import AcmeClient, make_csr, names_in
from tests.integration.acme_support import AcmeWorld, Scripts, client_of, waiting
from tests.integration.support import (
    NOW,
    approve,
    audit_problems,
    configured,
    due,
    events_of,
    organisation,
    submit,
)

NAME, OUTSIDE = "www.example.ac.uk", "www.example.org"
OWNED = Evidence(domain="example.org", how="registry", details="The registry names them.")


def test_an_outside_name_waits_for_an_officer_and_then_is_issued(here: AcmeWorld, one: AcmeClient) -> None:
    """R30 to R33 by ACME: refused at once, one request however often it is tried, issued after approval."""
    number = waiting(one, OUTSIDE, NAME)
    assert waiting(one, NAME, OUTSIDE) == number  # the same names in another order
    assert not AcmeOrder.objects.exists()
    request = get_request(actor=here.world.alice, number=number)
    asker = f"ACME account {AcmeAccount.objects.get().pk} (credential “web servers”, made by meg)"
    assert (request.channel, request.requester, set(request.names)) == ("acme", asker, {OUTSIDE, NAME})
    assert any(check["code"] == "names.outside_trusted_suffix" for check in request.checks)
    approve(here.world.olga, number, evidence=[OWNED])
    assert Status(Request.objects.get(id=number).status) is Status.ACCEPTED
    chain = one.issue(OUTSIDE, NAME)
    assert set(names_in(chain)) == {OUTSIDE, NAME}
    assert Certificate.objects.get().request_id == number
    assert events_of(number) == ["create", "approve", "claim", "ca_accept", "issue"]
    assert names_in(one.issue(OUTSIDE)) == [OUTSIDE]  # fewer names are covered as well
    assert Request.objects.filter(channel="acme").count() == 1
    assert audit_problems() == []


def test_an_approved_entitlement_is_never_issued_without_a_client(here: AcmeWorld) -> None:
    number = waiting(here.registered(), OUTSIDE)
    approve(here.world.olga, number, evidence=[OWNED])
    late = NOW + timedelta(days=30)
    wake_waiting(here.world.university, now=late)
    refresh_waiting(now=late)
    assert due(now=late) == []
    assert not Issuance.objects.exists()
    assert (
        Request.objects.get(id=number).detail == "Approved. Certificates are issued when an ACME client asks."
    )


def test_a_rejection_is_told_with_its_reason_and_asks_nobody_again(here: AcmeWorld, one: AcmeClient) -> None:
    number = waiting(one, OUTSIDE)
    reject_request(actor=here.world.olga, number=number, details="That domain is not yours.", now=NOW)
    refused = one.order(OUTSIDE)
    assert refused.json["request"] == number
    assert "That domain is not yours." in refused.json["detail"]
    assert Request.objects.filter(channel="acme").count() == 1
    with time_machine.travel(NOW + timedelta(days=31), tick=False):
        one.nonce = ""
        assert waiting(one, OUTSIDE) > number


def test_a_withdrawn_request_is_not_made_anew_each_night(here: AcmeWorld, one: AcmeClient) -> None:
    number = waiting(one, OUTSIDE)
    withdraw_request(actor=here.meg, number=number, now=NOW)
    assert one.order(OUTSIDE).json["request"] == number


def test_the_first_request_of_an_organisation_waits_even_by_acme(here: AcmeWorld, network: Scripts) -> None:
    college = organisation("New College", vetted=False)
    one = client_of(college)
    number = waiting(one, "www.new.ac.uk")
    approve(here.world.olga, number)
    ordered = one.order("www.new.ac.uk")
    assert ordered.json["status"] == "pending"  # under ac.uk its own people show control
    url = ordered.json["authorizations"][0]
    assert one.answer(url, "http-01", network[Method.ACME_HTTP].proofs.add).json["status"] == "valid"
    assert one.finalize(ordered.json, make_csr("www.new.ac.uk")).json["status"] == "valid"
    assert Certificate.objects.get().request_id == number


@pytest.mark.parametrize("after, life", [(20, 90), (350, 15)])
def test_a_lapsed_ownership_is_shown_again_by_challenge_under_the_same_approval(
    here: AcmeWorld, one: AcmeClient, network: Scripts, after: int, life: int
) -> None:
    """R34; and no certificate outlives the term of one year."""
    number = waiting(one, OUTSIDE)
    with configured(settings=replace(runtime.current().settings, ownership_days=10)):
        approve(here.world.olga, number, evidence=[OWNED])
    with time_machine.travel(NOW + timedelta(days=after), tick=False):
        one.nonce = ""
        ordered = one.order(OUTSIDE)
        assert ordered.json["status"] == "pending", ordered.body
        url = ordered.json["authorizations"][0]
        one.answer(url, "http-01", network[Method.ACME_HTTP].proofs.add)
        assert one.finalize(ordered.json, make_csr(OUTSIDE)).json["status"] == "valid"
    certificate = Certificate.objects.get()
    assert certificate.request_id == number
    lasts = certificate.not_after - certificate.not_before
    assert timedelta(days=life - 1) < lasts < timedelta(days=life + 1)


def test_a_request_of_the_portal_covers_acme_orders_too(here: AcmeWorld) -> None:
    """One entitlement, every channel: the names that the portal's CSR had."""
    number = submit(here.world.alice, NAME, "mail.example.ac.uk").number
    here.registered().issue("mail.example.ac.uk")
    assert Certificate.objects.filter(request_id=number).count() == 2
    assert not Request.objects.filter(channel="acme").exists()
    assert events_of(number)[-2:] == ["issue", "issue"]


def _renamed(here: AcmeWorld, _number: int) -> None:
    identity = {"legal_name": "Example Technical University", "country": "GB", "locality": ""}
    university = here.world.university
    rename_organisation(
        actor=here.world.olga, organisation_id=university, **identity, evidence="Charter.", now=NOW
    )


def _withdrawn(here: AcmeWorld, number: int) -> None:
    withdraw_request(actor=here.meg, number=number, now=NOW)


@pytest.mark.parametrize("change", [_renamed, _withdrawn])
def test_what_was_approved_for_the_old_name_or_is_withdrawn_is_not_signed(
    here: AcmeWorld, one: AcmeClient, change: Callable[[AcmeWorld, int], None]
) -> None:
    number = waiting(one, OUTSIDE)
    approve(here.world.olga, number, evidence=[OWNED])
    ready = one.order(OUTSIDE).json
    change(here, number)
    assert one.finalize(ready, make_csr(OUTSIDE)).refusal == (403, "userActionRequired")
    assert not Certificate.objects.exists()


def test_where_policy_is_automatic_a_term_that_ends_is_followed_by_another(one: AcmeClient) -> None:
    first = one.issue(NAME)
    with time_machine.travel(NOW + timedelta(days=350), tick=False):
        one.nonce = ""
        assert names_in(one.issue(NAME)) == names_in(first)
    old, new = Certificate.objects.order_by("id")
    assert old.request_id != new.request_id
    assert timedelta(days=89) < new.not_after - new.not_before < timedelta(days=90)
