"""Domains in the portal: states, what lapses when and what hangs on it, CSV, proving, asking, by hand."""

import csv
import re
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.actors import OrgRole, RaRole
from certdesk.domain.issuing.states import OrganisationId, Status
from certdesk.domain.validation.evidence import METHODS, Method
from certdesk.services.validation.by_email import add_domain
from certdesk.services.validation.persistent import watch_due
from certdesk.store.keyset import Page
from certdesk.store.models import (
    AuditEvent,
    CaaCheck,
    CaValidation,
    Domain,
    EmailChallenge,
    MethodChallenge,
    PersistentRecord,
    Request,
    User,
    ValidationAttempt,
    ValidationRecord,
)
from certdesk.store.selectors.domains import Filters, ListedDomain, Sort, State, count_states, list_domains
from certdesk.store.selectors.relying import Relying, relying_on
from tests.integration.proving import Outside
from tests.integration.support import (
    World,
    actor,
    ask_mailbox,
    create,
    listed_numbers,
    organisation,
    signed_in,
    state_of,
    submit,
    validated,
)
from tests.integration.test_web_requests import shown_to

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)
EVIDENCE = {"how": "registry", "evidence": "The registry names them.", "reference": "T-1"}


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


def domain_id(adn: str) -> int:
    return Domain.objects.get(adn=adn).pk


def shown(client: Client, **query: str) -> list[tuple[str, str]]:
    rows = client.get(reverse("domains-list"), query).context["rows"]
    return [(row["row"].adn, row["state"]) for row in rows]


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
    assert shown(alice) == [  # what lapses next comes first (R34)
        ("soon.ac.uk", "Lapses soon"),
        ("kept.ac.uk", "Validated"),
        ("gone.ac.uk", "Record vanished"),
        ("mail.ac.uk", "Validated"),
        ("example.ac.uk", "Validated"),
        ("lapsed.ac.uk", "Lapsed"),
        ("lib.example.ac.uk", "Covered"),
        ("never.ac.uk", "Not validated"),
    ]
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
    page = alice.get(reverse("domains-list"))
    rows = {row["row"].adn: row for row in page.context["rows"]}
    assert rows["mail.ac.uk"]["flag"] == "E-mail ends 15 Mar 2028"
    assert rows["example.ac.uk"]["row"].proof.who == "olga"
    assert "7 days left" in page.content.decode()
    assert re.search(r"<small>\d+ days? ago</small>", page.content.decode())


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_show_every_domain_once_forwards_and_backwards(people: World, sort: Sort) -> None:
    for n in range(23):
        a_domain(people.university, f"n{n % 7}-{n}.ac.uk", Method.DNS_TXT if n % 3 else None, age=n % 4 * 150)
    now = timezone.now()

    def page_at(cursor: str) -> Page[ListedDomain]:
        filters = Filters(sort=sort, cursor=cursor, limit=5)
        return list_domains(actor=people.alice, filters=filters, now=now)

    pages = [page_at("")]
    while cursor := pages[-1].next_cursor:
        pages.append(page_at(cursor))
    rows = [row for page in pages for row in page.rows]
    seen, private = [row.adn for row in rows], [row.deadlines.private for row in rows]
    ends = [one.until for one in private if one and one.until > now]
    assert len(seen) == len(set(seen)) == 24
    assert [row.adn for row in page_at(pages[-1].previous_cursor).rows] == seen[-4 - 5 : -4]
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
    (month,) = (c["month"] for c in chart["columns"] if c["name"] == f"{when:%B %Y}")
    assert (month.private, month.public) == (4, 0)  # for public CAs the gates have been shut for long
    for words in ('role="img"', '<title id="plot-title">', chart["description"].split(".")[0]):
        assert words in page.content.decode()
    assert {adn for adn, _ in shown(alice, month=f"{when:%Y-%m}")} == {f"n{n}.ac.uk" for n in range(4)}
    assert len(shown(alice, month="nonsense")) == 5


