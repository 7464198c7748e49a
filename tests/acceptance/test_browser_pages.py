"""Every page of the portal as everybody who may open it: WCAG 2.2 AA, phone, keyboard, policy.

The pages come from the URL configuration, so a new one has to be listed here before the suite passes.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.urls import URLResolver, get_resolver
from playwright.sync_api import Locator, Page, expect

from tests.acceptance import stories
from tests.acceptance.looks import examine, violations
from tests.acceptance.seed_support import AVAILABLE, REJECTED, WITHDRAWN, Staff, make_csr, new_name

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]

#: Route → its addresses, and who sees a page of its own there. `""` is a visitor.
PAGES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "home": [("/", ("alice", "charlie", "meg", "olga", "rick", "op"))],
    "requests-list": [
        ("/requests/", ("alice", "charlie", "olga", "op")),
        ("/requests/?q=nothing-like-it", ("alice",)),
    ],
    "requests-new": [("/requests/new/", ("alice",))],
    "requests-show": [
        ("/requests/{issued}/", ("alice", "olga")),
        ("/requests/{waiting}/", ("alice", "olga")),
        ("/requests/{rejected}/", ("alice",)),
        ("/requests/{withdrawn}/", ("alice", "rick")),
        ("/requests/{ended}/", ("alice",)),
    ],
    "certificates-revoke": [("/certificates/{certificate}/revoke/", ("alice", "olga"))],
    "requests-another": [("/requests/{issued}/another/", ("alice",))],
    "requests-end": [("/requests/{issued}/end/", ("olga", "alice"))],
    "requests-withdraw": [("/requests/{waiting}/withdraw/", ("alice",))],
    "queue-list": [("/queue/", ("olga",))],
    "queue-decide": [("/queue/{waiting}/", ("olga",)), ("/queue/{issued}/", ("olga",))],
    "keys-list": [("/blocked-keys/", ("olga", "rick")), ("/blocked-keys/?q=ff", ("olga",))],
    "domains-list": [
        ("/domains/", ("alice", "charlie", "olga", "rick")),
        ("/domains/?q=nothing-like-it", ("olga",)),
    ],
    "domains-show": [("/domains/1/", ("alice", "olga", "rick"))],
    "domains-end-validation": [("/domains/1/validations/1/end/", ("olga",))],
    "dcv": [("/dcv/", ("",))],
    "organisations-list": [("/organisations/", ("olga", "op"))],
    "organisations-new": [("/organisations/new/", ("olga",))],
    "organisations-show": [
        ("/organisations/example-university/", ("alice", "meg", "olga", "rick")),
        ("/organisations/other-college/", ("olga",)),
    ],
    "help": [("/help/", ("", "alice"))],
    "help-search": [("/help/search/?q=keytool", ("",)), ("/help/search/?q=nothing-like-it", ("",))],
    "help-faq-manage": [("/help/faq/edit/", ("olga", "op"))],
    "help-faq-new": [("/help/faq/edit/new/", ("olga",))],
    "help-faq-edit": [("/help/faq/wildcards/edit/", ("olga",))],
    "help-faq-history": [("/help/faq/wildcards/history/", ("olga",))],
    "status": [("/status/", ("", "alice"))],
    "demo-mail": [("/demo/mail/", ("alice",))],
    "demo-message": [("/demo/mail/0/", ("alice",))],
    "account_login": [("/accounts/login/", ("",))],
    "account_logout": [("/accounts/logout/", ("alice",))],
    "account_change_password": [("/accounts/password/change/", ("alice",))],
    "account_reset_password": [("/accounts/password/reset/", ("",))],
    "account_reset_password_done": [("/accounts/password/reset/done/", ("",))],
    "account_reset_password_from_key": [("/accounts/password/reset/key/1-old/", ("",))],
    "account_reset_password_from_key_done": [("/accounts/password/reset/key/done/", ("",))],
    "account-tokens": [("/accounts/tokens/", ("alice",))],
    "account-sessions": [("/accounts/sessions/", ("alice",))],
    "acme-list": [
        ("/acme-clients/", ("alice", "meg", "olga")),
        ("/acme-clients/?q=nothing-like-it", ("meg",)),
    ],
    "acme-new": [("/acme-clients/new/", ("meg", "olga"))],
    "acme-show": [("/acme-clients/1/", ("meg", "rick"))],
    "acme-change": [("/acme-clients/1/change/", ("meg",))],
    "acme-rotate": [("/acme-clients/1/rotate/", ("meg",))],
    "acme-revoke": [("/acme-clients/1/revoke/", ("meg",))],
    "service-renewals": [("/service/renewals/", ("op",))],
    "settings": [("/settings/", ("op", "rick"))],
    "cas": [("/service/cas/", ("op",))],
    "cas-reconciliation": [
        ("/service/cas/reconciliation/", ("op", "rick")),
        ("/service/cas/reconciliation/?ended=1", ("op",)),
    ],
    "service-people": [("/service/people/", ("op",))],
    "service": [("/service/", ("op",))],
    "account_inactive": [("/accounts/inactive/", ("",))],
    "account_reauthenticate": [("/accounts/reauthenticate/", ("alice",))],
    "mfa_index": [("/accounts/2fa/", ("alice",))],
    "mfa_activate_totp": [("/accounts/2fa/totp/activate/", ("alice",))],
    "mfa_generate_recovery_codes": [("/accounts/2fa/recovery-codes/generate/", ("alice",))],
    "403": [("/queue/", ("alice",))],
    "404": [
        ("/requests/{missing}/", ("charlie",)),
        ("/no/such/page/", ("",)),
        (f"/dcv/{'A' * 52}/", ("",)),
        ("/accounts/invitation/old/", ("",)),
    ],
}

#: Downloads, answers to forms, redirects and machines' addresses: no page of their own that a link opens.
NO_PAGE = {
    *("acme-key", "service-renewals-withdraw", "keys-unblock", "cas-finding-keep", "cas-finding-revoke"),
    *("acme-account", "acme-deactivate"),  # test_acme_browser.py has an account for these
    "help-page",  # test_help_pages.py
    *("help-pdf", "help-page-pdf", "help-faq-act"),
    *("requests-csv", "requests-status", "requests-bundle", "requests-certificate"),
    "requests-another-confirm",
    *("requests-preview", "requests-confirm", "queue-approve", "queue-reject"),
    "dcv-confirm",  # test_dcv_browser.py has a code for it
    *("requests-ask", "domains-csv", "domains-add", "domains-ask", "domains-validate", "domains-cancel"),
    *("domains-prove", "domains-persistent-check", "domains-persistent-stop", "domains-ca-state"),
    *("domains-check", "domains-cancel-challenge"),
    *("organisations-vet", "organisations-validate"),
    *("organisations-add-person", "organisations-disable-person"),
    "well-known-change-password",
    *("account-sessions-end", "account-sessions-end-others"),
    # test_sign_in_browser.py has a passkey for these
    *("mfa_add_webauthn", "mfa_edit_webauthn", "mfa_list_webauthn", "mfa_login_webauthn"),
    *("mfa_reauthenticate_webauthn", "mfa_remove_webauthn"),
    *("organisations-active", "organisations-add-existing", "organisations-enable-person"),
    *("organisations-hand-over", "organisations-person-account", "organisations-person-role"),
    *("organisations-rename", "requests-poll", "requests-retry", "service-retry", "settings-reset"),
    *("account-tokens-revoke", "service-person"),
    "organisations-person-keys",  # test_acme_browser.py has keys to rotate
    "account-invitation",  # test_people_browser.py has one
    *("mfa_authenticate", "mfa_reauthenticate", "mfa_deactivate_totp"),
    *("mfa_view_recovery_codes", "mfa_download_recovery_codes"),
    *("healthz", "readyz", "issuer_certificate", "issuer_crl"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Request IDs, and a certificate's, that fill the addresses."""

    issued: int
    certificate: int
    waiting: int
    rejected: int
    withdrawn: int
    ended: int
    missing: int = 999_999

    def fill(self, address: str) -> str:
        """The address with its request."""
        return re.sub(r"\{(\w+)\}", lambda found: str(getattr(self, found[1])), address)


