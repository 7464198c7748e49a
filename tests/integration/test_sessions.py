"""Sessions: rotated at sign-in, listed, ended, idle and absolute limits."""

from datetime import timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.actors import RaRole
from certdesk.services.people.sessions import browser_name
from certdesk.store.models import AuditEvent
from certdesk.web.account.middleware import SEEN
from tests.integration.accounts import give, is_signed_in, sign_in
from tests.integration.support import World, actor, submit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nobody_is_locked_out")]
LIST = "/accounts/sessions/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def here(w: World) -> World:
    for one in (w.alice, w.bob, w.olga):
        give(one)
    return w


def test_signing_in_makes_a_new_session(here: World) -> None:
    visitor = Client()
    visitor.get("/accounts/login/")
    session = visitor.session
    session["planted"] = "yes"
    session.save()
    planted = session.session_key
    visitor.cookies["certdesk"] = planted or ""
    sign_in("alice", client=visitor)
    assert visitor.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()


@pytest.mark.parametrize(
    "cookie", ["", "short", "a" * 5000, "unknown" * 5, "nul\0inside" * 3, "ü" * 32, "' OR 1=1 --"]
)
def test_a_cookie_that_is_no_session_is_a_visitors(here: World, cookie: str) -> None:
    visitor = Client()
    visitor.cookies["certdesk"] = cookie
    assert visitor.get("/requests/").status_code == 302


def test_a_session_that_ran_out_is_none(here: World) -> None:
    desk = sign_in("alice")
    assert desk.get(LIST).status_code == 200
    Session.objects.update(expire_date=timezone.now())
    assert desk.get(LIST).status_code == 302


def test_the_page_lists_own_sessions_and_nobody_elses(here: World) -> None:
    desk = sign_in("alice", client=Client(headers={"user-agent": FIREFOX}))
    sign_in("alice", client=Client(headers={"user-agent": "Mozilla/5.0 (iPhone) Version/18 Safari/604.1"}))
    sign_in("bob")
    rows = desk.get(LIST).context["rows"]
    assert [(row.browser, row.is_current) for row in rows] == [
        ("Firefox on Linux", True),
        ("Safari on iPhone or iPad", False),
    ]


def test_ending_one_session_ends_that_one(here: World) -> None:
    desk, train, phone = (sign_in("alice") for _ in range(3))
    row = UserSession.objects.get(session_key=train.session.session_key)
    assert desk.post(reverse("account-sessions-end", args=[row.pk])).status_code == 302
    assert (is_signed_in(desk), is_signed_in(train), is_signed_in(phone)) == (True, False, True)
    assert AuditEvent.objects.filter(action="session.end").count() == 1


def test_ending_the_others_keeps_this_one(here: World) -> None:
    desk, train, phone = (sign_in("alice") for _ in range(3))
    bob = sign_in("bob")
    desk.post(reverse("account-sessions-end-others"))
    assert [is_signed_in(one) for one in (desk, train, phone, bob)] == [True, False, False, True]
    assert len(desk.get(LIST).context["rows"]) == 1


def test_nobody_ends_somebody_elses_session(here: World) -> None:
    bob = sign_in("bob")
    row = UserSession.objects.get(session_key=bob.session.session_key)
    answer = sign_in("alice").post(reverse("account-sessions-end", args=[row.pk]))
    assert answer.status_code == 404
    assert is_signed_in(bob)


@pytest.mark.parametrize("username,minutes", [("alice", 120), ("olga", 30), ("op", 30), ("rick", 30)])
def test_a_session_left_alone_ends(here: World, username: str, minutes: int) -> None:
    for name, role in (("op", RaRole.OPERATOR), ("rick", RaRole.AUDITOR)):
        give(actor(name, ra=role))
    start = timezone.now()
    with time_machine.travel(start, tick=False) as clock:
        one = sign_in(username)
        for _ in range(3):  # used in time, again and again
            clock.shift(timedelta(minutes=minutes - 1))
            assert is_signed_in(one)
        clock.shift(timedelta(minutes=minutes))
        answer = one.get("/", follow=True)
        assert answer.redirect_chain[0][0].startswith("/accounts/login/")
        assert b"You were signed out because nothing happened" in answer.content


def test_a_session_ends_after_twelve_hours_however_busy(here: World) -> None:
    start = timezone.now()
    with time_machine.travel(start, tick=False) as clock:
        alice = sign_in("alice")
        for _ in range(11):
            clock.shift(timedelta(hours=1))
            assert is_signed_in(alice)
        clock.shift(timedelta(minutes=59))
        assert is_signed_in(alice)
        clock.shift(timedelta(minutes=1))
        assert not is_signed_in(alice)
        again = sign_in("alice", client=alice)
        assert is_signed_in(again)


def test_a_page_that_asks_for_news_by_itself_keeps_no_session_alive(here: World) -> None:
    made = submit(here.alice)
    poll = reverse("requests-status", args=[made.number])
    with time_machine.travel(timezone.now(), tick=False) as clock:
        alice = sign_in("alice")
        for _ in range(5):
            clock.shift(timedelta(minutes=23))
            alice.get(poll, headers={"x-requested-with": "fetch"})
        clock.shift(timedelta(minutes=23))
        assert not is_signed_in(alice)


def test_reading_pages_writes_the_session_once_a_minute(here: World) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        alice = sign_in("alice")
        first = alice.session[SEEN]
        clock.shift(timedelta(seconds=59))
        alice.get("/")
        assert alice.session[SEEN] == first
        clock.shift(timedelta(seconds=1))
        alice.get("/")
        assert alice.session[SEEN] == first + 60
        row = UserSession.objects.get(session_key=alice.session.session_key)
        assert row.last_seen_at == timezone.now()


@pytest.mark.parametrize(
    "header,name",
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 Chrome/140 Safari/537 Edg/140", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/140 Mobile Safari/537", "Chromium on Android"),
        ("<script>alert(1)</script>", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_browsers_have_names_that_people_know(header: str, name: str) -> None:
    assert browser_name(header) == name
