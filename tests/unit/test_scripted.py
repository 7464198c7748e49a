"""The scripted CA does as it is told, and goes on with it after a restart."""

import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certdesk.backends.base import Finds, Prepares
from certdesk.backends.conformance import server_intent
from certdesk.backends.scripted import DEMO_RULES, Behaviour, Revoking, Rule, ScriptedBackend, ScriptedConfig
from certdesk.backends.scripted.config import read_config
from certdesk.domain.errors import BackendRefused, Misconfigured, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import Absent, Accepted, Intent, Issued, Refused, compare

NOW = datetime.now(UTC)
Make = Callable[..., ScriptedBackend]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Make:
    def open_ca(*rules: Rule, default: Behaviour = Behaviour.ISSUE, **changes: object) -> ScriptedBackend:
        config = ScriptedConfig(
            directory=tmp_path / "ca",
            passphrase=b"a passphrase",
            tests_and_demo_only=True,
            rules=rules,
            default=replace(Rule(behaviour=Behaviour.ISSUE, reason="No."), behaviour=default, **changes),  # type: ignore[arg-type]  # the tests' own calls
        )
        return ScriptedBackend(config, clock=clock)

    return open_ca


def intent(*names: str) -> Intent:
    return server_intent(now=NOW, names=names or ("www.example.ac.uk",))


def test_it_finds_and_does_not_prepare(make: Make) -> None:
    ca = make()
    assert isinstance(ca, Finds)
    assert not isinstance(ca, Prepares)


def test_one_that_accepts_issues_after_the_delay_even_after_a_restart(make: Make, clock: Clock) -> None:
    wanted = intent()
    first = make(default=Behaviour.ACCEPT, delay=timedelta(hours=2)).submit(wanted)
    assert isinstance(first, Accepted)
    clock.now += timedelta(hours=2, seconds=-1)
    assert make().poll(wanted, first.handle) == first
    clock.now += timedelta(seconds=1)
    outcome = make().poll(wanted, first.handle)
    assert isinstance(outcome, Issued)
    assert worst(compare(outcome, wanted)) is Verdict.PASS
    assert make().find(wanted) == outcome


def test_a_refusal_has_its_reason_now_or_later(make: Make, clock: Clock) -> None:
    assert make(default=Behaviour.REFUSE, reason="Not you.").submit(intent()) == Refused(reason="Not you.")
    later = make(default=Behaviour.ACCEPT_THEN_REFUSE, reason="Not now.", delay=timedelta(minutes=5))
    wanted = intent()
    accepted = later.submit(wanted)
    assert isinstance(accepted, Accepted)
    clock.now += timedelta(minutes=5)
    assert later.poll(wanted, accepted.handle) == Refused(reason="Not now.")


def test_one_that_is_down_hears_nothing_until_it_is_up(make: Make) -> None:
    ca, wanted = make(default=Behaviour.UNAVAILABLE, tries=2), intent()
    for attempt in ("first", "second"):
        tried = replace(wanted, idempotency_key=attempt)
        with pytest.raises(Unavailable):
            ca.submit(tried)
        assert ca.find(tried) == Absent()
    assert isinstance(ca.submit(replace(wanted, idempotency_key="third")), Issued)


def test_a_lost_answer_can_be_looked_up_and_a_repeat_gets_the_same(make: Make) -> None:
    wanted = intent()
    with pytest.raises(OutcomeUnknown):
        make(default=Behaviour.TIMEOUT_AFTER_ACCEPTING).submit(wanted)
    found = make().find(wanted)
    assert isinstance(found, Issued)
    assert make(default=Behaviour.TIMEOUT_AFTER_ACCEPTING).submit(wanted) == found


def test_wrong_names_are_noticed(make: Make) -> None:
    wanted = intent()
    outcome = make(default=Behaviour.WRONG_NAMES).submit(wanted)
    assert isinstance(outcome, Issued)
    codes = {check.code for check in compare(outcome, wanted)}
    assert codes == {"issuance.mismatch.names", "issuance.mismatch.subject"}


