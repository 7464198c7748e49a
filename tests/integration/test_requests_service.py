"""Asking and deciding: what is stored, what is refused, what is remembered of an officer's evidence."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from unittest.mock import Mock

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.apps import apps

from certdesk.domain.actors import Actor, OrgRole
from certdesk.domain.errors import (
    BadCsr,
    IdempotencyMismatch,
    InvalidInput,
    NotAuthorized,
    NotFound,
    PolicyRefused,
    Refused,
    StateConflict,
)
from certdesk.domain.issuing.states import Status
from certdesk.domain.policy.decide import Outcome
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.asking import (
    DOUBLE_SUBMISSION,
    Submission,
    create_request,
    preview_request,
    withdraw_request,
)
from certdesk.services.requests.confirm import submit_request
from certdesk.services.requests.decisions import approve_request, judge_now, reject_request
from certdesk.services.system import runtime
from certdesk.store.models import (
    Approval,
    AuditEvent,
    BlockedKey,
    Certificate,
    Issuance,
    Membership,
    Organisation,
    Request,
    RequestEvent,
    User,
    ValidationRecord,
)
from tests.integration.support import (
    NOW,
    Clock,
    World,
    actor,
    approve,
    approve_only,
    csr,
    events_of,
    organisation,
    outsider,
    state_of,
    submission,
    submit,
    validated,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)


def _counts() -> dict[str, int]:
    return {model._meta.label: model._default_manager.count() for model in apps.get_models()}


def _proof(domain: str, **changes: str) -> Evidence:
    return replace(Evidence(domain=domain, how="registry", details="Looked up."), **changes)


def _create(who: Actor, asked: Submission, *, key: str = "") -> int:
    made = create_request(actor=who, submission=asked, channel="api", idempotency_key=key, now=NOW)
    return made.number


class TestPreview:
    def test_says_what_confirming_would_do(self, w: World) -> None:
        asked = submission(w.university, "www.example.ac.uk", "www.outside.example")
        shown = preview_request(actor=w.alice, submission=asked, now=NOW)
        assert shown.decision.outcome is Outcome.MANUAL
        made = submit_request(actor=w.alice, submission=asked, channel="portal", clock=Clock())
        stored = Request.objects.get(id=made.number)
        assert stored.content_digest == shown.decision.content_digest
        assert [c["code"] for c in stored.checks] == [c.code for c in shown.decision.checks]

    def test_of_a_term_that_is_not_on_offer_is_an_answer(self, w: World) -> None:
        shown = preview_request(actor=w.alice, submission=submission(w.university, years=9), now=NOW)
        assert shown.decision.outcome is Outcome.REFUSE
        assert shown.not_after is None

    @pytest.mark.parametrize("call", [preview_request, create_request])
    def test_for_a_foreign_organisation_is_not_found(self, w: World, call: Callable[..., object]) -> None:
        extra = {} if call is preview_request else {"channel": "api"}
        for who in (outsider(), w.olga, actor("nobody")):
            with pytest.raises(NotFound):
                call(actor=who, submission=submission(w.university), now=NOW, **extra)
        assert not Request.objects.exists()


class TestCreating:
    def test_stores_who_what_and_when(self, w: World) -> None:
        made = submit(w.alice, "www.example.ac.uk", "b.example.ac.uk")
        row = Request.objects.get(id=made.number)
        assert (row.requester.username, row.organisation_id) == ("alice", w.university)
        assert (row.created_at, row.common_names, row.names) == (
            NOW,
            "www.example.ac.uk",
            ["www.example.ac.uk", "b.example.ac.uk"],
        )
        assert Approval.objects.get(request=row).by == "policy"

    def test_what_policy_refuses_is_not_stored(self, w: World) -> None:
        before = _counts()
        with pytest.raises(PolicyRefused) as caught:
            submit_request(
                actor=w.alice, submission=submission(w.university, years=9), channel="api", clock=Clock()
            )
        assert caught.value.checks
        assert "9 years" in caught.value.detail
        assert _counts() == before

    @pytest.mark.parametrize("upload", [b"", b"nonsense", b"-----BEGIN CERTIFICATE REQUEST-----\n"])
    def test_what_can_not_be_read_is_not_stored(self, w: World, upload: bytes) -> None:
        before = _counts()
        with pytest.raises(BadCsr):
            _create(w.alice, replace(submission(w.university), upload=upload))
        assert _counts() == before

    def test_a_pasted_private_key_is_blocked_and_never_certified(self, w: World) -> None:
        """Nothing of the key itself is kept."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for _ in range(2):
            with pytest.raises(Refused):
                _create(w.alice, replace(submission(w.university), upload=pem))
        assert BlockedKey.objects.count() == 1
        assert AuditEvent.objects.filter(action="key.block").count() == 1
        with pytest.raises(PolicyRefused, match="compromised"):
            _create(w.alice, replace(submission(w.university), upload=csr("x.example.ac.uk", key=key)))

    def test_a_long_note_is_refused_and_a_short_one_kept(self, w: World) -> None:
        asked = submission(w.university)
        with pytest.raises(InvalidInput, match="at most 4000"):
            _create(w.alice, replace(asked, note="x" * 4001))
        assert Request.objects.get(id=_create(w.alice, replace(asked, note="x" * 4000))).note == "x" * 4000

    def test_an_unknown_profile_is_refused(self, w: World) -> None:
        with pytest.raises(InvalidInput, match="tls-server"):
            _create(w.alice, replace(submission(w.university), profile_id="code-signing"))

    @pytest.mark.parametrize("text", ["a\0b", "\0"])
    def test_text_that_the_database_can_not_hold_is_refused_and_not_a_fault(
        self, w: World, text: str
    ) -> None:
        """PostgreSQL stores no NUL."""
        asked = submission(w.university)
        with pytest.raises(InvalidInput):
            _create(w.alice, replace(asked, note=text))
        with pytest.raises(InvalidInput):
            _create(w.alice, asked, key=text)
        number = submit(w.alice, "www.outside.example").number
        with pytest.raises(InvalidInput):
            reject_request(actor=w.olga, number=number, details=f"no {text}", now=NOW)
        with pytest.raises(InvalidInput):
            approve_only(w.olga, number, note=f"yes {text}", now=NOW)
        for changed in ({"details": f"seen {text}"}, {"reference": text}):
            with pytest.raises(InvalidInput):
                approve_only(w.olga, number, evidence=[_proof("outside.example", **changed)], now=NOW)
        assert events_of(number) == ["create"]

    def test_an_endless_idempotency_key_is_refused(self, w: World) -> None:
        with pytest.raises(InvalidInput):
            _create(w.alice, submission(w.university), key="k" * 129)
        assert _create(w.alice, submission(w.university), key="k" * 128)


