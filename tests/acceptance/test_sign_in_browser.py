"""Signing in, passwords and second factors in a real browser; passkeys with its virtual authenticator."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.acceptance.seed_support import Staff, body
from tests.harness.browser import look_at, sign_in
from tests.harness.server import DemoServer

pytestmark = pytest.mark.browser
CHOSEN = "several unrelated words"


def at_name(server: DemoServer) -> str:
    """The same instance at `localhost`: browsers bind passkeys to a name, never to an IP address."""
    return f"http://localhost:{server.port}"


def add_authenticator(page: Page, *, verifies: bool) -> CDPSession:
    """A platform authenticator that says yes, or can't tell whose finger it was."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    always = ("hasResidentKey", "hasUserVerification", "automaticPresenceSimulation")
    options = {"protocol": "ctap2", "transport": "internal", "isUserVerified": verifies}
    options |= dict.fromkeys(always, True)
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return session


@pytest.fixture
def authenticator(page: Page) -> Iterator[None]:
    """One that always says yes."""
    session = add_authenticator(page, verifies=True)
    yield
    session.send("WebAuthn.disable")


def enter(page: Page, base: str, username: str, password: str) -> None:
    page.goto(f"{base}/accounts/login/")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def show_who_one_is(page: Page, password: str) -> None:
    expect(page.get_by_role("heading", name="Confirm that it’s you")).to_be_visible()
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Continue").click()


def sign_out(page: Page) -> None:
    page.locator(".me summary").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/accounts/login/")


