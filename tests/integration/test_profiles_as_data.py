"""Profiles and CAs that an operator has set up: which CA is asked, who may use them, what they certify."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certdesk.conf import apps
from certdesk.conf.cas import read_cas
from certdesk.conf.config import load_config
from certdesk.domain.errors import (
    BackendRefused,
    InvalidInput,
    Misconfigured,
    OutcomeUnknown,
    PolicyRefused,
    Unavailable,
)
from certdesk.domain.issuing.cas import CaLimits
from certdesk.domain.issuing.certificates import Absent, Intent, Outcome, certificate_facts
from certdesk.domain.issuing.profiles import BUILT_IN, Profile
from certdesk.domain.issuing.states import IssuanceId, Status, Work
from certdesk.domain.policy.file import read_policy
from certdesk.domain.policy.in_force import KeyType
from certdesk.services.issuance import engine
from certdesk.services.issuance.engine import drive
from certdesk.services.issuance.health import Health
from certdesk.services.requests import preflight
from certdesk.services.requests.asking import create_request, preview_request
from certdesk.services.requests.confirm import submit_another, submit_request
from certdesk.services.system import runtime
from certdesk.store.models import Certificate, Issuance, Organisation, Request, RequestEvent
from tests.integration import support
from tests.integration.acme_support import AcmeWorld, registered
from tests.integration.engine import NAME
from tests.integration.support import NOW, Clock, FindingCa, ScriptedCa, World, configured, signed

pytestmark = pytest.mark.django_db(transaction=True)

USUAL = BUILT_IN["tls-server"]


def profiles(**changes: object) -> Mapping[str, Profile]:
    return {"tls-server": replace(USUAL, **changes)}  # type: ignore[arg-type]  # fields of all types


@pytest.fixture
def second() -> Iterator[ScriptedCa]:
    """A CA of somebody else beside the embedded one."""
    ca = ScriptedCa(answers=[signed], name="second", title="The second CA", inline=True)
    with configured(backends={**runtime.current().backends, "second": ca}):
        yield ca


def asked(
    w: World, *, years: int = 1, key: ec.EllipticCurvePrivateKey | None = None, clock: Clock | None = None
) -> Request:
    upload = support.csr("www.example.ac.uk", key=key)
    sent = support.submission(w.university, years=years, upload=upload)
    made = submit_request(actor=w.alice, submission=sent, channel="portal", clock=clock or Clock())
    return Request.objects.get(id=made.number)


def backend_of(row: Request) -> str:
    return Issuance.objects.get(request=row).backend


def test_the_first_ca_of_the_profile_is_asked(w: World, second: ScriptedCa) -> None:
    with configured(profiles=profiles(cas=("second", "embedded"))):
        row = asked(w)
    assert (row.status, backend_of(row)) == (Status.ISSUED, "second")
    assert [intent.backend for intent in second.submitted] == ["second"]


def test_one_whose_limits_do_not_fit_is_passed_over(w: World, second: ScriptedCa) -> None:
    limits = {"second": CaLimits(max_days=400, key_types=(KeyType.P256,))}
    with configured(profiles=profiles(cas=("second", "embedded")), limits=limits):
        assert backend_of(asked(w)) == "second"
        assert backend_of(asked(w, years=2)) == "embedded"
        assert backend_of(asked(w, key=ec.generate_private_key(ec.SECP384R1()))) == "embedded"


def test_where_no_ca_can_the_preview_says_so_and_nothing_is_sent(w: World, second: ScriptedCa) -> None:
    limits = {"second": CaLimits(key_types=(KeyType.RSA,))}
    with configured(profiles=profiles(cas=("second",)), limits=limits):
        sent = support.submission(w.university)
        decision = preview_request(actor=w.alice, submission=sent, now=NOW).decision
        assert "certificate.ca_limits" in {check.code for check in decision.refusals}
        with pytest.raises(PolicyRefused, match="these kinds of keys alone: RSA"):
            asked(w)
    assert not second.submitted


def test_where_no_ca_takes_the_whole_term_the_first_that_takes_the_key_is_asked_for_its_days(
    w: World, second: ScriptedCa
) -> None:
    third = ScriptedCa([signed], name="third", title="Third", inline=True)
    limits = {"second": CaLimits(max_days=90, key_types=(KeyType.RSA,)), "third": CaLimits(max_days=60)}
    cas = {**runtime.current().backends, "third": third}
    with configured(backends=cas, profiles=profiles(cas=("second", "third")), limits=limits):
        told = preview_request(actor=w.alice, submission=support.submission(w.university), now=NOW)
        assert told.not_before is not None
        assert told.not_after == told.not_before + timedelta(days=60, seconds=-1)
        row = asked(w)
    assert (row.status, backend_of(row)) == (Status.ISSUED, "third")
    (intent,) = third.submitted
    assert intent.not_after - intent.not_before == timedelta(days=60, seconds=-1)
    assert not second.submitted


def test_a_slow_first_ca_is_left_to_the_worker(w: World, second: ScriptedCa) -> None:
    second.inline = False
    with configured(profiles=profiles(cas=("second", "embedded"))):
        row = asked(w)
        assert not second.submitted
        assert support.drive(row.pk, clock=Clock(now=NOW + timedelta(minutes=1))) == Status.ISSUED
    assert backend_of(row) == "second"


class TestFailingOver:
    """The first CA of the list is down; the embedded one could take its place."""

    @pytest.fixture(autouse=True)
    def nothing_was_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        health = Health()
        for module in (preflight, engine):
            monkeypatch.setattr(module, "HEALTH", health)

    def test_it_is_passed_over_where_nothing_reached_it_and_has_its_place_back(
        self, w: World, second: ScriptedCa
    ) -> None:
        second.answers = [Unavailable("busy"), Unavailable("busy"), Unavailable("busy"), signed]
        clock = Clock()
        with configured(profiles=profiles(cas=("second", "embedded"), fail_over=True)):
            row = asked(w, clock=clock)
            assert Issuance.objects.get().state == Work.WAITING
            clock.forward(timedelta(seconds=10))
            assert support.drive(row.pk, clock=clock) == Status.ACCEPTED
            clock.forward(timedelta(seconds=20))
            assert support.drive(row.pk, clock=clock) == Status.ISSUED
            assert (backend_of(row), len(second.submitted)) == ("embedded", 2)
            # Nobody else waits for it, and nobody asks it.
            assert backend_of(asked(w, clock=clock)) == "embedded"
            assert len(second.submitted) == 2
            # After a minute it is tried once, and passed over at once when it is still down.
            clock.forward(timedelta(minutes=1))
            row = asked(w, clock=clock)
            assert len(second.submitted) == 3
            clock.forward(timedelta(seconds=10))
            assert support.drive(row.pk, clock=clock) == Status.ISSUED
            assert backend_of(row) == "embedded"
            clock.forward(timedelta(minutes=1))
            assert backend_of(asked(w, clock=clock)) == "second"
            assert backend_of(asked(w, clock=clock)) == "second"
        told = RequestEvent.objects.filter(event="claim", note__startswith="Being handed to ")
        assert told.count() == 3, "the history says who was asked in the first one's place"
        assert not support.audit_problems()

    def test_what_may_have_reached_it_stays_with_it(self, w: World) -> None:
        lost = FindingCa(
            answers=[OutcomeUnknown("lost")], found=[OutcomeUnknown("lost")], name="second", inline=True
        )
        clock = Clock()
        with configured(
            backends={**runtime.current().backends, "second": lost},
            profiles=profiles(cas=("second", "embedded"), fail_over=True),
        ):
            rows = [asked(w, clock=clock) for _ in range(2)]
            assert backend_of(asked(w, clock=clock)) == "embedded"
            for _ in range(5):
                clock.forward(timedelta(hours=1))
                for row in rows:
                    support.drive(row.pk, clock=clock)
            assert {(backend_of(row), Issuance.objects.get(request=row).state) for row in rows} == {
                ("second", Work.CLAIMED)
            }
            lost.found = [signed]
            clock.forward(timedelta(hours=1))
            assert [support.drive(row.pk, clock=clock) for row in rows] == [Status.ISSUED] * 2
        assert len(lost.submitted) == 2
        assert Certificate.objects.count() == 3

    @pytest.mark.parametrize("heard", [Unavailable("busy"), BackendRefused("No.")], ids=["busy", "no"])
    def test_a_process_that_was_held_up_does_not_release_what_another_has_sent(
        self, w: World, heard: Exception
    ) -> None:
        """Suspended between claim and sending; meanwhile another looked, sent it, and lost the answer."""
        clock = Clock()

        def held_up(_intent: Intent) -> Outcome:
            clock.forward(timedelta(minutes=5))
            assert drive(issuance_id=IssuanceId(Issuance.objects.get().pk), clock=clock) is Work.CLAIMED
            raise heard

        first = FindingCa(
            answers=[held_up, OutcomeUnknown("lost")],
            found=[Absent(), signed],
            name="second",
            inline=True,
        )
        with configured(
            backends={**runtime.current().backends, "second": first},
            profiles=profiles(cas=("second", "embedded"), fail_over=True),
        ):
            row = asked(w, clock=clock)
            assert len(first.submitted) == 2
            for _ in range(3):
                clock.forward(timedelta(minutes=20))
                support.drive(row.pk, clock=clock)
        assert (support.state_of(row.pk), backend_of(row)) == (Status.ISSUED, "second")
        assert (Certificate.objects.count(), len(first.submitted)) == (1, 2)

    def test_it_is_waited_for_where_the_profile_does_not_say_so(self, w: World, second: ScriptedCa) -> None:
        second.answers = [*[Unavailable("busy")] * 4, signed]
        clock = Clock()
        with configured(profiles=profiles(cas=("second", "embedded"))):
            row = asked(w, clock=clock)
            for _ in range(4):
                clock.forward(timedelta(minutes=2))
                support.drive(row.pk, clock=clock)
        assert (support.state_of(row.pk), backend_of(row)) == (Status.ISSUED, "second")

    def test_where_all_are_down_the_first_is_asked(self, w: World) -> None:
        names = ("second", "third")
        cas = {
            name: ScriptedCa(answers=[Unavailable("busy")], name=name, title=name, inline=True)
            for name in names
        }
        clock = Clock()
        with configured(backends=cas, default_backend="second", profiles=profiles(cas=names, fail_over=True)):
            row = asked(w, clock=clock)
            for _ in range(6):
                clock.forward(timedelta(seconds=30))
                support.drive(row.pk, clock=clock)
        assert support.state_of(row.pk) == Status.ACCEPTED
        assert len(cas["second"].submitted) > len(cas["third"].submitted) > 0


def test_the_days_of_a_profile_end_a_certificate_before_its_term(w: World) -> None:
    with configured(profiles=profiles(max_days=30)):
        row = asked(w)
        facts = certificate_facts(bytes(Certificate.objects.get().der))
        assert facts.not_after - facts.not_before == timedelta(days=30, seconds=-1)
        assert row.term_ends_at is not None
        assert row.term_ends_at > facts.not_after + timedelta(days=300)
        # The term goes on, and with it what may be asked for under the request.
        submit_another(
            actor=w.alice,
            number=row.pk,
            upload=support.csr("www.example.ac.uk"),
            channel="portal",
            clock=Clock(now=NOW + timedelta(days=25)),
        )
    assert Certificate.objects.count() == 2


def test_keys_that_a_profile_does_not_take_are_refused(w: World) -> None:
    with configured(profiles=profiles(key_types=(KeyType.P384,))):
        with pytest.raises(PolicyRefused) as refused:
            asked(w)
        assert "key.not_allowed" in str(refused.value.checks)
        assert asked(w, key=ec.generate_private_key(ec.SECP384R1())).status == Status.ISSUED


def test_of_several_cas_the_strictest_rules_hold(w: World, second: ScriptedCa) -> None:
    """Whichever is asked in the end."""
    policy = read_policy("version = 1\n[ca.embedded]\nkey_types = ['P-384']\n[ca.second]\nmax_names = 1")
    with configured(profiles=profiles(cas=("second", "embedded")), policy=policy):
        with pytest.raises(PolicyRefused, match="P-256"):
            asked(w)
        upload = support.csr(
            "a.example.ac.uk", "b.example.ac.uk", key=ec.generate_private_key(ec.SECP384R1())
        )
        sent = support.submission(w.university, upload=upload)
        decision = preview_request(actor=w.alice, submission=sent, now=NOW).decision
    assert [check.code for check in decision.refusals] == ["names.limit"]


def test_a_profile_for_others_is_refused_in_the_portal(w: World) -> None:
    slug = Organisation.objects.get(id=w.university).slug
    closed = profiles(organisations=frozenset({"another"}))
    with configured(profiles=closed), pytest.raises(PolicyRefused, match="may not ask for this kind"):
        asked(w)
    with configured(profiles=profiles(organisations=frozenset({slug}))):
        assert asked(w).status == Status.ISSUED


def test_a_profile_for_others_is_not_on_offer_to_an_acme_account(here: AcmeWorld) -> None:
    client = registered(here.credential)
    offered = dict(BUILT_IN) | {"own": replace(USUAL, id="own", organisations=frozenset({"another"}))}
    with configured(profiles=offered):
        refused = client.order(NAME, profile="own")
        assert refused.json["type"].endswith(":invalidProfile")
        assert client.order(NAME, profile="tls-server").status == 201


def test_a_request_whose_profile_is_gone_goes_back_to_an_officer(w: World) -> None:
    """The page of the request can still be read, and nothing is signed."""
    sent = support.submission(w.university)
    with configured(profiles={**BUILT_IN, "old": replace(USUAL, id="old")}):
        made = create_request(
            actor=w.alice, submission=replace(sent, profile_id="old"), channel="portal", now=NOW
        )
    support.drive(made.number, clock=Clock(now=NOW + timedelta(minutes=1)))
    row = Request.objects.get(id=made.number)
    assert row.status == Status.WAITING_FOR_APPROVAL
    assert not Certificate.objects.exists()
    with pytest.raises(InvalidInput, match="no profile “old”"):
        preview_request(actor=w.alice, submission=replace(sent, profile_id="old"), now=NOW)


def test_a_changed_version_is_not_what_was_recorded(w: World) -> None:
    """What was claimed under version 1 is compared with nothing else."""
    ca = FindingCa(answers=[OutcomeUnknown("lost")], name="second", inline=True)
    finding = FindingCa(answers=[], found=[signed], name="second", inline=True)
    with configured(backends={"second": ca}, default_backend="second"):
        row = asked(w)
    with configured(backends={"second": finding}, default_backend="second", profiles=profiles(version=2)):
        support.drive(row.pk, clock=Clock(now=NOW + timedelta(minutes=1)))
    issuance = Issuance.objects.get()
    assert issuance.state == Work.REFUSED
    assert "profile is no longer known" in issuance.detail
    assert Certificate.objects.get().withheld


def test_the_service_starts_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTDESK_DATA", str(tmp_path / "data"))
    path = tmp_path / "cas.toml"
    (tmp_path / "bao.token").write_text("s.none")
    text = """
        [cas.bao]
        kind = "openbao"
        title = "Our OpenBao"
        address = "http://127.0.0.1:1"
        role = "web"
        token_file = "bao.token"
        max_days = 90

        [profiles.tls-server]
        title = "TLS server"
        cas = ["bao", "embedded"]
    """
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("CERTDESK_CAS", str(path))
    made = apps.make_runtime(load_config())
    assert made.backend("bao").title == "Our OpenBao"
    assert made.cas_of(made.profile("tls-server")) == ("bao", "embedded")
    assert made.limits["bao"].max_days == 90
    # A wrong setting of one CA is told, and the others serve; a wrong section stops the start.
    path.write_text(text.replace('role = "web"', 'roll = "web"'), encoding="utf-8")
    (check,) = apps.make_runtime(load_config()).backend("bao").check()
    assert "unknown settings roll" in check.message
    path.write_text(text.replace("[profiles.", "[profile."), encoding="utf-8")
    with pytest.raises(Misconfigured, match="Do you mean profiles"):
        apps.make_runtime(load_config())


def test_a_policy_may_name_the_profiles_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cas.toml"
    path.write_text(
        "".join(f"[profiles.{one}]\ntitle = 'T'\ncas = ['embedded']\n" for one in ("tls-server", "mutual")),
        encoding="utf-8",
    )
    policy = tmp_path / "policy.toml"
    policy.write_text("version = 1\n[profile.mutual]\nmax_names = 3\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"profile.mutual"):
        apps.read_policy_file(policy, BUILT_IN)
    assert apps.read_policy_file(policy, read_cas(path).profiles).named("profile") == ("mutual",)


@pytest.mark.parametrize("change", ["out of the list", "a limit of days", "a kind of key"])
def test_what_was_recorded_is_not_sent_to_a_ca_that_is_no_longer_to_be_asked(w: World, change: str) -> None:
    """A crash had left it claimed, the CA has nothing of it, and the file has changed before the start."""
    ca = FindingCa(
        answers=[OutcomeUnknown("lost"), signed], found=[Absent()], name="second", title="Second", inline=True
    )
    cas = {**runtime.current().backends, "second": ca}
    with configured(backends=cas, profiles=profiles(cas=("second", "embedded"))):
        row = asked(w)
    assert Issuance.objects.get().state == Work.CLAIMED
    limits = {
        "a limit of days": {"second": CaLimits(max_days=10)},
        "a kind of key": {"second": CaLimits(key_types=(KeyType.RSA,))},
    }
    names = ("embedded",) if change == "out of the list" else ("second", "embedded")
    with configured(backends=cas, profiles=profiles(cas=names), limits=limits.get(change, {})):
        support.drive(row.pk, clock=Clock(now=NOW + timedelta(minutes=1)))
        assert len(ca.submitted) == 1
    assert support.state_of(row.pk) == Status.WAITING_FOR_APPROVAL
    assert not Certificate.objects.exists()


def test_what_a_ca_had_taken_on_before_it_left_the_list_is_handed_out(w: World) -> None:
    ca = FindingCa(answers=[OutcomeUnknown("lost")], found=[signed], name="second", title="2", inline=True)
    cas = {**runtime.current().backends, "second": ca}
    with configured(backends=cas, profiles=profiles(cas=("second",))):
        row = asked(w)
    with configured(backends=cas, profiles=profiles(cas=("embedded",))):
        support.drive(row.pk, clock=Clock(now=NOW + timedelta(minutes=1)))
    assert support.state_of(row.pk) == Status.ISSUED
