"""Signing in: uniform answers, limits per account and address, cookies."""

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.tokens import default_token_generator
from django.core.cache import cache
from django.test import Client
from django.utils.http import int_to_base36

from certdesk.services.people import accounts as people
from tests.integration.accounts import CHOSEN, OLD, give, is_signed_in, sign_in, user_of
from tests.integration.support import NOW, World

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nobody_is_locked_out")]
LOGIN = "/accounts/login/"


@pytest.fixture
def here(w: World) -> World:
    for one in (w.alice, w.bob):
        give(one)
    return w


def attempt(
    username: str, password: str, *, address: str = "10.0.0.1", client: Client | None = None
) -> tuple[int, str, str]:
    """Status, what the page says, and Retry-After."""
    answer = (client or Client()).post(LOGIN, {"login": username, "password": password}, REMOTE_ADDR=address)
    said = " ".join(answer.context["form"].non_field_errors()) if answer.status_code != 302 else ""
    return answer.status_code, said, answer.headers.get("Retry-After", "")


def test_an_unknown_person_and_a_wrong_password_are_answered_alike(here: World) -> None:
    assert attempt("alice", "not the password") == attempt("nobody", "not the password")


def test_an_unknown_person_costs_one_hash_as_a_wrong_password_does(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    usual = PBKDF2PasswordHasher.encode

    def counted(self: PBKDF2PasswordHasher, password: str, salt: str, iterations: int | None = None) -> str:
        hashed.append(password)
        return usual(self, password, salt, iterations)

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", counted)
    people.disable_account(actor=here.olga, user_id=here.bob.user_id or 0, now=NOW)
    for username in ("alice", "nobody", "bob"):
        hashed.clear()
        attempt(username, "not the password")
        assert len(hashed) == 1, username


def wrong(times: int, username: str = "alice", *, address: str = "10.0.1.1") -> None:
    for _ in range(times):
        assert attempt(username, "wrong", address=address)[0] == 200


def test_the_sixth_wrong_password_makes_its_sender_wait_and_nobody_else(here: World) -> None:
    known = sign_in("alice")
    wrong(5)
    status, said, retry = attempt("alice", OLD, address="10.0.1.1")
    assert (status, retry) == (429, "300")
    assert "Wait five minutes" in said
    assert attempt("bob", OLD, address="10.0.1.1")[0] == 302
    assert attempt("alice", OLD, address="10.0.1.2")[0] == 302
    assert attempt("alice", OLD, address="10.0.1.1", client=_only_known(known))[0] == 302


def _only_known(browser: Client) -> Client:
    """The browser some days later: all but the long-lived cookie is gone."""
    later = Client()
    later.cookies[settings.KNOWN_COOKIE_NAME] = browser.cookies[settings.KNOWN_COOKIE_NAME].value
    return later


@pytest.mark.parametrize("username", ["alice", "nobody"])
def test_guesses_from_many_addresses_are_counted_for_the_account(here: World, username: str) -> None:
    known = sign_in("alice")
    for number in range(20):
        wrong(5, username, address=f"10.0.1.{number}")
    assert attempt(username, OLD, address="10.0.2.1")[0] == 429
    assert attempt("bob", OLD, address="10.0.2.1")[0] == 302
    assert attempt("alice", OLD, address="10.0.2.1", client=_only_known(known))[0] == 302


def test_a_shared_address_is_not_shut_out_by_a_bad_client(here: World) -> None:
    known = sign_in("alice")
    for number in range(100):
        wrong(1, f"guess{number}")
    assert attempt("bob", OLD, address="10.0.1.1")[0] == 302
    for number in range(100, 200):
        wrong(1, f"guess{number}")
    assert attempt("bob", OLD, address="10.0.1.1")[0] == 429
    assert attempt("alice", OLD, address="10.0.1.1", client=_only_known(known))[0] == 302
    assert attempt("bob", OLD, address="10.0.1.2")[0] == 302


def test_a_known_browser_is_one_account_s_and_ends_with_its_password(here: World) -> None:
    known = _only_known(sign_in("alice"))
    wrong(5, "bob")
    assert attempt("bob", OLD, address="10.0.1.1", client=known)[0] == 429
    forged = Client()
    forged.cookies[settings.KNOWN_COOKIE_NAME] = known.cookies[settings.KNOWN_COOKIE_NAME].value[:-1] + "~"
    wrong(5)
    assert attempt("alice", OLD, address="10.0.1.1", client=forged)[0] == 429
    give(here.alice, CHOSEN)
    assert attempt("alice", CHOSEN, address="10.0.1.1", client=known)[0] == 429


def test_a_known_browser_has_tries_of_its_own_and_opens_no_door(here: World) -> None:
    signed_in = sign_in("alice")
    cookie = signed_in.cookies[settings.KNOWN_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert cookie["max-age"] > 365 * 24 * 3600
    known = _only_known(signed_in)
    assert not is_signed_in(known)
    for _ in range(10):
        assert attempt("alice", "wrong", client=known)[0] == 200
    assert attempt("alice", OLD, client=known)[0] == 429


def test_other_spellings_and_host_names_give_no_more_tries(here: World) -> None:
    for name in ("alice", "ALICE", "Alice", " alice ", "ａlice"):
        wrong(1, name, address="127.0.0.1")
    answer = Client(headers={"host": "localhost"}).post(LOGIN, {"login": "alice", "password": OLD})
    assert answer.status_code == 429


def test_signing_in_costs_no_tries(here: World) -> None:
    for _ in range(8):
        assert is_signed_in(sign_in("alice"))


def test_limits_survive_a_flood_of_other_names(here: World) -> None:
    wrong(5)
    for number in range(400):
        cache.set(f"flood-{number}", number)
    assert attempt("alice", OLD, address="10.0.1.1")[0] == 429


def test_a_reset_by_mail_lifts_the_lock(here: World) -> None:
    wrong(5, address="127.0.0.1")
    assert not is_signed_in(sign_in("alice"))
    user = user_of(here.alice)
    link = (
        f"/accounts/password/reset/key/{int_to_base36(user.pk)}-{default_token_generator.make_token(user)}/"
    )
    visitor = Client()
    form = visitor.get(link, follow=True).request["PATH_INFO"]
    visitor.post(form, {"password1": CHOSEN, "password2": CHOSEN})
    assert is_signed_in(sign_in("alice", CHOSEN))


def test_somebody_elses_page_is_never_where_signing_in_leads(here: World) -> None:
    answer = Client().post(LOGIN + "?next=https://evil.example/", {"login": "alice", "password": OLD})
    assert answer["Location"] == "/"


def test_cookies_are_host_bound_and_secure_under_tls() -> None:
    program = (
        "from certdesk.conf import settings as s;"
        "print(s.SESSION_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_NAME, s.CSRF_COOKIE_SECURE,"
        " s.SESSION_COOKIE_HTTPONLY, s.SESSION_COOKIE_SAMESITE, s.SECURE_HSTS_SECONDS > 0,"
        " hasattr(s, 'SESSION_COOKIE_DOMAIN') or hasattr(s, 'SESSION_COOKIE_PATH'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "CERTDESK_DEMO": "0",
            "CERTDESK_CA_PASSPHRASE": "p" * 40,
            "CERTDESK_BASE_URL": "https://certs.example.ac.uk",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [
        "__Host-certdesk", "True", "__Host-certdesk-csrf", "True", "True", "Lax", "True", "False",
    ]  # fmt: skip
