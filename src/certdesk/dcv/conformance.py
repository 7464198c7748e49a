"""What every validation method must pass: a class of pytest tests to inherit from, and networks made of data.

The inheriting test module supplies one fixture, `scene`. Only test suites import this.
"""
# ruff: noqa: S101 - these are tests; pytest rewrites their asserts when the module is registered

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from certdesk.dcv.base import Challenge, Network, NotValidated, Outcome, Problem, Record, Validated, Validator
from certdesk.dcv.fetch import Fetched, Fetcher, NotFetched
from certdesk.dcv.resolver import Answer, Resolver, Status
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.validation.evidence import METHODS, Method

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
ADN = "www.example.ac.uk"
ACCOUNT = "https://certs.example.ac.uk/acme/acct/1"
ISSUER = "certs.example.ac.uk"

_ACME_TYPES = {"caa", "connection", "dns", "incorrectResponse", "malformed", "tls", "unauthorized"}


@dataclass(kw_only=True)
class ScriptedResolver:
    """Answers from a table; what is not in it does not exist. Remembers what was asked."""

    answers: Mapping[tuple[str, str], Answer] = field(default_factory=dict)
    otherwise: Answer = field(default_factory=lambda: Answer(status=Status.NO_NAME))
    asked: list[tuple[str, str]] = field(default_factory=list)

    def lookup(self, name: str, kind: str) -> Answer:
        self.asked.append((name, kind))
        return self.answers.get((name, kind), self.otherwise)


@dataclass(kw_only=True)
class ScriptedFetcher:
    """Fetches from tables; what is not in them can't be connected to."""

    pages: Mapping[str, Fetched | NotFetched] = field(default_factory=dict)
    certificates: Mapping[str, bytes | NotFetched] = field(default_factory=dict)
    otherwise: NotFetched = field(
        default_factory=lambda: NotFetched(code="fetch.connect", detail="Nobody listens.", retry=True)
    )
    asked: list[str] = field(default_factory=list)

    def get(self, url: str, *, ip_address: str = "") -> Fetched | NotFetched:  # noqa: ARG002 - the protocol's
        self.asked.append(url)
        return self.pages.get(url, self.otherwise)

    def connect_tls_alpn(self, host: str) -> bytes | NotFetched:
        self.asked.append(host)
        return self.certificates.get(host, self.otherwise)


def txt(*values: str) -> Answer:
    """Records that are there."""
    return Answer(status=Status.OK, values=values, server="192.0.2.53#53", ttl=60)


def network(*, resolver: Resolver | None = None, fetcher: Fetcher | None = None) -> Network:
    """A network of these; where none is given, nothing is there."""
    return Network(resolver=resolver or ScriptedResolver(), fetcher=fetcher or ScriptedFetcher())


def faulty(status: Status) -> Network:
    """A network in which every look-up, and with it every fetch, ends with this fault."""
    fetcher = ScriptedFetcher(
        otherwise=NotFetched(code=f"fetch.dns.{status.value}", detail="No address.", retry=status.passing)
    )
    return network(resolver=ScriptedResolver(otherwise=Answer(status=status)), fetcher=fetcher)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A method on trial: its validator, a challenge, and networks with the proof and with a stranger's."""

    validator: Validator
    challenge: Challenge
    proven: Network
    other: Network
    reaches: Method


