"""Second factors: enrolment, sign-in, who needs one, encryption at rest."""

import re
from unittest.mock import Mock

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from pydantic import SecretStr
from pytest_django import Settings

from certdesk.conf.config import load_config
from certdesk.domain.actors import RaRole
from certdesk.domain.errors import InvariantViolated, NotAuthorized
from certdesk.services.people import accounts as people
from certdesk.services.people.second_factor import opened, sealed
from certdesk.services.people.tokens import create_token
from certdesk.store.models import AuditEvent, User
from tests.integration.accounts import (
    CHANGE,
    add_app,
    change,
    code_of,
    give,
    is_signed_in,
    reauthenticate,
    sign_in,
    user_of,
)
from tests.integration.support import NOW, World, actor, audit_problems

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nobody_is_locked_out")]
INDEX, APP, CODE = "/accounts/2fa/", "/accounts/2fa/totp/activate/", "/accounts/2fa/authenticate/"


@pytest.fixture
def here(w: World) -> World:
    for one in (w.alice, w.bob, w.olga, actor("op", ra=RaRole.OPERATOR), actor("rick", ra=RaRole.AUDITOR)):
        give(one)
    return w


@pytest.fixture
def required(settings: Settings) -> None:
    settings.CERTDESK = settings.CERTDESK.model_copy(update={"require_second_factor": "always"})


def test_an_app_is_asked_for_at_the_next_sign_in(here: World) -> None:
    secret = add_app(sign_in("alice"))
    again = sign_in("alice")
    assert not is_signed_in(again)
    wrong = again.post(CODE, {"code": "000000"})
    assert b"This code is not right" in wrong.content
    assert again.post(CODE, {"code": code_of(secret)}).status_code == 302
    assert is_signed_in(again)


def test_a_code_counts_once(here: World) -> None:
    secret = add_app(sign_in("alice"))
    code = code_of(secret)
    one, two = sign_in("alice"), sign_in("alice")
    one.post(CODE, {"code": code})
    two.post(CODE, {"code": code})
    assert (is_signed_in(one), is_signed_in(two)) == (True, False)


def test_codes_can_not_be_guessed(here: World) -> None:
    secret = add_app(sign_in("alice"))
    guesser = sign_in("alice")
    for number in range(5):
        guesser.post(CODE, {"code": f"{number:06}"})
    locked = guesser.post(CODE, {"code": code_of(secret)})
    assert (locked.status_code, locked["Retry-After"]) == (429, "300")
    assert not is_signed_in(guesser)


def test_a_thief_of_the_password_does_not_lock_the_owner_s_browser_out(here: World) -> None:
    owner = sign_in("alice")
    secret = add_app(owner)
    thief = sign_in("alice")
    for number in range(6):
        thief.post(CODE, {"code": f"{number:06}"})
    owner.post("/accounts/logout/")
    again = sign_in("alice", client=owner)
    again.post(CODE, {"code": code_of(secret)})
    assert is_signed_in(again)


def test_recovery_codes_come_with_the_first_factor_and_work_once(here: World) -> None:
    alice = sign_in("alice")
    add_app(alice)
    codes = alice.get("/accounts/2fa/recovery-codes/").context["unused_codes"]
    assert len(codes) == 10
    assert all(re.fullmatch(r"\d{10}", code) for code in codes)
    one, two = sign_in("alice"), sign_in("alice")
    one.post(CODE, {"code": codes[0]})
    two.post(CODE, {"code": codes[0]})
    assert (is_signed_in(one), is_signed_in(two)) == (True, False)


def test_secrets_are_encrypted_in_the_database_and_in_the_waiting_session(here: World) -> None:
    alice = sign_in("alice")
    reauthenticate(alice)
    waiting = str(alice.get(APP).context["form"].secret)
    assert waiting not in str(alice.session[SECRET_SESSION_KEY])
    secret = add_app(alice)
    assert SECRET_SESSION_KEY not in alice.session
    for row in Authenticator.objects.filter(user_id=here.alice.user_id):
        assert secret not in str(row.data)
        stored = row.data.get("secret") or row.data["seed"]
        assert stored.startswith("gAAAA")
        assert opened(stored) != stored


def test_a_changed_key_opens_what_the_former_one_sealed(settings: Settings) -> None:
    before = settings.CERTDESK
    stored = sealed("JBSWY3DPEHPK3PXP")
    new = SecretStr("a-new-secret-key-" * 3)
    settings.CERTDESK = before.model_copy(
        update={"secret_key": new, "secret_key_fallbacks": (before.secret_key,)}
    )
    assert opened(stored) == "JBSWY3DPEHPK3PXP"
    settings.CERTDESK = before.model_copy(update={"secret_key": new})
    with pytest.raises(InvariantViolated):
        opened(stored)


