"""Settings changed in the portal: who may, limits, history, in force at once in every process (item 6)."""

from functools import partial

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from certdesk.domain.actors import Actor, RaRole
from certdesk.domain.errors import CertdeskError, NotAuthorized, NotFound, StateConflict
from certdesk.domain.issuing.states import Status
from certdesk.services.mail.compose import letter
from certdesk.services.requests.decisions import reject_request
from certdesk.services.system import runtime
from certdesk.services.system.settings import change_settings, default_settings, reset_setting
from certdesk.store.db import write_transaction
from certdesk.store.models import AuditEvent, RequestEvent, SettingsVersion
from certdesk.store.selectors.settings import latest_settings, settings_history
from tests.integration.api_calls import with_token
from tests.integration.support import (
    NOW,
    World,
    actor,
    audit_problems,
    notify,
    outcomes,
    signed_in,
    state_of,
    submit,
    together,
    world,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_configured")]


@pytest.fixture
def op() -> Actor:
    return actor("op", ra=RaRole.OPERATOR)


def change(by: Actor, **values: object) -> None:
    change_settings(actor=by, values=values, seen_version=None, now=NOW)


def filled_in(**changes: object) -> dict[str, object]:
    """The form as the page shows it, with some fields changed."""
    current = runtime.current().settings
    return {
        "version": latest_settings()[0],
        "ra": current.ra,
        "service_name": current.service_name,
        "ra_contact": current.ra_contact,
        "support_url": current.support_url,
        "trusted_suffixes": "\n".join(current.trusted_suffixes),
        "durations": [str(n) for n in current.durations],
        "server_software": "\n".join(current.server_software),
        "ownership_days": current.ownership_days,
        "challenge_days": current.challenge_days,
        "password_min_length": current.password_min_length,
        **changes,
    }


def test_only_an_operator_changes_and_an_auditor_reads(op: Actor) -> None:
    people = world()
    rick = actor("rick", ra=RaRole.AUDITOR)
    change(op, ra="Registrars")
    assert [row.by for row in settings_history(actor=rick)] == ["op"]
    for other in (people.alice, people.olga):
        with pytest.raises(NotFound):
            settings_history(actor=other)
    for other in (people.alice, people.olga, rick):
        with pytest.raises(NotAuthorized):
            change(other, ra="Mine")
    assert runtime.current().rules.ra == "Registrars"


def test_a_change_is_audited_with_before_and_after(op: Actor) -> None:
    before = runtime.current().settings
    change(op, ra="Registrars", challenge_days="14")
    (row,) = settings_history(actor=op)
    assert row.changed == {"ra": (before.ra, "Registrars"), "challenge_days": (before.challenge_days, 14)}
    event = AuditEvent.objects.get(action="settings.change")
    assert event.actor == "op"
    assert event.data["ra"] == [before.ra, "Registrars"]
    assert audit_problems() == []
    change(op, ra="Registrars")  # nothing is different: nothing happened
    assert SettingsVersion.objects.count() == 1


def test_back_to_the_default_follows_the_configuration_again(op: Actor) -> None:
    usual = default_settings(now=NOW)
    change(op, ra="Registrars", durations=["1"])
    reset_setting(actor=op, name="ra", seen_version=None, now=NOW)
    assert runtime.current().settings.ra == usual.ra
    assert runtime.current().settings.durations == (1,)
    assert set(SettingsVersion.objects.latest("id").values) == {"durations"}


def elsewhere(op: Actor, **values: object) -> None:
    """Changes settings as another process would, while this one has just looked at them."""
    runtime.refresh()
    runtime.current()
    SettingsVersion.objects.create(values=values, changed={}, by="op", user_id=op.user_id, at=NOW)


def test_a_page_sees_another_process_s_change_within_a_second(
    op: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runtime.current().settings.ra
    elsewhere(op, ra="Elsewhere")
    assert runtime.current().settings.ra == before
    monkeypatch.setattr(runtime._Holder, "checked_at", runtime._Holder.checked_at - runtime.FRESH_FOR - 0.01)
    assert runtime.current().settings.ra == "Elsewhere"


def test_what_is_written_or_decided_uses_the_newest_settings(op: Actor) -> None:
    """A mail, a transaction and a form sent, each in the second after another process's change."""
    elsewhere(op, service_name="Mailed", ra="Mailed", ra_contact="mailed@example.org")
    mail = letter(subject="x", blocks=["y"], to=[])
    assert mail.subject.startswith("[Mailed]")
    assert "Mailed: mailed@example.org" in str(mail.body)
    elsewhere(op, ra="Decided")
    with write_transaction():
        assert runtime.current().rules.ra == "Decided"
        with CaptureQueriesContext(connection) as asked:
            assert runtime.current().rules.ra == "Decided"
    assert not asked.captured_queries, "one look in each transaction"
    elsewhere(op, password_min_length=20)
    Client().post("/accounts/login/")
    assert runtime.current().settings.password_min_length == 20


def test_of_two_operators_at_once_one_wins(op: Actor) -> None:
    other = actor("opal", ra=RaRole.OPERATOR)
    calls = [
        partial(change_settings, actor=who, values={"ra": f"Of {who.label}"}, seen_version=0, now=NOW)
        for who in (op, other)
    ]
    won, refused = outcomes(together(calls))
    assert len(won) == 1
    assert [type(error) for error in refused] == [StateConflict]
    assert SettingsVersion.objects.count() == 1
    runtime.refresh()
    assert runtime.current().settings in won


def test_a_form_from_before_a_change_is_refused_with_409(op: Actor) -> None:
    stale = filled_in(ra="From an old page")
    change(op, ra="Registrars")
    answer = signed_in("op").post(reverse("settings"), stale)
    assert answer.status_code == 409
    assert runtime.current().settings.ra == "Registrars"
    late = signed_in("op").post(reverse("settings-reset"), {"name": "ra", "version": stale["version"]})
    assert late.status_code == 409


def test_the_page_shows_value_default_history_and_says_what_is_wrong(op: Actor) -> None:
    page = signed_in("op")
    refused = page.post(reverse("settings"), filled_in(ownership_days="399", ra=""))
    assert refused.status_code == 422
    assert SettingsVersion.objects.count() == 0
    days = page.post(reverse("settings"), filled_in(ownership_days="399"))
    assert "Give a number of days from 1 to 398." in days.content.decode()
    assert page.post(reverse("settings"), filled_in(ra="<b>Registrars</b>")).status_code == 302
    text = page.get(reverse("settings")).content.decode()
    assert "JTAG → &lt;b&gt;Registrars&lt;/b&gt;" in text
    assert "Default: JTAG" in text
    assert "Back to the default" in text
    back = page.post(reverse("settings-reset"), {"name": "ra", "version": latest_settings()[0]})
    assert back.status_code == 302
    assert runtime.current().settings.ra == "JTAG"


def test_r7_short_passwords_are_possible_and_warned_of(op: Actor) -> None:
    page = signed_in("op")
    assert "Short passwords are accepted" not in page.get(reverse("settings")).content.decode()
    answer = page.post(reverse("settings"), filled_in(password_min_length="3"), follow=True)
    text = answer.content.decode()
    assert "The shortest password has 3 characters." in text
    assert "Short passwords are accepted" in text
    assert page.post(reverse("settings"), filled_in(password_min_length="2")).status_code == 422
    assert runtime.current().settings.password_min_length == 3


def test_r25_the_name_of_the_ra_shows_in_status_pages_and_mails(op: Actor) -> None:
    people = world()
    number = submit(people.alice, "www.elsewhere.org").number
    change(op, ra="The Registrars", service_name="Certificates of Ours")
    reject_request(actor=people.olga, number=number, details="Not theirs.", now=NOW)
    page = signed_in("alice").get(reverse("requests-show", args=[number])).content.decode()
    assert "Rejected by The Registrars" in page
    assert "Certificates of Ours" in page
    assert "JTAG" not in page
    assert with_token(people.alice).get(f"/requests/{number}").json["status_text"].endswith("The Registrars")
    event = RequestEvent.objects.get(request_id=number, event="reject")
    notify(event.pk)
    (sent,) = [m for m in mail.outbox if "Rejected" in m.subject]
    assert sent.subject == f"[Certificates of Ours] Request {number}: Rejected by The Registrars"


def test_r30_a_suffix_that_is_trusted_no_more_sends_names_to_a_person(op: Actor) -> None:
    people: World = world()
    assert state_of(submit(people.alice).number) is Status.ISSUED
    change(op, trusted_suffixes="gov.uk")
    number = submit(people.alice, "www.unproven.ac.uk").number
    assert state_of(number) is Status.WAITING_FOR_APPROVAL
    page = signed_in("olga").get(reverse("requests-show", args=[number])).content.decode()
    assert 'data-code="names.outside_trusted_suffix"' in page


def test_a_value_that_no_rule_allows_any_more_is_left_out(op: Actor) -> None:
    change(op, ra="Registrars")
    SettingsVersion.objects.update(values={"ra": "Registrars", "ownership_days": 9999})
    runtime.refresh()
    assert runtime.current().settings.ra == "Registrars"
    assert runtime.current().ownership_days == default_settings(now=NOW).ownership_days


def test_refusals_are_errors_of_ours(op: Actor) -> None:
    with pytest.raises(CertdeskError):
        change(op, support_url="javascript:alert(1)")
    assert SettingsVersion.objects.count() == 0
