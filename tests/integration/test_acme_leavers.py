"""Whose EAB credentials are, who has seen their keys and so decides nothing they ask for, and who leaves.

Nobody alone: what an officer checked by hand proves nothing for a credential in the same hands.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.urls import reverse

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.actors import SYSTEM, Actor, OrgRole
from certdesk.domain.errors import BackendRefused, NotAuthorized
from certdesk.domain.issuing.certificates import Refused
from certdesk.domain.validation.evidence import Method
from certdesk.services.acme.credentials import CredentialKey, create_credential, reveal_key, rotate_credential
from certdesk.services.people.accounts import disable_account
from certdesk.services.people.membership import disable_member, hand_over
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.confirm import submit_another
from certdesk.services.requests.decisions import reject_request
from certdesk.services.requests.recovery import retry_request
from certdesk.store.models import Request, ValidationRecord
from certdesk.store.selectors.acme import CredentialRow, credentials_seen_by, get_credential, hands_on
from certdesk.store.selectors.requests import Filters, get_request, list_requests
from tests.harness.acme_client import AcmeClient
from tests.integration.acme_support import AcmeWorld, Scripts, client, credential, registered
from tests.integration.api_calls import Callers
from tests.integration.support import (
    NOW,
    Clock,
    ScriptedCa,
    actor,
    approve,
    approve_only,
    audit_problems,
    backend,
    csr,
    organisation,
    signed_in,
    validated,
)

NAME, OUTSIDE = "www.example.ac.uk", "www.elsewhere.org"


def _uid(who: Actor) -> int:
    assert who.user_id is not None
    return int(who.user_id)


def _row(here: AcmeWorld) -> CredentialRow:
    return get_credential(actor=here.world.olga, credential_id=here.credential.credential_id)


def test_a_request_names_its_account_and_knows_whose_hands_were_on_the_credential(here: AcmeWorld) -> None:
    """An officer made it in a manager's name; another one looked at its key. The manager never asked."""
    olga, otto = here.world.olga, here.world.otto
    made = create_credential(
        actor=olga, organisation_id=here.world.university, name="olga's", limits=Limits(), now=NOW
    )
    one = registered(made)
    assert one.order(OUTSIDE).problem == "rejectedIdentifier"
    number = Request.objects.get().pk
    asker = f"ACME account {one.kid.rsplit('/', 1)[1]} (credential “olga's”, made by olga)"
    assert get_request(actor=otto, number=number).requester == asker
    assert [row.requester for row in list_requests(actor=otto, filters=Filters()).rows] == [asker]
    assert "made by olga" in signed_in("otto").page("queue-list")
    assert hands_on(request_id=number) == {olga.user_id}
    reveal_key(actor=otto, credential_id=made.credential_id, now=NOW)
    rotate_credential(actor=here.meg, credential_id=made.credential_id, now=NOW)
    assert hands_on(request_id=number) == {olga.user_id, otto.user_id, here.meg.user_id}
    assert not hands_on(request_id=number + 1)


def _disabled(here: AcmeWorld) -> None:
    disable_member(
        actor=here.world.olga, organisation_id=here.world.university, user_id=_uid(here.meg), now=NOW
    )


def _stopped(here: AcmeWorld) -> None:
    disable_account(actor=here.world.olga, user_id=_uid(here.meg), now=NOW)


def _handed_over(here: AcmeWorld) -> None:
    hand_over(
        actor=here.meg,
        organisation_id=here.world.university,
        leaver_id=_uid(here.meg),
        successor_id=_uid(here.world.bob),
        now=NOW,
    )


@pytest.mark.parametrize("leave, owner", [(_disabled, "alice"), (_stopped, "alice"), (_handed_over, "bob")])
def test_a_leaver_s_credential_gets_another_owner_and_asks_to_be_rotated(
    here: AcmeWorld, leave: Callable[[AcmeWorld], None], owner: str
) -> None:
    """A person who knows a key and has left can register clients with it until it is rotated."""
    olga, number, one = here.world.olga, here.credential.credential_id, here.registered()
    assert _row(here).leavers == ()
    leave(here)
    assert (_row(here).owner, _row(here).leavers) == (owner, ("meg",))
    page = signed_in("olga").page("acme-show", number)
    assert "These people have left and know this key: meg." in page
    one.order(OUTSIDE)
    assert Request.objects.get().requester.username == owner
    rotate_credential(actor=olga, credential_id=number, now=NOW + timedelta(seconds=1))
    assert _row(here).leavers == ()
    assert one.order(NAME).status == 201
    seen = credentials_seen_by(actor=olga, user_id=_uid(here.meg), organisation_id=here.world.university)
    assert [row.id for row in seen] == [number]  # its accounts may be hers
    rotate_credential(actor=olga, credential_id=number, end_accounts=True, now=NOW)
    assert (one.order(NAME).status, _row(here).accounts) == (401, 0)
    assert audit_problems() == []


