"""People of organisations: invited, moved, leaving; what they asked for stays (item 4, R20, R38)."""

from datetime import timedelta
from functools import partial

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from certdesk.domain.actors import Action, Actor, OrgRole, RaRole, can
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound, StateConflict
from certdesk.domain.issuing.states import Status
from certdesk.services.mail.notices import recipients
from certdesk.services.people.membership import (
    add_existing_member,
    add_member,
    change_role,
    disable_member,
    enable_member,
    hand_over,
)
from certdesk.services.people.organisations import (
    disable_organisation,
    enable_organisation,
    rename_organisation,
)
from certdesk.services.people.tokens import create_token
from certdesk.services.requests.confirm import submit_request
from certdesk.store.models import AuditEvent, Membership, Organisation, Request, RequestEvent, User
from certdesk.store.selectors.people import actor_for_token, actor_for_user
from certdesk.store.selectors.requests import Filters, list_requests
from tests.integration import support
from tests.integration.support import (
    NOW,
    ScriptedCa,
    World,
    actor,
    audit_problems,
    drive,
    manager,
    notify,
    organisation,
    outcomes,
    state_of,
    submission,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)


PASSWORD = "several unrelated words"


def again(who: Actor) -> Actor:
    """The same person as they are now."""
    return actor_for_user(User.objects.get(id=uid(who)))


def active(who: Actor) -> bool:
    return Membership.objects.get(user_id=uid(who)).is_active


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("action", flat=True))


def uid(who: Actor) -> int:
    assert who.user_id is not None
    return int(who.user_id)


def test_r38_a_manager_invites_and_nobody_learns_who_exists_elsewhere(w: World) -> None:
    boss = manager(w)
    elsewhere = organisation("Other College")
    actor("charlie", organisation=elsewhere)
    add = partial(
        add_member, actor=boss, organisation_id=w.university, role=OrgRole.APPLICANT, now=NOW, name="N N"
    )
    answers = []
    for taken in ("charlie", "olga", "alice"):
        with pytest.raises(InvalidInput) as refused:
            add(username=taken, email="n@example.ac.uk")
        answers.append((refused.value.detail, refused.value.fields))
    # The same words for somebody of another organisation, of the RA and of one's own.
    assert all(answer == answers[0] for answer in answers)
    with pytest.raises(NotAuthorized):
        add_existing_member(
            actor=boss, organisation_id=w.university, username="charlie", role=OrgRole.APPLICANT, now=NOW
        )
    issued = add(username="Nina", email=" nina@example.ac.uk ")
    nina = User.objects.get(id=issued.user_id)
    assert (nina.username, nina.email, nina.must_change_password) == ("nina", "nina@example.ac.uk", True)
    assert not can(actor_for_user(nina), Action.REQUEST_CREATE, organisation_id=w.university)
    assert audit_problems() == []


def test_one_user_name_asked_for_twice_at_once_makes_one_person(w: World) -> None:
    boss = manager(w)
    add = partial(
        add_member,
        actor=boss,
        organisation_id=w.university,
        username="nina",
        name="Nina New",
        email="nina@example.ac.uk",
        role=OrgRole.APPLICANT,
        now=NOW,
    )
    made, refused = outcomes(together([add, add]))
    assert len(made) == 1
    assert [type(error) for error in refused] == [InvalidInput]


def test_r38_an_officer_adds_somebody_to_a_second_organisation_but_never_the_ra(w: World) -> None:
    second = organisation("Other College")
    add = partial(add_existing_member, actor=w.olga, organisation_id=second, role=OrgRole.APPLICANT, now=NOW)
    add(username="alice")
    assert again(w.alice).organisation_ids == {w.university, second}
    for wrong in ("alice", "otto", "nobody"):
        with pytest.raises(InvalidInput):
            add(username=wrong)
    assert again(w.otto).memberships == {}


def test_r38_the_last_manager_stays_unless_an_officer_says_otherwise(w: World) -> None:
    boss = manager(w)
    demote = partial(change_role, organisation_id=w.university, role=OrgRole.APPLICANT, now=NOW)
    with pytest.raises(StateConflict):
        demote(actor=boss, user_id=uid(boss))
    with pytest.raises(StateConflict):
        disable_member(actor=boss, organisation_id=w.university, user_id=uid(boss), now=NOW)
    change_role(actor=boss, organisation_id=w.university, user_id=uid(w.alice), role=OrgRole.MANAGER, now=NOW)
    demote(actor=boss, user_id=uid(boss))
    with pytest.raises(NotAuthorized):  # she was a manager when the page was opened, and is none now
        demote(actor=again(boss), user_id=uid(w.alice))
    disable_member(actor=w.olga, organisation_id=w.university, user_id=uid(w.alice), now=NOW)
    assert not active(w.alice)


