"""What is looked at before anything is sent: keys met before, known keys, lint, caps; a policy in force."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certdesk.backends.embedded.backend import EmbeddedBackend
from certdesk.conf.apps import configured_settings, load_policy, refuse_unknown_cas
from certdesk.conf.config import load_config
from certdesk.domain.csr.csr import read_csr
from certdesk.domain.errors import BackendRefused, Misconfigured, PolicyRefused
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing import lint_shapes
from certdesk.domain.issuing.lint import Finding, Severity
from certdesk.domain.issuing.states import Status
from certdesk.domain.policy.decide import Outcome
from certdesk.domain.policy.file import read_policy
from certdesk.services.requests import preflight
from certdesk.services.requests.asking import Preview, create_request, preview_request
from certdesk.services.requests.decisions import waiting_csr
from certdesk.services.revocation.known_keys import FRESH_FOR, KnownKeysFolder
from certdesk.services.system import runtime
from certdesk.services.system.runtime import CaaSettings
from certdesk.store.models import Approval, Certificate, Request
from certdesk.store.selectors.facts import organisation_row
from certdesk.store.sql import facts_now
from tests.integration.support import (
    NOW,
    Clock,
    World,
    approve_only,
    configured,
    create,
    csr,
    issue,
    outsider,
    sent,
    submission,
    submit,
    world,
)
from tests.unit.test_known_keys import octets

pytestmark = pytest.mark.django_db(transaction=True)


def previewed(w: World, upload: bytes, *, years: int = 1) -> Preview:
    return preview_request(
        actor=w.alice, submission=submission(w.university, upload=upload, years=years), now=NOW
    )


def seen(shown: Preview, code: str) -> list[tuple[str, str]]:
    return [(c.verdict.value, c.seen) for c in shown.decision.checks if c.code == code]


def found(shown: Preview, verdict: Verdict) -> set[str]:
    return {check.code for check in shown.decision.checks if check.verdict is verdict}


class TestKeysMetBefore:
    def test_an_own_earlier_request_is_named(self) -> None:
        w, key = world(), ec.generate_private_key(ec.SECP256R1())
        asked = submission(w.university, upload=csr("one.example.ac.uk", key=key))
        numbers = [
            create_request(actor=who, submission=replace(asked, note=str(n)), channel="api", now=NOW).number
            for n, who in enumerate((w.alice, w.bob))
        ]
        shown = previewed(w, csr("two.example.ac.uk", key=key))
        assert seen(shown, "key.reused") == [("warn", f"request {max(numbers)}")]
        assert shown.decision.outcome is Outcome.AUTO
        assert seen(previewed(w, csr("three.example.ac.uk")), "key.reused") == []

    def test_somebody_elses_key_waits_for_an_officer_and_nobody_is_named(self) -> None:
        w, key = world(), ec.generate_private_key(ec.SECP256R1())
        number = sent(outsider("other.ac.uk"), csr("www.other.ac.uk", key=key)).number
        shown = previewed(w, csr("www.example.ac.uk", key=key))
        assert seen(shown, "key.used_elsewhere") == [("manual", "")]
        assert shown.decision.outcome is Outcome.MANUAL
        (reason,) = shown.decision.manual_reasons
        assert str(number) not in reason.message
        assert "Other College" not in reason.message

    def test_who_used_it_first_is_not_held_up_by_whoever_comes_after(self) -> None:
        """Nobody stops somebody else's certificate by sending their CSR."""
        w, upload = world(), csr("www.example.ac.uk")
        made = sent(w.alice, upload)
        assert made.status is Status.ACCEPTED
        assert sent(outsider(), upload).status is Status.WAITING_FOR_APPROVAL
        assert issue(made.number, clock=Clock()) is Status.ISSUED

    def test_the_search_reads_an_index(self) -> None:
        world()
        with CaptureQueriesContext(connection) as queries:
            facts_now(1, adns=["example.ac.uk"], key="00", now=NOW)
        (query,) = queries.captured_queries
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("EXPLAIN QUERY PLAN " + query["sql"])
                plan = " ".join(str(row) for row in cursor.fetchall())
                assert "SCAN store_" not in plan
                assert "issuance_by_key" in plan
                assert "SEARCH d USING" in plan
                assert "SEARCH v USING" in plan


