"""Credentials, accounts and their orders as people see them: portal, REST, selectors; and moved renewals."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.acme.orders import OrderStatus
from certdesk.domain.actors import OrgRole, RaRole
from certdesk.domain.errors import StateConflict
from certdesk.services.acme.credentials import end_account
from certdesk.store.models import AcmeAccount, AuditEvent, EabCredential, Membership, RenewalAdvice
from certdesk.store.selectors.acme import AccountStatus, find_accounts, find_credentials, get_account
from certdesk.store.selectors.acme_orders import list_orders
from certdesk.store.selectors.operations import certificates_in_use
from tests.harness.acme_client import AcmeClient
from tests.integration.acme_support import AcmeWorld, credential
from tests.integration.api_calls import Callers
from tests.integration.support import actor, organisation, signed_in, submit

CREDENTIALS = "/acme/credentials"


def test_the_key_is_hidden_until_it_is_asked_for_and_that_is_recorded(here: AcmeWorld) -> None:
    meg, number = signed_in("meg"), here.credential.credential_id
    page = meg.page("acme-show", number)
    assert here.credential.hmac_key not in page
    assert "YOUR-HMAC-KEY" in page
    shown = meg.send("acme-key", number)
    assert shown.content.decode().count(here.credential.hmac_key) > 8
    assert "no-store" in shown["Cache-Control"]
    assert AuditEvent.objects.filter(action="acme_credential.reveal").count() == 1


def test_limits_are_made_and_changed_in_the_portal(here: AcmeWorld) -> None:
    meg = signed_in("meg")
    assert meg.send("acme-new", name="x", suffixes="ac.uk", max_accounts="0").status_code == 422
    good = {"name": "lab", "suffixes": "lab.example.ac.uk\n*.x.example.ac.uk", "expires_at": "2090-03-31"}
    assert meg.post(reverse("acme-new"), good).status_code == 302
    row = EabCredential.objects.latest("id")
    assert row.suffixes == ["lab.example.ac.uk", "x.example.ac.uk"]
    assert timezone.localtime(row.expires_at).isoformat().startswith("2090-04-01T00:00:00")
    before = row.expires_at
    meg.post(reverse("acme-change", args=[row.pk]), {**good, "suffixes": "", "max_accounts": "2"})
    row.refresh_from_db()
    assert (row.suffixes, row.max_accounts, row.expires_at) == ([], 2, before)


def test_an_account_shows_what_a_person_has_to_decide(here: AcmeWorld, one: AcmeClient) -> None:
    assert one.order("www.outside.org").status == 403
    one.issue("www.example.ac.uk")
    account = AcmeAccount.objects.get()
    page = signed_in("meg").page("acme-account", account.pk)
    assert "Open request" in page
    assert "www.outside.org" in page
    assert "Certificate issued" in page
    assert f"accounturi={one.kid}" in page
    orders = list_orders(actor=here.meg, account_id=account.pk, now=timezone.now())
    assert [(o.names, o.status) for o in orders] == [(("www.example.ac.uk",), OrderStatus.VALID)]
    assert orders[0].request is not None


def test_an_order_that_came_to_nothing_says_why_on_its_accounts_page(
    here: AcmeWorld, one: AcmeClient
) -> None:
    ordered = one.order("www.another.ac.uk")
    one.answer(ordered.json["authorizations"][0], "dns-01", lambda _proof: None)
    account = AcmeAccount.objects.get()
    (order,) = list_orders(actor=here.meg, account_id=account.pk, now=timezone.now())
    assert order.status is OrderStatus.INVALID
    assert one.post(ordered.headers["Location"]).json["status"] == "invalid"  # the client is told the same
    page = signed_in("meg").page("acme-account", account.pk)
    assert "Failed" in page
    assert "www.another.ac.uk" in page
    assert "The proof is not there." in page


def test_a_manager_ends_an_account_once(here: AcmeWorld, one: AcmeClient) -> None:
    number = AcmeAccount.objects.get().pk
    end_account(actor=here.meg, account_id=number, now=timezone.now())
    assert get_account(actor=here.meg, account_id=number).status is AccountStatus.DEACTIVATED
    assert one.order("www.example.ac.uk").status == 401
    with pytest.raises(StateConflict):
        end_account(actor=here.meg, account_id=number, now=timezone.now())


def test_charlie_sees_nothing_and_lists_are_paged(here: AcmeWorld) -> None:
    here.registered()
    college = organisation("Other College")
    charlie = actor("charlie", organisation=college, role=OrgRole.MANAGER)
    own = credential(charlie, college)
    assert [row.kid for row in find_credentials(actor=charlie)] == [own.kid]
    assert find_accounts(actor=charlie) == []
    olga = here.world.olga
    first = find_credentials(actor=olga, limit=1)
    assert [row.kid for row in first] == [own.kid]
    second = find_credentials(actor=olga, before=first[0].id, limit=1)
    assert [row.kid for row in second] == [here.credential.kid]
    assert find_credentials(actor=here.world.alice) == []


def test_applicants_are_told_whom_to_ask_and_managers_are_invited(here: AcmeWorld) -> None:
    alice = signed_in("alice").page("acme-list")
    assert "Who makes credentials" in alice
    assert here.credential.kid not in alice
    meg = signed_in("meg")
    assert "Make an ACME credential" not in meg.get("/").content.decode()
    meg.send("acme-revoke", here.credential.credential_id)
    assert "Make an ACME credential" in meg.get("/").content.decode()


def test_only_colleagues_learn_who_manages_and_only_while_they_do(here: AcmeWorld) -> None:
    actor("charlie", organisation=organisation("Other College"), role=OrgRole.APPLICANT)
    told = "<dd>meg"
    assert told in signed_in("alice").page("acme-list")
    assert told not in signed_in("charlie").page("acme-list")
    Membership.objects.filter(user__username="meg").update(is_active=False)
    assert told not in signed_in("alice").page("acme-list")


def test_rest_makes_limits_rotates_and_revokes(users: Callers) -> None:
    asked = {"name": "web", "names": ["lab.example.ac.uk"]}
    made, again = (users.meg.post(CREDENTIALS, asked, Idempotency_Key="k1") for _ in range(2))
    assert (made.status, again.status) == (201, 201)
    assert [again.json[name] for name in ("id", "hmac_key")] == [
        made.json[name] for name in ("id", "hmac_key")
    ]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert users.meg.post(CREDENTIALS, {"name": "else"}, Idempotency_Key="k1").status == 422
    here = f"{CREDENTIALS}/{made.json['id']}"
    patched = users.meg.call("PATCH", here, content=b'{"max_accounts": 3}')
    assert (patched.json["names"], patched.json["max_accounts"]) == (["lab.example.ac.uk"], 3)
    patched = users.meg.call("PATCH", here, content=b'{"names": [], "max_accounts": null}')
    assert (patched.json["names"], patched.json["max_accounts"]) == ([], None)
    rotated = users.meg.post(f"{here}/rotate")
    assert rotated.json["hmac_key"] not in ("", made.json["hmac_key"])
    assert users.meg.post(f"{here}/revoke").json["is_usable"] is False
    assert users.meg.post(f"{here}/rotate").status == 409
    assert "hmac_key" not in users.meg.get(here).json


def test_rest_pages_by_cursor(users: Callers) -> None:
    for name in ("a", "b", "c"):
        users.meg.post(CREDENTIALS, {"name": name})
    first = users.meg.get(f"{CREDENTIALS}?limit=2").json
    last = users.meg.get(f"{CREDENTIALS}?limit=2&cursor={first['next_cursor']}").json
    assert [item["name"] for page in (first, last) for item in page["items"]] == ["c", "b", "a"]
    assert last["next_cursor"] is None


def test_an_operator_moves_renewals_after_a_dry_run(here: AcmeWorld) -> None:
    submit(here.world.alice, "one.example.ac.uk", clock=timezone.now)
    op = actor("op", ra=RaRole.OPERATOR)
    found = certificates_in_use(actor=op, now=timezone.now())
    assert (found.total, found.organisations) == (1, 1)
    start = timezone.localtime()
    body = {
        "issuer": found.issuers[0].value,
        "starts_at": f"{start:%Y-%m-%dT%H:%M}",
        "ends_at": f"{start + timedelta(days=1):%Y-%m-%dT%H:%M}",
        "reason": "The CA revokes.",
    }
    client = signed_in("op")
    dry = client.post(reverse("service-renewals"), body)
    assert "Move 1 renewal forward" in dry.content.decode()
    assert not RenewalAdvice.objects.exists()
    assert client.post(reverse("service-renewals"), {**body, "confirmed": "yes"}).status_code == 302
    advice = RenewalAdvice.objects.get()
    assert advice.issuer == body["issuer"]
    client.send("service-renewals-withdraw", advice.pk)
    advice.refresh_from_db()
    assert advice.withdrawn_at is not None
