"""Meg looks after ACME clients in a browser; alice is told whom to ask, and charlie nothing."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.looks import examine
from tests.acceptance.seed_support import new_name
from tests.harness.acme_client import AcmeClient, over_http
from tests.harness.fixtures import DemoWith
from tests.harness.responder import responder
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Visit = Callable[..., Page]
#: Under a trusted suffix, and nobody has proven it.
UNPROVEN = "www.unproven.ac.uk"
CLIENTS = ("certbot", "lego", "acme.sh", "Caddy", "Traefik", "cert-manager", "Apache mod_md", "HAProxy")


@pytest.fixture(scope="module")
def server(demo_with: DemoWith) -> Iterator[DemoServer]:
    """A demo that asks a name server in which nothing is listed, so that a challenge fails at once."""
    with responder() as dns, demo_with(CERTDESK_DNS_SERVERS=f'["{dns.address}"]') as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What meg copies from the page."""

    href: str
    kid: str
    hmac_key: str


def make(page: Page, name: str, **limits: str) -> None:
    """From the list to the new credential's page."""
    page.goto("/acme-clients/")
    page.get_by_role("link", name="New credential").click()
    page.get_by_label("Name", exact=True).fill(name)
    for label, value in limits.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Make the credential").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def copied(page: Page, what: str) -> str:
    """What its copy button puts on the clipboard."""
    page.get_by_role("button", name=f"Copy {what}", exact=True).click()
    return str(page.evaluate("navigator.clipboard.readText()"))