class TestIdempotency:
    def test_one_key_makes_one_request(self, w: World) -> None:
        asked = submission(w.university)
        one = create_request(actor=w.alice, submission=asked, channel="api", idempotency_key="k", now=NOW)
        later = NOW + timedelta(days=300)
        two = create_request(actor=w.alice, submission=asked, channel="api", idempotency_key="k", now=later)
        assert (one.number, one.replayed) == (two.number, False)
        assert two.replayed

    @pytest.mark.parametrize(
        "change",
        [
            {"duration_years": 2},
            {"server_software": "Other"},
            {"note": "x"},
            {"upload": csr("other.example.ac.uk")},
        ],
    )
    def test_one_key_for_another_body_is_refused(self, w: World, change: dict[str, object]) -> None:
        asked = submission(w.university)
        _create(w.alice, asked, key="k")
        with pytest.raises(IdempotencyMismatch):
            _create(w.alice, replace(asked, **change), key="k")  # type: ignore[arg-type]  # fields of all types
        assert Request.objects.count() == 1

    def test_the_same_csr_in_another_form_is_the_same_body(self, w: World) -> None:
        asked = submission(w.university)
        crlf = replace(asked, upload=asked.upload.replace(b"\n", b"\r\n"))
        assert _create(w.alice, asked, key="k") == _create(w.alice, crlf, key="k")

    def test_pressing_twice_without_a_key_is_one_request(self, w: World) -> None:
        asked = submission(w.university)
        assert _create(w.alice, asked) == _create(w.alice, asked)
        assert _create(w.bob, asked) != _create(w.alice, asked)

    def test_after_ten_minutes_it_is_another_request(self, w: World) -> None:
        asked = submission(w.university)
        first = _create(w.alice, asked)
        again = create_request(actor=w.alice, submission=asked, channel="api", now=NOW + DOUBLE_SUBMISSION)
        assert again.number != first

    @pytest.mark.parametrize("end", ["withdraw", "reject"])
    def test_after_it_was_ended_it_may_be_asked_for_again(self, w: World, end: str) -> None:
        asked = submission(w.university, "www.outside.example")
        first = _create(w.alice, asked)
        if end == "withdraw":
            withdraw_request(actor=w.alice, number=first, now=NOW)
        else:
            reject_request(actor=w.olga, number=first, details="No.", now=NOW)
        assert _create(w.alice, asked) != first

    def test_numbers_are_never_used_again(self, w: World) -> None:
        first = _create(w.alice, submission(w.university, "www.outside.example"))
        RequestEvent.objects.all().delete()
        Issuance.objects.all().delete()
        Request.objects.all().delete()
        assert _create(w.alice, submission(w.university, "www.outside.example")) > first