def test_the_first_rule_for_any_of_the_names_counts() -> None:
    config = ScriptedConfig(
        directory=Path("unused"), passphrase=b"p", tests_and_demo_only=True, rules=DEMO_RULES
    )
    behaviours = {
        names: config.rule_for(names).behaviour
        for names in [
            ("www.example.ac.uk",),
            ("slow-1.example.ac.uk",),
            ("www.example.ac.uk", "refuse-me.example.ac.uk"),
            ("later-refuse-me.example.ac.uk",),
            ("wrong-1.example.ac.uk", "slow-1.example.ac.uk"),
        ]
    }
    assert list(behaviours.values()) == [
        Behaviour.ISSUE,
        Behaviour.ACCEPT,
        Behaviour.REFUSE,
        Behaviour.ACCEPT_THEN_REFUSE,
        Behaviour.ACCEPT,
    ]
    assert {rule.behaviour for rule in DEMO_RULES} == set(Behaviour)
    assert {rule.revoking for rule in DEMO_RULES} == set(Revoking)


def test_an_unknown_order_is_refused(make: Make) -> None:
    for handle in ("S-000042", "nonsense", ""):
        with pytest.raises(BackendRefused):
            make().poll(intent(), handle)


def test_key_and_orders_are_for_their_owner_alone_and_the_key_is_encrypted(
    make: Make, tmp_path: Path
) -> None:
    make().submit(intent())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ca").iterdir()}
    assert set(modes) == {"issuing.key", "chain.pem", "orders.sqlite3"}
    assert set(modes.values()) == {0o600}
    assert b"ENCRYPTED" in (tmp_path / "ca" / "issuing.key").read_bytes()
    with pytest.raises(Misconfigured):
        ScriptedBackend(
            ScriptedConfig(directory=tmp_path / "ca", passphrase=b"another", tests_and_demo_only=True)
        )


def test_its_certificates_say_what_it_is(make: Make) -> None:
    issuer = x509.load_der_x509_certificate(make().chain()[0])
    assert "tests and demo" in issuer.subject.rfc4514_string()


def test_its_chain_holds_to_the_letter(make: Make) -> None:
    """As `openssl verify -x509_strict` and PKIX validators want it: each one names the key above it."""
    answer = make().submit(intent())
    assert isinstance(answer, Issued)
    leaf, issuing, root = map(x509.load_der_x509_certificate, answer.chain)
    for below, above in ((leaf, issuing), (issuing, root)):
        named = below.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert named == above.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        below.verify_directly_issued_by(above)


@pytest.mark.parametrize("lost", ["issuing.key", "chain.pem", ""])
def test_one_that_lost_a_file_is_not_made_anew(make: Make, tmp_path: Path, lost: str) -> None:
    """Nor in an empty folder, where something was issued before."""
    make()
    folder = tmp_path / "ca"
    for path in list(folder.iterdir()):
        if lost in path.name:
            path.unlink()
    left = {path: path.read_bytes() for path in folder.iterdir()}
    config = ScriptedConfig(
        directory=folder, passphrase=b"a passphrase", tests_and_demo_only=True, may_create=lambda: bool(lost)
    )
    with pytest.raises(Misconfigured, match="from a backup"):
        ScriptedBackend(config)
    assert {path: path.read_bytes() for path in folder.iterdir()} == left


# Settings


def settings(**changes: object) -> dict[str, object]:
    return {"directory": "ca", "passphrase": "open sesame", "tests_and_demo_only": True, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"tests_and_demo_only": False},
        {"tests_and_demo_only": "yes"},
        {"passphrase": ""},
        {"passphrase": None},
        {"directory": ""},
        {"directroy": "ca"},
        {"may_create": True},
        {"rules": "slow-*"},
        {"rules": ["slow-*"]},
        {"default": "slow-*"},
    ],
)
def test_settings_that_could_only_fail_later_stop_the_start(changes: dict[str, object]) -> None:
    with pytest.raises(Misconfigured):
        read_config(name="ca", settings=settings(**changes))