class ValidatorConformance:
    """Inherit from this under a name that pytest collects, and give the fixture `scene`."""

    def test_says_which_methods_it_checks(self, scene: Scene) -> None:
        assert scene.validator.methods
        assert all(method in METHODS for method in scene.validator.methods)
        assert scene.challenge.method in scene.validator.methods

    def test_finds_the_proof(self, scene: Scene) -> None:
        outcome = _validate(scene, scene.proven)
        assert isinstance(outcome, Validated), outcome
        assert outcome.record.method is scene.reaches
        _check_record(outcome.record, scene)

    def test_nothing_there_is_no_proof(self, scene: Scene) -> None:
        outcome = _validate(scene, network())
        assert isinstance(outcome, NotValidated)
        _check_problem(outcome.problem)
        _check_record(outcome.record, scene)

    def test_somebody_elses_proof_is_none(self, scene: Scene) -> None:
        outcome = _validate(scene, scene.other)
        assert isinstance(outcome, NotValidated)
        _check_problem(outcome.problem)
        _check_record(outcome.record, scene)

    @pytest.mark.parametrize("status", [status for status in Status if not status.answered])
    def test_a_fault_of_the_dns_refuses_and_says_so(self, scene: Scene, status: Status) -> None:
        outcome = _validate(scene, faulty(status))
        assert isinstance(outcome, NotValidated)
        _check_problem(outcome.problem)
        assert outcome.problem.code.endswith(f"dns.{status.value}")
        assert outcome.problem.acme_type == "dns"
        assert outcome.problem.retry == status.passing

    def test_the_proof_of_another_name_is_none(self, scene: Scene) -> None:
        challenge = replace(scene.challenge, adn="www.example.org")
        outcome = scene.validator.validate(challenge, network=scene.proven, now=NOW)
        assert isinstance(outcome, NotValidated)
        assert outcome.record.adn == "www.example.org"

    def test_a_wildcard_only_where_the_method_reaches_below(self, scene: Scene) -> None:
        outcome = scene.validator.validate(
            replace(scene.challenge, wildcard=True), network=scene.proven, now=NOW
        )
        if METHODS[scene.reaches].covers_subdomains:
            assert isinstance(outcome, Validated)
        else:
            assert isinstance(outcome, NotValidated)
            _check_problem(outcome.problem)

    def test_another_methods_challenge_is_our_own_bug(self, scene: Scene) -> None:
        with pytest.raises(InvariantViolated):
            scene.validator.validate(
                replace(scene.challenge, method=Method.MANUAL_OWNERSHIP), network=scene.proven, now=NOW
            )

    @pytest.mark.parametrize("adn", ["", "*.example.ac.uk", "WWW.example.ac.uk"])
    def test_a_name_that_is_none_is_our_own_bug(self, scene: Scene, adn: str) -> None:
        with pytest.raises(InvariantViolated):
            scene.validator.validate(replace(scene.challenge, adn=adn), network=scene.proven, now=NOW)


class SecretConformance:
    """For a method whose proof is a secret value, beside ValidatorConformance."""

    @pytest.mark.parametrize("expected", ["", "short", "x" * 18])
    def test_a_value_that_could_be_guessed_is_our_own_bug(self, scene: Scene, expected: str) -> None:
        with pytest.raises(InvariantViolated):
            scene.validator.validate(
                replace(scene.challenge, expected=expected), network=scene.proven, now=NOW
            )

    def test_the_secret_stands_in_no_record(self, scene: Scene) -> None:
        for where in (scene.proven, scene.other, network()):
            record = _validate(scene, where).record
            assert scene.challenge.expected not in json.dumps(_as_json(record))
        assert scene.challenge.expected not in repr(scene.challenge)


def _validate(scene: Scene, where: Network) -> Outcome:
    return scene.validator.validate(scene.challenge, network=where, now=NOW)


def _check_problem(problem: Problem) -> None:
    assert problem.code.startswith("dcv.")
    assert problem.detail.endswith(".")
    assert problem.acme_type in _ACME_TYPES


def _check_record(record: Record, scene: Scene) -> None:
    """Complete, at the time that was passed in, and JSON (V7)."""
    assert record.method in scene.validator.methods
    assert record.adn
    assert record.asked
    assert record.answered
    assert record.at == NOW
    assert json.loads(json.dumps(_as_json(record)))


def _as_json(record: Record) -> dict[str, object]:
    return {"asked": record.asked, "answered": record.answered, "details": dict(record.details)}