class TestApproving:
    def test_needs_evidence_for_every_domain_that_nothing_proves(self, w: World) -> None:
        """Three domains, one of which is proven."""
        number = submit(w.alice, "a.one.example", "b.example.ac.uk", "c.two.example").number
        asked = judge_now(actor=w.olga, number=number, now=NOW).domains
        assert asked == {"one.example": ("a.one.example",), "two.example": ("c.two.example",)}
        with pytest.raises(InvalidInput) as caught:
            approve_only(w.olga, number, evidence=[_proof("one.example")], now=NOW)
        assert set(caught.value.fields) == {"evidence.two.example"}
        assert not ValidationRecord.objects.filter(request=number).exists()
        proofs = [_proof("one.example"), _proof("two.example")]
        approve_only(w.olga, number, evidence=proofs, now=NOW)
        assert ValidationRecord.objects.filter(request=number).count() == 2
        assert state_of(number) is Status.ACCEPTED

    @pytest.mark.parametrize(
        "evidence",
        [
            [_proof("one.example", details="  ")],
            [_proof("one.example", how="guess")],
            [_proof("one.example", details="x" * 4001)],
            [_proof("one.example"), _proof("elsewhere.example")],
            [_proof("example")],
            [],
        ],
        ids=["blank", "unknown way", "endless", "one too many", "public suffix", "none"],
    )
    def test_refuses_poor_evidence_and_writes_nothing(self, w: World, evidence: list[Evidence]) -> None:
        number = submit(w.alice, "a.one.example").number
        before = _counts()
        with pytest.raises(InvalidInput):
            approve_only(w.olga, number, evidence=evidence, now=NOW)
        assert _counts() == before
        assert state_of(number) is Status.WAITING_FOR_APPROVAL

    def test_is_remembered_for_this_organisation_and_domain(self, w: World) -> None:
        first = submit(w.alice, "www.owned.org").number
        approve(w.olga, first, evidence=[_proof("owned.org")], clock=Clock())
        assert state_of(first) is Status.ISSUED
        assert submit(w.bob, "mail.owned.org").status is Status.ISSUED
        assert submit(w.bob, "*.owned.org").status is Status.ISSUED
        assert submit(w.bob, "www.notowned.org").status is Status.WAITING_FOR_APPROVAL
        assert submit(w.bob, "mail2.owned.org", "www.other.org").status is Status.WAITING_FOR_APPROVAL

    def test_is_no_help_to_another_organisation(self, w: World) -> None:
        """Not even when both may hold the domain."""
        approve(w.olga, submit(w.alice, "www.owned.org").number, evidence=[_proof("owned.org")])
        theirs = submit(outsider(), "mail.owned.org")
        assert theirs.status is Status.WAITING_FOR_APPROVAL
        assert judge_now(actor=w.olga, number=theirs.number, now=NOW).domains == {
            "owned.org": ("mail.owned.org",)
        }

    def test_lapses(self, w: World) -> None:
        number = submit(w.alice, "www.owned.org").number
        approve(w.olga, number, evidence=[_proof("owned.org")], clock=Clock())
        end = ValidationRecord.objects.get(request=number).expires_at
        assert end == NOW + timedelta(days=runtime.current().ownership_days)
        validated("example.ac.uk", of=w.university, by=w.olga, at=end)
        assert submit(w.bob, "a.owned.org", clock=Clock(end - timedelta(seconds=1))).status is Status.ISSUED
        assert submit(w.bob, "b.owned.org", clock=Clock(end)).status is Status.WAITING_FOR_APPROVAL

    def test_an_own_request_is_not_possible(self, w: World) -> None:
        """Not even for an officer who belongs to the organisation."""
        Membership.objects.create(
            user=User.objects.get(username="olga"),
            organisation_id=w.university,
            role=OrgRole.APPLICANT,
            created_at=NOW,
        )
        olga = actor("olga")
        number = submit(olga, "www.outside.example").number
        with pytest.raises(NotAuthorized, match=r"(?i)another officer"):
            approve_only(olga, number, note="Mine.", now=NOW)
        with pytest.raises(NotAuthorized, match=r"(?i)another officer"):
            reject_request(actor=olga, number=number, details="Mine.", now=NOW)
        assert state_of(number) is Status.WAITING_FOR_APPROVAL
        approve_only(w.otto, number, evidence=[_proof("outside.example")], note="Hers.", now=NOW)

    def test_from_a_stale_page_conflicts(self, w: World) -> None:
        number = submit(w.alice, "www.outside.example").number
        seen = Request.objects.get(id=number).version
        shown = judge_now(actor=w.otto, number=number, now=NOW).shown
        approve_only(w.olga, number, evidence=[_proof("outside.example")], note="Yes.")
        calls: tuple[Callable[[], object], ...] = (
            lambda: approve_request(actor=w.otto, number=number, shown=shown, note="n", now=NOW),
            lambda: reject_request(actor=w.otto, number=number, details="n", seen_version=seen, now=NOW),
            lambda: approve_only(w.otto, number, evidence=[_proof("x.org")], now=NOW),
            lambda: reject_request(actor=w.otto, number=number, details="n", now=NOW),
        )
        for call in calls:
            with pytest.raises(StateConflict, match=r"[Aa]pproved|accepted|No decision"):
                call()
        assert Approval.objects.filter(request=number).count() == 1

    def test_what_was_accepted_can_be_stopped_by_who_has_seen_that(self, w: World) -> None:
        number = _create(w.alice, submission(w.university))
        seen = Request.objects.get(id=number).version
        reject_request(actor=w.olga, number=number, details="Stop.", seen_version=seen, now=NOW)
        assert state_of(number) is Status.REJECTED_BY_RA

    def test_records_exactly_what_was_shown_and_accepted(self, w: World) -> None:
        new = organisation("New College", vetted=False)
        person = actor("nell", organisation=new)
        number = submit(person, "www.outside.example").number
        approve_only(w.olga, number, evidence=[_proof("outside.example")], note="Seen.", now=NOW)
        row, approval = Request.objects.get(id=number), Approval.objects.get(request=number)
        assert approval.content_digest == row.content_digest
        assert sorted((waived["code"], waived["seen"]) for waived in approval.waived) == [
            ("domain.not_validated", "outside.example"),
            ("names.outside_trusted_suffix", "outside.example"),
            ("organisation.first_request", "first request"),
            ("organisation.not_vetted", ""),
        ]
        assert (approval.by, approval.user_id) == ("olga", w.olga.user_id)
        college = Organisation.objects.get(id=new)
        assert (college.first_approved_at, college.vetted_at) == (NOW, NOW)

    def test_a_second_approval_does_not_move_the_first(self, w: World) -> None:
        new = organisation("New College", vetted=False)
        person = actor("nell", organisation=new)
        numbers = [submit(person, f"www{i}.outside.example").number for i in range(2)]
        for minutes, number in enumerate(numbers):
            at = NOW + timedelta(minutes=minutes)
            proofs = [] if minutes else [_proof("outside.example")]
            approve_only(w.olga, number, evidence=proofs, now=at)
        assert Organisation.objects.get(id=new).first_approved_at == NOW


