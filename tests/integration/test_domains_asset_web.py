"""Domains as an asset: states, pages, what lapses when, what hangs on it, proving from the page, CSV."""

import csv
import re
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.evidence import METHODS, Method
from certdesk.domain.requests import OrganisationId
from certdesk.services.persistent import watch_due
from certdesk.store.models import (
    CaaCheck,
    CaValidation,
    Domain,
    MethodChallenge,
    PersistentRecord,
    Request,
    User,
    ValidationAttempt,
    ValidationRecord,
)
from certdesk.store.selectors.domains import Filters, Sort, State, count_states, list_domains
from certdesk.store.selectors.relying import Relying, relying_on
from tests.integration.proving import Outside
from tests.integration.support import (
    World,
    actor,
    create,
    listed_numbers,
    organisation,
    signed_in,
    submit,
    validated,
)

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


def a_domain(
    of: OrganisationId, adn: str, method: Method | None = None, *, age: int = 0, days: int = 398
) -> int:
    """A domain, with a proof of an age in days where a method is named."""
    now = timezone.now()
    row = Domain.objects.create(organisation_id=of, adn=adn, created_at=now)
    if method:
        start = now - age * DAY
        ValidationRecord.objects.create(
            domain=row,
            method=method,
            source=METHODS[method].source,
            evidence={"how": METHODS[method].title, "asked_by": "alice"},
            validated_at=start,
            expires_at=start + days * DAY,
        )
    return row.pk


def shown(client: Client, **query: str) -> list[tuple[str, str]]:
    return [
        (row["row"].adn, row["state"]) for row in client.get(reverse("domains-list"), query).context["rows"]
    ]


def test_every_state_has_its_word_its_filter_and_its_count(people: World) -> None:
    own, alice = people.university, signed_in("alice")
    a_domain(own, "soon.ac.uk", Method.DNS_TXT, age=390)
    a_domain(own, "lapsed.ac.uk", Method.DNS_TXT, age=399)
    a_domain(own, "mail.ac.uk", Method.EMAIL_CONSTRUCTED, age=1)
    a_domain(own, "never.ac.uk")
    a_domain(own, "lib.example.ac.uk")  # its parent is proven
    now = timezone.now()
    for adn, missing in (("kept.ac.uk", None), ("gone.ac.uk", now)):
        pk = a_domain(own, adn, Method.DNS_PERSIST_WILDCARD, days=10)
        PersistentRecord.objects.create(
            domain_id=pk,
            adn=adn,
            wildcard=True,
            asked_by=User.objects.get(username="alice"),
            created_at=now,
            seen_at=now,
            missing_since=missing,
            next_look_at=now,
        )
    states = dict(shown(alice))
    assert states == {
        "soon.ac.uk": "Lapses soon",
        "lapsed.ac.uk": "Lapsed",
        "mail.ac.uk": "Validated",
        "never.ac.uk": "Not validated",
        "lib.example.ac.uk": "Covered",
        "kept.ac.uk": "Validated",
        "gone.ac.uk": "Record vanished",
        "example.ac.uk": "Validated",
    }
    expected = {
        State.ATTENTION: {"soon.ac.uk", "lapsed.ac.uk", "gone.ac.uk"},
        State.SOON: {"soon.ac.uk", "gone.ac.uk"},
        State.VANISHED: {"gone.ac.uk"},
        State.LAPSED: {"lapsed.ac.uk"},
        State.NEVER: {"never.ac.uk", "lib.example.ac.uk"},
        State.SUNSET: {"mail.ac.uk"},
        State.WAITING: set(),
    }
    counts = count_states(actor=people.alice, now=now)
    for state, names in expected.items():
        assert {adn for adn, _state in shown(alice, state=state.value)} == names, state
        assert counts[state] == len(names)
    assert counts[None] == 8
    row = next(r for r in alice.get(reverse("domains-list")).context["rows"] if r["row"].adn == "mail.ac.uk")
    assert row["flag"] == "E-mail ends 15 Mar 2028"


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_show_every_domain_once_forwards_and_backwards(people: World, sort: Sort) -> None:
    for n in range(23):
        a_domain(people.university, f"n{n % 7}-{n}.ac.uk", Method.DNS_TXT if n % 3 else None, age=n % 4 * 150)
    now, seen, ends, cursor, back = timezone.now(), list[str](), list[datetime](), "", ""
    while True:
        page = list_domains(actor=people.alice, filters=Filters(sort=sort, cursor=cursor, limit=5), now=now)
        seen += [row.adn for row in page.rows]
        private = [row.deadlines.private for row in page.rows]
        ends += [one.until for one in private if one and one.until > now]
        back = page.previous_cursor
        if not page.next_cursor:
            break
        cursor = page.next_cursor
    assert len(seen) == 24
    assert len(set(seen)) == 24
    before = list_domains(actor=people.alice, filters=Filters(sort=sort, cursor=back, limit=5), now=now)
    assert [row.adn for row in before.rows] == seen[-4 - 5 : -4]
    if sort is Sort.NAME:
        assert seen == sorted(seen)
    if sort is Sort.LAPSES:
        assert ends == sorted(ends), "what lapses next comes first"