def test_what_hangs_on_a_domain_is_counted_and_leads_to_it(people: World) -> None:
    now = timezone.now()
    for name in ("a.example.ac.uk", "b.example.ac.uk"):
        submit(people.alice, name, clock=timezone.now)
    create(people.alice, "www.other.org", now=now)
    a_domain(people.university, "other.org")
    a_domain(people.university, "a.example.ac.uk")
    other = organisation("Other College")
    validated("example.ac.uk", of=other, by=people.olga)
    wanted = {  # certificates, requests
        (people.university, "example.ac.uk"): (2, 0),
        (people.university, "a.example.ac.uk"): (1, 0),
        (people.university, "other.org"): (0, 1),
        (other, "example.ac.uk"): (0, 0),
        (people.university, "ample.ac.uk"): (0, 0),
    }
    found = relying_on(list(wanted), now=timezone.now())
    assert {key: (one.certificates, one.requests) for key, one in found.items()} == wanted
    key = (people.university, "example.ac.uk")
    assert relying_on([key], now=now, most=1)[key] == Relying(certificates=1, at_least=True)
    page = signed_in("alice").get(reverse("domains-list"))
    href = f"{reverse('requests-list')}?q=example.ac.uk&status=issued"
    assert f'href="{href.replace("&", "&amp;")}">2 certificates<' in page.content.decode()
    listed = Request.objects.filter(id__in=listed_numbers(signed_in("alice").get(href).content))
    assert {one.common_names for one in listed} == {"a.example.ac.uk", "b.example.ac.uk"}


def test_a_domain_is_proven_from_its_page(people: World, net: Outside) -> None:
    pk, alice = a_domain(people.university, "new.org"), signed_in("alice")
    page = alice.page("domains-show", pk)
    for words in ("Persistent DNS record", "DNS TXT record", "DNS CNAME record", "File on the web server"):
        assert words in page
    content = alice.sent("domains-prove", pk, method="dns_txt")
    assert "_certdesk-challenge.new.org" in content
    (value,) = set(re.findall(r'data-copy="value">([a-z2-7]{52})<', content))
    number = MethodChallenge.objects.get().pk
    missed = alice.sent("domains-check", number)
    assert "Not found yet. There is no such record." in missed
    assert "Looked and not found: DNS TXT record" in missed
    MethodChallenge.objects.update(looked_at=timezone.now() - DAY)
    net.published.add(("new.org", value))
    found = alice.sent("domains-check", number)
    for words in ("Found: new.org is validated.", "Validated until", "asked by alice"):
        assert words in found
    assert value not in found


def test_a_challenge_can_be_given_up_and_nonsense_is_no_method(people: World, net: Outside) -> None:
    pk, alice = a_domain(people.university, "new.org"), signed_in("alice")
    for method in ("nonsense", "", "manual_ownership", "acme_dns_01"):
        assert "note stop" in alice.sent("domains-prove", pk, method=method), method
    alice.send("domains-prove", pk, method="http_file")
    number = MethodChallenge.objects.get().pk
    assert "It is cancelled" in alice.sent("domains-cancel-challenge", number)
    assert alice.send("domains-cancel-challenge", number).status_code == 409


def test_a_persistent_record_on_the_page_from_asking_to_vanishing(people: World, net: Outside) -> None:
    pk, alice = a_domain(people.university, "new.org"), signed_in("alice")
    assert "policy=wildcard" in alice.sent("domains-prove", pk, method="dns_persist", reach="all")
    net.persistent["new.org"] = Method.DNS_PERSIST_WILDCARD
    there = alice.sent("domains-persistent-check", pk)
    assert "Found: new.org is validated." in there
    assert "renews automatically" in there
    del net.persistent["new.org"]
    later = timezone.now() + DAY
    watch_due(clock=lambda: later, limit=10)
    gone = alice.page("domains-show", pk)
    assert "The persistent DNS record has vanished" in gone
    assert "Record vanished" in gone
    stopped = alice.sent("domains-persistent-stop", pk)
    assert "no longer watch the record" in stopped


def test_point_9_our_record_and_the_cas_own_word_stand_apart(people: World) -> None:
    pk = a_domain(people.university, "mail.org", Method.EMAIL_CONSTRUCTED, age=1)
    page = signed_in("alice").page("domains-show", pk)
    for words in ("For private CAs", "Our record is the evidence", "The CA then validates the domain itself"):
        assert words in page
    assert "15 March 2028" in page
    assert "Note what a public CA says" not in page
    signed_in("olga").send("domains-ca-state", pk, ca="Some CA", valid_until="2027-01-31")
    noted = signed_in("alice").page("domains-show", pk)
    assert "What public CAs say themselves" in noted
    assert "validated there until 31 Jan 2027" in noted
    assert CaValidation.objects.get().heard_from
    assert not ValidationAttempt.objects.exists()
    assert ValidationRecord.objects.filter(domain_id=pk).count() == 1


def test_no_search_or_filter_shows_charlie_what_is_not_hers(people: World) -> None:
    """That its page is not there either is for test_route_matrix.py to say."""
    actor("charlie", organisation=organisation("Other College"))
    a_domain(people.university, "secret.org")
    charlie = signed_in("charlie")
    for query in ({}, {"q": "secret"}, {"state": "waiting"}, {"sort": "added"}):
        assert shown(charlie, **query) == []
        assert b"secret.org" not in charlie.get(reverse("domains-list"), query).content
        assert b"secret.org" not in b"".join(charlie.get(reverse("domains-csv"), query))
    assert b"No domains yet" in charlie.get(reverse("domains-list")).content
    assert charlie.get(reverse("domains-show", args=[2**63])).status_code == 404


