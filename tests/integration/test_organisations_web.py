"""Pages of organisations and people, the CA's buttons and the operator's page, as their readers use them."""

import re
from datetime import timedelta
from unittest import mock
from uuid import uuid4

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from certdesk.domain.actors import OrgRole, RaRole
from certdesk.domain.issuing.certificates import Accepted, Refused
from certdesk.domain.issuing.states import Status
from certdesk.domain.validation.corroboration import Quorum, Shortfall
from certdesk.services.people.organisations import (
    create_organisation,
    disable_organisation,
    rename_organisation,
    vet_organisation,
)
from certdesk.services.system import runtime
from certdesk.store.jobs import enqueue
from certdesk.store.models import AuditEvent, Issuance, Membership, Organisation, User
from certdesk.store.selectors.organisations import organisation_history
from tests.integration import support
from tests.integration.support import (
    NOW,
    ScriptedCa,
    World,
    actor,
    events_of,
    issuance_of,
    manager,
    signed_in,
    state_of,
    submit,
    world,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_configured")]
UNIVERSITY = "example-university"


@pytest.fixture
def people() -> World:
    made = world()
    manager(made)
    actor("op", ra=RaRole.OPERATOR)
    actor("rick", ra=RaRole.AUDITOR)
    return made


def text_of(answer: object) -> str:
    assert isinstance(answer, HttpResponse)
    return answer.content.decode()


def show(client: Client) -> str:
    return text_of(client.get(reverse("organisations-show", args=[UNIVERSITY])))


def person(name: str, username: str) -> str:
    return reverse(name, args=[UNIVERSITY, User.objects.get(username=username).pk])


def test_a_manager_issues_a_new_password_that_is_shown_once(people: World) -> None:
    meg = signed_in("meg")
    answer = meg.post(person("organisations-person-account", "bob"), {"act": "password"})
    found = re.search(r'class="secret"[^>]*>([^<]+)<', text_of(answer))
    assert found
    assert User.objects.get(username="bob").check_password(found[1])
    assert "no-store" in answer["Cache-Control"]
    assert found[1] not in show(meg)
    outside = reverse("organisations-person-account", args=[UNIVERSITY, User.objects.get(username="olga").pk])
    assert meg.post(outside, {"act": "password"}).status_code == 404
    assert signed_in("olga").post(outside, {"act": "password"}).status_code == 404


def test_roles_and_leaving_from_the_page(people: World) -> None:
    meg = signed_in("meg")
    assert "Make a manager" in show(meg)
    meg.post(person("organisations-person-role", "bob"), {"role": "manager"})
    assert Membership.objects.get(user__username="bob").role == OrgRole.MANAGER
    assert meg.post(person("organisations-person-role", "bob"), {"role": "king"}).status_code == 404
    ids = {name: User.objects.get(username=name).pk for name in ("meg", "alice", "olga")}
    leave = reverse("organisations-hand-over", args=[UNIVERSITY])
    same = meg.post(leave, {"leaver": ids["alice"], "successor": ids["alice"]})
    assert same.status_code == 422
    assert "Choose someone else." in text_of(same)
    assert meg.post(leave, {"leaver": ids["alice"], "successor": ids["olga"]}).status_code == 422
    gone = meg.post(leave, {"leaver": ids["meg"], "successor": ids["alice"]})
    assert (gone.status_code, gone["Location"]) == (302, "/")
    assert meg.get(reverse("organisations-show", args=[UNIVERSITY])).status_code in (302, 404)
    assert Membership.objects.get(user__username="alice").role == OrgRole.MANAGER


def test_an_officer_is_warned_when_no_manager_is_left(people: World) -> None:
    olga = signed_in("olga")
    assert "This is the last manager" in show(olga)
    answer = olga.post(person("organisations-disable-person", "meg"), follow=True)
    assert "has no manager now" in text_of(answer)
    page = text_of(olga.post(person("organisations-enable-person", "meg"), follow=True))
    assert "enabled again, as an applicant" in page


def test_officers_rename_and_disable_with_reasons(people: World) -> None:
    olga = signed_in("olga")
    rename = reverse("organisations-rename", args=[UNIVERSITY])
    fields = {"legal_name": "Example Polytechnic", "country": "GB", "locality": ""}
    assert olga.post(rename, fields).status_code == 422
    assert olga.post(rename, {**fields, "evidence": "The register."}).status_code == 302
    active = reverse("organisations-active", args=[UNIVERSITY])
    assert olga.post(active, {"to": "disabled", "reason": ""}).status_code == 422
    assert olga.post(active, {"to": "disabled", "reason": "Closed."}).status_code == 302
    assert signed_in("alice").get(reverse("organisations-show", args=[UNIVERSITY])).status_code == 404
    assert "Enable this organisation" in show(olga)
    assert olga.post(active, {"to": "enabled", "reason": "Open again."}).status_code == 302
    row = Organisation.objects.get(id=people.university)
    assert (row.legal_name, row.is_active) == ("Example Polytechnic", True)


def test_what_the_ra_did_is_told_with_its_evidence_to_the_ra_alone(people: World) -> None:
    made = create_organisation(
        actor=people.olga, legal_name="New College", slug="new-college", country="GB", locality="", now=NOW
    )
    vet_organisation(
        actor=people.otto, organisation_id=made, evidence="Register of colleges,\nentry <7>.", now=NOW
    )
    rename_organisation(
        actor=people.olga,
        organisation_id=made,
        legal_name="Newer College",
        country="GB",
        locality="",
        evidence="A letter of theirs.",
        now=NOW,
    )
    disable_organisation(actor=people.otto, organisation_id=made, reason="Closed in 2026.", now=NOW)
    address = reverse("organisations-show", args=["new-college"])
    for who in ("olga", "rick"):
        page = text_of(signed_in(who).get(address)).partition('id="history"')[2]
        changed = "New College → Newer College"
        for words in ("Register of colleges,<br>entry &lt;7&gt;.", changed, "Closed in 2026.", "otto"):
            assert words in page, f"{who}: {words}"
        assert page.index("Closed in 2026.") < page.index("A letter of theirs.") < page.index("Register of")
    assert organisation_history(actor=people.alice, organisation_id=people.university) == []
    for who in ("alice", "meg"):
        own = text_of(signed_in(who).get(reverse("organisations-show", args=["example-university"])))
        assert 'id="history"' not in own, who


def test_managers_and_auditors_see_no_officers_forms(people: World) -> None:
    for name in ("meg", "rick"):
        page = show(signed_in(name))
        for words in ("Change name or place", "Disable this organisation", "Add someone who has an account"):
            assert words not in page, name
    assert "New password" not in show(signed_in("rick"))
    assert "alice" in show(signed_in("rick"))


def test_r28_an_officer_sends_a_refused_request_again(people: World) -> None:
    ca = ScriptedCa(answers=[Refused(reason="The organisation is on our list."), support.signed])
    ca.inline = True
    with support.backend(ca):
        number = submit(people.alice).number
        assert state_of(number) is Status.REJECTED_BY_CA
        assert "Send to the CA again" not in text_of(
            signed_in("alice").get(reverse("requests-show", args=[number]))
        )
        olga, page = signed_in("olga"), reverse("requests-show", args=[number])
        text = text_of(olga.get(page))
        version = re.search(r'name="version" value="(\d+)"', text)
        assert version
        retry = reverse("requests-retry", args=[number])
        assert olga.post(retry, {"note": "x", "version": "0"}).status_code == 409
        assert olga.post(retry, {"note": "Settled by phone.", "version": version[1]}).status_code == 302
        assert state_of(number) is Status.ACCEPTED
        assert events_of(number)[-1] == "retry"
        assert "Settled by phone." in text_of(olga.get(page))


def test_r24_elapsed_and_usual_time_and_asking_now(people: World) -> None:
    ca = ScriptedCa(answers=[Accepted(handle="ORDER-1")], polls=[Accepted(handle="ORDER-1")])
    ca.inline = True
    with support.backend(ca):
        number = submit(people.alice, clock=lambda: timezone.now() - timedelta(minutes=30)).number
        assert state_of(number) is Status.SUBMITTED
        Issuance.objects.filter(request_id=number).update(next_attempt_at=timezone.now() + timedelta(hours=1))
        page = reverse("requests-show", args=[number])
        alice, olga = text_of(signed_in("alice").get(page)), signed_in("olga")
        assert "Waiting since" in alice
        assert "30 minutes" in alice
        assert "Not known yet" in alice
        assert "Ask the CA now" not in alice
        assert "Ask the CA now" in text_of(olga.get(page))
        assert olga.post(reverse("requests-poll", args=[number])).status_code == 302
    due = issuance_of(number).next_attempt_at
    assert due is not None
    assert due < timezone.now() + timedelta(minutes=5)
    assert AuditEvent.objects.filter(action="request.poll_now", object_id=str(number)).exists()


def _failed_job() -> DBTaskResult[..., None]:
    enqueue("mail_password_reset", due_at=NOW, email="secret.person@example.org")
    job = DBTaskResult.objects.get(task_path__endswith="mail_password_reset")
    DBTaskResult.objects.filter(id=job.id).update(
        status=TaskResultStatus.FAILED,
        finished_at=NOW,
        worker_ids=["a", "b"],
        exception_class_path="smtplib.SMTPRecipientsRefused",
    )
    return job


def test_the_operator_sees_failed_jobs_without_secrets_and_runs_them_again(people: World) -> None:
    job, op = _failed_job(), signed_in("op")
    text = text_of(op.get(reverse("service")))
    assert "Mail to reset a password" in text
    assert "SMTPRecipientsRefused" in text
    assert "secret.person" not in text
    assert "1 job failed" in text_of(op.get(reverse("home")))
    assert op.post(reverse("service-retry", args=[job.id])).status_code == 302
    job.refresh_from_db()
    assert (job.status, job.worker_ids) == (TaskResultStatus.READY, [])
    assert AuditEvent.objects.filter(action="job.retry", object_id=str(job.id)).exists()
    for again in (job.id, uuid4()):
        assert op.post(reverse("service-retry", args=[again])).status_code == 409


def test_the_operator_sees_which_rule_will_ask_for_more_perspectives(people: World) -> None:
    begins = NOW + timedelta(days=60)
    lack = Shortfall(on=begins, needed=Quorum(perspectives=9, regions=2), perspectives=4, regions=2)
    with mock.patch("certdesk.web.settings.operating.shortfall", return_value=lack):
        text = text_of(signed_in("op").get(reverse("service")))
    assert f"More perspectives are needed from {lack.day}" in text
    assert lack.to_do in text


def test_the_operator_sees_what_is_late_and_each_ca(people: World) -> None:
    number = submit(people.alice, "www.elsewhere.org").number
    Issuance.objects.filter(request_id=number).update(next_attempt_at=NOW - timedelta(hours=2))
    text = text_of(signed_in("op").get(reverse("service")))
    assert "Late: is a worker running?" in text
    assert "2 hours" in text
    for backend in runtime.current().backends.values():
        assert backend.title in text
