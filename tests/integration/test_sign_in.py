"""Signing in: uniform answers, limits per account and address, cookies (A2, A5)."""

import os
import subprocess
import sys

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.tokens import default_token_generator
from django.core.cache import cache
from django.test import Client
from django.utils.http import int_to_base36

from certdesk.services import people
from tests.integration.accounts import CHOSEN, OLD, forget_attempts, give, is_signed_in, sign_in, user_of
from tests.integration.support import NOW, World, world

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"


@pytest.fixture(autouse=True)
def nobody_is_locked_out(db: None) -> None:
    forget_attempts()


@pytest.fixture
def here() -> World:
    made = world()
    give(made.alice)
    give(made.bob)
    return made


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


def test_the_sixth_wrong_password_locks_the_account_for_every_address(here: World) -> None:
    for number in range(5):
        status, said, _retry = attempt("alice", "wrong", address=f"10.0.1.{number}")
        assert (status, "not right" in said) == (200, True)
    status, said, retry = attempt("alice", OLD, address="10.0.2.1")
    assert (status, retry) == (429, "300")
    assert "Wait five minutes" in said
    assert not is_signed_in(sign_in("alice"))
    assert is_signed_in(sign_in("bob"))


def test_other_spellings_and_host_names_give_no_more_tries(here: World) -> None:
    for number, name in enumerate(("alice", "ALICE", "Alice", " alice ", "ａlice")):
        attempt(name, "wrong", address=f"10.0.1.{number}")
    answer = Client(headers={"host": "localhost"}).post(LOGIN, {"login": "alice", "password": OLD})
    assert answer.status_code == 429


def test_a_name_that_nobody_has_is_locked_alike(here: World) -> None:
    for number in range(5):
        attempt("nobody", "wrong", address=f"10.0.1.{number}")
    assert attempt("nobody", "wrong", address="10.0.2.1")[0] == 429


def test_one_address_has_ten_wrong_tries_a_minute(here: World) -> None:
    for number in range(10):
        assert attempt(f"guess{number}", "wrong")[0] == 200
    assert attempt("alice", OLD)[0] == 429
    assert attempt("alice", OLD, address="10.0.0.2")[0] == 302


def test_signing_in_costs_no_tries(here: World) -> None:
    for _ in range(8):
        assert is_signed_in(sign_in("alice"))


def test_too_many_forms_at_once_are_429_with_a_time(here: World) -> None:
    answers = [Client().post(LOGIN, {"login": "", "password": ""}) for _ in range(61)]
    assert answers[-2].status_code == 200
    assert answers[-1].status_code == 429
    assert int(answers[-1]["Retry-After"]) > 0


def test_limits_survive_a_flood_of_other_names(here: World) -> None:
    for number in range(5):
        attempt("alice", "wrong", address=f"10.0.1.{number}")
    for number in range(400):
        cache.set(f"flood-{number}", number)
    assert attempt("alice", OLD, address="10.0.2.1")[0] == 429


def test_a_reset_by_mail_lifts_the_lock(here: World) -> None:
    for number in range(6):
        attempt("alice", "wrong", address=f"10.0.1.{number}")

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