@pytest.mark.parametrize("cursor", ["x", "W10", "bnVsbA", "WyJsYXBzZXMiLGZhbHNlLFsxLCJ4IiwieSIsMV1d"])
def test_a_damaged_cursor_is_refused(people: World, cursor: str) -> None:
    assert signed_in("alice").get(reverse("domains-list"), {"cursor": cursor}).status_code in (400, 422)


def test_the_drawing_and_its_table_count_what_lapses_each_month(people: World) -> None:
    own, alice = people.university, signed_in("alice")
    for n in range(4):
        a_domain(own, f"n{n}.ac.uk", Method.DNS_TXT, age=398 - 45)
    page = alice.get(reverse("domains-list"))
    when = timezone.now() + 45 * DAY
    chart = page.context["chart"]
    column = next(c for c in chart["columns"] if c["name"] == f"{when:%B %Y}")
    assert column["month"].private == 4
    assert column["month"].public == 0  # the gates have been shut for long
    content = page.content.decode()
    assert 'role="img"' in content
    assert '<title id="plot-title">' in content
    assert chart["description"].split(".")[0] in content
    assert {adn for adn, _ in shown(alice, month=f"{when:%Y-%m}")} == {f"n{n}.ac.uk" for n in range(4)}
    assert len(shown(alice, month="nonsense")) == 5


def test_what_hangs_on_a_domain_is_counted_and_leads_to_it(people: World) -> None:
    now = timezone.now()
    for name in ("a.example.ac.uk", "b.example.ac.uk"):
        submit(people.alice, name, clock=timezone.now)
    waiting = create(people.alice, "www.other.org", now=now)
    a_domain(people.university, "other.org")
    a_domain(people.university, "a.example.ac.uk")
    other = organisation("Other College")
    validated("example.ac.uk", of=other, by=people.olga)
    keys = [
        (people.university, "example.ac.uk"),
        (people.university, "a.example.ac.uk"),
        (people.university, "other.org"),
        (other, "example.ac.uk"),
        (people.university, "ample.ac.uk"),
    ]
    found = relying_on(keys, now=timezone.now())
    assert [found[key].certificates for key in keys] == [2, 1, 0, 0, 0]
    assert [found[key].requests for key in keys] == [0, 0, 1, 0, 0]
    assert relying_on(keys[:1], now=now, most=1)[keys[0]] == Relying(certificates=1, at_least=True)
    page = signed_in("alice").get(reverse("domains-list"))
    href = f"{reverse('requests-list')}?q=example.ac.uk&status=issued"
    assert f'href="{href.replace("&", "&amp;")}">2 certificates<' in page.content.decode()
    listed = signed_in("alice").get(href)
    names = Request.objects.filter(id__in=listed_numbers(listed.content)).values_list(
        "common_names", flat=True
    )
    assert set(names) == {"a.example.ac.uk", "b.example.ac.uk"}
    assert waiting.number