def test_a7_csv_has_every_row_of_the_filter_and_no_formula(people: World) -> None:
    evil, olga = organisation("=cmd|' /C calc'!A0"), signed_in("olga")
    a_domain(evil, "evil.org", Method.EMAIL_CONSTRUCTED, age=1)
    for n in range(60):
        a_domain(people.university, f"n{n}.org")

    def rows(**query: str) -> list[dict[str, str]]:
        answer = olga.get(reverse("domains-csv"), query)
        return list(csv.DictReader(answer.getvalue().decode().splitlines()))

    every = rows()
    assert len(every) == 62
    assert list(every[0])[:3] == ["Domain", "Organisation", "State"]
    (row,) = (row for row in every if row["Domain"] == "evil.org")
    assert (row["Organisation"], row["State"]) == ("'=cmd|' /C calc'!A0", "Validated")
    assert "BR 3.2.2.4.4" in row["Ends sooner because of"]
    assert row["For public CAs until"].endswith("Z")
    assert not [cell for row in every for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert len(rows(state="never", q="n1")) == 11
    assert rows(q="calc") == [row]
    assert shown(olga, q="calc") == [("evil.org", "Validated")]
    assert b"Nothing matches" in olga.get(reverse("domains-list"), {"q": "nowhere"}).content


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


def test_adding_a_domain_proves_nothing_and_leads_to_asking(people: World) -> None:
    alice = signed_in("alice")
    answer = alice.post(reverse("domains-add"), {"domain": " New.AC.uk "}, follow=True)
    assert answer.status_code == 200
    made = Domain.objects.get(adn="new.ac.uk")
    assert made.organisation_id == people.university
    assert not made.validations.exists()
    assert "hostmaster@new.ac.uk" in answer.content.decode()
    for bad in ("", "ac.uk", "*.new.ac.uk", "localhost", "new ac uk"):
        refused = alice.send("domains-add", domain=bad)
        assert refused.status_code == 422, bad
        assert b"There is a problem" in refused.content
    assert AuditEvent.objects.filter(action="domain.add").count() == 1


def test_somebody_of_two_organisations_chooses_which(people: World) -> None:
    second = organisation("Second College")
    actor("alice", organisation=second, role=OrgRole.MANAGER)
    stranger = organisation("Third College")
    alice = signed_in("alice")
    assert alice.send("domains-add", domain="new.ac.uk").status_code == 422
    foreign = {"domain": "new.ac.uk", "organisation": str(stranger)}
    assert alice.post(reverse("domains-add"), foreign).status_code == 422
    alice.send("domains-add", domain="new.ac.uk", organisation=str(second))
    assert Domain.objects.get(adn="new.ac.uk").organisation_id == second


def test_r4_asking_from_the_domains_page_and_again(people: World) -> None:
    alice = signed_in("alice")
    page = reverse("domains-ask", args=[domain_id("example.ac.uk")])
    assert alice.post(page, {"mailbox": ""}).status_code == 422
    shown = alice.post(page, {"mailbox": "webmaster@example.ac.uk"}, follow=True).content.decode()
    assert "We emailed webmaster@example.ac.uk" in shown
    assert "Send again" in shown
    alice.post(page, {"mailbox": "webmaster@example.ac.uk"})
    asking = [m for m in mail.outbox if "Please confirm" in m.subject]
    assert [m.to for m in asking] == [["webmaster@example.ac.uk"]] * 2
    assert EmailChallenge.objects.filter(outcome="open").count() == 1


def test_r32_an_officer_validates_by_hand_and_again(people: World) -> None:
    add_domain(actor=people.alice, organisation_id=people.university, name="hand.org", now=timezone.now())
    page = reverse("domains-validate", args=[domain_id("hand.org")])
    olga = signed_in("olga")
    half = olga.post(page, {**EVIDENCE, "evidence": ""})
    assert half.status_code == 422
    assert b"Write what you saw" in half.content
    for _ in range(2):
        assert olga.post(page, EVIDENCE).status_code == 302
    records = ValidationRecord.objects.filter(domain__adn="hand.org")
    assert [r.evidence["reference"] for r in records] == ["T-1", "T-1"]
    assert {r.validated_by_id for r in records} == {people.olga.user_id}


def test_v7_evidence_is_shown_to_the_ra_and_not_to_others(people: World) -> None:
    actor("rick", ra=RaRole.AUDITOR)
    page = reverse("domains-show", args=[domain_id("example.ac.uk")])
    for name, sees in (("alice", False), ("olga", True), ("rick", True)):
        content = signed_in(name).get(page).content.decode()
        assert ("The registry names them." in content) is sees, name
        assert "Ownership checked by an RA officer" in content
        assert ("Validate by hand" in content) is (name == "olga"), name
        assert ("Mailbox to ask" in content) is (name != "rick"), name
        assert "Does not count" in content, "for public CAs"


def test_a_domains_page_lists_the_requests_that_wait_for_it(people: World) -> None:
    made = submit(people.alice, "www.fresh.ac.uk", clock=timezone.now)
    add_domain(actor=people.alice, organisation_id=people.university, name="fresh.ac.uk", now=timezone.now())
    page = signed_in("alice").page("domains-show", domain_id("fresh.ac.uk"))
    assert f"/requests/{made.number}/" in page
    other = signed_in("alice").get(reverse("domains-show", args=[domain_id("example.ac.uk")]))
    assert f"/requests/{made.number}/" not in other.content.decode()


def _waiting(*names: str) -> int:
    new = organisation("New College", vetted=False)
    return submit(actor("newton", organisation=new), *names, clock=timezone.now).number


def _approve(number: int, **body: str) -> int:
    olga = signed_in("olga")
    asked = {"shown": shown_to(olga, number), "vetting": "Known to us.", **body}
    return olga.send("queue-approve", number, **asked).status_code


def test_r31_evidence_is_optional_where_the_domains_own_people_can_confirm(people: World) -> None:
    number = _waiting("www.new.ac.uk")
    page = signed_in("olga").page("queue-decide", number)
    assert "Leave this empty to have the domain’s own people confirm by e-mail" in page
    half = {"new.ac.uk-how": "registry", "new.ac.uk-evidence": "", "new.ac.uk-reference": ""}
    assert _approve(number, **half) == 422
    assert state_of(number) is Status.WAITING_FOR_APPROVAL
    assert _approve(number, **{**half, "new.ac.uk-how": ""}) == 302
    assert state_of(number) is Status.ACCEPTED
    detail = Request.objects.values_list("detail", flat=True).get(id=number)
    assert "choose a mailbox" in detail
    assert not ValidationRecord.objects.filter(domain__adn="new.ac.uk").exists()


def test_r31_evidence_is_required_outside_the_trusted_suffixes(people: World) -> None:
    number = _waiting("www.new.org", "www.new.ac.uk")
    page = signed_in("olga").page("queue-decide", number)
    assert page.count("Leave this empty to have") == 1
    assert _approve(number) == 422
    full = {f"new.org-{name}": value for name, value in EVIDENCE.items()}
    assert _approve(number, **full) == 302
    assert state_of(number) is Status.ACCEPTED
    assert ValidationRecord.objects.filter(domain__adn="new.org").count() == 1


def test_r31_full_evidence_lets_a_request_go_on_at_once(people: World) -> None:
    number = _waiting("www.new.ac.uk")
    assert _approve(number, **{f"new.ac.uk-{name}": value for name, value in EVIDENCE.items()}) == 302
    assert state_of(number) is Status.ISSUED


def test_r31_the_officer_sees_the_checks_of_now_beside_those_of_then(people: World) -> None:
    number = _waiting("www.new.ac.uk")
    address = reverse("queue-decide", args=[number])
    olga = signed_in("olga")
    assert "What has changed since" not in olga.get(address).content.decode()
    own = Request.objects.get(id=number).organisation_id
    validated("new.ac.uk", of=own, by=people.otto)  # type: ignore[arg-type]  # a row's id
    page = olga.get(address)
    assert "What has changed since" in page.content.decode()
    now = [check.code for *_, check in (*page.context["problem_checks"], *page.context["passed_checks"])]
    assert "domain.validated" in now
    assert "domain.not_validated" not in now
    assert [check.code for *_, check in page.context["changed_checks"]] == ["domain.not_validated"]


def test_a_preview_says_that_the_domain_has_to_be_confirmed(people: World) -> None:
    from_csr = submit(people.alice, "www.fresh.ac.uk", clock=timezone.now)
    page = signed_in("alice").page("requests-show", from_csr.number)
    assert "To be confirmed." in page
    ask_mailbox(people.alice, "fresh.ac.uk", "admin@fresh.ac.uk", now=timezone.now() - 8 * DAY)
    page = signed_in("alice").page("requests-show", from_csr.number)
    assert "Expired" in page