@pytest.fixture(scope="module")
def objects(staff: Staff, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Alice's requests in several states, and other-looking ones beside them."""
    folder = tmp_path_factory.mktemp("csrs")
    alice, olga = staff("alice"), staff("olga")
    issued = alice.ask(make_csr(folder, *[new_name() for _ in range(12)]))
    revoking = re.search(r"/certificates/(\d+)/revoke/", alice.wait_for(issued, AVAILABLE).html)
    assert revoking
    ended = alice.ask(make_csr(folder, "*.wildcard.example.ac.uk", "xn--bcher-kva.example.ac.uk"))
    alice.wait_for(ended, AVAILABLE)
    olga.post(f"/requests/{ended}/end/", reason="The agreement has ended.")
    withdrawn = alice.ask(make_csr(folder, new_name("withdrawn.org")))
    alice.post(f"/requests/{withdrawn}/withdraw/")
    rejected = alice.ask(make_csr(folder, new_name("rejected.org")))
    olga.reject(rejected, "The registry names somebody else.\nAsk them first.")
    waiting = alice.ask(make_csr(folder, new_name("first.org"), new_name("second.org")))
    staff("charlie").ask(make_csr(folder, "www.other.ac.uk"))
    assert REJECTED in alice.request(rejected).text
    assert WITHDRAWN in alice.request(withdrawn).text
    return Objects(
        issued=issued,
        certificate=int(revoking[1]),
        waiting=waiting,
        rejected=rejected,
        withdrawn=withdrawn,
        ended=ended,
    )


def route_names(resolver: URLResolver) -> Iterator[str]:
    """The names of all routes that people may open; REST and ACME have their own tests."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            if not str(entry.pattern).startswith(("api/", "acme/")):
                yield from route_names(entry)
        else:
            yield str(entry.name)


def test_every_route_is_listed() -> None:
    listed = {*PAGES, *NO_PAGE} - {"403", "404"}
    routes = set(route_names(get_resolver()))
    assert (routes - listed, listed - routes) == (set(), set())


@pytest.mark.slow
@pytest.mark.parametrize("route", sorted(PAGES))
def test_every_page(visit: Visit, objects: Objects, route: str) -> None:
    for address, people in PAGES[route]:
        for person in people:
            page = visit(person)
            path = objects.fill(address)
            answer = page.goto(path)
            assert answer is not None
            assert answer.status in ({int(route)} if route.isdecimal() else {200, 400}), page.url
            assert page.locator("link[rel=stylesheet]").count() > 0
            examine(page, f"{route}-{person or 'visitor'}-{re.sub(r'[0-9]+', 'n', path).strip('/')}")


def tab_to(page: Page, what: Locator) -> None:
    """Press Tab until this has the focus; whatever has it on the way shows it."""
    for _ in range(60):
        page.keyboard.press("Tab")
        shown = page.evaluate(
            """() => {
                const look = getComputedStyle(document.activeElement);
                return look.outlineStyle !== "none" || look.boxShadow !== "none";
            }"""
        )
        focused = page.evaluate("document.activeElement.outerHTML")
        assert shown, f"the focus does not show on {focused}"
        if what.evaluate("one => one === document.activeElement"):
            return
    raise AssertionError(f"Tab never reaches {what}")


def test_the_skip_link_skips(visit: Visit) -> None:
    page = visit("alice")
    page.goto("/requests/")
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the content")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    tab_to(page, page.locator("main").get_by_role("link").first)


def test_a_request_by_keyboard_alone(visit: Visit, tmp_path: Path) -> None:
    """From the home page to the issued certificate without a mouse."""
    csr = make_csr(tmp_path, new_name())
    page = visit("alice")
    page.goto("/")
    tab_to(page, page.get_by_role("link", name="Request a certificate").first)
    page.keyboard.press("Enter")
    page.wait_for_url("**/requests/new/")
    tab_to(page, page.get_by_label("Paste its text"))
    page.keyboard.insert_text(csr.pem)
    tab_to(page, page.get_by_label("1 year"))
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("2 years")).to_be_checked()
    tab_to(page, page.get_by_label("Server software"))
    page.keyboard.type("nginx")
    tab_to(page, page.get_by_role("button", name="Upload CSR and preview"))
    page.keyboard.press("Enter")
    expect(page).to_have_title(re.compile("Check your request"))
    tab_to(page, page.get_by_role("button", name="Confirm request"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/requests/\d+/$"))
    stories.expect_status(page, AVAILABLE)
    tab_to(page, page.get_by_role("link", name="Download .zip"))
    with page.expect_download() as started:
        page.keyboard.press("Enter")
    assert started.value.suggested_filename.endswith(".zip")


def test_a_problem_takes_the_focus(visit: Visit) -> None:
    """Who can't see the page hears first what is wrong."""
    page = visit("alice")
    page.goto("/requests/new/")
    page.get_by_role("button", name="Upload CSR and preview").click()
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_role("alert").get_by_role("link").first.click()
    expect(page.locator("#id_csr, #id_csr_text").first).to_be_focused()
    found = violations(page)
    assert not found, "\n".join(found)
