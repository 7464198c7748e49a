"""Reading: keyset pages without gaps, search that no text can break, and nothing of anybody else's."""

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certdesk.domain.actors import Actor, RaRole
from certdesk.domain.errors import InvalidInput, NotFound, OutcomeUnknown
from certdesk.domain.issuing.states import OrganisationId, RequestId, Status
from certdesk.store.keyset import Page
from certdesk.store.models import Organisation, Request, User, ValidationRecord
from certdesk.store.selectors import requests as requests_selector
from certdesk.store.selectors.organisations import get_organisation, list_domains, list_organisations
from certdesk.store.selectors.people import actor_for_user, list_members
from certdesk.store.selectors.requests import (
    Filters,
    RequestRow,
    Sort,
    count_requests,
    get_request,
    list_requests,
    waiting_count,
)
from tests.integration.support import (
    NOW,
    ScriptedCa,
    World,
    actor,
    backend,
    copies,
    issuance_of,
    issue,
    manager,
    outsider,
    submit,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 130


def _coded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


DAMAGED = [
    *("x", "é", "====", "\0"),
    *map(_coded, (b"[]", b"{}", b"7", b"null", b"\xff\xfe", b"[" * 5000)),
    *(
        _coded(json.dumps(value).encode())
        for value in (
            ["newest", False, ["a", 1]],
            *(
                ["name", False, after]
                for after in ([1], ["a", 1, 2], [1, "a"], ["a", True], ["a", 1.5], "a1")
            ),
            *(["name", False, ["a", number]] for number in (2**63, -(2**80))),
            ["name", 0, ["a", 1]],
            *(["name", False, [text, 1]] for text in ("a\0b", "\ud800")),
            [["name"], False, ["a", 1]],
        )
    ),
]
ODD_QUERIES = [
    *('"', '""', "'", "%", "_", "%%%", "___", "*", "***", "\\", "\\\\\\", "\0", "a\0b", "\0\0\0"),
    *("abc\0def", "a\0", "OR", "AND x", 'a" OR "b', "NEAR(a b)", "search_text:www", "^www", "www*"),
    *("-www", "(www)", "www OR mail", "{a b}", "'; DROP TABLE store_request; --", "ab", "é", "日本語"),
    *("\ud800", "www\udfff", "ß", "İ", "a" * 5000, "\u202e", "%s", "%(x)s", "{}", "?", "$1"),
]


def _rows(w: World, names: list[str]) -> list[RequestId]:
    """One request for each name, in the order of the names."""
    template = submit(w.alice, "www.outside.example").number
    made = [
        copies(template, count=1, common_names=name, search_text=f"{name} alice example university")[0]
        for name in names
    ]
    Request.objects.filter(id=template).update(common_names="0", search_text="template")
    return [template, *made]


def _walk(who: Actor, filters: Filters) -> tuple[list[Page[RequestRow]], list[Page[RequestRow]]]:
    """All pages forth, and then all pages back from the last one."""
    forth = [list_requests(actor=who, filters=filters)]
    while forth[-1].next_cursor:
        assert len(forth) < 100
        forth.append(list_requests(actor=who, filters=replace(filters, cursor=forth[-1].next_cursor)))
    back = [forth[-1]]
    while back[-1].previous_cursor:
        assert len(back) < 100
        back.append(list_requests(actor=who, filters=replace(filters, cursor=back[-1].previous_cursor)))
    return forth, back


def _numbers(pages: list[Page[RequestRow]]) -> list[int]:
    return [row.number for page in pages for row in page.rows]


def _found(who: Actor, query: str) -> set[int]:
    return set(_numbers([list_requests(actor=who, filters=Filters(query=query, limit=200))]))


class TestPages:
    @pytest.mark.parametrize("sort", Sort)
    @pytest.mark.parametrize("limit", [1, 7, 50, 130, 131, 132])
    def test_forth_and_back_show_each_request_once(self, sort: Sort, limit: int) -> None:
        if limit == 1 and sort not in (Sort.NEWEST, Sort.NAME):
            limit = 13
        w = world()
        count = 20 if limit == 1 else ROWS
        # Four names for all rows: ties everywhere, also across the ends of pages.
        made = _rows(w, [f"{'abcd'[index % 4]}.example.ac.uk" for index in range(count)])
        name = dict(Request.objects.values_list("id", "common_names"))
        expected = {
            Sort.NEWEST: sorted(made, reverse=True),
            Sort.OLDEST: sorted(made),
            Sort.NAME: sorted(made, key=lambda n: (name[n], n)),
            Sort.NAME_DESCENDING: sorted(made, key=lambda n: (name[n], n), reverse=True),
        }[sort]
        forth, back = _walk(w.alice, Filters(sort=sort, limit=limit))
        assert _numbers(forth) == expected
        assert [_numbers([page]) for page in reversed(back)] == [_numbers([page]) for page in forth]
        assert forth[0].previous_cursor == ""
        assert back[-1].previous_cursor == ""
        assert all(len(page.rows) == limit for page in forth[:-1])

    def test_a_page_in_the_middle_stands_still_while_requests_come_in(self, w: World) -> None:
        made = _rows(w, [f"h{index}.example.ac.uk" for index in range(20)])
        first = list_requests(actor=w.alice, filters=Filters(limit=5))
        copies(made[0], count=3)
        second = list_requests(actor=w.alice, filters=Filters(limit=5, cursor=first.next_cursor))
        assert _numbers([first, second]) == sorted(made, reverse=True)[:10]

    def test_pages_keep_to_search_and_filter(self, w: World) -> None:
        made = _rows(w, [f"{'web' if index % 2 else 'mail'}{index}.example.ac.uk" for index in range(30)])
        Request.objects.filter(id__in=made[1:11]).update(status=Status.WITHDRAWN)
        forth, _back = _walk(w.alice, Filters(query="mail", status="withdrawn", limit=2))
        assert _numbers(forth) == sorted((n for n in made[1:11:2]), reverse=True)

    def test_no_rows_are_one_empty_page(self, w: World) -> None:
        page = list_requests(actor=w.alice, filters=Filters())
        assert (page.rows, page.next_cursor, page.previous_cursor) == ([], "", "")

    def test_a_damaged_cursor_is_an_answer(self, w: World) -> None:
        for cursor in DAMAGED:
            with pytest.raises(InvalidInput) as caught:
                list_requests(actor=w.alice, filters=Filters(sort=Sort.NAME, cursor=cursor))
            assert "cursor" in caught.value.fields

    def test_a_cursor_of_another_order_is_refused(self, w: World) -> None:
        _rows(w, ["a.example.ac.uk", "b.example.ac.uk"])
        page = list_requests(actor=w.alice, filters=Filters(limit=1))
        with pytest.raises(InvalidInput):
            list_requests(actor=w.alice, filters=Filters(sort=Sort.OLDEST, cursor=page.next_cursor))

    def test_a_cursor_shows_nobody_more_than_they_may_see(self, w: World) -> None:
        _rows(w, [f"h{index}.example.ac.uk" for index in range(6)])
        page = list_requests(actor=w.olga, filters=Filters(limit=2))
        assert not list_requests(actor=outsider(), filters=Filters(cursor=page.next_cursor)).rows

    def test_two_statements_read_a_page_and_its_certificates(self, w: World) -> None:
        _rows(w, [f"h{index}.example.ac.uk" for index in range(20)])
        with CaptureQueriesContext(connection) as statements:
            list_requests(actor=w.alice, filters=Filters())
        assert len(statements) == 2
        assert all("OFFSET" not in one["sql"] for one in statements)


class TestSearch:
    def test_finds_parts_of_names_numbers_and_people(self, w: World) -> None:
        """The number is searchable."""
        one = submit(w.alice, "www.example.ac.uk", "shop.example.ac.uk").number
        two = submit(w.bob, "mail.outside.org").number
        assert _found(w.alice, "shop.exam") == {one}
        assert _found(w.alice, "OUTSIDE.org") == {two}
        assert _found(w.alice, "  bob ") == {two}
        assert _found(w.alice, str(two)) >= {two}
        assert _found(w.alice, "university") == {one, two}
        assert _found(w.alice, "nowhere") == set()
        assert _found(w.alice, "") == {one, two}

    def test_a_number_beyond_all_numbers_finds_nothing(self, w: World) -> None:
        submit(w.alice)
        for query in ("9" * 18, "9" * 19, "9" * 99, "٣٣٣", "²³¹"):
            assert _found(w.alice, query) == set()

    def test_no_text_breaks_it_or_means_anything(self, w: World) -> None:
        submit(w.alice, "www.example.ac.uk")
        for query in ODD_QUERIES:
            filters = Filters(query=query)
            assert list_requests(actor=w.alice, filters=filters).rows == [], query
            assert count_requests(actor=w.alice, filters=filters) == 0, query

    @pytest.mark.parametrize("query", ["a_b", "100%", 'say "x"', "c:\\d", "it's", "a*b"])
    def test_odd_letters_are_found_as_they_stand(self, w: World, query: str) -> None:
        template = submit(w.alice, "www.example.ac.uk").number
        (number,) = copies(template, count=1, search_text=f"before {query.lower()} after")
        (other,) = copies(template, count=1, search_text="a-b 1000 say x c:d its aXb")
        assert _found(w.alice, query) == {number}
        assert other not in _found(w.alice, query)

    def test_the_index_follows_changes_and_deletions(self, w: World) -> None:
        template = submit(w.alice, "www.example.ac.uk").number
        one, two = copies(template, count=2, search_text="before")
        Request.objects.filter(id=one).update(search_text="afterwards")
        Request.objects.filter(id=two).delete()
        assert _found(w.alice, "afterw") == {one}
        assert _found(w.alice, "before") == set()

    def test_common_words_are_found_as_well_as_rare_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(requests_selector, "COMMON", 5)
        w = world()
        made = _rows(w, [f"h{index}.example.ac.uk" for index in range(20)])
        forth, _back = _walk(w.alice, Filters(query="university", limit=6))
        assert _numbers(forth) == sorted(made[1:], reverse=True)
        assert _found(w.alice, "h19.example") == {made[20]}

    def test_counting_stops_at_its_cap(self, w: World) -> None:
        _rows(w, [f"h{index}.example.ac.uk" for index in range(9)])
        assert count_requests(actor=w.alice, filters=Filters(), cap=4) == 4
        assert count_requests(actor=w.alice, filters=Filters(), cap=400) == 10


class TestFilters:
    @pytest.mark.parametrize("status", ["nonsense", "submitting", "ISSUED", " ", "issued\0", "issued'"])
    def test_an_unknown_status_is_refused(self, w: World, status: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            list_requests(actor=w.alice, filters=Filters(status=status))
        assert "status" in caught.value.fields

    def test_a_claimed_request_is_listed_as_accepted(self, w: World) -> None:
        with backend(ScriptedCa(answers=[OutcomeUnknown("It went silent.")])):
            waiting, claimed = submit(w.alice).number, submit(w.alice).number
            issue(claimed)
        assert [issuance_of(number).state for number in (waiting, claimed)] == ["waiting", "claimed"]
        page = list_requests(actor=w.alice, filters=Filters(status="accepted"))
        assert set(_numbers([page])) == {waiting, claimed}

    def test_an_organisation_narrows_and_never_widens(self, w: World) -> None:
        charlie = outsider()
        (other,) = charlie.organisation_ids
        ours, theirs = submit(w.alice).number, submit(charlie, "www.other.ac.uk").number
        assert _numbers([list_requests(actor=w.olga, filters=Filters(organisation_id=other))]) == [theirs]
        assert not list_requests(actor=w.alice, filters=Filters(organisation_id=other)).rows
        assert _numbers([list_requests(actor=w.alice, filters=Filters())]) == [ours]


class TestWhoSeesWhat:
    """Own organisation, whoever asked; never another's; the RA across all."""

    def test_lists_requests_members_and_domains_by_organisation(self, w: World) -> None:
        charlie = outsider("other.ac.uk")
        ours, theirs = submit(w.alice).number, submit(charlie, "www.other.ac.uk").number
        rick, op = actor("rick", ra=RaRole.AUDITOR), actor("op", ra=RaRole.OPERATOR)
        sees = {
            who.label: _found(who, "") for who in (w.alice, w.bob, charlie, w.olga, rick, op, actor("nobody"))
        }
        assert sees == {
            **{key: {ours} for key in ("alice", "bob")},
            "charlie": {theirs},
            **{key: {ours, theirs} for key in ("olga", "rick")},
            **{key: set() for key in ("op", "nobody")},
        }
        assert _found(charlie, str(ours)) == set()
        assert _found(charlie, "university") == set()
        for who in (charlie, op):
            with pytest.raises(NotFound):
                get_request(actor=who, number=ours)
            with pytest.raises(NotFound):
                get_organisation(actor=who, slug="example-university")
            with pytest.raises(NotFound):
                list_domains(actor=who, organisation_id=w.university)
            with pytest.raises(NotFound):
                list_members(actor=who, organisation_id=w.university)
        assert [o.slug for o in list_organisations(actor=charlie)] == ["other-college"]
        assert [d.adn for d in list_domains(actor=charlie)] == ["other.ac.uk"]
        assert [d.adn for d in list_domains(actor=w.alice)] == ["example.ac.uk"]
        assert list_organisations(actor=op) == []
        assert list_domains(actor=op) == []

    def test_a_password_still_to_change_shows_nothing_at_all(self, w: World) -> None:
        number = submit(w.alice).number
        User.objects.update(must_change_password=True)
        for name in ("alice", "olga"):
            who = actor_for_user(User.objects.get(username=name))
            assert _found(who, "") == set()
            assert list_organisations(actor=who) == []
            assert list_domains(actor=who) == []
            assert waiting_count(actor=who) == (0, None)
            with pytest.raises(NotFound):
                get_request(actor=who, number=number)
            with pytest.raises(NotFound):
                list_domains(actor=who, organisation_id=w.university)

    def test_a_member_of_two_organisations_sees_both(self, w: World) -> None:
        charlie = outsider()
        numbers = {submit(w.alice).number, submit(charlie, "www.other.ac.uk").number}
        both = actor("alice", organisation=min(charlie.organisation_ids))
        forth, back = _walk(both, Filters(limit=1, sort=Sort.NAME))
        assert set(_numbers(forth)) == set(_numbers(back)) == numbers

    @pytest.mark.parametrize("number", [0, -1, 2**31, 2**63 - 1, 2**63, 2**200, -(2**200)])
    def test_numbers_that_are_not_there(self, w: World, number: int) -> None:
        with pytest.raises(NotFound):
            get_request(actor=w.olga, number=number)

    def test_members_are_for_managers_and_the_ra(self, w: World) -> None:
        meg = manager(w)
        assert [m.username for m in list_members(actor=meg, organisation_id=w.university)] == [
            *("alice", "bob", "meg")
        ]
        with pytest.raises(NotFound):
            list_members(actor=w.alice, organisation_id=w.university)


class TestDetails:
    def test_one_request_with_everything_that_hangs_on_it(self, w: World) -> None:
        number = submit(w.alice, "www.example.ac.uk").number
        shown = get_request(actor=w.bob, number=number)
        assert [e.event for e in shown.events] == ["create", "claim", "ca_accept", "issue"]
        assert [a.by for a in shown.approvals] == ["policy"]
        (certificate,) = shown.certificates
        assert len(certificate.chain) == 3
        assert shown.requester == "alice"

    def test_the_queue_says_how_many_wait_and_since_when(self, w: World) -> None:
        assert waiting_count(actor=w.olga) == (0, None)
        first = submit(w.alice, "a.outside.example").number
        submit(w.alice, "b.outside.example")
        Request.objects.filter(id=first).update(created_at=NOW - timedelta(days=2))
        assert waiting_count(actor=w.olga) == (2, NOW - timedelta(days=2))
        assert waiting_count(actor=w.alice) == (0, None)

    def test_a_domain_says_how_long_it_is_validated(self, w: World) -> None:
        (domain,) = list_domains(actor=w.alice)
        end = ValidationRecord.objects.get().expires_at
        assert domain.expires_at == end
        assert domain.is_validated(now=NOW)
        assert not domain.is_validated(now=end)

    @pytest.mark.parametrize("query", ["%", "_", "\0", "'", "a" * 5000, "\ud800"])
    def test_no_text_breaks_the_search_for_organisations(self, w: World, query: str) -> None:
        assert list_organisations(actor=w.olga, query=query) == []
        assert [o.slug for o in list_organisations(actor=w.olga, query="versit")] == ["example-university"]

    @pytest.mark.parametrize("slug", ["\0", "\ud800", "", "x" * 500])
    def test_no_slug_breaks_the_page_of_an_organisation(self, w: World, slug: str) -> None:
        with pytest.raises(NotFound):
            get_organisation(actor=w.olga, slug=slug)
        assert Organisation.objects.filter(id=OrganisationId(w.university)).exists()