@pytest.mark.django_db(transaction=True)
def test_factors_change_only_after_showing_who_one_is(here: World) -> None:
    alice = sign_in("alice")
    for path in (APP, "/accounts/2fa/webauthn/add/"):
        answer = alice.get(path)
        assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/accounts/reauthenticate/")
    assert alice.post(APP, {"code": "123456"}).status_code == 302
    assert not Authenticator.objects.exists()
    wrong = reauthenticate(alice, "not the password")
    assert b"This is not your password" in wrong.content


@pytest.mark.django_db(transaction=True)
def test_every_change_of_factors_is_audited_and_ends_the_other_sessions(here: World) -> None:
    alice, elsewhere = sign_in("alice"), sign_in("alice")
    add_app(alice)
    assert not is_signed_in(elsewhere)
    assert is_signed_in(alice)
    alice.post("/accounts/2fa/recovery-codes/generate/")
    alice.post("/accounts/2fa/totp/deactivate/")
    actions = AuditEvent.objects.filter(action__startswith="second_factor").order_by("seq")
    assert [(row.action, row.data["kind"]) for row in actions] == [
        ("second_factor.add", "totp"),
        ("second_factor.add", "recovery_codes"),
        ("second_factor.renew", "recovery_codes"),
        ("second_factor.remove", "totp"),
        ("second_factor.remove", "recovery_codes"),
    ]
    assert audit_problems() == []


def add_passkey(user: User) -> int:
    """A passkey without the browser that would have made it; it opens nothing."""
    row = Authenticator.objects.create(
        user=user,
        type=Authenticator.Type.WEBAUTHN,
        data={"name": "blue key", "credential": {"clientExtensionResults": {}}},
    )
    return int(row.pk)


