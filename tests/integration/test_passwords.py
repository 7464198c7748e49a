"""Passwords through the portal and the service: changing, re-issuing, resetting by mail."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.core import mail
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from certdesk.domain.actors import RaRole
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound, StateConflict
from certdesk.jobs.worker import Worker
from certdesk.services.people import accounts as people
from certdesk.services.people.tokens import create_token
from certdesk.services.system import runtime
from certdesk.store.models import ApiToken, AuditEvent, Membership, User
from certdesk.store.selectors.people import actor_for_token, actor_for_user
from certdesk.web.access import BEFORE_CHANGE, is_public
from tests.integration.accounts import CHANGE, CHOSEN, OLD, change, give, is_signed_in, sign_in, user_of
from tests.integration.support import NOW, World, actor, audit_problems, configured, manager, organisation

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nobody_is_locked_out")]


def test_r6_r9_a_person_changes_the_password_giving_the_current_one(w: World) -> None:
    give(w.alice)
    alice = sign_in("alice", OLD)
    assert change(alice).status_code == 302
    assert user_of(w.alice).check_password(CHOSEN)
    assert is_signed_in(alice)
    assert AuditEvent.objects.filter(action="password.change", user_id=w.alice.user_id or 0).count() == 1
    assert audit_problems() == []


def test_r6_a_wrong_current_password_changes_nothing(w: World) -> None:
    give(w.alice)
    alice = sign_in("alice", OLD)
    assert b"There is a problem" in change(alice, current="").content
    assert b"This is not your current password" in change(alice, current="not this one, surely").content
    different = {"oldpassword": OLD, "password1": CHOSEN, "password2": f"{CHOSEN}, or others"}
    assert b"There is a problem" in alice.post(CHANGE, different).content
    assert user_of(w.alice).check_password(OLD)
    assert not AuditEvent.objects.filter(action="password.change").exists()


def test_r6_changing_it_ends_the_other_sessions_and_keeps_this_one(w: World) -> None:
    give(w.alice)
    desk, train = sign_in("alice", OLD), sign_in("alice", OLD)
    assert is_signed_in(train)
    before = desk.session.session_key
    change(desk)
    assert is_signed_in(desk)
    assert desk.session.session_key != before
    assert not is_signed_in(train)


@pytest.mark.django_db(transaction=True)
def test_of_two_changes_at_once_the_second_is_told(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    give(w.alice)
    usual = make_password

    def slow(password: str) -> str:
        User.objects.filter(id=w.alice.user_id or 0).update(password=usual("somebody was faster"))
        return usual(password)

    monkeypatch.setattr(people, "make_password", slow)
    with pytest.raises(StateConflict):
        people.change_password(actor=w.alice, current=OLD, new=CHOSEN, now=NOW)
    assert user_of(w.alice).check_password("somebody was faster")


def test_r7_the_default_is_fifteen_and_the_page_says_so(w: World) -> None:
    give(w.alice)
    alice = sign_in("alice", OLD)
    assert b"At least 15 characters" in alice.get(CHANGE).content
    answer = change(alice, new="fourteen chars")
    assert b"This has 14 characters. Use at least 15." in answer.content
    assert user_of(w.alice).check_password(OLD)
    assert change(alice, new="fifteen letters").status_code == 302  # small letters alone will do


@pytest.mark.parametrize("figure,accepted", [(7, True), (8, False)])
def test_r7_common_passwords_are_refused_from_eight_on(w: World, figure: int, *, accepted: bool) -> None:
    give(w.alice)
    with configured(settings=replace(runtime.current().settings, password_min_length=figure)):
        change(sign_in("alice", OLD), new="Password1")
    assert user_of(w.alice).check_password("Password1") is accepted


@pytest.mark.parametrize(
    "password",
    [
        "certificates2026",
        "password123456789",
        "JTAG-certdesk.2026",
        "Example University 2026",
        "alice.alice.31122026",
        "qwertyuiop-example1",
    ],
)
def test_words_of_the_service_and_of_the_person_are_common_ones(w: World, password: str) -> None:
    give(w.alice)
    answer = change(sign_in("alice", OLD), new=password)
    assert b"tried first" in answer.content
    assert user_of(w.alice).check_password(OLD)


@pytest.mark.parametrize(
    "password", ["x" * 128, "пароль из многих слов", "ﬁne ﬁgures and café", " blanks at both ends  "]
)
def test_r7_long_and_unicode_passwords_sign_in(w: World, password: str) -> None:
    give(w.alice)
    change(sign_in("alice", OLD), new=password)
    assert is_signed_in(sign_in("alice", password))
    assert not is_signed_in(sign_in("alice", password[:-3]))


def test_one_password_from_two_keyboards(w: World) -> None:
    composed, decomposed = "caf\u00e9 and other words", "cafe\u0301 and other words"
    give(w.alice)
    change(sign_in("alice", OLD), new=composed)
    assert is_signed_in(sign_in("alice", decomposed))
    assert not check_password("cafe and other words", user_of(w.alice).password)


def test_hashes_made_before_still_open(w: World) -> None:
    from_django = "pbkdf2_sha256$1000$c2FsdHNhbHQ$"  # its own hasher, fewer rounds
    encoded = PBKDF2PasswordHasher().encode(OLD, "c2FsdHNhbHQ", 1000)
    assert encoded.startswith(from_django)
    User.objects.filter(id=w.alice.user_id or 0).update(password=encoded)
    assert is_signed_in(sign_in("alice", OLD))


def every_address() -> list[tuple[str, str]]:
    """Name and address of every route that needs no more than ids."""
    found = []

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> None:
        for one in patterns:
            route = prefix + re.sub(r"^\^|\$$", "", str(one.pattern))
            if isinstance(one, URLResolver):
                walk(one.url_patterns, route)
            else:
                address = re.sub(r"<int:\w+>|{int:\w+}", "1", route)
                address = re.sub(r"<uuid:\w+>", "00000000-0000-4000-8000-000000000000", address)
                address = re.sub(r"\(\?P<uidb36>[^)]*\)-\(\?P<key>[^)]*\)", "1-abc-def", address)
                address = re.sub(r"<\w+:\w+>|<\w+>|{\w+}", "x", address)
                found.append((one.name or route, "/" + address))

    walk(get_resolver().url_patterns, "")
    return found


def test_r8_an_issued_password_opens_the_change_page_and_nothing_else(w: World) -> None:
    give(w.alice, issued=True)
    alice = sign_in("alice", OLD)
    walked = every_address()
    assert len(walked) > 50
    opened = set()
    for name, address in walked:
        if address.startswith(("/api/", "/acme/", "/ca/", "/ocsp", "/healthz", "/readyz", "/metrics")):
            continue
        if is_public(resolve(address).func):
            continue
        for answer in (alice.get(address), alice.post(address)):
            if answer.status_code == 302 and answer["Location"] == CHANGE:
                continue
            opened.add(name)
        if name == "account_logout":
            alice = sign_in("alice", OLD)
    assert opened <= BEFORE_CHANGE, opened
    assert not opened & {"mfa_index", "mfa_activate_totp", "mfa_add_webauthn", "account-sessions", "home"}
    assert user_of(w.alice).must_change_password


def test_r8_api_tokens_do_nothing_before_the_change(w: World) -> None:
    token = create_token(actor=w.alice, name="script", expires_at=None, now=NOW)
    headers = {"authorization": f"Bearer {token}"}
    assert Client().get("/api/v1/requests", headers=headers).status_code == 200
    give(w.alice, issued=True)
    assert Client().get("/api/v1/requests", headers=headers).status_code == 403


def test_r8_the_issued_password_is_no_choice(w: World) -> None:
    give(w.alice, issued=True)
    alice = sign_in("alice", OLD)
    answer = change(alice, new=OLD)
    assert b"Someone else knows this one" in answer.content
    assert change(alice).status_code == 302
    assert is_signed_in(alice)


def test_an_officer_issues_a_new_password(w: World) -> None:
    give(w.alice)
    alice = sign_in("alice", OLD)
    token = create_token(actor=w.alice, name="script", expires_at=None, now=NOW)
    issued = people.issue_new_password(actor=w.olga, user_id=w.alice.user_id or 0, now=NOW)
    assert not is_signed_in(alice)
    assert actor_for_token(token, now=NOW) is None
    user = user_of(w.alice)
    assert user.must_change_password
    assert user.check_password(issued.password)
    row = AuditEvent.objects.get(action="password.issue")
    assert (row.actor, row.object_id, row.organisation_id) == ("olga", str(user.pk), w.university)
    assert issued.password not in str(row.data)
    assert audit_problems() == []


def test_a_manager_issues_passwords_within_the_organisation_only(w: World) -> None:
    meg = manager(w)
    other = organisation("Other College")
    charlie = actor("charlie", organisation=other)
    two_hats = actor("dora", organisation=w.university)
    Membership.objects.create(
        user_id=two_hats.user_id or 0, organisation_id=other, role="applicant", created_at=NOW
    )
    assert people.issue_new_password(actor=meg, user_id=w.alice.user_id or 0, now=NOW).username == "alice"
    for somebody, error in (
        (charlie, NotFound),
        (two_hats, NotAuthorized),
        (w.olga, NotFound),
        (meg, NotAuthorized),
    ):
        with pytest.raises(error):
            people.issue_new_password(actor=meg, user_id=somebody.user_id or 0, now=NOW)
        assert not user_of(somebody).must_change_password


@pytest.mark.django_db(transaction=True)
def test_a_manager_gets_no_officer_by_way_of_a_shared_organisation(w: World) -> None:
    meg = manager(w)
    ned = actor("ned", organisation=w.university, ra=RaRole.OFFICER)
    for act in (people.issue_new_password, people.disable_account, people.reset_second_factor):
        with pytest.raises(NotAuthorized):
            act(actor=meg, user_id=ned.user_id or 0, now=NOW)


def test_who_looks_after_whom(w: World) -> None:
    op = actor("op", ra=RaRole.OPERATOR)
    rick = actor("rick", ra=RaRole.AUDITOR)
    with pytest.raises(NotAuthorized):
        people.issue_new_password(actor=w.olga, user_id=w.otto.user_id or 0, now=NOW)
    assert people.issue_new_password(actor=op, user_id=w.otto.user_id or 0, now=NOW).password
    for who, whom in ((op, w.alice), (rick, w.alice), (w.bob, w.alice), (w.alice, w.bob)):
        with pytest.raises(NotFound):
            people.issue_new_password(actor=who, user_id=whom.user_id or 0, now=NOW)


@pytest.mark.django_db(transaction=True)
def test_a_disabled_account_opens_nothing_until_enabled_with_a_new_password(w: World) -> None:
    give(w.alice)
    alice = sign_in("alice", OLD)
    token = create_token(actor=w.alice, name="script", expires_at=None, now=NOW)
    people.disable_account(actor=w.olga, user_id=w.alice.user_id or 0, now=NOW)
    assert not is_signed_in(alice)
    assert not is_signed_in(sign_in("alice", OLD))
    with pytest.raises(StateConflict):
        people.disable_account(actor=w.olga, user_id=w.alice.user_id or 0, now=NOW)
    issued = people.enable_account(actor=w.olga, user_id=w.alice.user_id or 0, now=NOW)
    assert not is_signed_in(alice)
    assert actor_for_token(token, now=NOW) is None
    again = sign_in("alice", issued.password)
    assert again.get("/")["Location"] == CHANGE
    assert list(
        AuditEvent.objects.filter(action__startswith="account.")
        .order_by("seq")
        .values_list("action", flat=True)
    ) == ["account.disable", "account.enable"]


def work() -> None:
    while Worker().tick(now=timezone.now()):
        pass


def ask_for_reset(email: str, client: Client | None = None) -> "Answer":
    return (client or Client()).post("/accounts/password/reset/", {"email": email})


def reset_link() -> str:
    (message,) = mail.outbox
    assert message.content_subtype == "plain"
    found = re.search(r"^(http\S+)$", str(message.body), re.MULTILINE)
    assert found
    assert found[1].startswith(runtime.current().base_url + "/accounts/password/reset/key/")
    return found[1].removeprefix(runtime.current().base_url)


def test_a_reset_answers_the_same_for_an_address_that_nobody_has(w: World) -> None:
    known = ask_for_reset("ALICE@example.ac.uk")
    unknown = ask_for_reset("nobody@example.ac.uk")
    assert known.status_code == unknown.status_code == 302
    assert known["Location"] == unknown["Location"]
    assert mail.outbox == []  # who gets mail is decided after the answer
    assert DBTaskResult.objects.filter(task_path__endswith="mail_password_reset").count() == 2
    work()
    assert [message.to for message in mail.outbox] == [["alice@example.ac.uk"]]


def test_a_reset_link_works_once_and_ends_every_session(w: World) -> None:
    give(w.alice)
    signed_in = sign_in("alice", OLD)
    ask_for_reset("alice@example.ac.uk")
    work()
    link, visitor = reset_link(), Client()
    page = visitor.get(link, follow=True)
    assert b"Choose a new password" in page.content
    assert b"At least 15 characters" in page.content
    form = page.request["PATH_INFO"]
    refused = visitor.post(form, {"password1": "short", "password2": "short"})
    assert b"Use at least 15" in refused.content
    done = visitor.post(form, {"password1": CHOSEN, "password2": CHOSEN})
    assert done.status_code == 302
    assert not is_signed_in(visitor)  # a second factor, where there is one, is still asked for
    assert not is_signed_in(signed_in)
    assert is_signed_in(sign_in("alice", CHOSEN))
    again = Client().get(link, follow=True)
    assert b"This link no longer works" in again.content
    assert AuditEvent.objects.filter(action="password.reset").count() == 1


def test_a_reset_link_expires_after_an_hour(w: World, settings: Settings) -> None:
    assert settings.PASSWORD_RESET_TIMEOUT == 3600
    ask_for_reset("alice@example.ac.uk")
    work()
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert b"This link no longer works" in Client().get(reset_link(), follow=True).content


def test_a_reset_mail_links_to_the_configured_address_whatever_the_host_header(w: World) -> None:
    Client().post(
        "/accounts/password/reset/", {"email": "alice@example.ac.uk"}, headers={"host": "localhost"}
    )
    work()
    assert "localhost" not in str(mail.outbox[0].body)
    assert reset_link()


def test_a_disabled_account_gets_no_reset_mail(w: World) -> None:
    people.disable_account(actor=w.olga, user_id=w.alice.user_id or 0, now=NOW)
    ask_for_reset("alice@example.ac.uk")
    work()
    assert mail.outbox == []


def test_reset_mails_are_limited_per_address(w: World) -> None:
    answers = [ask_for_reset("alice@example.ac.uk").status_code for _ in range(5)]
    assert answers == [302, 302, 302, 429, 429]
    give(w.alice)
    assert ask_for_reset("alice@example.ac.uk", sign_in("alice", OLD)).status_code == 302
    assert ask_for_reset("bob@example.ac.uk").status_code == 302


@pytest.mark.parametrize(
    "path", ["signup/", "email/", "password/set/", "confirm-email/", "login/code/confirm/"]
)
def test_nobody_signs_up_or_changes_their_address_alone(w: World, path: str) -> None:
    give(w.alice)
    assert sign_in("alice", OLD).get(f"/accounts/{path}").status_code == 404


def test_the_service_refuses_what_the_form_would(w: World) -> None:
    give(w.alice)
    with pytest.raises(InvalidInput) as refused:
        people.change_password(actor=actor_for_user(user_of(w.alice)), current=OLD, new="short", now=NOW)
    assert "new" in refused.value.fields
    assert not ApiToken.objects.exists()
