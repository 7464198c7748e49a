"""Warnings before anything lapses: challenges that end in vain, a method that ends (BR 3.2.2.4.4)."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail

from certdesk.domain.actors import OrgRole
from certdesk.domain.validation.evidence import Method
from certdesk.jobs.worker import Worker
from certdesk.services.validation.by_email import add_domain
from certdesk.services.validation.by_publication import cancel_method_challenge, check_due, start_challenge
from certdesk.services.validation.proof_warnings import SUNSET_STEPS, sunset_step, warn_ahead
from certdesk.store.models import AuditEvent, Domain, Organisation, ValidationRecord
from tests.integration.proving import SERVFAIL, Outside
from tests.integration.support import NOW, Clock, World, actor, audit_problems, organisation, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("meg")]
DAY = timedelta(days=1)
SUNSET = datetime(2028, 3, 15, tzinfo=UTC)


def mails(monkeypatch: pytest.MonkeyPatch, now: datetime, words: str) -> list[mail.EmailMessage]:
    """What a worker sends at a time, of a kind."""
    mail.outbox.clear()
    with monkeypatch.context() as patched:
        patched.setattr("django.utils.timezone.now", lambda: now)
        one = Worker(clock=lambda: now)
        for _ in range(2):
            one.tick(now=now)
            one.lookout.wait(seconds=30)
    return [message for message in mail.outbox if words in message.subject]


def test_who_asked_is_told_once_that_a_challenge_ends_and_what_was_seen(
    people: World, net: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.problems["new.ac.uk"] = SERVFAIL
    added = add_domain(actor=people.alice, organisation_id=people.university, name="new.ac.uk", now=NOW)
    start_challenge(actor=people.alice, domain_id=added, method=Method.DNS_TXT, now=NOW)
    check_due(clock=Clock(NOW + DAY), limit=10)
    assert mails(monkeypatch, NOW + 26 * DAY, "not proven yet") == []
    (told,) = mails(monkeypatch, NOW + 27 * DAY, "not proven yet")
    assert told.to == ["alice@example.ac.uk"]
    assert "The name server fails." in told.body
    assert f"/domains/{added}/" in told.body
    assert mails(monkeypatch, NOW + 28 * DAY, "not proven yet") == []
    assert audit_problems() == []


def test_a_challenge_that_was_met_or_cancelled_warns_nobody(
    people: World, net: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = add_domain(actor=people.alice, organisation_id=people.university, name="new.ac.uk", now=NOW)
    started = start_challenge(actor=people.alice, domain_id=added, method=Method.DNS_TXT, now=NOW)
    warn_ahead(now=NOW + 28 * DAY)
    cancel_method_challenge(actor=people.alice, challenge_id=started, now=NOW + 28 * DAY)
    assert mails(monkeypatch, NOW + 28 * DAY, "not proven yet") == []


def proven_by(method: Method, of: int, adn: str, *, at: datetime) -> None:
    domain = Domain.objects.create(organisation_id=of, adn=adn, created_at=at)
    ValidationRecord.objects.create(
        domain=domain, method=method, source="BR", evidence={}, validated_at=at, expires_at=at + 398 * DAY
    )


def test_the_steps_before_the_end_of_email() -> None:
    at = {days: sunset_step(now=SUNSET - days * DAY) for days in (181, 180, 91, 90, 30, 8, 7, 1, 0)}
    assert at == {181: None, 180: 180, 91: 180, 90: 90, 30: 30, 8: 30, 7: 7, 1: 7, 0: None}


def test_who_rests_on_email_is_told_at_each_step_before_it_ends_with_the_names(
    people: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = SUNSET - 200 * DAY
    other = organisation("Other College")
    actor("otis", organisation=other, role=OrgRole.MANAGER)
    proven_by(Method.EMAIL_CONSTRUCTED, people.university, "mail.ac.uk", at=start)
    proven_by(Method.DNS_TXT, people.university, "dns.ac.uk", at=start)
    proven_by(Method.DNS_TXT, other, "theirs.ac.uk", at=start)
    told = []
    for days in (181, 180, 179, 90, 30, 7, 1, 0):
        for message in mails(monkeypatch, SUNSET - days * DAY, "Validation by e-mail ends"):
            told.append((days, tuple(message.to)))
            assert "15 March 2028" in message.body
            assert "mail.ac.uk" in message.body
            assert "dns.ac.uk" not in message.body
    assert told == [(days, ("meg@example.ac.uk",)) for days in (180, 90, 30, 7)]
    assert audit_problems() == []


def test_a_closed_organisation_is_left_alone(people: World) -> None:
    proven_by(Method.EMAIL_CONSTRUCTED, people.university, "mail.ac.uk", at=SUNSET - 100 * DAY)
    Organisation.objects.update(is_active=False)
    warn_ahead(now=SUNSET - 5 * DAY)
    assert not AuditEvent.objects.filter(action="organisation.warn_sunset").exists()


def test_several_workers_tell_once(people: World) -> None:
    proven_by(Method.EMAIL_CONSTRUCTED, people.university, "mail.ac.uk", at=SUNSET - 100 * DAY)
    together([lambda: warn_ahead(now=SUNSET - 5 * DAY)] * 4)
    assert AuditEvent.objects.filter(action="organisation.warn_sunset").count() == 1
    assert max(SUNSET_STEPS) == 180