@pytest.mark.django_db(transaction=True)
def test_without_an_audit_row_no_factor_changes(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For adding, renewing and removing, whenever in its work allauth writes."""
    alice, elsewhere = sign_in("alice"), sign_in("alice")
    secret = add_app(alice)
    elsewhere = sign_in("alice")
    elsewhere.post(CODE, {"code": code_of(secret)})
    assert is_signed_in(elsewhere)
    passkey = add_passkey(user_of(here.alice))
    bob = sign_in("bob", client=Client(raise_request_exception=False))
    reauthenticate(bob)
    waiting = str(bob.get(APP).context["form"].secret)
    alice.raise_request_exception = False
    before = list(Authenticator.objects.order_by("pk").values_list("pk", "type", "data"))
    monkeypatch.setattr(
        "certdesk.services.people.accounts.audit.record", Mock(side_effect=InvariantViolated("full"))
    )
    reauthenticate(alice)
    for path in (
        "/accounts/2fa/recovery-codes/generate/",
        "/accounts/2fa/totp/deactivate/",
        f"/accounts/2fa/webauthn/keys/{passkey}/remove/",
    ):
        assert alice.post(path).status_code == 500, path
    assert bob.post(APP, {"code": code_of(waiting)}).status_code == 500
    assert list(Authenticator.objects.order_by("pk").values_list("pk", "type", "data")) == before
    assert is_signed_in(elsewhere), "a change that did not happen ended a session"
    monkeypatch.undo()
    assert alice.post(f"/accounts/2fa/webauthn/keys/{passkey}/remove/").status_code == 302
    assert not is_signed_in(elsewhere)


def test_r7_eight_characters_are_enough_beside_a_second_factor(here: World) -> None:
    alice = sign_in("alice")
    add_app(alice)
    assert b"At least 8 characters" in alice.get(CHANGE).content
    assert change(alice, new="kp4Zt9v!").status_code == 302


@pytest.mark.usefixtures("required")
@pytest.mark.parametrize("username", ["olga", "op"])
@pytest.mark.parametrize("name", ["home", "queue-list", "organisations-list", "account-sessions"])
def test_officers_and_operators_reach_only_enrolment_until_they_have_one(
    here: World, username: str, name: str
) -> None:
    somebody = sign_in(username)
    answer = somebody.get(reverse(name))
    assert (answer.status_code, answer["Location"]) == (302, INDEX)
    page = somebody.get(INDEX)
    assert page.status_code == 200
    assert b"Your role needs a second factor" in page.content


@pytest.mark.usefixtures("required")
def test_an_enrolled_officer_goes_on(here: World) -> None:
    olga = sign_in("olga")
    add_app(olga)
    assert olga.get(reverse("queue-list")).status_code == 200


@pytest.mark.usefixtures("required")
@pytest.mark.parametrize("username", ["alice", "rick"])
def test_others_may_go_without(here: World, username: str) -> None:
    assert is_signed_in(sign_in(username))


@pytest.mark.usefixtures("required")
def test_the_issued_password_comes_before_the_second_factor(here: World) -> None:
    give(here.olga, issued=True)
    assert sign_in("olga").get(INDEX)["Location"] == CHANGE


@pytest.mark.usefixtures("required")
def test_an_officer_makes_no_token_before_enrolment(here: World) -> None:
    with pytest.raises(NotAuthorized, match="second factor"):
        create_token(actor=here.olga, name="script", expires_at=None, now=NOW)
    add_app(sign_in("olga"))
    assert create_token(actor=here.olga, name="script", expires_at=None, now=NOW)
    assert create_token(actor=here.alice, name="script", expires_at=None, now=NOW)


@pytest.mark.usefixtures("required")
def test_a_token_from_before_the_role_does_nothing_before_enrolment(here: World) -> None:
    headers = {
        "authorization": "Bearer " + create_token(actor=here.alice, name="x", expires_at=None, now=NOW)
    }
    assert Client().get("/api/v1/requests", headers=headers).status_code == 200
    User.objects.filter(username="alice").update(ra_role=RaRole.OFFICER)
    refused = Client().get("/api/v1/requests", headers=headers)
    assert (refused.status_code, refused.json()["detail"].count("second factor")) == (403, 1)
    add_app(sign_in("alice"))
    assert Client().get("/api/v1/requests", headers=headers).status_code == 200


@pytest.mark.usefixtures("required")
def test_an_officer_keeps_the_last_factor(here: World) -> None:
    olga = sign_in("olga")
    add_app(olga)
    answer = olga.post("/accounts/2fa/totp/deactivate/", follow=True)
    assert b"Add another one before removing this" in answer.content
    assert Authenticator.objects.filter(type="totp").exists()


def test_a_lost_factor_is_taken_away_by_somebody_else(here: World) -> None:
    alice = sign_in("alice")
    add_app(alice)
    people.reset_second_factor(actor=here.olga, user_id=here.alice.user_id or 0, now=NOW)
    assert not is_signed_in(alice)
    assert is_signed_in(sign_in("alice"))
    row = AuditEvent.objects.get(action="second_factor.reset")
    assert (row.actor, row.data["kinds"]) == ("olga", ["recovery_codes", "totp"])


def test_the_demo_asks_for_none_and_says_so(here: World) -> None:
    olga = sign_in("olga")
    assert is_signed_in(olga)
    assert b"This demonstration does not ask for it" in olga.get(INDEX).content


@pytest.mark.parametrize(
    "demo,said,required",
    [("1", "auto", False), ("0", "auto", True), ("1", "always", True), ("0", "never", False)],
)
def test_the_switch(
    demo: str, said: str, *, required: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = load_config({"CERTDESK_SECRET_KEY": "x" * 40, "CERTDESK_CA_PASSPHRASE": "y" * 40}).model_copy(
        update={"demo": demo == "1", "require_second_factor": said}
    )
    assert config.second_factor_required is required


def test_former_keys_come_one_a_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("keys") / "former"
    path.write_text(f"{'a' * 40}\n{'b' * 40}\n")
    config = load_config(
        {
            "CERTDESK_SECRET_KEY": "x" * 40,
            "CERTDESK_CA_PASSPHRASE": "y" * 40,
            "CERTDESK_SECRET_KEY_FALLBACKS_FILE": str(path),
        }
    )
    assert [key.get_secret_value() for key in config.secret_key_fallbacks] == ["a" * 40, "b" * 40]


def test_a_passkey_needs_a_name_and_the_page_says_where_it_has_one(here: World) -> None:
    for host, offered in (("127.0.0.1:8000", False), ("localhost:8000", True)):
        page = Client(headers={"host": host}).get("/accounts/login/")
        assert (b"Sign in with a passkey" in page.content) is offered, host
    page = sign_in("alice").get(INDEX, headers={"host": "127.0.0.1:8000"}, SERVER_PORT="8000")
    assert b"http://localhost:8000/accounts/2fa/" in page.content
    cache.clear()