def test_a_domain_is_proven_from_its_page(people: World, net: Outside) -> None:
    pk, alice = a_domain(people.university, "new.org"), signed_in("alice")
    here = reverse("domains-show", args=[pk])
    page = alice.get(here).content.decode()
    for words in ("Persistent DNS record", "DNS TXT record", "DNS CNAME record", "File on the web server"):
        assert words in page
    begun = alice.post(reverse("domains-prove", args=[pk]), {"method": "dns_txt"}, follow=True)
    content = begun.content.decode()
    assert "_certdesk-challenge.new.org" in content
    (value,) = set(re.findall(r'data-copy="value">([a-z2-7]{52})<', content))
    challenge = MethodChallenge.objects.get()
    check = reverse("domains-check", args=[challenge.pk])
    missed = alice.post(check, follow=True).content.decode()
    assert "Not found yet. There is no such record." in missed
    assert "Looked and not found: DNS TXT record" in missed
    MethodChallenge.objects.update(looked_at=timezone.now() - DAY)
    net.published.add(("new.org", value))
    found = alice.post(check, follow=True).content.decode()
    assert "Found: new.org is validated." in found
    assert "Validated until" in found
    assert "asked by alice" in found
    assert value not in found


def test_a_challenge_can_be_given_up_and_nonsense_is_no_method(people: World, net: Outside) -> None:
    pk, alice = a_domain(people.university, "new.org"), signed_in("alice")
    for method in ("nonsense", "", "manual_ownership", "acme_dns_01"):
        answer = alice.post(reverse("domains-prove", args=[pk]), {"method": method}, follow=True)
        assert "note stop" in answer.content.decode(), method
    alice.post(reverse("domains-prove", args=[pk]), {"method": "http_file"})
    cancel = reverse("domains-cancel-challenge", args=[MethodChallenge.objects.get().pk])
    assert "It is cancelled" in alice.post(cancel, follow=True).content.decode()
    assert alice.post(cancel).status_code == 409


def test_a_persistent_record_on_the_page_from_asking_to_vanishing(people: World, net: Outside) -> None:
    pk, alice = a_domain(people.university, "new.org"), signed_in("alice")
    here = reverse("domains-show", args=[pk])
    begun = alice.post(
        reverse("domains-prove", args=[pk]), {"method": "dns_persist", "reach": "all"}, follow=True
    )
    assert "policy=wildcard" in begun.content.decode()
    net.persistent["new.org"] = Method.DNS_PERSIST_WILDCARD
    there = alice.post(reverse("domains-persistent-check", args=[pk]), follow=True).content.decode()
    assert "Found: new.org is validated." in there
    assert "renews automatically" in there
    del net.persistent["new.org"]
    later = timezone.now() + DAY
    watch_due(clock=lambda: later, limit=10)
    gone = alice.get(here).content.decode()
    assert "The persistent DNS record has vanished" in gone
    assert "Record vanished" in gone
    stopped = alice.post(reverse("domains-persistent-stop", args=[pk]), follow=True).content.decode()
    assert "no longer watch the record" in stopped


def test_point_9_our_record_and_the_cas_own_word_stand_apart(people: World) -> None:
    pk = a_domain(people.university, "mail.org", Method.EMAIL_CONSTRUCTED, age=1)
    page = signed_in("alice").get(reverse("domains-show", args=[pk])).content.decode()
    assert "For private CAs" in page
    assert "Our record is the evidence" in page
    assert "The CA then validates the domain itself" in page
    assert "15 March 2028" in page
    assert "Note what a public CA says" not in page
    olga = signed_in("olga")
    olga.post(reverse("domains-ca-state", args=[pk]), {"ca": "Some CA", "valid_until": "2027-01-31"})
    noted = signed_in("alice").get(reverse("domains-show", args=[pk])).content.decode()
    assert "What public CAs say themselves" in noted
    assert "validated there until 31 Jan 2027" in noted
    assert CaValidation.objects.get().heard_from
    assert not ValidationAttempt.objects.exists()
    assert ValidationRecord.objects.filter(domain_id=pk).count() == 1


def test_an_officers_check_is_said_to_serve_no_public_ca(people: World) -> None:
    pk = Domain.objects.get(adn="example.ac.uk").pk
    page = signed_in("alice").get(reverse("domains-show", args=[pk])).content.decode()
    assert "Does not count" in page


