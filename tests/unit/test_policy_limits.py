"""What a policy's limits say: each verdict of each check, and that a stricter rule never helps."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.csr.keys import KeyFacts
from certdesk.domain.findings import Verdict
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.decide import Decision, Facts, Outcome, decide
from certdesk.domain.policy.in_force import CaaMode, Handling, KeyType, Rules, strictest
from certdesk.domain.policy.limits import CaaAnswer, KeyKind, KeyUses
from tests.unit.test_policy import ANY_FACTS, FACTS, NOW, RULES, standing

SEVERITY = {Outcome.AUTO: 0, Outcome.MANUAL: 1, Outcome.REFUSE: 2}


def _codes(decision: Decision, verdict: Verdict) -> set[str]:
    return {check.code for check in decision.checks if check.verdict is verdict}


def _message(facts: Facts, rules: Rules, code: str) -> str:
    """What one check, which has to be there once, tells people."""
    (found,) = (check for check in decide(facts, rules, now=NOW).checks if check.code == code)
    return found.message


def _told(facts: Facts, rules: Rules, code: str) -> tuple[str, str] | None:
    """Verdict and what was seen, of one check; None where it is not made."""
    found = [check for check in decide(facts, rules, now=NOW).checks if check.code == code]
    assert len(found) < 2
    return (found[0].verdict.value, found[0].seen) if found else None


def _asking(*names: str) -> Facts:
    return replace(FACTS, names=tuple(DnsName(name) for name in names))


class TestKeys:
    @pytest.mark.parametrize(
        "kind, allowed",
        [
            (KeyKind("P-256"), True),
            (KeyKind("P-384"), False),
            (KeyKind("RSA", 2048), False),
            (KeyKind("RSA", 3072), True),
            (KeyKind("RSA", 4096), False),
        ],
    )
    def test_a_policy_may_leave_kinds_and_sizes_out(self, kind: KeyKind, *, allowed: bool) -> None:
        rules = replace(RULES, key_types=(KeyType.RSA, KeyType.P256), rsa_min_bits=3072, rsa_max_bits=3072)
        assert (_told(replace(FACTS, key=kind), rules, "key.not_allowed") is None) is allowed
        assert _told(replace(FACTS, key=kind), RULES, "key.not_allowed") is None

    def test_the_refusal_says_what_to_make(self) -> None:
        rules = replace(RULES, key_types=(KeyType.RSA, KeyType.P384), rsa_min_bits=3072)
        (refusal,) = decide(replace(FACTS, key=KeyKind("P-256")), rules, now=NOW).refusals
        assert "RSA with 3072 to 4096 bits or EC P-384" in refusal.message

    def test_an_unknown_kind_is_looked_at_where_kinds_are_limited(self) -> None:
        rules = replace(RULES, key_types=(KeyType.P256,))
        assert _told(FACTS, rules, "key.kind_unknown") == ("manual", "")
        assert _told(FACTS, RULES, "key.kind_unknown") is None

    @pytest.mark.parametrize("described, kind", [("RSA 2048", ("RSA", 2048)), ("EC P-256", ("P-256", 0))])
    def test_a_stored_description_gives_the_kind_again(self, described: str, kind: tuple[str, int]) -> None:
        parsed = KeyKind.parse(described)
        assert parsed is not None
        assert (parsed.name, parsed.bits) == kind

    @pytest.mark.parametrize("described", ["", "RSA", "RSA many", "EC", "EC ", "DSA 2048", "RSA -5"])
    def test_any_other_description_is_unknown(self, described: str) -> None:
        assert KeyKind.parse(described) is None

    def test_a_key_that_was_read_is_of_the_kind_of_its_curve(self) -> None:
        key = KeyFacts(algorithm="EC", size=256, curve="P-256", spki_der=b"", spki_sha256="")
        assert KeyKind.of(key).name == KeyType.P256

    @pytest.mark.parametrize(
        "handling, verdict", list(zip(Handling, ("warn", "manual", "refuse"), strict=True))
    )
    def test_a_key_of_somebody_else_is_handled_as_the_policy_says(
        self, handling: Handling, verdict: str
    ) -> None:
        facts = replace(FACTS, key_uses=KeyUses(elsewhere=True))
        assert _told(facts, replace(RULES, reused_key=handling), "key.used_elsewhere") == (verdict, "")

    def test_an_own_key_is_noted_with_the_number_of_the_request(self) -> None:
        facts = replace(FACTS, key_uses=KeyUses(earlier_request=17))
        decision = decide(facts, RULES, now=NOW)
        assert _codes(decision, Verdict.WARN) == {"key.reused"}
        assert _told(facts, RULES, "key.reused") == ("warn", "request 17")
        assert decision.outcome is Outcome.AUTO

    def test_whose_key_it_is_is_not_told(self) -> None:
        facts = replace(FACTS, key_uses=KeyUses(elsewhere=True))
        (reason,) = decide(facts, RULES, now=NOW).manual_reasons
        assert not any(character.isdigit() for character in reason.message)
        assert reason.seen == ""


class TestNames:
    WILDCARD = "names.wildcard_policy"

    def test_there_may_be_a_lower_limit(self) -> None:
        rules = replace(RULES, max_names=2)
        assert _told(_asking("a.example.ac.uk", "b.example.ac.uk"), rules, "names.limit") is None
        three = _asking("a.example.ac.uk", "b.example.ac.uk", "c.example.ac.uk")
        assert _told(three, rules, "names.limit") == ("refuse", "3 names")

    @pytest.mark.parametrize("handling, verdict", [(Handling.MANUAL, "manual"), (Handling.REFUSE, "refuse")])
    def test_wildcards_are_handled_as_the_policy_says(self, handling: Handling, verdict: str) -> None:
        facts = _asking("a.example.ac.uk", "*.example.ac.uk", "*.b.example.ac.uk")
        rules = replace(RULES, wildcards=handling)
        found = {c.seen: c.verdict for c in decide(facts, rules, now=NOW).checks if c.code == self.WILDCARD}
        assert found == {"*.example.ac.uk": verdict, "*.b.example.ac.uk": verdict}
        assert _told(_asking("a.example.ac.uk"), rules, self.WILDCARD) is None
        assert _told(facts, RULES, self.WILDCARD) is None

    def test_outside_names_may_be_refused_even_when_validated(self) -> None:
        rules = replace(RULES, trusted_suffixes=("gov.uk",), outside_suffix=Handling.REFUSE)
        assert _told(FACTS, rules, "names.outside_trusted_suffix") == ("refuse", "example.ac.uk")
        assert _told(
            FACTS, replace(rules, outside_suffix=Handling.MANUAL), "names.outside_trusted_suffix"
        ) == ("pass", "example.ac.uk")


class TestFirstRequest:
    def test_waits_for_nobody_where_the_policy_says_so(self) -> None:
        first = replace(FACTS, organisation=replace(FACTS.organisation, has_approved_request=False))
        code = "organisation.first_request"
        assert _told(first, RULES, code) == ("manual", "first request")
        assert _told(first, replace(RULES, first_request_waits=False), code) == ("pass", "first request")
        assert _told(FACTS, RULES, code) == ("pass", "")


class TestDailyCap:
    @pytest.mark.parametrize("made, verdict", [(0, "pass"), (2, "pass"), (3, "manual"), (None, "manual")])
    def test_an_officer_looks_at_what_is_above_it(self, made: int | None, verdict: str) -> None:
        told = _told(
            replace(FACTS, requests_last_day=made), replace(RULES, daily_cap=3), "organisation.daily_cap"
        )
        assert told is not None
        assert told[0] == verdict

    def test_there_is_none_by_default(self) -> None:
        assert _told(replace(FACTS, requests_last_day=10**6), RULES, "organisation.daily_cap") is None


def _answer(name: str, *, permits: bool = True, age: timedelta = timedelta(hours=1)) -> CaaAnswer:
    detail = "No CAA records." if permits else "Only other.example may."
    return CaaAnswer(
        name=name,
        permits=permits,
        detail=detail,
        found=() if permits else ('0 issue "other.example"',),
        to_add="" if permits else 'example.ac.uk. CAA 0 issue "certs.example.net"',
        at=NOW - age,
    )


class TestCaa:
    """Three names with three fates: N names are N names."""

    NAMES = ("a.example.ac.uk", "b.example.ac.uk", "c.example.ac.uk")

    def _judged(self, rules: Rules, *answers: CaaAnswer) -> dict[str, tuple[str, str]]:
        facts = replace(_asking(*self.NAMES), caa=answers)
        checks = decide(facts, rules, now=NOW).checks
        return {c.code: (c.verdict.value, c.seen) for c in checks if c.code.startswith("caa.")}

    @pytest.mark.parametrize(
        "rules, forbidden, unknown",
        [
            (replace(RULES, caa=CaaMode.WARN), "warn", "warn"),
            (replace(RULES, caa=CaaMode.WARN, caa_unknown=Handling.REFUSE), "warn", "warn"),
            (replace(RULES, caa=CaaMode.REQUIRE), "refuse", "manual"),
            (replace(RULES, caa=CaaMode.REQUIRE, caa_unknown=Handling.REFUSE), "refuse", "refuse"),
        ],
    )
    def test_each_name_is_judged_for_itself(self, rules: Rules, forbidden: str, unknown: str) -> None:
        a, b, c = self.NAMES
        answers = (_answer(a), _answer(b, permits=False))
        assert self._judged(rules, *answers) == {
            "caa.forbids": (forbidden, f'{b}: 0 issue "other.example"'),
            "caa.unknown": (unknown, c),
        }

    def test_all_permitted_is_a_pass(self) -> None:
        rules = replace(RULES, caa=CaaMode.REQUIRE)
        assert self._judged(rules, *(_answer(name) for name in self.NAMES)) == {"caa.permits": ("pass", "")}

    def test_the_record_to_add_is_told(self) -> None:
        a, b, c = self.NAMES
        facts = replace(_asking(a, b, c), caa=(_answer(a), _answer(b, permits=False), _answer(c)))
        told = _message(facts, replace(RULES, caa=CaaMode.REQUIRE), "caa.forbids")
        assert told.startswith(f"{b}: Only other.example may.")
        assert told.endswith('to add this record: example.ac.uk. CAA 0 issue "certs.example.net"')

    @pytest.mark.parametrize("permits", [True, False])
    def test_a_look_up_that_failed_is_no_answer_and_says_why(self, *, permits: bool) -> None:
        a, b, c = self.NAMES
        failed = replace(_answer(b), answered=False, permits=permits, detail="It can't be looked up.")
        facts = replace(_asking(a, b, c), caa=(_answer(a), failed, _answer(c)))
        for rules in (replace(RULES, caa=CaaMode.REQUIRE), replace(RULES, caa=CaaMode.WARN)):
            told = _message(facts, rules, "caa.unknown")
            assert told.startswith(f"{b}: no current answer")
            assert told.endswith("It can't be looked up.")

    def test_no_officer_waives_a_missing_answer(self) -> None:
        decision = decide(_asking(*self.NAMES), replace(RULES, caa=CaaMode.REQUIRE), now=NOW)
        assert "caa.unknown" in standing(decision, "caa.unknown", "domain.not_validated")

    @pytest.mark.parametrize(
        "age, counts",
        [(timedelta(hours=8), True), (timedelta(hours=8, seconds=1), False), (timedelta(seconds=-1), False)],
    )
    def test_an_answer_counts_for_eight_hours(self, age: timedelta, *, counts: bool) -> None:
        rules = replace(RULES, caa=CaaMode.REQUIRE)
        judged = self._judged(rules, *(_answer(name, age=age) for name in self.NAMES))
        assert set(judged) == {"caa.permits" if counts else "caa.unknown"}

    def test_nothing_known_is_never_good_news(self) -> None:
        decision = decide(FACTS, replace(RULES, caa=CaaMode.REQUIRE), now=NOW)
        assert _codes(decision, Verdict.MANUAL) == {"caa.unknown"}

    def test_off_says_nothing(self) -> None:
        assert self._judged(RULES, _answer(self.NAMES[0], permits=False)) == {}


MORE_FACTS = st.builds(
    lambda facts, key, uses, answers, made: replace(
        facts, key=key, key_uses=uses, caa=answers, requests_last_day=made
    ),
    ANY_FACTS,
    st.sampled_from([None, KeyKind("P-256"), KeyKind("RSA", 2048), KeyKind("RSA", 4096), KeyKind("P-521")]),
    st.builds(KeyUses, earlier_request=st.none() | st.integers(1, 9), elsewhere=st.booleans()),
    st.none()
    | st.lists(
        st.builds(
            CaaAnswer,
            name=st.sampled_from(["www.example.ac.uk", "example.org", "x.gov.uk"]),
            permits=st.booleans(),
            at=st.sampled_from([NOW, NOW - timedelta(hours=9)]),
        ),
        max_size=3,
    ).map(tuple),
    st.none() | st.integers(0, 5),
)
ANY_RULES = st.builds(
    Rules,
    trusted_suffixes=st.sampled_from([("ac.uk", "gov.uk"), ("ac.uk",), ("example.org",)]),
    durations=st.sampled_from([(1, 2, 3), (1,)]),
    server_software=st.just(("nginx", "Other")),
    key_types=st.lists(st.sampled_from(KeyType), min_size=1, unique=True).map(tuple),
    rsa_min_bits=st.sampled_from([2048, 3072]),
    rsa_max_bits=st.sampled_from([3072, 4096]),
    max_names=st.integers(1, 5),
    wildcards=st.sampled_from(Handling),
    outside_suffix=st.sampled_from([Handling.MANUAL, Handling.REFUSE]),
    caa=st.sampled_from(CaaMode),
    caa_unknown=st.sampled_from([Handling.MANUAL, Handling.REFUSE]),
    first_request_waits=st.booleans(),
    daily_cap=st.integers(0, 3),
    reused_key=st.sampled_from(Handling),
)


def _stricter(rules: Rules) -> list[Rules]:
    """The rules with one of them as strict as it can be."""
    changes: list[dict[str, object]] = [
        {"durations": (2,)} if rules.durations == (1, 2, 3) else {},
        {"key_types": rules.key_types[:1]},
        {"rsa_min_bits": 3072},
        {"rsa_max_bits": 3072},
        {"max_names": 1},
        {"wildcards": Handling.REFUSE},
        {"outside_suffix": Handling.REFUSE},
        {"caa": CaaMode.REQUIRE},
        {"caa_unknown": Handling.REFUSE},
        {"first_request_waits": True},
        {"daily_cap": 1},
        {"reused_key": Handling.REFUSE},
    ]
    return [replace(rules, **change) for change in changes]  # type: ignore[arg-type] # fields of all types


@given(MORE_FACTS, ANY_RULES)
def test_any_facts_and_rules_give_a_decision(facts: Facts, rules: Rules) -> None:
    decision = decide(facts, rules, now=NOW)
    assert decision.checks
    assert decision.policy_digest == rules.digest


@given(MORE_FACTS, ANY_RULES)
def test_a_stricter_rule_never_makes_it_milder(facts: Facts, rules: Rules) -> None:
    before = SEVERITY[decide(facts, rules, now=NOW).outcome]
    for stricter in _stricter(rules):
        assert SEVERITY[decide(facts, stricter, now=NOW).outcome] >= before


@given(MORE_FACTS, ANY_RULES)
def test_knowing_less_never_makes_it_milder(facts: Facts, rules: Rules) -> None:
    """What is None is not known; good news may turn bad with it, and bad news is never worse than unknown."""
    good = replace(
        facts,
        key=KeyKind("P-256"),
        caa=tuple(CaaAnswer(name=name, permits=True, at=NOW) for name in facts.names),
        requests_last_day=0,
    )
    rules = replace(rules, key_types=(KeyType.P256, *rules.key_types))
    known = SEVERITY[decide(good, rules, now=NOW).outcome]
    for less in (replace(good, key=None), replace(good, caa=None), replace(good, requests_last_day=None)):
        assert SEVERITY[decide(less, rules, now=NOW).outcome] >= known


@given(ANY_FACTS)
def test_without_a_file_everything_is_as_the_seed_says(facts: Facts) -> None:
    """The checks that a policy's limits make are silent under the seed's rules."""
    silent = {"key.not_allowed", "key.kind_unknown", "names.limit", "names.wildcard_policy"}
    silent |= {"organisation.daily_cap", "caa.permits", "caa.forbids", "caa.unknown"}
    assert not silent & {check.code for check in decide(facts, RULES, now=NOW).checks}


@given(MORE_FACTS, ANY_RULES, ANY_RULES)
def test_the_strictest_of_two_rules_lets_nothing_through_that_either_stops(
    facts: Facts, one: Rules, other: Rules
) -> None:
    both = SEVERITY[decide(facts, strictest(one, other), now=NOW).outcome]
    assert both >= max(SEVERITY[decide(facts, rules, now=NOW).outcome] for rules in (one, other))
    assert strictest(one, one).digest == one.digest
    assert strictest(one, other).digest == strictest(other, one).digest
