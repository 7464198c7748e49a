"""Passwords over HTTP, against running services with different minimums."""

import base64
import hmac
import html
import itertools
import re
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.seed_support import Page, Portal, Staff
from tests.harness.server import DemoServer, ServerFailed

CHANGE = "/accounts/password/change/"
OLD = "the password until now"
_numbers = itertools.count(1)
EVERYBODY = ("alice", "bob", "meg", "charlie", "olga", "otto", "rick", "op")
CLOSED_BEFORE = (
    *("/", "/requests/", "/requests/new/", "/requests/1/", "/requests/1/bundle.zip", "/requests/export.csv"),
    *("/organisations/", "/organisations/example-university/", "/queue/", "/demo/mail/"),
    *("/accounts/2fa/", "/accounts/sessions/", "/help/faq/edit/"),
)


@pytest.fixture
def opened() -> Iterator[list[Portal]]:
    """Portals to close after the test."""
    portals: list[Portal] = []
    yield portals
    for one in portals:
        one.close()


@pytest.fixture
def sign_in(server: DemoServer, opened: list[Portal]) -> Callable[..., Portal]:
    """Sign in with a browser of its own; a password that does not open anything fails the test."""

    def enter(username: str, password: str = "", at: DemoServer = server) -> Portal:
        opened.append(Portal(at, username, password))
        return opened[-1]

    return enter


@pytest.fixture
def newcomer(staff: Staff, sign_in: Callable[..., Portal]) -> Callable[..., tuple[str, str]]:
    """Add a person to the university; the name and the issued password, or one of the person's own."""

    def add(*, password: str = "") -> tuple[str, str]:
        username = f"newcomer{next(_numbers)}"
        shown = staff("meg").post(
            "/organisations/example-university/people/",
            username=username,
            name="New Comer",
            email=f"{username}@example.ac.uk",
            role="applicant",
        )
        issued = re.search(r'<p class="secret"[^>]*>([^<]+)</p>', shown.html)
        assert issued, shown.text
        if password:
            assert change(sign_in(username, issued[1]), current=issued[1], new=password).path != CHANGE
        return username, password or issued[1]

    return add


def refuses(server: DemoServer, username: str, password: str) -> bool:
    """Whether signing in fails."""
    visitor = Portal(server)
    visitor.get("/accounts/login/")
    answer = visitor.post("/accounts/login/", login=username, password=password)
    visitor.close()
    return answer.path == "/accounts/login/"


def change(portal: Portal, *, current: str, new: str, again: str | None = None) -> Page:
    """Fill in the form that changes the password."""
    portal.get(CHANGE)
    return portal.post(CHANGE, oldpassword=current, password1=new, password2=new if again is None else again)


def test_r06_r09_a_signed_in_user_changes_the_password_at_any_time(
    server: DemoServer, sign_in: Callable[..., Portal], newcomer: Callable[..., tuple[str, str]]
) -> None:
    who, old = newcomer(password=OLD)
    first, second = "several unrelated words", "and other ones again"
    browser = sign_in(who, old)
    assert f'href="{CHANGE}"' in browser.get("/").html, "the menu leads there from every page"
    assert change(browser, current=old, new=first).path != CHANGE
    assert refuses(server, who, old)
    again = sign_in(who, first)
    assert change(again, current=first, new=second).path != CHANGE, "at any time: at once again"
    assert refuses(server, who, first)
    assert sign_in(who, second).get("/").status == 200


def test_r06_r09_the_current_password_has_to_be_given(
    server: DemoServer, sign_in: Callable[..., Portal], newcomer: Callable[..., tuple[str, str]]
) -> None:
    who, right = newcomer(password=OLD)
    browser = sign_in(who, right)
    for wrong in ("", "not the password at all", server.demo.passwords["meg"]):
        answer = change(browser, current=wrong, new="several unrelated words")
        assert answer.path == CHANGE, "still the form"
        assert "There is a problem" in answer.text
    different = change(browser, current=right, new="several unrelated words", again="different words, long")
    assert different.path == CHANGE
    assert sign_in(who, right).get("/").status == 200, "nothing was changed"
    assert refuses(server, who, "several unrelated words")


def test_r06_r09_every_local_user_has_the_page_and_nobody_else(staff: Staff) -> None:
    for who in EVERYBODY:
        page = staff(who).get(CHANGE)
        assert page.status == 200, who
        assert 'name="oldpassword"' in page.html, who
    assert staff().get(CHANGE).path == "/accounts/login/"