def test_no_search_or_filter_shows_charlie_what_is_not_hers(people: World) -> None:
    actor("charlie", organisation=organisation("Other College"))
    a_domain(people.university, "secret.org")
    charlie = signed_in("charlie")
    for query in ({}, {"q": "secret"}, {"state": "waiting"}, {"sort": "added"}):
        assert b"secret.org" not in charlie.get(reverse("domains-list"), query).content
        assert b"secret.org" not in b"".join(charlie.get(reverse("domains-csv"), query))


def test_a7_csv_has_every_row_of_the_filter_and_no_formula(people: World) -> None:
    evil = organisation("=cmd|' /C calc'!A0")
    a_domain(evil, "evil.org", Method.EMAIL_CONSTRUCTED, age=1)
    for n in range(60):
        a_domain(people.university, f"n{n}.org")
    lines = list(csv.reader(signed_in("olga").get(reverse("domains-csv")).getvalue().decode().splitlines()))
    assert len(lines) == 1 + 62
    heads = lines[0]
    row = dict(zip(heads, next(line for line in lines if line[0] == "evil.org"), strict=True))
    assert row["Organisation"].startswith("'=")
    assert row["State"] == "Validated"
    assert "BR 3.2.2.4.4" in row["Ends sooner because of"]
    assert row["For public CAs until"].endswith("Z")
    assert not [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@"))]
    few = signed_in("olga").get(reverse("domains-csv"), {"state": "never", "q": "n1"}).getvalue().decode()
    assert len(few.splitlines()) == 1 + 11


def test_three_thousand_domains_take_a_fixed_number_of_queries(
    people: World, django_assert_max_num_queries: object
) -> None:
    now = timezone.now()
    rows = Domain.objects.bulk_create(
        Domain(organisation_id=people.university, adn=f"n{n}.org", created_at=now) for n in range(3000)
    )
    ValidationRecord.objects.bulk_create(
        ValidationRecord(
            domain=row,
            method=Method.DNS_TXT,
            source="BR",
            evidence={},
            validated_at=now - n % 398 * DAY,
            expires_at=now + (398 - n % 398) * DAY,
        )
        for n, row in enumerate(rows)
    )
    alice = signed_in("alice")
    with django_assert_max_num_queries(30):  # type: ignore[operator] # pytest-django's fixture
        page = alice.get(reverse("domains-list"))
    assert len(page.context["rows"]) == 50
    assert page.context["total"] == 3001


def test_the_pages_of_a_domain_and_of_a_request_show_what_caa_records_said(people: World) -> None:
    """What forbids comes first, with the record to add; what is old says that it is asked anew."""
    number = submit(people.alice, "www.example.ac.uk").number
    domain = Domain.objects.get(adn="example.ac.uk")
    stranger = actor("charlie", organisation=organisation("Other University"))
    for name, code, to_add, age in (
        ("www.example.ac.uk", "caa.authorised", "", timedelta(hours=1)),
        ("*.example.ac.uk", "caa.other_issuer", '*.example.ac.uk. CAA 0 issue "ours.example"', 9 * DAY),
        ("mail.example.ac.uk", "caa.lookup_failed", "", timedelta()),
    ):
        CaaCheck.objects.create(
            organisation_id=people.university,
            request_id=number,
            name=name,
            allowed=code == "caa.authorised",
            code=code,
            found_at="example.ac.uk",
            records=['0 issue "other.example"'],
            server="192.0.2.53#53",
            question={"issuers": ["ours.example"], "account_uri": "", "method": ""},
            evidence={
                "detail": f"About {name}.",
                "to_add": to_add,
                "looked": [{"server": "192.0.2.53#53", "authenticated": True}],
            },
            at=timezone.now() - age,
        )
    for path in (reverse("domains-show", args=[domain.pk]), reverse("requests-show", args=[number])):
        text = signed_in("alice").get(path).content.decode()
        card = text[text.index('id="caa"') :]
        positions = [card.index(f"About {name}") for name in ("*.example", "mail.example", "www.example")]
        assert max(positions[:2]) < positions[2]
        assert "*.example.ac.uk. CAA 0 issue &quot;ours.example&quot;" in card
        assert "192.0.2.53#53, signed (DNSSEC)" in card
        assert card.count("It is looked up again before anything is signed.") == 1
        assert Client().get(path).status_code == 302
        assert signed_in(stranger.label).get(path).status_code == 404