class TestKnownKeys:
    def _folder(self, path: Path, *uploads: bytes) -> Path:
        numbers = [_number(upload) for upload in uploads]
        path.mkdir(exist_ok=True)
        (path / "blocklist.dat").write_bytes(octets([(number, 1) for number in (*numbers, 5)]))
        (path / "badkeysdata.json").write_text('{"blocklists": [{"id": "1", "name": "debianssl"}]}')
        return path

    def test_a_key_on_the_list_is_refused(self, tmp_path: Path) -> None:
        w, upload = world(), csr("www.example.ac.uk")
        folder = self._folder(tmp_path / "list", upload)
        with configured(known_keys=KnownKeysFolder(folder)):
            assert seen(previewed(w, upload), "key.known_compromised") == [("refuse", "debianssl")]
            ((verdict, told),) = seen(previewed(w, csr("two.example.ac.uk")), "key.known")
        assert verdict == "pass"
        assert "days old" in told
        assert previewed(w, upload).decision.outcome is Outcome.AUTO

    def test_without_a_list_the_check_says_so(self) -> None:
        shown = previewed(world(), csr("www.example.ac.uk"))
        (check,) = [c for c in shown.decision.checks if c.code == "key.known"]
        assert check.verdict is Verdict.NOT_CHECKED
        assert "No list" in check.message
        assert shown.decision.outcome is Outcome.AUTO

    def test_a_replaced_list_is_noticed_and_a_broken_one_ignored(self, tmp_path: Path) -> None:
        one, two = csr("one.example.ac.uk"), csr("two.example.ac.uk")
        folder, ticks = self._folder(tmp_path / "list", one), [0.0]
        known = KnownKeysFolder(folder, monotonic=lambda: ticks[0])
        assert known().find(_number(one)) == "debianssl"
        self._replace(folder, octets([(_number(two), 1)]))
        assert known().find(_number(two)) is None
        ticks[0] += FRESH_FOR
        assert known().find(_number(two)) == "debianssl"
        assert known().find(_number(one)) is None
        self._replace(folder, b"not a list")
        ticks[0] += FRESH_FOR
        assert known().find(_number(two)) == "debianssl"

    def _replace(self, folder: Path, content: bytes) -> None:
        fresh = folder / "fresh"
        fresh.write_bytes(content)
        fresh.replace(folder / "blocklist.dat")

    @pytest.mark.parametrize(
        "content",
        [None, b"", b"x" * 17, bytes(range(16)) + bytes(16)],
        ids=["none", "empty", "odd", "unsorted"],
    )
    def test_a_list_that_is_asked_for_and_not_there_stops_the_start(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        if content is not None:
            (tmp_path / "blocklist.dat").write_bytes(content)
        with pytest.raises(Misconfigured, match="CERTDESK_BLOCKLIST"):
            KnownKeysFolder(tmp_path)

    def test_titles_that_cannot_be_read_stop_the_start(self, tmp_path: Path) -> None:
        folder = self._folder(tmp_path / "list")
        (folder / "badkeysdata.json").write_text("{}")
        with pytest.raises(Misconfigured, match="badkeysdata"):
            KnownKeysFolder(folder)
        (folder / "badkeysdata.json").unlink()
        assert KnownKeysFolder(folder)().find(5) == "list 1"


def _number(upload: bytes) -> int:
    public = read_csr(upload).key.spki_der
    return int.from_bytes(public[-64:-32])


@pytest.fixture
def lint(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Full lint of every certificate, which finds what the test wants."""
    found = Mock(return_value=())
    monkeypatch.setattr(lint_shapes, "lint_certificate", found)
    monkeypatch.setattr(preflight, "SHAPES", lint_shapes.ShapeLint(pkilint="another version"))
    return found


class TestLint:
    def test_what_it_finds_becomes_checks(self, w: World, lint: Mock) -> None:
        lint.return_value = (
            Finding(code="pkix.one", severity=Severity.ERROR, message="One is wrong"),
            Finding(code="pkix.two", severity=Severity.FATAL, message=""),
            Finding(code="pkix.three", severity=Severity.WARNING, message="Unusual"),
        )
        shown = previewed(w, csr("www.example.ac.uk"))
        assert seen(shown, "certificate.lint") == [("refuse", "pkix.one"), ("refuse", "pkix.two")]
        assert shown.decision.outcome is Outcome.REFUSE
        assert lint.call_count == 1

    def test_a_submission_is_linted_once_by_the_gate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        w = world()
        monkeypatch.setattr(preflight, "SHAPES", Mock(side_effect=AssertionError))
        made = submit(w.alice, "www.example.ac.uk")
        assert made.status is Status.ISSUED
        (stored,) = [c for c in Request.objects.get().checks if c["code"] == "certificate.lint"]
        assert stored["verdict"] == "pass"

    @pytest.mark.parametrize("name", ["www.example.ac.uk", "www.elsewhere.org"])
    @pytest.mark.parametrize("when", ["at once", "later"])
    def test_what_a_preview_refuses_is_not_created(
        self, monkeypatch: pytest.MonkeyPatch, name: str, when: str
    ) -> None:
        """Whether the CA would be asked at once, later, or after an officer's yes; with the same checks."""
        w, upload = world(), csr(name)
        finding = Finding(code="pkix.one", severity=Severity.ERROR, message="One is wrong")
        monkeypatch.setattr(preflight, "SHAPES", SimpleNamespace(objections=lambda _der: (finding,)))
        embedded = runtime.current().backend("embedded")
        broken = BackendRefused("The certificate would break rules and is not signed.")
        monkeypatch.setattr(type(embedded), "prepare", Mock(side_effect=broken))
        shown = previewed(w, upload)
        assert shown.decision.outcome is Outcome.REFUSE
        with pytest.raises(PolicyRefused) as refused:
            create_request(
                actor=w.alice,
                submission=submission(w.university, upload=upload),
                channel="api",
                at_once=when == "at once",
                now=NOW,
            )
        assert refused.value.checks == shown.decision.checks
        assert not Request.objects.exists()

    def test_what_the_ca_is_asked_for_later_is_linted_once_when_it_is_made(
        self, w: World, lint: Mock
    ) -> None:
        made = create(w.alice, "www.example.ac.uk")
        assert (made.status, lint.call_count) == (Status.ACCEPTED, 1)

    def test_the_real_certificate_lints_clean(self) -> None:
        shown = previewed(world(), csr("a.example.ac.uk", "*.example.ac.uk"))
        assert seen(shown, "certificate.lint") == [("pass", "")]

    def test_what_the_ca_cannot_make_is_told_before_it_is_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outlives = BackendRefused("The CA itself ends before. Choose a shorter duration.")
        monkeypatch.setattr(EmbeddedBackend, "specimen", Mock(side_effect=outlives))
        shown = previewed(world(), csr("www.example.ac.uk"), years=3)
        assert seen(shown, "certificate.ca_limits") == [("refuse", "")]
        assert found(shown, Verdict.REFUSE) == {"certificate.ca_limits"}

    @pytest.mark.parametrize("years", [0, 7])
    def test_a_term_that_is_not_on_offer_is_told_once(self, years: int) -> None:
        shown = previewed(world(), csr("www.example.ac.uk"), years=years)
        assert found(shown, Verdict.REFUSE) == {"request.duration"}


class TestPolicyFile:
    def test_each_organisation_has_its_own_rules(self, w: World) -> None:
        policy = read_policy(
            "version = 1\n[default]\nwildcards = 'manual'\n[organisation.example-university]\nmax_names = 1"
        )
        before = previewed(w, csr("*.example.ac.uk"))
        with configured(policy=policy):
            shown = previewed(w, csr("*.example.ac.uk", "a.example.ac.uk"))
        assert found(shown, Verdict.REFUSE) == {"names.limit"}
        assert found(shown, Verdict.MANUAL) == {"names.wildcard_policy"}
        assert before.decision.outcome is Outcome.AUTO
        assert before.decision.policy_digest != shown.decision.policy_digest

    def test_a_change_for_others_leaves_the_digest(self) -> None:
        w, upload = world(), csr("www.example.ac.uk")
        before = previewed(w, upload).decision.policy_digest
        for text, same in (
            ("[organisation.other]\nmax_names = 1", True),
            ("[ca.other]\nmax_names = 1", True),
            ("[ca.embedded]\nmax_names = 99", False),
            ("[default]\ntrusted_suffixes = ['x.example']", True),  # the portal's settings are unchanged here
        ):
            with configured(policy=read_policy(f"version = 1\n{text}")):
                assert (previewed(w, upload).decision.policy_digest == before) is same

    def test_a_stricter_policy_stops_what_was_accepted_before_it_is_signed(self, w: World) -> None:
        """Judged again at signing, under the rules of that moment."""
        made = create(w.alice, "*.example.ac.uk")
        assert made.status is Status.ACCEPTED
        with configured(policy=read_policy("version = 1\n[default]\nwildcards = 'refuse'")):
            assert issue(made.number, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        assert Certificate.objects.count() == 0

    def test_the_default_is_what_holds_before_the_portal_says_otherwise(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "policy.toml"
        path.write_text("version = 1\n[default]\ntrusted_suffixes = ['x.example']\ndurations = [2]")
        monkeypatch.setenv("CERTDESK_POLICY", str(path))
        monkeypatch.setenv("CERTDESK_DURATIONS", "[1]")
        config = load_config()
        made = configured_settings(config, load_policy(config))
        assert (made.trusted_suffixes, made.durations) == (("x.example",), (2,))
        changed = runtime.settings_from({"durations": [3]}, base=made, now=NOW)
        assert (changed.trusted_suffixes, changed.durations) == (("x.example",), (3,))

    @pytest.mark.parametrize("text", ["version = 1\n[default]\nnone = 1", "not toml", None])
    def test_a_policy_that_cannot_be_used_stops_the_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
    ) -> None:
        path = tmp_path / "policy.toml"
        monkeypatch.setenv("CERTDESK_POLICY", str(path))
        if text is not None:
            path.write_text(text)
        with pytest.raises(Misconfigured, match=r"policy\.toml"):
            load_policy(load_config())

    def test_rules_for_a_ca_that_is_not_there_stop_the_start(self) -> None:
        policy = read_policy("version = 1\n[ca.embeded]\nmax_names = 1")
        with pytest.raises(Misconfigured, match="embeded"):
            refuse_unknown_cas(policy, runtime.current().backends)
        refuse_unknown_cas(
            read_policy("version = 1\n[ca.embedded]\nmax_names = 1"), runtime.current().backends
        )


class TestDailyCap:
    CAP = "version = 1\n[organisation.example-university]\ndaily_cap = 2"

    def test_the_request_above_it_waits_and_those_before_go_on(self, w: World) -> None:
        with configured(policy=read_policy(self.CAP)):
            made = [create(w.alice) for _ in range(3)]
            assert [one.status for one in made] == [
                Status.ACCEPTED,
                Status.ACCEPTED,
                Status.WAITING_FOR_APPROVAL,
            ]
            # At signing, each is judged by those before it alone.
            assert issue(made[1].number, clock=Clock()) is Status.ISSUED
            # An officer's yes holds at signing too.
            approve_only(w.olga, made[2].number, now=NOW)
            assert issue(made[2].number, clock=Clock()) is Status.ISSUED
            (waived,) = Approval.objects.get(request_id=made[2].number).waived
            assert waived == {"code": "organisation.daily_cap", "seen": "2", "csr_sha256": ""}

    def test_it_counts_a_day_and_the_own_organisation(self, w: World) -> None:
        for hours, who in ((24, w.alice), (23, w.alice), (0, outsider())):
            made, at = create(who), NOW - timedelta(hours=hours)
            Request.objects.filter(id=made.number).update(created_at=at)  # the CA is not so old
        with configured(policy=read_policy(self.CAP)):
            assert seen(previewed(w, csr()), "organisation.daily_cap") == [("pass", "1")]
        assert seen(previewed(w, csr()), "organisation.daily_cap") == []


def test_a_preview_leaves_no_trace(w: World, tmp_path: Path) -> None:
    """With every check on."""
    (tmp_path / "blocklist.dat").write_bytes(octets([(5, 1)]))
    policy = read_policy("version = 1\n[default]\ncaa = 'require'\ndaily_cap = 1\nwildcards = 'manual'")
    known = KnownKeysFolder(tmp_path)
    under = configured(policy=policy, known_keys=known, caa=CaaSettings())
    with under, CaptureQueriesContext(connection) as queries:
        shown = previewed(w, csr("*.example.ac.uk"))
    assert {"caa.unknown", "names.wildcard_policy"} == found(shown, Verdict.MANUAL)
    writes = [q["sql"] for q in queries.captured_queries if not q["sql"].lstrip().startswith("SELECT")]
    assert not writes
    assert Request.objects.count() == 0


def test_an_officers_page_shows_what_lint_says_now(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The officer learns that a yes would be useless; the gate before signing is another matter."""
    request = Request.objects.get(id=create(w.alice, "www.outside.example").number)
    finding = Finding(code="pkix.one", severity=Severity.ERROR, message="Wrong")
    monkeypatch.setattr(preflight, "SHAPES", SimpleNamespace(objections=lambda _der: (finding,)))
    subject = preflight.subject_of(request, organisation_row(w.university), waiting_csr(request))
    assert preflight.judged(subject, now=NOW)[1].outcome is Outcome.MANUAL
    assert preflight.judged(subject, lint=True, now=NOW)[1].outcome is Outcome.REFUSE
