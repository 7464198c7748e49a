"""Invitations by mail, buttons about accounts, and one's own API tokens in the portal."""

import re
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.core import mail
from django.core.mail import EmailMessage
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.actors import Actor, OrgRole, RaRole
from certdesk.domain.errors import NotFound
from certdesk.jobs.worker import Worker
from certdesk.services.mail.account import INVITED_FOR, invitation_token, invited_person
from certdesk.services.people.accounts import (
    accept_invitation,
    disable_account,
    enable_account,
    issue_new_password,
)
from certdesk.services.people.membership import add_existing_member, add_member, disable_member
from certdesk.services.system import runtime
from certdesk.store.models import ApiToken, AuditEvent, User
from certdesk.store.selectors.people import actor_for_token, actor_for_user
from tests.integration.accounts import add_app, give, is_signed_in, sign_in, user_of
from tests.integration.support import NOW, World, actor, audit_problems, organisation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("nobody_is_locked_out")]
CHOSEN = "several unrelated words"
UNIVERSITY = "example-university"


@pytest.fixture
def here(w: World, meg: Actor) -> World:
    for one in (w.alice, w.olga, meg, actor("op", ra=RaRole.OPERATOR), actor("rick", ra=RaRole.AUDITOR)):
        give(one)
    return w


def mailed() -> EmailMessage:
    """The one mail that the worker sends now."""
    mail.outbox.clear()
    while Worker().tick(now=timezone.now()):
        pass
    (message,) = mail.outbox
    assert isinstance(message, EmailMessage)
    return message


def link_in(message: EmailMessage) -> str:
    (link,) = re.findall(r"^(http\S+/accounts/invitation/\S+)$", str(message.body), re.MULTILINE)
    base = runtime.current().base_url
    assert link.startswith(base)
    return str(link.removeprefix(base))


def invite(w: World, username: str = "nina") -> tuple[User, str]:
    """A new person of the university, and the password issued to her."""
    boss = actor("boss", organisation=w.university, role=OrgRole.MANAGER)
    issued = add_member(
        actor=boss,
        organisation_id=w.university,
        username=username,
        name="Nina New",
        email=f"{username}@example.ac.uk",
        role=OrgRole.APPLICANT,
        now=NOW,
    )
    return User.objects.get(username=username), issued.password


def choose(link: str, new: str = CHOSEN, again: str = "") -> HttpResponse:
    answer = Client().post(link, {"password1": new, "password2": again or new})
    assert isinstance(answer, HttpResponse)
    return answer


def person(username: str) -> str:
    return reverse("organisations-person-account", args=[UNIVERSITY, User.objects.get(username=username).pk])


def test_an_invited_person_chooses_a_password_by_a_link_that_works_once(here: World) -> None:
    nina, password = invite(here)
    message = mailed()
    assert message.to == ["nina@example.ac.uk"]
    assert "Example University" in message.body
    assert "nina" in message.body
    assert password not in message.body
    link = link_in(message)
    page = Client().get(link)
    assert page.status_code == 200
    assert (page["Cache-Control"], page["Referrer-Policy"]) == ("no-store", "strict-origin")
    assert User.objects.get(id=nina.pk).password == nina.password, "opening it changed something"
    assert choose(link, CHOSEN, "something else altogether").status_code == 422
    assert "At least 15 characters" in choose(link, "short").content.decode()
    assert choose(link).status_code == 302
    assert is_signed_in(sign_in("nina", CHOSEN))
    assert not is_signed_in(sign_in("nina", password))
    assert choose(link, "yet another long password").status_code == 404
    assert AuditEvent.objects.filter(action="password.invited", object_id=str(nina.pk)).count() == 1
    assert not audit_problems()


def test_an_invitation_ends_with_its_days_a_newer_one_or_the_membership(here: World) -> None:
    nina, _password = invite(here)
    first = invitation_token(nina, until=NOW + INVITED_FOR)
    assert invited_person(token=first, now=NOW).pk == nina.pk
    with pytest.raises(NotFound):
        invited_person(token=first, now=NOW + INVITED_FOR)
    boss = actor("meg2", organisation=here.university, role=OrgRole.MANAGER)
    issue_new_password(actor=boss, user_id=nina.pk, now=NOW)
    second = invitation_token(User.objects.get(id=nina.pk), until=NOW + INVITED_FOR)
    with pytest.raises(NotFound):
        accept_invitation(token=first, new=CHOSEN, now=NOW)
    assert invited_person(token=second, now=NOW + timedelta(days=1)).pk == nina.pk
    disable_member(actor=boss, organisation_id=here.university, user_id=nina.pk, now=NOW)
    with pytest.raises(NotFound):
        accept_invitation(token=second, new=CHOSEN, now=NOW)


@pytest.mark.parametrize("token", ["x", "a:b:c", "A" * 52, ""])
def test_a_made_up_invitation_opens_nothing(token: str) -> None:
    with pytest.raises(NotFound):
        invited_person(token=token, now=NOW)


def test_nobody_without_an_issued_password_is_invited(here: World) -> None:
    """A stolen old token can't change the password of somebody who has long chosen one."""
    alice = user_of(here.alice)
    with pytest.raises(NotFound):
        invited_person(token=invitation_token(alice, until=NOW + INVITED_FOR), now=NOW)