def reveal(page: Page) -> Credential:
    """Shows the key, and copies it with its identifier."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Show key").click()
    kid, hmac_key = copied(page, "the key identifier"), copied(page, "the HMAC key")
    return Credential(href=page.url.partition("/key/")[0] + "/", kid=kid, hmac_key=hmac_key)


def registered(server: DemoServer, credential: Credential) -> AcmeClient:
    """A client that has registered with it."""
    client = AcmeClient(send=over_http(), directory=server.demo.acme_directory)
    reply = client.register(credential.kid, credential.hmac_key)
    assert reply.status == 201, reply.body
    return client


def fail_a_challenge(client: AcmeClient) -> None:
    """An order whose one challenge was looked at in vain. It is tried again for a minute or two."""
    ordered = client.order(UNPROVEN)
    assert ordered.status == 201, ordered.body
    (where,) = ordered.json["authorizations"]
    client.answer(where, "http-01", lambda _proof: None)
    wait_until(
        lambda: any("error" in one for one in client.post(where).json["challenges"]), what="the refusal"
    )


def test_what_was_filled_in_wrong_is_said_in_words(visit: Visit) -> None:
    meg = visit("meg")
    meg.goto("/acme-clients/new/")
    meg.get_by_label("Number of accounts").fill("0")
    meg.get_by_role("button", name="Make the credential").click()
    expect(meg.get_by_role("alert")).to_be_focused()
    expect(meg.get_by_role("alert")).to_contain_text("a whole number from 1 to")
    examine(meg, "acme-form-wrong")


def test_a_credential_from_the_first_key_to_the_last(visit: Visit, server: DemoServer) -> None:
    meg = visit("meg")
    make(meg, "Web servers")
    expect(meg.get_by_text("No client has registered yet")).to_be_visible()
    expect(meg.get_by_role("button", name="Copy the HMAC key")).to_have_count(0)
    examine(meg, "acme-credential-empty")
    first = reveal(meg)
    expect(meg.locator("details.fold[name=client] > summary")).to_have_text(CLIENTS)
    expect(meg.locator("details.fold[name=client]", has_text=first.hmac_key)).to_have_count(len(CLIENTS))
    meg.locator("summary", has_text="Caddy").click()
    assert first.hmac_key in copied(meg, "Caddy: In /etc/caddy/Caddyfile")
    expect(meg.locator("details.fold[open] > summary")).to_have_text("Caddy")  # one at a time
    examine(meg, "acme-credential-key")
    registered(server, first)

    meg.goto(first.href)
    meg.get_by_role("link", name="Change name and limits").click()
    meg.get_by_label("Names it may ask for").fill("lab.example.ac.uk")
    meg.get_by_label("Number of accounts").fill("1")
    meg.get_by_label("Until").fill("2090-03-31")
    meg.get_by_role("button", name="Save").click()
    about = meg.get_by_role("complementary", name="About this credential")
    expect(about).to_contain_text("1 of 1")
    expect(about).to_contain_text("lab.example.ac.uk")
    expect(about).to_contain_text("the end of 31 Mar 2090")
    full = AcmeClient(send=over_http(), directory=server.demo.acme_directory)
    assert full.register(first.kid, first.hmac_key).status == 403

    meg.get_by_role("link", name="Rotate the key").click()
    examine(meg, "acme-rotate")
    meg.get_by_role("button", name="Rotate the key").click()
    expect(meg.get_by_role("status")).to_contain_text("The credential has a new key")
    second = reveal(meg)
    assert (second.kid, second.hmac_key != first.hmac_key) == (first.kid, True)

    meg.get_by_role("link", name="Revoke", exact=True).click()
    examine(meg, "acme-revoke")
    meg.get_by_role("button", name="Revoke the credential").click()
    expect(meg.locator(".pill.large")).to_have_text("Revoked")
    expect(meg.get_by_role("button", name="Show key")).to_have_count(0)
    examine(meg, "acme-credential-revoked")


def test_an_account_tells_what_became_of_its_orders(visit: Visit, server: DemoServer) -> None:
    meg = visit("meg")
    make(meg, "Laboratory")
    credential = reveal(meg)
    client = registered(server, credential)
    meg.goto(credential.href)
    meg.get_by_role("link", name=re.compile(r"^Account \d+$")).click()
    examine(meg, "acme-account-empty")

    good = new_name()
    client.issue(good)
    fail_a_challenge(client)
    assert client.order("www.outside.org").status == 403
    meg.reload()
    orders = meg.get_by_role("region", name="Orders")
    expect(orders.get_by_role("listitem").filter(has_text=good)).to_contain_text("Certificate issued")
    expect(orders.get_by_role("listitem").filter(has_text=UNPROVEN)).to_contain_text("being tried again")
    expect(meg.get_by_role("link", name=re.compile("^Open request"))).to_be_visible()
    expect(meg.get_by_role("region", name="Records in DNS")).to_contain_text(f"accounturi={client.kid}")
    examine(meg, "acme-account-full")

    meg.get_by_role("link", name="Deactivate").click()
    examine(meg, "acme-deactivate")
    meg.get_by_role("button", name="Deactivate the account").click()
    expect(meg.locator(".pill.large")).to_have_text("Deactivated")
    assert client.order(new_name()).status == 401
    examine(meg, "acme-account-deactivated")
    meg.goto(credential.href)
    examine(meg, "acme-credential-full")


def test_an_applicant_is_told_whom_to_ask(visit: Visit) -> None:
    alice = visit("alice")
    alice.goto("/acme-clients/")
    expect(alice.get_by_role("heading", name="Who makes credentials")).to_be_visible()
    expect(alice.get_by_role("definition")).to_contain_text(["meg"])
    expect(alice.get_by_role("link", name="New credential")).to_have_count(0)
    examine(alice, "acme-applicant")


def test_the_list_without_a_script_and_its_search(visit: Visit) -> None:
    meg = visit("meg", javascript=False)
    make(meg, "Mail relay")
    meg.goto("/acme-clients/?q=nothing-like-it")
    meg.get_by_label("Search").fill("relay")
    meg.get_by_role("button", name="Show").click()
    expect(meg.get_by_role("table").get_by_role("link")).to_have_text(["Mail relay"])
    visible = visit("meg")
    visible.goto("/acme-clients/")
    examine(visible, "acme-list-full")


def test_an_operator_moves_renewals_forward_and_back(visit: Visit, server: DemoServer) -> None:
    meg, operator = visit("meg"), visit("op")
    make(meg, "For a mass event")
    client = registered(server, reveal(meg))
    client.issue(new_name(), new_name())
    operator.goto("/service/renewals/")
    for reason in ("The CA has to revoke what it issued before noon.", "Another move, of everything."):
        operator.get_by_label("Reason").fill(reason)
        operator.get_by_role("button", name="Show what it would do").click()
        dry = operator.get_by_role("region", name="Dry run")
        expect(dry).to_contain_text("would be renewed from")
        if reason.startswith("The CA"):
            examine(operator, "renewals-dry-run")
        dry.get_by_role("button", name=re.compile("^Move [0-9]+ renewals? forward")).click()
        expect(operator.get_by_role("status")).to_contain_text("clients that ask get the new time")
    moved = operator.get_by_role("region", name="What was moved")
    moved.get_by_role("button", name="Withdraw").first.click()
    expect(operator.get_by_role("status")).to_contain_text("at their usual time again")
    expect(moved.get_by_text("Withdrawn", exact=True)).to_be_visible()
    expect(moved.get_by_text("Holds", exact=True)).to_be_visible()
    examine(operator, "renewals-full")


def test_an_officer_rotates_the_keys_that_somebody_has_seen(visit: Visit) -> None:
    meg, olga = visit("meg"), visit("olga")
    make(meg, "Backup servers")
    credential = meg.url
    olga.goto("/organisations/example-university/")
    people = olga.get_by_label("People", exact=True)
    people.get_by_text("Change Meg").click()
    person = people.get_by_role("row").filter(has_text="meg@").locator("form").first.get_attribute("action")
    assert person is not None
    olga.goto(re.sub(r"[a-z-]+/$", "keys/", person))
    expect(olga.get_by_role("checkbox", name="Backup servers")).to_be_checked()
    examine(olga, "people-keys")
    for one in olga.get_by_role("checkbox").all():
        one.uncheck()
    olga.get_by_role("checkbox", name="Backup servers").check()
    olga.get_by_role("button", name="Rotate the chosen keys").click()
    expect(olga.get_by_role("status")).to_contain_text("1 key is rotated")
    meg.goto(credential)
    expect(meg.get_by_label("About this credential")).to_contain_text(re.compile("Key known to *olga"))