def test_two_managers_who_demote_each_other_leave_one(w: World) -> None:
    one, two = manager(w), actor("mia", organisation=w.university, role=OrgRole.MANAGER)
    demote = partial(change_role, organisation_id=w.university, role=OrgRole.APPLICANT, now=NOW)
    done, refused = outcomes(
        together([partial(demote, actor=one, user_id=uid(two)), partial(demote, actor=two, user_id=uid(one))])
    )
    assert (len(done), [type(error) for error in refused]) == (1, [NotAuthorized])


def test_r20_what_a_leaver_asked_for_stays_with_the_organisation(w: World) -> None:
    boss = manager(w)
    number = submit(w.alice, "www.elsewhere.org").number
    hand_over(
        actor=boss, organisation_id=w.university, leaver_id=uid(w.alice), successor_id=uid(w.bob), now=NOW
    )
    assert again(w.bob).memberships == {w.university: OrgRole.MANAGER}
    assert again(w.alice).memberships == {}
    listed = list_requests(actor=again(w.bob), filters=Filters()).rows
    assert [(row.number, row.requester) for row in listed] == [(number, "alice")]
    assert list_requests(actor=again(w.alice), filters=Filters()).rows == []
    assert actions()[-2:] == ["member.role", "member.disable"]
    assert audit_problems() == []


def test_a_manager_hands_over_and_is_gone(w: World) -> None:
    boss = manager(w)
    give = partial(hand_over, actor=boss, organisation_id=w.university, leaver_id=uid(boss), now=NOW)
    with pytest.raises(InvalidInput):
        give(successor_id=uid(boss))
    with pytest.raises(NotFound):
        give(successor_id=uid(w.olga))
    assert active(boss)  # what can't be handed over is not ended either
    User.objects.filter(id=uid(w.bob)).update(is_active=False)
    with pytest.raises(InvalidInput):
        give(successor_id=uid(w.bob))
    assert active(boss)
    give(successor_id=uid(w.alice))
    assert again(boss).memberships == {}
    assert again(w.alice).memberships == {w.university: OrgRole.MANAGER}


def test_sessions_and_tokens_of_somebody_disabled_stop_at_once(w: World) -> None:
    boss = manager(w)
    token = create_token(actor=w.alice, name="script", expires_at=None, now=NOW)
    browser = Client()
    user = User.objects.get(username="alice")
    user.set_password(PASSWORD)
    user.save()
    browser.post(reverse("account_login"), {"login": "alice", "password": PASSWORD})
    bearer = {"Authorization": f"Bearer {token}"}
    assert Client().get("/api/v1/requests", headers=bearer).status_code == 200
    assert browser.get(reverse("requests-new")).status_code == 200
    disable_member(actor=boss, organisation_id=w.university, user_id=uid(w.alice), now=NOW)
    assert actor_for_token(token, now=NOW) is None
    assert Client().get("/api/v1/requests", headers=bearer).status_code == 401
    answer = browser.get(reverse("requests-new"))
    assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/accounts/login/")
    enable_member(actor=boss, organisation_id=w.university, user_id=uid(w.alice), now=NOW)
    assert again(w.alice).memberships == {w.university: OrgRole.APPLICANT}
    assert actor_for_token(token, now=NOW) is None  # an old token stays ended
    with pytest.raises(StateConflict):
        enable_member(actor=boss, organisation_id=w.university, user_id=uid(w.alice), now=NOW)


@pytest.mark.parametrize("by", ["meg", "olga"])
def test_what_the_ra_ended_no_manager_enables(w: World, by: str) -> None:
    boss = manager(w)
    enable = partial(enable_member, organisation_id=w.university, user_id=uid(w.alice), now=NOW)
    disabler = {"meg": boss, "olga": w.olga}[by]
    disable_member(actor=disabler, organisation_id=w.university, user_id=uid(w.alice), now=NOW)
    if by == "olga":
        with pytest.raises(NotAuthorized):
            enable(actor=boss)
        assert again(w.alice).memberships == {}
        enable(actor=w.olga)
    else:
        enable(actor=boss)
    row = Membership.objects.get(user_id=uid(w.alice))
    assert (row.is_active, row.disabled_by, row.disabled_at) == (True, "", None)


def test_somebody_who_belongs_elsewhere_too_loses_only_this(w: World) -> None:
    second = organisation("Other College")
    actor("alice", organisation=second)
    token = create_token(actor=w.alice, name="script", expires_at=None, now=NOW)
    disable_member(actor=w.olga, organisation_id=w.university, user_id=uid(w.alice), now=NOW)
    found = actor_for_token(token, now=NOW)
    assert found is not None
    assert found.organisation_ids == {second}


def test_r38_a_disabled_manager_comes_back_as_an_applicant(w: World) -> None:
    boss = manager(w)
    disable_member(actor=w.olga, organisation_id=w.university, user_id=uid(boss), now=NOW)
    enable_member(actor=w.olga, organisation_id=w.university, user_id=uid(boss), now=NOW)
    assert again(boss).memberships == {w.university: OrgRole.APPLICANT}