def test_people_are_told_what_was_done_about_their_account(here: World) -> None:
    alice = user_of(here.alice)
    issued = issue_new_password(actor=here.olga, user_id=alice.pk, now=NOW)
    told = mailed()
    assert "olga has replaced the password" in told.body
    assert issued.password not in told.body
    assert choose(link_in(told)).status_code == 302
    disable_account(actor=here.olga, user_id=alice.pk, now=NOW)
    enable_account(actor=here.olga, user_id=alice.pk, now=NOW)
    again = mailed()
    assert "enabled your account" in again.body
    assert choose(link_in(again)).status_code == 302
    other = organisation("Other College")
    add_existing_member(
        actor=here.olga, organisation_id=other, username="alice", role=OrgRole.APPLICANT, now=NOW
    )
    joined = " ".join(str(mailed().body).split())
    assert "You belong to Example University and Other College now." in joined
    assert "invitation" not in joined


def test_a_lost_second_factor_is_taken_away_by_a_button(here: World) -> None:
    add_app(sign_in("alice"))
    meg = sign_in("meg")
    assert "Take the second factor away" in meg.get(f"/organisations/{UNIVERSITY}/").content.decode()
    done = meg.post(person("alice"), {"act": "second-factor"}, follow=True).content.decode()
    assert "The second factor and all API tokens are gone." in done
    assert not Authenticator.objects.filter(user__username="alice").exists()
    assert "meg has taken away the second factor" in mailed().body
    assert "Take the second factor away" not in meg.get(f"/organisations/{UNIVERSITY}/").content.decode()
    assert meg.post(person("alice"), {"act": "second-factor"}).status_code == 409
    assert meg.post(person("alice"), {"act": "promote"}).status_code == 404


@pytest.mark.parametrize("by,enabler", [("olga", "olga"), ("meg", "meg"), ("meg", "olga")])
def test_an_account_that_was_disabled_is_enabled_by_a_button(here: World, by: str, enabler: str) -> None:
    olga, meg = sign_in("olga"), sign_in("meg")
    by_whom = actor_for_user(User.objects.get(username=by))
    disable_account(actor=by_whom, user_id=here.alice.user_id or 0, now=NOW)
    assert not is_signed_in(sign_in("alice"))
    page = meg.get(f"/organisations/{UNIVERSITY}/").content.decode()
    assert ("Enable the account" in page) is (by == "meg")
    assert f"By {'JTAG' if by == 'olga' else 'a manager'}, " in page
    if by == "olga":
        assert meg.post(person("alice"), {"act": "enable"}).status_code == 403
        assert not User.objects.get(username="alice").is_active
    shown = {"olga": olga, "meg": meg}[enabler].post(person("alice"), {"act": "enable"}).content.decode()
    found = re.search(r'class="secret"[^>]*>([^<]+)<', shown)
    assert found
    assert sign_in("alice", found[1]).get("/")["Location"] == "/accounts/password/change/"


def test_a_manager_is_shown_no_button_for_an_account_of_two_organisations(here: World) -> None:
    other = organisation("Other College")
    add_existing_member(
        actor=here.olga, organisation_id=other, username="alice", role=OrgRole.APPLICANT, now=NOW
    )
    meg = sign_in("meg")
    page = meg.get(f"/organisations/{UNIVERSITY}/").content.decode()
    assert f'action="{person("alice")}"' not in page
    assert f'action="{person("bob")}"' in page
    assert meg.post(person("alice"), {"act": "password"}).status_code == 403
    assert (
        f'action="{person("alice")}"' in sign_in("olga").get(f"/organisations/{UNIVERSITY}/").content.decode()
    )


def test_an_operator_looks_after_the_people_of_the_ra_and_nobody_else(here: World) -> None:
    op = sign_in("op")
    page = op.get("/service/people/").content.decode()
    rick, alice, own = (User.objects.get(username=name).pk for name in ("rick", "alice", "op"))
    assert f"/service/people/{rick}/" in page
    assert f"/service/people/{own}/" not in page, "nobody looks after their own account"
    assert "alice" not in page
    shown = op.post(f"/service/people/{rick}/", {"act": "password"}).content.decode()
    assert 'class="secret"' in shown
    assert op.post(f"/service/people/{rick}/", {"act": "disable"}, follow=True).status_code == 200
    assert not User.objects.get(id=rick).is_active
    assert op.post(f"/service/people/{alice}/", {"act": "password"}).status_code == 404
    assert op.post(f"/service/people/{own}/", {"act": "password"}).status_code == 403
    assert sign_in("olga").post(f"/service/people/{rick}/", {"act": "enable"}).status_code == 404


def test_a_token_is_shown_once_works_and_ends(here: World) -> None:
    alice = sign_in("alice")
    refused = alice.post("/accounts/tokens/", {"name": "", "days": "30"})
    assert refused.status_code == 422
    made = alice.post("/accounts/tokens/", {"name": "backup <script>", "days": "30"}).content.decode()
    found = re.search(r"cdk_[\w-]+", made)
    assert found
    who = actor_for_token(found[0], now=timezone.now())
    assert who is not None
    assert who.label == "alice"
    row = ApiToken.objects.get(user__username="alice")
    assert row.expires_at
    assert timedelta(days=29) < row.expires_at - timezone.now() <= timedelta(days=30)
    page = alice.get("/accounts/tokens/").content.decode()
    assert "backup &lt;script&gt;" in page
    assert found[0] not in page
    assert sign_in("olga").post(f"/accounts/tokens/{row.pk}/revoke/").status_code == 404
    assert alice.post(f"/accounts/tokens/{row.pk}/revoke/").status_code == 302
    assert actor_for_token(found[0], now=timezone.now()) is None
    assert alice.post(f"/accounts/tokens/{row.pk}/revoke/").status_code == 404


def test_a_token_without_an_end_is_possible_and_said(here: World) -> None:
    alice = sign_in("alice")
    alice.post("/accounts/tokens/", {"name": "appliance", "days": "0"})
    assert ApiToken.objects.get(user__username="alice").expires_at is None
    assert "No end" in alice.get("/accounts/tokens/").content.decode()
