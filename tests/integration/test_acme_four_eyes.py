"""Nobody alone: what an officer checked by hand proves nothing for a credential in the same hands."""

from collections.abc import Callable

import pytest

from certdesk.domain.actors import Actor
from certdesk.domain.certificates import Refused
from certdesk.domain.errors import BackendRefused, NotAuthorized
from certdesk.services.acme_credentials import reveal_key, rotate_credential
from certdesk.services.confirm import submit_another
from certdesk.services.organisations import Evidence
from certdesk.services.recovery import retry_request
from certdesk.store.models import Request, ValidationRecord
from tests.integration.acme_support import AcmeWorld, acme_world, client, credential, scripted_network
from tests.integration.support import NOW, Clock, ScriptedCa, approve, backend, csr, validated

pytestmark = pytest.mark.django_db(transaction=True)
NAME, BELOW = "www.example.ac.uk", "*.example.ac.uk"


def _makes(here: AcmeWorld, who: Actor) -> tuple[str, str]:
    made = credential(who, here.world.university)
    return made.kid, made.hmac_key


def _rotates(here: AcmeWorld, who: Actor) -> tuple[str, str]:
    made = rotate_credential(actor=who, credential_id=here.credential.credential_id, now=NOW)
    return made.kid, made.hmac_key


def _reveals(here: AcmeWorld, who: Actor) -> tuple[str, str]:
    made = reveal_key(actor=who, credential_id=here.credential.credential_id, now=NOW)
    return made.kid, made.hmac_key


HANDS = [_makes, _rotates, _reveals]


def _statuses(kid: str, key: str) -> list[str]:
    one = client()
    assert one.register(kid, key).status == 201
    order = one.order(NAME, BELOW).json
    return [one.post(url).json["status"] for url in order["authorizations"]]


@pytest.mark.parametrize("hand", HANDS)
def test_who_checked_a_domain_by_hand_orders_no_certificate_by_it(
    hand: Callable[[AcmeWorld, Actor], tuple[str, str]],
) -> None:
    """Olga has checked example.ac.uk; otto has not. The client proves the names itself instead."""
    here = acme_world()
    assert _statuses(*hand(here, here.world.otto)) == ["valid", "valid"]
    kid, key = hand(here, here.world.olga)
    assert _statuses(kid, key) == ["pending", "pending"]

    one = client()
    one.register(kid, key)
    with scripted_network() as network:
        for validator in network.values():
            validator.proofs = _Everything()
        order = one.order(NAME).json
        one.answer(order["authorizations"][0], "http-01", lambda _proof: None)
        assert one.post(order["authorizations"][0]).json["status"] == "valid"


def test_what_somebody_else_has_checked_as_well_counts() -> None:
    here = acme_world()
    validated("example.ac.uk", of=here.world.university, by=here.world.otto, at=NOW)
    assert ValidationRecord.objects.count() == 2
    assert _statuses(*_makes(here, here.world.olga)) == ["valid", "valid"]


class _Everything(set[str]):
    def __contains__(self, _proof: object) -> bool:
        return True


def test_who_knows_the_key_has_nothing_sent_to_the_ca_again_either() -> None:
    here, name = acme_world(), "www.elsewhere.org"
    assert here.registered().order(name).status == 403
    number = Request.objects.get(channel="acme").pk
    w = here.world
    approve(w.otto, number, evidence=[Evidence(domain="elsewhere.org", how="registry", details="Seen.")])
    with backend(ScriptedCa([Refused(reason="No.")], inline=True)), pytest.raises(BackendRefused):
        submit_another(actor=w.bob, number=number, upload=csr(name), channel="portal", clock=Clock())
    _reveals(here, w.olga)
    with pytest.raises(NotAuthorized):
        retry_request(actor=w.olga, number=number, now=NOW)
    retry_request(actor=w.otto, number=number, now=NOW)
