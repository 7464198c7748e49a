"""Nobody alone: what an officer checked by hand proves nothing for a credential in the same hands."""

from collections.abc import Callable

import pytest

from certdesk.domain.actors import Actor
from certdesk.domain.certificates import Refused
from certdesk.domain.errors import BackendRefused, NotAuthorized
from certdesk.domain.evidence import Method
from certdesk.services.acme_credentials import CredentialKey, reveal_key, rotate_credential
from certdesk.services.confirm import submit_another
from certdesk.services.organisations import Evidence
from certdesk.services.recovery import retry_request
from certdesk.store.models import Request, ValidationRecord
from tests.harness.acme_client import AcmeClient
from tests.integration.acme_support import AcmeWorld, Scripts, credential, registered
from tests.integration.support import NOW, Clock, ScriptedCa, approve, backend, csr, validated

NAME, BELOW = "www.example.ac.uk", "*.example.ac.uk"


def _makes(here: AcmeWorld, who: Actor) -> CredentialKey:
    return credential(who, here.world.university)


def _rotates(here: AcmeWorld, who: Actor) -> CredentialKey:
    return rotate_credential(actor=who, credential_id=here.credential.credential_id, now=NOW)


def _reveals(here: AcmeWorld, who: Actor) -> CredentialKey:
    return reveal_key(actor=who, credential_id=here.credential.credential_id, now=NOW)


def _statuses(eab: CredentialKey) -> list[str]:
    one = registered(eab)
    order = one.order(NAME, BELOW).json
    return [one.post(url).json["status"] for url in order["authorizations"]]


@pytest.mark.parametrize("hand", [_makes, _rotates, _reveals])
def test_who_checked_a_domain_by_hand_orders_no_certificate_by_it(
    here: AcmeWorld, network: Scripts, hand: Callable[[AcmeWorld, Actor], CredentialKey]
) -> None:
    """Olga has checked example.ac.uk; otto has not. The client proves the names itself instead."""
    assert _statuses(hand(here, here.world.otto)) == ["valid", "valid"]
    eab = hand(here, here.world.olga)
    assert _statuses(eab) == ["pending", "pending"]

    one = registered(eab)
    url = one.order(NAME).json["authorizations"][0]
    one.answer(url, "http-01", network[Method.ACME_HTTP].proofs.add)
    assert one.post(url).json["status"] == "valid"


def test_what_somebody_else_has_checked_as_well_counts(here: AcmeWorld) -> None:
    validated("example.ac.uk", of=here.world.university, by=here.world.otto, at=NOW)
    assert ValidationRecord.objects.count() == 2
    assert _statuses(_makes(here, here.world.olga)) == ["valid", "valid"]


def test_who_knows_the_key_has_nothing_sent_to_the_ca_again_either(here: AcmeWorld, one: AcmeClient) -> None:
    w, name = here.world, "www.elsewhere.org"
    assert one.order(name).status == 403
    number = Request.objects.get(channel="acme").pk
    approve(w.otto, number, evidence=[Evidence(domain="elsewhere.org", how="registry", details="Seen.")])
    with backend(ScriptedCa([Refused(reason="No.")], inline=True)), pytest.raises(BackendRefused):
        submit_another(actor=w.bob, number=number, upload=csr(name), channel="portal", clock=Clock())
    _reveals(here, w.olga)
    with pytest.raises(NotAuthorized):
        retry_request(actor=w.olga, number=number, now=NOW)
    retry_request(actor=w.otto, number=number, now=NOW)
