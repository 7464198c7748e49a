"""A stop of all issuing: by an operator, or by full lint after issuing; nothing passes until it is lifted."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock, call

import pytest
from django.utils import timezone

from certdesk.backends.embedded import EmbeddedBackend
from certdesk.domain.actors import SYSTEM, RaRole
from certdesk.domain.errors import InvalidInput, OutcomeUnknown, Unavailable
from certdesk.domain.issuing.certificates import Absent, Intent
from certdesk.domain.issuing.lint import Finding, Severity
from certdesk.domain.issuing.states import Work
from certdesk.jobs.worker import Worker
from certdesk.services.issuance import lint_again
from certdesk.services.system import runtime
from certdesk.services.system.settings import change_settings
from certdesk.store.models import AcmeOrder, AuditEvent, Certificate, Request
from tests.harness.acme_client import make_csr
from tests.integration.engine import CHANNELS, NAME, ORDERS, Story, watching
from tests.integration.support import World, actor, backend, configured, signed, signed_in, submit, world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_configured")]

BROKEN = Finding(code="some.rule", severity=Severity.ERROR, message="")


def stop(reason: str) -> None:
    """Stops issuing; an empty reason lets it go on."""
    change_settings(
        actor=SYSTEM, values={"issuing_stopped": reason}, seen_version=None, now=datetime.now(UTC)
    )
    runtime.look_again()


def stopped(**what: Any) -> AbstractContextManager[None]:
    """The same for as long as a test wants, whatever CA it has; or `what` alone is stopped."""
    what = what or {"issuing_stopped": "Moving house."}
    return configured(settings=replace(runtime.current().settings, **what))


@pytest.mark.parametrize(
    "what",
    [
        {"issuing_stopped": "Moving house."},
        {"parts_stopped": ("ca scripted: Moving house.",)},
        {"parts_stopped": ("profile tls-server: Moving house.",)},
    ],
    ids=["all", "the CA", "the profile"],
)
@pytest.mark.parametrize("channel", CHANNELS)
def test_every_channel_waits_and_goes_on(channel: str, what: Mapping[str, object]) -> None:
    story = Story(channel)
    with backend(watching((signed,))):
        with stopped(**what):
            story.ask()
            if channel in ORDERS:
                assert story.reply is not None
                assert (story.reply.status, b"Moving" in story.reply.body) == (503, False)
                assert story.order.status == "ready"
            else:
                for _ in range(3):
                    story.step()
                assert story.row.state == Work.WAITING
            assert Certificate.objects.count() == story.before
        if channel in ORDERS:
            assert story.client is not None
            url = f"{runtime.current().base_url}/acme/order/{AcmeOrder.objects.get().pk}/finalize"
            story.client.finalize({"finalize": url}, make_csr(NAME, key=story.key))
        else:
            story.run()
        story.expect(Work.ISSUED)


def test_what_was_claimed_before_is_not_sent_again() -> None:
    """A crash had left it claimed; the CA has nothing of it, and would be sent the recorded intent."""
    story = Story("first")
    ca = watching((OutcomeUnknown("The line broke."), signed), found=(Absent(),))
    with backend(ca):
        story.ask()
        with stopped():
            story.step()
            story.step()
            assert (story.row.state, len(ca.submitted)) == (Work.CLAIMED, 1)
        story.run()
        story.expect(Work.ISSUED)


def test_a_stop_between_the_look_and_the_claim_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    w, prepare = world(), EmbeddedBackend.prepare

    def prepare_and_stop(self: EmbeddedBackend, intent: Intent) -> Intent:
        ready = prepare(self, intent)
        stop("Moving house.")
        return ready

    monkeypatch.setattr(EmbeddedBackend, "prepare", prepare_and_stop)
    with pytest.raises(Unavailable):
        submit(w.alice, NAME)
    assert not Certificate.objects.exists()
    assert not Request.objects.exists()


class TestLintAgain:
    def test_each_certificate_is_linted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lint = Mock(return_value=())
        monkeypatch.setattr(lint_again, "lint_certificate", lint)
        w = world()
        submit(w.alice, NAME)
        submit(w.alice, "mail.example.ac.uk")
        for _ in range(2):
            Worker().tick(now=timezone.now())
        assert lint.call_args_list == [call(bytes(one.der)) for one in Certificate.objects.order_by("id")]
        assert not runtime.newest().settings.issuing_stopped

    def test_so_many_at_a_time(self, w: World) -> None:
        for n in range(3):
            submit(w.alice, f"h{n}.example.ac.uk")
        left = [lint_again.lint_issued(now=timezone.now(), limit=2) for _ in range(3)]
        assert left == [True, True, False]

    def test_what_another_ca_has_issued_was_never_linted_here(self) -> None:
        story = Story("first")
        with backend(watching((signed,))):
            story.ask()
        assert not lint_again.lint_issued(now=timezone.now(), limit=10)

    def test_a_difference_stops_issuing_once_and_operators_see_why(
        self, w: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        submit(w.alice, NAME)
        with monkeypatch.context() as patched:
            patched.setattr(lint_again, "lint_certificate", lambda _der: (BROKEN,))
            Worker().tick(now=timezone.now())
        reason = runtime.newest().settings.issuing_stopped
        assert Certificate.objects.get().serial in reason
        assert "some.rule" in reason
        assert AuditEvent.objects.filter(action="settings.change", actor="Certdesk").count() == 1
        actor("oscar", ra=RaRole.OPERATOR)
        assert reason in signed_in("oscar").get("/service/").content.decode()
        submit(w.alice, "mail.example.ac.uk")
        assert Certificate.objects.count() == 1
        stop("")
        Worker().tick(now=timezone.now())
        assert not runtime.newest().settings.issuing_stopped
        later = timezone.now() + timedelta(minutes=20)
        Worker(clock=lambda: later).tick(now=later)
        assert Certificate.objects.count() == 2

    def test_what_lint_breaks_over_stops_issuing_and_holds_up_no_other(
        self, w: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        submit(w.alice, NAME)
        submit(w.alice, "mail.example.ac.uk")
        first, second = Certificate.objects.order_by("id")

        def lint(der: bytes) -> tuple[Finding, ...]:
            if der == bytes(first.der):
                raise RecursionError
            return (BROKEN,)

        monkeypatch.setattr(lint_again, "lint_certificate", lint)
        assert lint_again.lint_issued(now=timezone.now(), limit=10)
        reason = runtime.newest().settings.issuing_stopped
        assert f"{first.serial} (it can't be linted)" in reason
        assert f"{second.serial} (some.rule)" in reason
        assert not lint_again.lint_issued(now=timezone.now(), limit=10)

    def test_an_operators_own_reason_stands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        submit(world().alice, NAME)
        stop("Moving house.")
        monkeypatch.setattr(lint_again, "lint_certificate", lambda _der: (BROKEN,))
        Worker().tick(now=timezone.now())
        assert runtime.newest().settings.issuing_stopped == "Moving house."


def stop_part(line: str) -> None:
    """Stops a CA or a profile."""
    values = {"parts_stopped": [line] if line else []}
    change_settings(actor=SYSTEM, values=values, seen_version=None, now=datetime.now(UTC))
    runtime.look_again()


def test_the_next_ca_of_the_profile_takes_over_from_a_stopped_one(w: World) -> None:
    first, second = watching((signed,)), replace(watching((signed,)), name="second")
    kind = replace(runtime.current().profile("tls-server"), cas=(first.name, "second"))
    cas = {first.name: first, "second": second}
    usual = runtime.current().settings
    stopped = replace(usual, parts_stopped=(f"ca {first.name}: Moving house.",))
    for settings, name, asked in ((stopped, "one", [0, 1]), (usual, "two", [1, 1])):
        with configured(
            backends=cas, default_backend=first.name, profiles={kind.id: kind}, settings=settings
        ):
            number = submit(w.alice, f"{name}.example.ac.uk").number
            Worker().tick(now=timezone.now())
        assert [len(ca.submitted) for ca in (first, second)] == asked
        assert Request.objects.get(id=number).status == "issued"


@pytest.mark.parametrize("line", ["ca nobody: Why.", "profile none: Why.", "ca embedded", "everything: Why."])
def test_only_what_is_there_can_be_stopped_and_for_a_reason(line: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        stop_part(line)
    assert set(refused.value.fields) == {"parts_stopped"}


def test_everybody_reads_that_nothing_is_issued_and_operators_what_is_stopped_in_part(w: World) -> None:
    actor("oscar", ra=RaRole.OPERATOR)
    stop("Moving house.")
    for who in ("alice", "olga"):
        page = signed_in(who).get("/").content.decode()
        assert "No certificates are being issued at the moment" in page
        assert "Moving house." not in page
    stop("")
    stop_part("ca embedded: Moving house.")
    assert (
        "No certificates are being issued at the moment" not in signed_in("alice").get("/").content.decode()
    )
    for path in ("/service/", "/service/cas/"):
        assert "Moving house." in signed_in("oscar").get(path).content.decode()


def test_a_stop_of_what_is_gone_hinders_no_other_change(w: World) -> None:
    """A CA that was stopped and then taken out of the file: the whole service can still be stopped."""
    old = replace(watching((signed,)), name="old")
    with configured(backends={**runtime.current().backends, "old": old}):
        stop_part("ca old: Moving house.")
    lines = ["ca old: Moving house."]
    values: dict[str, object] = {"issuing_stopped": "Alarm.", "parts_stopped": lines}
    change_settings(actor=SYSTEM, values=values, seen_version=None, now=datetime.now(UTC))
    assert runtime.newest().settings.issuing_stopped == "Alarm."
    with pytest.raises(InvalidInput):
        stop_part("ca older: Moving house.")
