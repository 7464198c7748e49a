"""Passwords over HTTP, against running services with different minimums."""

import base64
import hmac
import html
import itertools
import re
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.seed_support import Page, Portal, Staff
from tests.harness.server import DemoServer

SignIn = Callable[..., Portal]
Newcomer = Callable[..., tuple[str, str]]
CHANGE = "/accounts/password/change/"
OLD = "the password until now"
_numbers = itertools.count(1)
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
def sign_in(server: DemoServer, opened: list[Portal]) -> SignIn:
    """Sign in with a browser of its own; a password that does not open anything fails the test."""

    def enter(username: str, password: str = "", at: DemoServer = server) -> Portal:
        opened.append(Portal(at, username, password))
        return opened[-1]

    return enter


@pytest.fixture
def newcomer(staff: Staff, sign_in: SignIn) -> Newcomer:
    """Add a person to the university; the name and the issued password, or one of the person's own."""

    def add(*, password: str = "") -> tuple[str, str]:
        username = f"newcomer{next(_numbers)}"
        issued = staff.added(staff("meg"), "example-university", username)
        if password:
            assert change(sign_in(username, issued), current=issued, new=password).path != CHANGE
        return username, password or issued

    return add


def refuses(server: DemoServer, username: str, password: str) -> bool:
    """Whether signing in fails."""
    visitor = Portal(server)
    visitor.get("/accounts/login/")
    answer = visitor.post("/accounts/login/", login=username, password=password)
    visitor.close()
    return answer.path == "/accounts/login/"


def change(portal: Portal, *, current: str, new: str) -> Page:
    """Fill in the form that changes the password."""
    portal.get(CHANGE)
    return portal.post(CHANGE, oldpassword=current, password1=new, password2=new)


def test_r06_r09_a_signed_in_user_changes_the_password_at_any_time(
    server: DemoServer, sign_in: SignIn, newcomer: Newcomer
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


def test_r07_it_is_eight_with_a_second_factor_and_common_ones_are_refused(
    sign_in: SignIn, newcomer: Newcomer
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


def test_r08_an_issued_password_reaches_only_the_change_page(
    staff: Staff, sign_in: SignIn, newcomer: Newcomer
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