def test_r38_a_manager_reaches_no_one_of_the_ra_or_elsewhere(w: World) -> None:
    boss = manager(w)
    elsewhere = organisation("Other College")
    charlie = actor("charlie", organisation=elsewhere)
    for target in (w.olga, charlie):
        for act in (
            partial(disable_member, user_id=uid(target)),
            partial(enable_member, user_id=uid(target)),
            partial(change_role, user_id=uid(target), role=OrgRole.MANAGER),
            partial(hand_over, leaver_id=uid(target), successor_id=uid(w.alice)),
            partial(hand_over, leaver_id=uid(w.alice), successor_id=uid(target)),
        ):
            with pytest.raises(NotFound):
                act(actor=boss, organisation_id=w.university, now=NOW)
            with pytest.raises(NotAuthorized):
                act(actor=boss, organisation_id=elsewhere, now=NOW)
    assert "member.disable" not in actions()
    assert active(w.alice)


def test_mail_about_a_leavers_request_goes_to_the_managers(w: World) -> None:
    boss = manager(w)
    number = submit(w.alice, "www.elsewhere.org").number
    row = Request.objects.select_related("requester").get(id=number)
    assert recipients(row) == ["alice@example.ac.uk"]
    disable_member(actor=boss, organisation_id=w.university, user_id=uid(w.alice), now=NOW)
    mail.outbox.clear()
    event = RequestEvent.objects.filter(request_id=number).latest("id")
    assert notify(event.pk)
    (sent,) = mail.outbox
    assert sent.to == ["meg@example.ac.uk"]
    assert "alice, who asked, has left your organisation" in sent.body
    User.objects.filter(username="meg").update(is_active=False)
    assert recipients(row) == []


def slow() -> ScriptedCa:
    return ScriptedCa(answers=[support.signed])


def test_a_new_legal_name_has_accepted_requests_decided_again(w: World) -> None:
    with support.backend(slow()):
        created = submit_request(
            actor=w.alice, submission=submission(w.university), channel="portal", clock=lambda: NOW
        )
        assert created.status is Status.ACCEPTED
        rename_organisation(
            actor=w.olga,
            organisation_id=w.university,
            legal_name="  Example   Polytechnic ",
            country="gb",
            locality="Leeds",
            evidence="The Privy Council's order.",
            now=NOW,
        )
        later = NOW + timedelta(minutes=1)
        drive(created.number, clock=lambda: later)
    row = Organisation.objects.get(id=w.university)
    assert (row.legal_name, row.country, row.locality) == ("Example Polytechnic", "GB", "Leeds")
    assert state_of(created.number) is Status.WAITING_FOR_APPROVAL
    event = AuditEvent.objects.get(action="organisation.rename")
    assert event.data["changed"]["legal_name"] == ["Example University", "Example Polytechnic"]
    assert event.data["evidence"] == "The Privy Council's order."


@pytest.mark.parametrize(
    "field, value", [("evidence", " "), ("legal_name", ""), ("country", "GBR"), ("locality", "x" * 129)]
)
def test_a_rename_without_evidence_or_sense_is_refused(w: World, field: str, value: str) -> None:
    given = {"legal_name": "Example Polytechnic", "country": "GB", "locality": "", "evidence": "Seen."}
    with pytest.raises(InvalidInput) as refused:
        rename_organisation(actor=w.olga, organisation_id=w.university, now=NOW, **{**given, field: value})
    assert field in refused.value.fields
    for other in (w.alice, actor("rick", ra=RaRole.AUDITOR)):
        with pytest.raises(NotAuthorized):
            rename_organisation(actor=other, organisation_id=w.university, now=NOW, **given)
    assert Organisation.objects.get(id=w.university).legal_name == "Example University"


def test_a_disabled_organisation_asks_for_nothing_until_it_is_enabled(w: World) -> None:
    close = partial(disable_organisation, actor=w.olga, organisation_id=w.university, now=NOW)
    with pytest.raises(InvalidInput):
        close(reason=" ")
    with pytest.raises(NotAuthorized):
        disable_organisation(actor=w.alice, organisation_id=w.university, reason="Spite.", now=NOW)
    with support.backend(slow()):
        waiting = submit(w.alice)
        close(reason="Its charter has ended.")
        with pytest.raises(StateConflict):
            close(reason="Again.")
        assert again(w.alice).memberships == {}
        with pytest.raises(NotFound):
            submit_request(
                actor=again(w.alice), submission=submission(w.university), channel="portal", clock=lambda: NOW
            )
        drive(waiting.number, clock=lambda: NOW + timedelta(minutes=1))
        assert state_of(waiting.number) is Status.WAITING_FOR_APPROVAL  # nothing is signed for it
    enable_organisation(actor=w.olga, organisation_id=w.university, reason="It was a mistake.", now=NOW)
    assert again(w.alice).memberships == {w.university: OrgRole.APPLICANT}
    assert actions()[-1] == "organisation.enable"