class TestRejecting:
    @pytest.mark.parametrize("details", ["", "  ", "\n\t"])
    def test_needs_details(self, w: World, details: str) -> None:
        number = submit(w.alice, "www.outside.example").number
        with pytest.raises(InvalidInput):
            reject_request(actor=w.olga, number=number, details=details, now=NOW)
        assert state_of(number) is Status.WAITING_FOR_APPROVAL

    def test_shows_the_details_and_leaves_no_evidence(self, w: World) -> None:
        number = submit(w.alice, "www.outside.example").number
        reject_request(actor=w.olga, number=number, details=" Not yours. ", now=NOW)
        assert Request.objects.get(id=number).detail == "Not yours."
        assert RequestEvent.objects.get(request=number, event="reject").note == "Not yours."
        assert not ValidationRecord.objects.filter(request=number).exists()
        assert not Certificate.objects.exists()

    def test_of_an_organisations_first_request_is_no_approval(self, w: World) -> None:
        """R35: "first" means that none was approved yet."""
        new = organisation("New College", vetted=False)
        person = actor("nell", organisation=new)
        validated("new.ac.uk", of=new, by=w.olga)
        first = submit(person, "a.new.ac.uk").number
        reject_request(actor=w.olga, number=first, details="No.", now=NOW)
        assert submit(person, "b.new.ac.uk").status is Status.WAITING_FOR_APPROVAL


