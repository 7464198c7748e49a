"""What holds for answers of the portal whoever asks: headers, errors, and no officer's own request."""

from unittest.mock import Mock

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certdesk.domain import errors
from certdesk.domain.actors import RaRole
from certdesk.domain.issuing.states import Status
from certdesk.services.requests.decisions import judge_now
from certdesk.web.errors import PAGES, page_of
from tests.integration.support import World, actor, signed_in, state_of, submit

pytestmark = pytest.mark.django_db


def test_an_officer_who_asked_for_it_does_not_decide_it(people: World) -> None:
    wearing_two_hats = actor("ned", organisation=people.university, ra=RaRole.OFFICER)
    made = submit(wearing_two_hats, "www.elsewhere.org")
    ned = signed_in("ned")
    page = ned.get(reverse("queue-decide", args=[made.number]))
    assert b"This is your own request" in page.content
    assert b"Approve request" not in page.content
    evidence = {"elsewhere.org-how": "registry", "elsewhere.org-evidence": "Mine."}
    shown = judge_now(actor=people.olga, number=made.number, now=timezone.now()).shown.token()
    asked = {"shown": shown, **evidence}
    assert ned.post(reverse("queue-approve", args=[made.number]), asked).status_code == 403
    assert state_of(made.number) is Status.WAITING_FOR_APPROVAL


def test_every_answer_carries_the_security_headers(people: World) -> None:
    made = submit(people.alice)
    alice = signed_in("alice")
    for client, address in (
        (Client(), "/help/"),
        (Client(), "/"),
        (Client(), "/no/such/page"),
        (alice, "/"),
        (alice, reverse("requests-bundle", args=[made.number])),
        (alice, reverse("requests-show", args=[made.number + 1])),
    ):
        answer = client.get(address)
        policy = answer["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Referrer-Policy"] == "same-origin"
        if client is alice:
            assert "no-store" in answer["Cache-Control"]
            assert "private" in answer["Cache-Control"]


def every_error() -> list[type[errors.CertdeskError]]:
    """Every class of the family, wherever it is declared."""
    found, to_do = [], [errors.CertdeskError]
    while to_do:
        kind = to_do.pop()
        found.append(kind)
        to_do += kind.__subclasses__()
    return found


def test_every_error_of_the_domain_has_a_page() -> None:
    declared = {kind for kind in every_error() if kind.__module__ == errors.__name__}
    assert declared - set(PAGES) == set()
    for kind in every_error():
        assert 400 <= page_of(kind.__new__(kind)).status <= 599


def test_our_own_bugs_keep_their_detail_to_the_log(people: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = errors.InvariantViolated("table store_x at 10.0.0.7")
    monkeypatch.setattr("certdesk.web.requests.views.get_request", Mock(side_effect=broken))
    answer = signed_in("alice").get(reverse("requests-show", args=[1]))
    assert answer.status_code == 500
    assert b"10.0.0.7" not in answer.content


def test_a_limit_says_when_to_come_back(people: World, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = errors.RateLimited("Slowly.", retry_after=120)
    monkeypatch.setattr("certdesk.web.requests.views.get_request", Mock(side_effect=limited))
    answer = signed_in("alice").get(reverse("requests-show", args=[1]))
    assert answer.status_code == 429
    assert answer["Retry-After"] == "120"