def test_where_nobody_is_left_the_owner_stays_and_an_officer_is_not_one(here: AcmeWorld) -> None:
    college = organisation("Other College")
    boss = actor("boss", organisation=college, role=OrgRole.MANAGER)
    made = credential(boss, college)
    disable_member(actor=here.world.olga, organisation_id=college, user_id=_uid(boss), now=NOW)
    row = get_credential(actor=here.world.olga, credential_id=made.credential_id)
    assert (row.owner, row.leavers) == ("boss", ("boss",))
    reveal_key(actor=here.world.olga, credential_id=made.credential_id, now=NOW)
    disable_account(actor=SYSTEM, user_id=_uid(here.world.olga), now=NOW)
    assert get_credential(actor=here.world.otto, credential_id=made.credential_id).leavers == ("boss", "olga")


def test_the_portal_leads_from_a_leaver_to_the_keys(here: AcmeWorld) -> None:
    home = reverse("organisations-show", args=["example-university"])
    keys = reverse("organisations-person-keys", args=["example-university", _uid(here.meg)])
    one, other = here.registered(), credential(here.meg, here.world.university)
    olga = signed_in("olga")
    gone = reverse("organisations-disable-person", args=["example-university", _uid(here.meg)])
    assert olga.post(gone)["Location"] == keys
    page = olga.get(keys).content.decode()
    assert (page.count("checked"), page.count("meg knows the key.")) == (2, 2)
    number = here.credential.credential_id
    chosen = {"credential": [str(number), "999999"], "end_accounts": "yes"}
    assert olga.post(keys, chosen)["Location"] == home
    assert one.order(NAME).status == 401
    assert client().register(here.credential.kid, here.credential.hmac_key).status == 401
    registered(other)  # it was not chosen
    # Somebody without any goes back to the page of the organisation.
    gone = reverse("organisations-disable-person", args=["example-university", _uid(here.world.bob)])
    assert olga.post(gone)["Location"] == home


def test_whoever_hands_over_is_told_that_the_keys_stay_known(here: AcmeWorld) -> None:
    people = {"leaver": _uid(here.meg), "successor": _uid(here.world.alice)}
    answer = signed_in("meg").post(
        reverse("organisations-hand-over", args=["example-university"]), people, follow=True
    )
    assert "Ask your successor to rotate them" in answer.content.decode()


def test_rest_says_who_knows_a_key_and_ends_accounts_with_it(users: Callers) -> None:
    made = users.meg.post("/acme/credentials", {"name": "web"}).json
    url = f"/acme/credentials/{made['id']}"
    assert made["seen_by"] == [{"username": "meg", "knows_key": True, "has_left": False}]
    one = client()
    assert one.register(made["kid"], made["hmac_key"]).status == 201
    rotated = users.olga.post(f"{url}/rotate", {"end_accounts": True})
    assert (rotated.status, rotated.json["accounts"]) == (200, 0)
    seen = {one["username"]: one["knows_key"] for one in users.meg.get(url).json["seen_by"]}
    assert seen == {"meg": False, "olga": True}


@pytest.mark.parametrize("how", ["made", "rotated", "revealed"])
def test_nobody_decides_what_they_made_rotated_or_revealed_the_credential_for(
    here: AcmeWorld, how: str
) -> None:
    """An officer alone made a credential in a manager's name, ordered a name outside and approved it."""
    olga, otto, home = here.world.olga, here.world.otto, here.world.university
    by = olga if how == "made" else here.meg
    made = create_credential(actor=by, organisation_id=home, name="web", limits=Limits(), now=NOW)
    if how == "rotated":
        made = rotate_credential(actor=olga, credential_id=made.credential_id, now=NOW)
    one = registered(made)
    if how == "revealed":
        reveal_key(actor=olga, credential_id=made.credential_id, now=NOW)
    one.order(OUTSIDE)
    number = Request.objects.get().pk
    proof = Evidence(domain="elsewhere.org", how="registry", details="The registry names them.")
    with pytest.raises(NotAuthorized):
        approve_only(olga, number, evidence=[proof])
    with pytest.raises(NotAuthorized):
        reject_request(actor=olga, number=number, details="No.", seen_version=0, now=NOW)
    approve_only(otto, number, evidence=[proof])


def _makes(here: AcmeWorld, who: Actor) -> CredentialKey:
    return credential(who, here.world.university)


def _rotates(here: AcmeWorld, who: Actor) -> CredentialKey:
    return rotate_credential(actor=who, credential_id=here.credential.credential_id, now=NOW)


def _reveals(here: AcmeWorld, who: Actor) -> CredentialKey:
    return reveal_key(actor=who, credential_id=here.credential.credential_id, now=NOW)


def _statuses(eab: CredentialKey) -> list[str]:
    one = registered(eab)
    order = one.order(NAME, "*.example.ac.uk").json
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