def test_r07_the_minimum_is_fifteen_by_default(
    sign_in: Callable[..., Portal], newcomer: Callable[..., tuple[str, str]]
) -> None:
    who, old = newcomer(password=OLD)
    browser = sign_in(who, old)
    assert "15 characters" in browser.get(CHANGE).text
    short = change(browser, current=old, new="fourteen chars")
    assert short.path == CHANGE
    assert "at least 15" in short.text
    # Nothing forces composition: small letters alone will do.
    assert change(browser, current=old, new="fifteen letters").path != CHANGE
    assert sign_in(who, "fifteen letters").get("/").path == "/"


def test_r07_it_is_eight_with_a_second_factor_and_common_ones_are_refused(
    sign_in: Callable[..., Portal], newcomer: Callable[..., tuple[str, str]]
) -> None:
    who, old = newcomer(password=OLD)
    browser = sign_in(who, old)
    browser.post("/accounts/reauthenticate/", password=old)
    secret = re.search(r"\b[A-Z2-7]{32}\b", html.unescape(browser.get("/accounts/2fa/totp/activate/").html))
    assert secret
    answer = browser.post("/accounts/2fa/totp/activate/", code=code_of(secret[0]))
    assert answer.path != "/accounts/2fa/totp/activate/", answer.text
    assert "8 characters" in browser.get(CHANGE).text
    assert change(browser, current=old, new="sevenxy").path == CHANGE
    assert change(browser, current=old, new="password1").path == CHANGE, "a common one, at 8 as well"
    assert change(browser, current=old, new="qzvtkwpu").path != CHANGE


def code_of(secret: str) -> str:
    """What an authenticator app shows now (RFC 6238)."""
    counter = struct.pack(">Q", int(time.time()) // 30)
    mac = hmac.digest(base64.b32decode(secret), counter, "sha1")
    offset = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**6:06}"


@pytest.mark.parametrize(
    "password", ["x" * 200 + " and the end", "пароль из многих слов ⚷", "  blanks around them  "]
)
def test_r07_long_and_unicode_passwords_work(
    server: DemoServer,
    sign_in: Callable[..., Portal],
    newcomer: Callable[..., tuple[str, str]],
    password: str,
) -> None:
    who, _own = newcomer(password=password)
    assert sign_in(who, password).get("/").path == "/"
    assert refuses(server, who, password[:-1])


@pytest.mark.parametrize("figure", ["2", "0", "-3"])
def test_r07_three_is_the_lowest_value_of_the_setting(
    start_server: Callable[..., DemoServer], figure: str
) -> None:
    with pytest.raises(ServerFailed) as failed:
        start_server(extra={"CERTDESK_PASSWORD_MIN_LENGTH": figure})
    assert "password_min_length" in str(failed.value)


def test_r08_an_issued_password_reaches_only_the_change_page(
    staff: Staff, sign_in: Callable[..., Portal], newcomer: Callable[..., tuple[str, str]]
) -> None:
    who, issued = newcomer()
    assert issued not in staff("meg").get("/organisations/example-university/").html, "shown once"

    browser = sign_in(who, issued)
    for address in CLOSED_BEFORE:
        assert browser.get(address).path == CHANGE, address
    for address in ("/requests/preview/", "/requests/confirm/", "/queue/1/approve/"):
        assert browser.post(address, csr_text="x").path == CHANGE, address
    assert change(browser, current=issued, new=issued).path == CHANGE, "not the issued one again"
    assert browser.get("/").path == CHANGE
    assert change(browser, current=issued, new="now only the newcomer knows").path != CHANGE
    for address in ("/", "/requests/", "/requests/new/"):
        assert browser.get(address).path == address


def test_r08_charlie_learns_nothing_of_the_university_s_newcomers(
    staff: Staff, newcomer: Callable[..., tuple[str, str]]
) -> None:
    who, _issued = newcomer()
    charlie = staff("charlie")
    assert charlie.get("/organisations/example-university/").status == 404
    assert who not in charlie.get("/organisations/").html
    fields: dict[str, Any] = {
        "username": "spy",
        "name": "Spy",
        "email": "spy@other.ac.uk",
        "role": "applicant",
    }
    assert charlie.post("/organisations/example-university/people/", **fields).status == 404