@pytest.mark.usefixtures("authenticator")
def test_a_passkey_is_added_and_signs_in_without_a_password(server: DemoServer, page: Page) -> None:
    base, password = at_name(server), server.demo.passwords["olga"]
    enter(page, base, "olga", password)
    page.goto(f"{base}/accounts/2fa/")
    page.get_by_role("link", name="Add a passkey").click()
    show_who_one_is(page, password)
    look_at(page, "passkey-add")
    page.get_by_label("Sign in with it alone").check()
    page.get_by_role("button", name="Add the passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    assert len(page.locator(".codes li").all()) == 10
    look_at(page, "recovery-codes")
    page.goto(f"{base}/accounts/2fa/webauthn/")
    expect(page.get_by_text("Passkey 1").first).to_be_visible()
    look_at(page, "passkeys")
    page.get_by_role("link", name=re.compile("^Rename")).click()
    look_at(page, "passkey-rename")
    page.get_by_label("Name").fill("Desk")
    page.get_by_role("button", name="Save the name").click()
    expect(page.get_by_text("Desk").first).to_be_visible()
    page.goto(f"{base}/accounts/2fa/recovery-codes/generate/")
    page.goto(f"{base}/accounts/2fa/")
    look_at(page, "second-factor-some")
    sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(f"{base}/")
    expect(page.locator(".me .who")).to_have_text("olga")


@pytest.mark.usefixtures("authenticator")
def test_a_passkey_stands_beside_the_password(server: DemoServer, page: Page) -> None:
    base, password = at_name(server), server.demo.passwords["otto"]
    enter(page, base, "otto", password)
    page.goto(f"{base}/accounts/2fa/webauthn/add/")
    show_who_one_is(page, password)
    page.get_by_role("button", name="Add the passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    sign_out(page)
    enter(page, base, "otto", password)
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    look_at(page, "second-factor-asked")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{base}/")
    page.goto(f"{base}/accounts/2fa/webauthn/")
    page.get_by_role("link", name=re.compile("^Remove")).click()
    page.get_by_role("link", name="Use a passkey").click()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Remove this passkey?")).to_be_visible()
    page.get_by_role("button", name="Yes, remove it").click()
    expect(page.get_by_text("The passkey is removed.")).to_be_visible()


def test_a_cancelled_passkey_says_so_in_words(server: DemoServer, page: Page) -> None:
    add_authenticator(page, verifies=False)
    page.goto(f"{at_name(server)}/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.locator("[data-passkey-error]")).to_contain_text("The passkey was not used")
    look_at(page, "passkey-refused")


def code_of(secret: str) -> str:
    """What an app shows: RFC 6238 written out, not the library under test."""
    digest = hmac.new(
        base64.b32decode(secret), (int(time.time()) // 30).to_bytes(8, "big"), hashlib.sha1
    ).digest()
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


def test_an_officer_adds_an_app_where_it_is_required(start_server: object, page: Page) -> None:
    server: DemoServer = start_server(extra={"CERTDESK_REQUIRE_SECOND_FACTOR": "always"})  # type: ignore[operator] # a fixture
    assert set(server.demo.api_tokens) == {"alice", "bob", "meg", "charlie", "rick"}
    password = server.demo.passwords["olga"]
    sign_in(page, server, "olga")
    expect(page.get_by_text("Your role needs a second factor")).to_be_visible()
    look_at(page, "second-factor-required")
    page.goto(f"{server.base_url}/queue/")
    expect(page.get_by_role("heading", name="Add one to continue")).to_be_visible()
    page.get_by_role("link", name="Set up an app").click()
    show_who_one_is(page, password)
    page.get_by_label("Code from the app").fill("000000")
    page.get_by_role("button", name="Set it up").click()
    expect(page.get_by_text("This code is not right").first).to_be_visible()
    secret = page.locator("#authenticator_secret").inner_text().strip()
    page.get_by_label("Code from the app").fill(code_of(secret))
    page.get_by_role("button", name="Set it up").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.get_by_role("link", name="Done").click()
    page.goto(f"{server.base_url}/queue/")
    expect(page).to_have_url(f"{server.base_url}/queue/")
    page.goto(f"{server.base_url}/accounts/2fa/totp/deactivate/")
    expect(page.get_by_text("Add another one before removing this")).to_be_visible()


def test_r6_a_password_is_changed(server: DemoServer, page: Page) -> None:
    base, password = server.base_url, server.demo.passwords["bob"]
    page.goto(f"{base}/accounts/login/")
    sign_in(page, server, "bob")
    page.goto(f"{base}/accounts/password/change/")
    page.get_by_label("Current password").fill("not this one")
    page.get_by_label("New password", exact=True).fill("short")
    page.get_by_label("New password again").fill("short")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("Use at least 15").first).to_be_visible()
    look_at(page, "password-refused")
    page.get_by_label("Current password").fill(password)
    page.get_by_label("New password", exact=True).fill(CHOSEN)
    page.get_by_label("New password again").fill(CHOSEN)
    page.get_by_role("button", name="Change password").click()
    page.wait_for_url(f"{base}/")
    page.goto(f"{base}/accounts/sessions/")
    expect(page.get_by_text("This one")).to_be_visible()


def test_a_forgotten_password_is_reset_by_mail(server: DemoServer, page: Page) -> None:
    base = server.base_url
    page.goto(f"{base}/accounts/login/")
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("E-mail address").fill("meg@example.ac.uk")
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("heading", name="Check your e-mail")).to_be_visible()
    mail = body(Staff(server).wait_for_mail("/accounts/password/reset/key/"))
    (link,) = re.findall(r"http://127\S+/accounts/password/reset/key/\S+", mail)
    page.goto(link)
    look_at(page, "password-reset-choose")
    page.get_by_label("New password", exact=True).fill(CHOSEN)
    page.get_by_label("New password again").fill(CHOSEN)
    page.get_by_role("button", name="Set the new password").click()
    expect(page.get_by_role("heading", name="Your password has changed")).to_be_visible()
    page.goto(link)
    expect(page.get_by_role("heading", name="This link no longer works")).to_be_visible()
    look_at(page, "password-reset-used")
    page.goto(f"{base}/accounts/inactive/")
    enter(page, base, "meg", CHOSEN)
    page.wait_for_url(f"{base}/")


def test_too_many_wrong_passwords(server: DemoServer, page: Page) -> None:
    for _ in range(6):
        enter(page, server.base_url, "nobody", "wrong")
    expect(page.get_by_text("Wait five minutes")).to_be_visible()
    look_at(page, "locked-out")
