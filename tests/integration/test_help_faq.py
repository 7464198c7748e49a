"""The FAQ: it ships, officers and operators edit it, nothing is lost, nobody else gets in."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from certdesk.domain.errors import InvalidInput, NotFound, StateConflict
from certdesk.services.system import faq
from certdesk.store.models import AuditEvent
from certdesk.store.models.versions import FaqVersion
from tests.integration.support import NOW, World, signed_in

#: Refusals undo the whole transaction, which a test within one would not survive.
pytestmark = pytest.mark.django_db(transaction=True)


def visible() -> str:
    return Client().get("/help/faq/").content.decode()


def keys() -> list[str]:
    return [entry.key for entry in faq.list_faq()]


def deeds() -> list[str]:
    return list(AuditEvent.objects.filter(object_type="faq").order_by("seq").values_list("action", flat=True))


def test_r2_eleven_entries_ship() -> None:
    entries = faq.shipped()
    assert len(entries) == 11
    assert len({entry.key for entry in entries}) == 11
    page = visible()
    for entry in entries:
        assert entry.question.endswith(("?", "."))
        assert 150 < len(entry.answer) < 1500
        assert f'<h2 id="{entry.key}">' in page


def test_r2_an_officer_changes_an_entry_and_visitors_see_it(people: World) -> None:
    faq.change_faq(
        actor=people.olga,
        key="wildcards",
        question="Are there wildcards?",
        answer="Yes, **from [[ra]]**.",
        seen_version=0,
        now=NOW,
    )
    page = visible()
    assert '<h2 id="wildcards">Are there wildcards?</h2>' in page
    assert "<strong>from JTAG</strong>" in page
    assert "Do you issue wildcard certificates?" not in page
    assert len(faq.list_faq()) == 11
    assert deeds() == ["faq.change"]


def test_r2_every_version_is_kept(people: World) -> None:
    for number, text in enumerate(("First.", "Second."), start=0):
        faq.change_faq(
            actor=people.olga,
            key="wildcards",
            question="Wildcards?",
            answer=text,
            seen_version=number,
            now=NOW + timedelta(hours=number),
        )
    history = faq.faq_history(actor=people.otto, key="wildcards")
    assert [(entry.version, entry.answer) for entry in history[:2]] == [(2, "Second."), (1, "First.")]
    assert history[-1] == next(entry for entry in faq.shipped() if entry.key == "wildcards")
    assert [entry.by for entry in history] == ["olga", "olga", ""]
    page = signed_in("olga").get(reverse("help-faq-history", args=["wildcards"])).content.decode()
    assert page.index("Second.") < page.index("First.") < page.index("As it came with Certdesk")


def test_r2_saving_the_same_makes_no_version(people: World) -> None:
    entry = faq.get_faq(actor=people.olga, key="wildcards")
    faq.change_faq(
        actor=people.olga,
        key=entry.key,
        question=f"  {entry.question} ",
        answer=entry.answer.replace("\n", "\r\n"),
        seen_version=0,
        now=NOW,
    )
    assert not FaqVersion.objects.exists()


def test_r2_of_two_editors_one_is_told(people: World) -> None:
    change = {"key": "wildcards", "question": "Wildcards?", "seen_version": 0, "now": NOW}
    faq.change_faq(actor=people.olga, answer="Hers.", **change)  # type: ignore[arg-type] # as declared above
    with pytest.raises(StateConflict):
        faq.change_faq(actor=people.otto, answer="His.", **change)  # type: ignore[arg-type] # as declared above
    assert faq.get_faq(actor=people.otto, key="wildcards").answer == "Hers."
    stale = {"question": "Wildcards?", "answer": "His.", "version": "0"}
    assert signed_in("otto").post(reverse("help-faq-edit", args=["wildcards"]), stale).status_code == 409


def test_r2_a_new_entry_comes_last_and_has_a_key_of_its_own(people: World) -> None:
    first = faq.add_faq(actor=people.olga, question="May I pay?", answer="No need.", now=NOW)
    second = faq.add_faq(actor=people.olga, question="May I pay?", answer="Still no need.", now=NOW)
    assert (first, second) == ("may-i-pay", "may-i-pay-2")
    assert keys()[-2:] == [first, second]
    assert deeds() == ["faq.add"] * 2
    assert faq.add_faq(actor=people.olga, question="日本語？", answer="はい。", now=NOW) == "entry"


def test_r2_entries_move_and_no_order_is_lost(people: World) -> None:
    before = keys()
    second = before[1]
    faq.move_faq(actor=people.olga, key=second, up=True, seen_version=0, now=NOW)
    assert keys() == [second, before[0], *before[2:]]
    faq.move_faq(actor=people.olga, key=second, up=True, seen_version=1, now=NOW)  # it is the first already
    assert keys()[0] == second
    faq.move_faq(actor=people.olga, key=second, up=False, seen_version=1, now=NOW)
    assert keys() == before
    assert deeds() == ["faq.move"] * 4


def test_r2_a_hidden_entry_comes_back(people: World) -> None:
    faq.publish_faq(actor=people.olga, key="wildcards", published=False, seen_version=0, now=NOW)
    assert 'id="wildcards"' not in visible()
    assert b"#wildcards" not in Client().get("/help/search/", {"q": "wildcard"}).content
    assert "wildcards" in {entry.key for entry in faq.list_every_faq(actor=people.olga)}
    faq.publish_faq(actor=people.olga, key="wildcards", published=True, seen_version=1, now=NOW)
    assert 'id="wildcards"' in visible()
    assert deeds() == ["faq.hide", "faq.show"]


def test_r2_an_empty_faq_says_so(people: World) -> None:
    for key in keys():
        faq.publish_faq(actor=people.olga, key=key, published=False, seen_version=0, now=NOW)
    assert "There are no questions here yet" in visible()
    assert Client().get("/help/faq.pdf").status_code == 200


def test_r2_an_entry_has_to_say_something(people: World) -> None:
    add = {"actor": people.olga, "now": NOW}
    for question, answer, field in (
        ("  ", "x", "question"),
        ("Why?", " \n ", "answer"),
        ("q" * 201, "x", "question"),
        ("Why?", "x" * 4001, "answer"),
        ("Why?", "a\0b", "answer"),
    ):
        with pytest.raises(InvalidInput) as refused:
            faq.add_faq(question=question, answer=answer, **add)  # type: ignore[arg-type] # as declared above
        assert field in refused.value.fields
    assert not FaqVersion.objects.exists()


def test_r2_there_is_a_bound(people: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faq, "MAX_ENTRIES", 10)
    with pytest.raises(InvalidInput):
        faq.add_faq(actor=people.olga, question="One more?", answer="No.", now=NOW)


def test_r2_an_entry_that_is_not_there_is_not_found(people: World) -> None:
    with pytest.raises(NotFound):
        faq.change_faq(actor=people.olga, key="nothing", question="W?", answer="x", seen_version=0, now=NOW)
    for name in ("help-faq-edit", "help-faq-history"):
        assert signed_in("olga").get(reverse(name, args=["nothing"])).status_code == 404


def test_r2_the_preview_shows_and_saves_nothing(people: World) -> None:
    typed = {"question": "Is it *so*?", "answer": "**Yes**, <b>it</b> is.", "version": "0", "preview": "1"}
    page = signed_in("olga").post(reverse("help-faq-new"), typed).content.decode()
    assert "<strong>Yes</strong>, &lt;b&gt;it&lt;/b&gt; is." in page
    assert "Is it *so*?" in page
    assert not FaqVersion.objects.exists()


def test_r2_the_whole_way_through_the_pages(people: World) -> None:
    olga = signed_in("olga")
    assert reverse("help-faq-manage") in olga.get("/help/faq/").content.decode()
    typed = {"question": "May I call you?", "answer": "Yes, **in the morning**.", "version": ""}
    assert olga.post(reverse("help-faq-new"), typed).status_code == 302
    assert "<strong>in the morning</strong>" in visible()
    act = reverse("help-faq-act", args=["may-i-call-you"])
    assert olga.post(act, {"version": "1", "way": "up"}).status_code == 302
    assert keys()[-2] == "may-i-call-you"
    assert olga.post(act, {"version": "2", "way": "hide"}).status_code == 302
    assert "May I call you?" not in visible()
    assert "Hidden" in olga.get(reverse("help-faq-manage")).content.decode()
    assert olga.post(act, {"version": "2", "way": "show"}).status_code == 409
    assert olga.post(act, {"version": "3", "way": "sideways"}).status_code == 422
    edit = reverse("help-faq-edit", args=["may-i-call-you"])
    answer = olga.post(edit, {"question": "", "answer": "x", "version": "3"})
    assert answer.status_code == 422
    assert b"Write the question." in answer.content
    changed = {"question": "May I ring you?", "answer": "Yes.", "version": "3"}
    assert olga.post(edit, changed).status_code == 302
    assert faq.get_faq(actor=people.olga, key="may-i-call-you").question == "May I ring you?"


def test_r2_visitors_and_applicants_see_no_way_to_the_editor(people: World) -> None:
    assert reverse("help-faq-manage") not in visible()
    alice = signed_in("alice")
    assert reverse("help-faq-manage") not in alice.get("/help/faq/").content.decode()