class TestWithdrawing:
    def test_is_over_once_the_certificate_is_there(self, w: World) -> None:
        number = submit(w.alice).number
        with pytest.raises(StateConflict, match="already there"):
            withdraw_request(actor=w.alice, number=number, now=NOW)

    def test_nobody_withdraws_or_approves_twice(self, w: World) -> None:
        number = submit(w.alice, "www.outside.example").number
        withdraw_request(actor=w.alice, number=number, now=NOW)
        with pytest.raises(StateConflict):
            withdraw_request(actor=w.alice, number=number, now=NOW)
        with pytest.raises(StateConflict):
            approve_only(w.olga, number, evidence=[_proof("outside.example")], note="Yes.", now=NOW)
        assert events_of(number) == ["create", "withdraw"]


def test_nothing_is_left_of_a_decision_whose_transaction_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """No audit, no action."""
    w: World = world()
    number = submit(w.alice, "www.outside.example").number
    before = _counts()
    monkeypatch.setattr("certdesk.store.audit.put_last", Mock(side_effect=RuntimeError("the disk is full")))
    with pytest.raises(RuntimeError):
        approve_only(w.olga, number, evidence=[_proof("outside.example")], note="Yes.", now=NOW)
    with pytest.raises(RuntimeError):
        reject_request(actor=w.olga, number=number, details="No.", now=NOW)
    with pytest.raises(RuntimeError):
        _create(w.alice, submission(w.university))
    assert _counts() == before
    assert state_of(number) is Status.WAITING_FOR_APPROVAL


def test_r17_a_preview_made_again_in_the_portal_makes_no_second_request(w: World) -> None:
    """Back in the browser previews again, with a new key; a client with a new key means a new request."""
    asked = submission(w.university, "www.example.ac.uk")

    def ask(key: str, *, channel: str, now: datetime = NOW) -> int:
        return create_request(
            actor=w.alice, submission=asked, channel=channel, idempotency_key=key, now=now
        ).number

    first = ask("one", channel="portal")
    assert ask("two", channel="portal") == first
    assert ask("three", channel="api") != first
    assert ask("four", channel="portal", now=NOW + timedelta(hours=1)) != first
