"""The policy: total, explained, strict where it doubts, and judged again before anything is signed."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.findings import Check, Verdict
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.decide import (
    NOT_VALIDATED,
    Approved,
    Decision,
    Facts,
    OrganisationFacts,
    Outcome,
    Waiver,
    content_digest,
    decide,
    domains_to_validate,
    obstacles,
    waiver_of,
)
from certdesk.domain.policy.in_force import CaaMode, Handling, KeyType, Rules
from certdesk.domain.validation import evidence
from certdesk.domain.validation.evidence import Method, MethodFacts, Validation

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
RULES = Rules(server_software=("nginx", "Other"))
LEGAL_NAME = "Example University"
SEVERITY = {Outcome.AUTO: 0, Outcome.MANUAL: 1, Outcome.REFUSE: 2}


def _validation(adn: str = "example.ac.uk", *, begins: int = -30, ends: int = 30) -> Validation:
    return Validation(
        adn=adn,
        method=Method.MANUAL_OWNERSHIP,
        validated_at=NOW + timedelta(days=begins),
        expires_at=NOW + timedelta(days=ends),
    )


READABLE = Check(code="csr.readable", verdict=Verdict.PASS, message="One CSR.")
ORGANISATION = OrganisationFacts(
    id=1,
    legal_name=LEGAL_NAME,
    vetted=True,
    active=True,
    has_approved_request=True,
    validations=(_validation(),),
)
FACTS = Facts(
    csr_findings=(READABLE,),
    names=(DnsName("www.example.ac.uk"),),
    subject_organisations=(LEGAL_NAME,),
    organisation=ORGANISATION,
    profile_id="tls-server",
    profile_version=1,
    duration_years=1,
    server_software="nginx",
)


def _asking(*names: str, validations: tuple[Validation, ...] = ORGANISATION.validations) -> Facts:
    return replace(
        FACTS,
        names=tuple(DnsName(name) for name in names),
        organisation=replace(ORGANISATION, validations=validations),
    )


def _decide(facts: Facts, rules: Rules = RULES, *, now: datetime = NOW) -> Decision:
    return decide(facts, rules, now=now)


def standing(
    decision: Decision, *waived: str, ends_at: datetime = NOW + timedelta(days=365), is_signing: bool = True
) -> set[str]:
    """What stands against a certificate, where an officer accepted every reason with these codes."""
    approved = Approved(
        content_digest=decision.content_digest,
        csr_sha256="aa",
        waivers=frozenset(waiver_of(c, csr_sha256="aa") for c in decision.checks if c.code in waived),
        ends_at=ends_at,
    )
    content = decision.content_digest
    return _codes(
        obstacles(decision, approved, content=content, csr_sha256="aa", is_signing=is_signing, now=NOW)
    )


def _codes(checks: tuple[Check, ...]) -> set[str]:
    return {check.code for check in checks}


def _seen(decision: Decision, code: str, verdict: Verdict) -> set[str]:
    return {check.seen for check in decision.checks if check.code == code and check.verdict is verdict}


NAMES = st.sampled_from(
    ["www.example.ac.uk", "*.example.ac.uk", "example.org", "a.b.example.org", "www.other.ac.uk", "x.gov.uk"]
)
CHECKS = st.builds(
    Check,
    code=st.sampled_from(["csr.a", "key.b", "names.c", NOT_VALIDATED]),
    verdict=st.sampled_from(Verdict),
    message=st.text(max_size=5),
)
VALIDATIONS = st.builds(
    _validation,
    st.sampled_from(["example.ac.uk", "example.org", "b.example.org", "other.ac.uk"]),
    begins=st.integers(-40, 1),
    ends=st.integers(2, 40) | st.just(0),
).filter(lambda v: v.validated_at < v.expires_at)
ANY_FACTS = st.builds(
    Facts,
    csr_findings=st.lists(CHECKS, max_size=4).map(tuple),
    names=st.lists(NAMES.map(DnsName), max_size=5, unique=True).map(tuple),
    subject_organisations=st.lists(st.sampled_from([LEGAL_NAME, "Other", ""]), max_size=2).map(tuple),
    organisation=st.builds(
        OrganisationFacts,
        id=st.integers(1, 3),
        legal_name=st.sampled_from([LEGAL_NAME, "Other"]),
        vetted=st.booleans(),
        active=st.booleans(),
        has_approved_request=st.booleans(),
        validations=st.lists(VALIDATIONS, max_size=4).map(tuple),
    ),
    profile_id=st.just("tls-server"),
    profile_version=st.integers(1, 2),
    duration_years=st.integers(-1, 5),
    server_software=st.sampled_from(["nginx", "Other", "", "unknown"]),
    key_blocked=st.booleans(),
)


class TestOutcome:
    @given(ANY_FACTS)
    def test_follows_from_the_checks_alone(self, facts: Facts) -> None:
        decision = _decide(facts)
        verdicts = {check.verdict for check in decision.checks}
        assert (decision.outcome is Outcome.REFUSE) is (Verdict.REFUSE in verdicts)
        assert (decision.outcome is Outcome.MANUAL) is (
            Verdict.MANUAL in verdicts and Verdict.REFUSE not in verdicts
        )
        assert bool(decision.refusals) is (Verdict.REFUSE in verdicts)
        assert bool(decision.manual_reasons) is (Verdict.MANUAL in verdicts)

    @given(ANY_FACTS, CHECKS)
    def test_one_more_finding_never_makes_it_milder(self, facts: Facts, finding: Check) -> None:
        if not facts.csr_findings:
            facts = replace(facts, csr_findings=FACTS.csr_findings)
        more = replace(facts, csr_findings=(*facts.csr_findings, finding))
        before, after = _decide(facts), _decide(more)
        assert SEVERITY[after.outcome] >= SEVERITY[before.outcome]
        assert set(before.checks) <= set(after.checks)
        if finding.verdict is Verdict.REFUSE:
            assert after.outcome is Outcome.REFUSE

    def test_a_csr_that_nobody_looked_at_is_for_a_person(self) -> None:
        assert _decide(replace(FACTS, csr_findings=())).outcome is Outcome.MANUAL

    def test_without_names_there_is_nothing_to_certify(self) -> None:
        assert _decide(replace(FACTS, names=())).outcome is Outcome.REFUSE

    @given(ANY_FACTS, NAMES)
    def test_one_more_name_never_makes_it_milder(self, facts: Facts, name: str) -> None:
        if not facts.names:
            return
        more = replace(facts, names=(*facts.names, DnsName(name)))
        assert SEVERITY[_decide(more).outcome] >= SEVERITY[_decide(facts).outcome]

    @given(ANY_FACTS)
    def test_an_automatic_yes_means_that_everything_is_proven(self, facts: Facts) -> None:
        """The invariant above all, told from facts, not from checks; what is pending is no yes yet."""
        decision = _decide(facts)
        if decision.outcome is not Outcome.AUTO or decision.pending:
            return
        organisation = facts.organisation
        assert organisation.active
        assert organisation.vetted
        assert organisation.has_approved_request
        assert not facts.key_blocked
        for name in facts.names:
            assert any(
                v.validated_at <= NOW < v.expires_at and f".{name.removeprefix('*.')}".endswith(f".{v.adn}")
                for v in organisation.validations
            ), name

    def test_of_the_plain_case_is_automatic(self) -> None:
        decision = _decide(FACTS)
        assert decision.outcome is Outcome.AUTO
        assert {c.verdict for c in decision.checks} == {Verdict.PASS}

    def test_lists_all_reasons_not_just_the_first(self) -> None:
        facts = replace(
            FACTS,
            csr_findings=(Check(code="key.weak", verdict=Verdict.REFUSE, message="weak"),),
            names=(DnsName("www.example.org"), DnsName("www.example.com")),
            subject_organisations=("Somebody Else",),
            organisation=replace(
                ORGANISATION, vetted=False, active=False, has_approved_request=False, validations=()
            ),
            duration_years=9,
            server_software="a toaster",
            key_blocked=True,
        )
        decision = _decide(facts)
        assert decision.outcome is Outcome.REFUSE
        assert _codes(decision.refusals) == {
            *("key.weak", "key.blocked", "request.duration", "request.server_software"),
            *("subject.organisation", "organisation.disabled"),
        }
        assert _codes(decision.manual_reasons) == {
            *("organisation.not_vetted", "organisation.first_request"),
            *("names.outside_trusted_suffix", NOT_VALIDATED),
        }
        assert _seen(decision, NOT_VALIDATED, Verdict.MANUAL) == {"example.org", "example.com"}

    def test_every_check_says_what_to_do_and_why(self) -> None:
        for facts in (FACTS, _asking("a.example.org", "b.other.ac.uk", validations=())):
            for check in _decide(facts).checks:
                if check.code == READABLE.code:
                    continue
                assert check.message.endswith(".")
                assert check.rule
                assert check.changed_by


def _awaited(decision: Decision) -> set[str]:
    """The domains whose own people still have to confirm."""
    return {check.seen for check in decision.pending}


class TestNamesWithDistinctFates:
    """N names are N names: 3 million certificates were once issued on one name checked N times."""

    def test_each_name_is_judged_for_itself(self) -> None:
        facts = _asking(
            "www.example.ac.uk",  # trusted and validated
            "shop.owned.example",  # outside, owned
            "www.foreign.example",  # outside, not owned
            "old.lapsed.example",  # outside, proof lapsed
            "lab.other.ac.uk",  # trusted, never validated for this organisation
            validations=(_validation(), _validation("owned.example"), _validation("lapsed.example", ends=0)),
        )
        decision = _decide(facts)
        assert decision.outcome is Outcome.MANUAL
        assert _seen(decision, "names.outside_trusted_suffix", Verdict.PASS) == {"owned.example"}
        assert _seen(decision, "names.outside_trusted_suffix", Verdict.MANUAL) == {
            "foreign.example",
            "lapsed.example",
        }
        assert _seen(decision, "domain.validated", Verdict.PASS) == {"example.ac.uk", "owned.example"}
        assert _seen(decision, NOT_VALIDATED, Verdict.MANUAL) == {"foreign.example", "lapsed.example"}
        assert _seen(decision, NOT_VALIDATED, Verdict.PENDING) == {"other.ac.uk"}
        assert domains_to_validate(facts, now=NOW) == {
            "foreign.example": ("www.foreign.example",),
            "lapsed.example": ("old.lapsed.example",),
            "other.ac.uk": ("lab.other.ac.uk",),
        }

    @pytest.mark.parametrize("position", [0, 1, 2, 3])
    def test_one_unproven_name_is_enough_wherever_it_stands(self, position: int) -> None:
        names = ["a.example.ac.uk", "b.example.ac.uk", "c.example.ac.uk"]
        names.insert(position, "www.foreign.example")
        assert _decide(_asking(*names)).outcome is Outcome.MANUAL

    def test_names_of_one_domain_of_which_one_is_unproven(self) -> None:
        """The domain as a whole is not owned when a part of it is."""
        facts = _asking(
            "a.lab.owned.example",
            "b.lab.owned.example",
            "owned.example",
            validations=(_validation("lab.owned.example"),),
        )
        decision = _decide(facts)
        assert decision.outcome is Outcome.MANUAL
        assert _seen(decision, "names.outside_trusted_suffix", Verdict.MANUAL) == {"owned.example"}
        assert domains_to_validate(facts, now=NOW) == {"owned.example": ("owned.example",)}

    def test_the_page_says_which_names_even_when_there_are_many(self) -> None:
        names = [f"host{number}.foreign.example" for number in range(9)]
        (reason,) = [
            c for c in _decide(_asking(*names)).manual_reasons if c.code == "names.outside_trusted_suffix"
        ]
        assert "host0.foreign.example" in reason.message
        assert "and 4 more" in reason.message


class TestTrustedSuffixes:
    @pytest.mark.parametrize(
        "name, outside",
        [
            ("www.example.ac.uk", False),
            ("*.example.ac.uk", False),
            ("www.example.gov.uk", False),
            ("www.ac.uk.evil.example", True),
            ("www.notac.uk", True),
            ("notac.uk", True),
            ("www.example.co.uk", True),
            ("xac.uk", True),
            ("www.example.org", True),
        ],
    )
    def test_compare_by_label(self, name: str, *, outside: bool) -> None:
        decision = _decide(_asking(name, validations=()))
        assert ("names.outside_trusted_suffix" in _codes(decision.checks)) is outside
        assert ("names.trusted_suffix" in _codes(decision.checks)) is not outside

    def test_are_a_setting(self) -> None:
        rules = replace(RULES, trusted_suffixes=("example.org",))
        facts = _asking("www.example.org", validations=(_validation("example.org"),))
        assert _codes(_decide(facts, rules).checks) >= {"names.trusted_suffix"}

    def test_do_not_prove_control(self) -> None:
        """No officer is wanted, yet nothing is signed before the domain's own people confirm."""
        decision = _decide(_asking("www.other.ac.uk"))
        assert decision.outcome is Outcome.AUTO
        assert _awaited(decision) == {"other.ac.uk"}


class TestValidations:
    @pytest.mark.parametrize(
        "begins, ends, counts",
        [(-1, 1, True), (0, 1, True), (-1, 0, False), (1, 2, False)],
        ids=["current", "from this moment", "lapsed at this moment", "from the future"],
    )
    def test_count_only_in_their_time(self, begins: int, ends: int, *, counts: bool) -> None:
        """At exactly `expires_at` a proof has lapsed."""
        facts = _asking("www.example.ac.uk", validations=(_validation(begins=begins, ends=ends),))
        assert (not _awaited(_decide(facts))) is counts
        elsewhere = _asking(
            "www.example.org", validations=(_validation("example.org", begins=begins, ends=ends),)
        )
        assert (_decide(elsewhere).outcome is Outcome.AUTO) is counts

    def test_lapse_while_the_facts_stay(self) -> None:
        facts = _asking("www.example.ac.uk", validations=(_validation(ends=1),))
        assert not _awaited(_decide(facts, now=NOW + timedelta(hours=23)))
        assert _awaited(_decide(facts, now=NOW + timedelta(hours=24))) == {"example.ac.uk"}

    def test_of_a_host_do_not_reach_its_domain_or_a_sibling(self) -> None:
        one = (_validation("www.example.ac.uk"),)
        assert not _awaited(_decide(_asking("a.www.example.ac.uk", validations=one)))
        for name in ("example.ac.uk", "mail.example.ac.uk", "*.example.ac.uk"):
            assert _awaited(_decide(_asking(name, validations=one))) == {"example.ac.uk"}

    def test_a_wildcard_needs_a_proof_that_covers_what_is_below(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        facts = _asking("*.example.ac.uk", "example.ac.uk")
        assert not _awaited(_decide(facts))
        exact = MethodFacts(title="One name", covers_subdomains=False, source="test")
        monkeypatch.setattr(evidence, "METHODS", {Method.MANUAL_OWNERSHIP: exact})
        assert _awaited(_decide(facts)) == {"example.ac.uk"}
        assert domains_to_validate(facts, now=NOW) == {"example.ac.uk": ("*.example.ac.uk",)}

    def test_of_another_organisation_are_no_help(self) -> None:
        """Policy sees only the asker's own records, so what the other one has changes nothing."""
        other = replace(ORGANISATION, id=2, validations=(_validation("owned.example"),))
        mine = _asking("www.owned.example")
        assert _decide(replace(mine, organisation=other)).outcome is Outcome.AUTO
        assert _decide(mine).outcome is Outcome.MANUAL


@pytest.mark.parametrize(
    "organisation, outcome, code",
    [
        (replace(ORGANISATION, has_approved_request=False), Outcome.MANUAL, "organisation.first_request"),
        (replace(ORGANISATION, vetted=False), Outcome.MANUAL, "organisation.not_vetted"),
        (replace(ORGANISATION, active=False), Outcome.REFUSE, "organisation.disabled"),
    ],
    ids=["first request", "not vetted", "disabled"],
)
def test_what_stands_against_an_organisation_even_under_a_trusted_suffix(
    organisation: OrganisationFacts, outcome: Outcome, code: str
) -> None:
    decision = _decide(replace(FACTS, organisation=organisation))
    assert decision.outcome is outcome
    assert _codes((*decision.manual_reasons, *decision.refusals)) == {code}


class TestLegalName:
    @pytest.mark.parametrize(
        "o",
        [
            (),
            (LEGAL_NAME,),
            ("EXAMPLE UNIVERSITY",),
            ("example university",),
            ("  Example   University ",),
            ("Example\tUniversity",),
            ("Example\u00a0University",),
            (LEGAL_NAME, "example  university"),
        ],
    )
    def test_matches_whatever_the_case_and_the_spaces(self, o: tuple[str, ...]) -> None:
        assert _decide(replace(FACTS, subject_organisations=o)).outcome is Outcome.AUTO

    @pytest.mark.parametrize(
        "o",
        [
            ("Example Universit",),
            ("Example University Ltd",),
            ("ExampleUniversity",),
            ("",),
            (" ",),
            ("Ехample University",),  # the first two letters are Cyrillic
            (LEGAL_NAME, "Somebody Else"),
            ("Somebody Else", LEGAL_NAME),
        ],
    )
    def test_any_other_organisation_is_refused(self, o: tuple[str, ...]) -> None:
        decision = _decide(replace(FACTS, subject_organisations=o))
        assert _codes(decision.refusals) == {"subject.organisation"}
        assert LEGAL_NAME in decision.refusals[0].message

    def test_case_is_folded_beyond_ascii(self) -> None:
        facts = replace(
            FACTS,
            subject_organisations=("HOCHSCHULE STRASSE",),
            organisation=replace(ORGANISATION, legal_name="Hochschule Straße"),
        )
        assert _decide(facts).outcome is Outcome.AUTO


class TestForm:
    @pytest.mark.parametrize(
        "years, outcome",
        [(1, "auto"), (2, "auto"), (3, "auto"), (0, "refuse"), (4, "refuse"), (-1, "refuse")],
    )
    def test_durations_are_those_on_offer(self, years: int, outcome: str) -> None:
        assert _decide(replace(FACTS, duration_years=years)).outcome == outcome

    @pytest.mark.parametrize("software", ["", "NGINX", "nginx ", "a toaster"])
    def test_server_software_comes_from_the_list(self, software: str) -> None:
        assert _codes(_decide(replace(FACTS, server_software=software)).refusals) == {
            "request.server_software"
        }

    def test_a_blocked_key_is_refused(self) -> None:
        assert _codes(_decide(replace(FACTS, key_blocked=True)).refusals) == {"key.blocked"}


#: What an approval is about, each time in another way. `None`: no part of what is signed.
CONTENT: dict[str, Facts | None] = {
    "csr_findings": None,  # a CSR comes with each certificate
    "names": replace(FACTS, names=(DnsName("mail.example.ac.uk"),)),
    "subject_organisations": None,
    "organisation": replace(FACTS, organisation=replace(ORGANISATION, id=2)),
    "profile_id": replace(FACTS, profile_id="tls-client"),
    "profile_version": replace(FACTS, profile_version=2),
    "duration_years": replace(FACTS, duration_years=2),
    "server_software": None,
    "key_blocked": None,
    "key": None,
    "key_uses": None,
    "preflight_findings": None,
    "caa": None,
    "requests_last_day": None,
    "stopped": None,  # a reason for an officer, as any other
}
MORE_CONTENT = {
    "legal name": replace(FACTS, organisation=replace(ORGANISATION, legal_name="Example Universitý")),
    "one more name": replace(FACTS, names=(*FACTS.names, DnsName("mail.example.ac.uk"))),
    "no name": replace(FACTS, names=()),
}


class TestContentDigest:
    def test_the_table_names_every_fact(self) -> None:
        assert set(CONTENT) == {field.name for field in fields(Facts)}

    @pytest.mark.parametrize("changed", [f for f in (*CONTENT.values(), *MORE_CONTENT.values()) if f])
    def test_every_part_of_the_content_matters(self, changed: Facts) -> None:
        assert content_digest(changed) != content_digest(FACTS)
        waived = frozenset({Waiver(code="approval.content_changed", seen="")})
        approved = Approved(
            content_digest=content_digest(FACTS),
            csr_sha256="aa",
            waivers=waived,
            ends_at=NOW + timedelta(days=365),
        )
        (reason,) = obstacles(
            _decide(changed), approved, content=content_digest(changed), csr_sha256="aa", now=NOW
        )
        assert (reason.code, reason.verdict) == ("approval.content_changed", Verdict.REFUSE)

    def test_names_do_not_run_into_each_other(self) -> None:
        one = _asking("a.example.ac.uk", "b.example.ac.uk")
        two = _asking("b.example.ac.uk", "a.example.ac.uk")
        assert content_digest(one) != content_digest(two)

    @pytest.mark.parametrize(
        "changed",
        [
            replace(RULES, trusted_suffixes=("ac.uk",)),
            replace(RULES, durations=(1,)),
            replace(RULES, server_software=("nginx",)),
            replace(RULES, key_types=(KeyType.P256,)),
            replace(RULES, rsa_min_bits=3072),
            replace(RULES, rsa_max_bits=3072),
            replace(RULES, max_names=99),
            replace(RULES, wildcards=Handling.MANUAL),
            replace(RULES, outside_suffix=Handling.REFUSE),
            replace(RULES, caa=CaaMode.WARN),
            replace(RULES, caa_unknown=Handling.REFUSE),
            replace(RULES, first_request_waits=False),
            replace(RULES, daily_cap=1),
            replace(RULES, reused_key=Handling.REFUSE),
        ],
    )
    def test_rules_that_differ_have_another_digest(self, changed: Rules) -> None:
        assert changed.digest != RULES.digest

    @pytest.mark.parametrize(
        "same",
        [
            replace(RULES, ra="Registrars"),
            replace(RULES, trusted_suffixes=("gov.uk", "ac.uk")),
            replace(RULES, durations=(3, 2, 1, 1)),
        ],
    )
    def test_rules_that_decide_alike_have_one_digest(self, same: Rules) -> None:
        assert same.digest == RULES.digest


class TestObstacles:
    def test_nothing_stands_against_what_was_approved(self) -> None:
        assert standing(_decide(FACTS)) == set()

    def test_without_an_approval_nothing_is_signed(self) -> None:
        decision = _decide(FACTS)
        (reason,) = obstacles(decision, None, content=decision.content_digest, csr_sha256="aa", now=NOW)
        assert (reason.code, reason.verdict) == ("approval.missing", Verdict.REFUSE)

    @pytest.mark.parametrize("approved, is_first", [("aa", True), ("bb", True), ("bb", False)])
    def test_the_first_certificate_is_for_the_csr_that_was_approved(
        self, approved: str, *, is_first: bool
    ) -> None:
        decision = _decide(FACTS)
        content, ends_at = decision.content_digest, NOW + timedelta(days=1)
        yes = Approved(content_digest=content, csr_sha256=approved, waivers=frozenset(), ends_at=ends_at)
        found = obstacles(decision, yes, content=content, csr_sha256="aa", is_first=is_first, now=NOW)
        changed = is_first and approved != "aa"
        assert _codes(found) == ({"approval.content_changed"} if changed else set())

    @pytest.mark.parametrize("left, codes", [(1, set()), (0, {"approval.term_ended"})])
    def test_an_approval_lasts_until_its_term_ends(self, left: int, codes: set[str]) -> None:
        assert standing(_decide(FACTS), ends_at=NOW + timedelta(seconds=left)) == codes

    def test_what_the_officer_accepted_stands_no_more(self) -> None:
        facts = replace(FACTS, organisation=replace(ORGANISATION, has_approved_request=False, vetted=False))
        decision = _decide(facts)
        assert standing(decision, "organisation.first_request", "organisation.not_vetted") == set()
        assert standing(decision, "organisation.first_request") == {"organisation.not_vetted"}
        assert standing(decision) == {"organisation.first_request", "organisation.not_vetted"}

    @pytest.mark.parametrize(
        "code, about",
        [("names.outside_trusted_suffix", ""), *((f"{kind}.x", "aa") for kind in ("csr", "key", "subject"))],
    )
    def test_a_waiver_is_for_what_was_seen_and_for_one_csr_if_it_is_about_a_csr(
        self, code: str, about: str
    ) -> None:
        def check(seen: str) -> Check:
            return Check(code=code, verdict=Verdict.MANUAL, message="", seen=seen)

        def stands(seen: str, csr_sha256: str) -> bool:
            decision = replace(_decide(FACTS), checks=(check(seen),))
            approved = Approved(
                content_digest=decision.content_digest,
                csr_sha256="aa",
                waivers=frozenset({waiver_of(check("a.example"), csr_sha256="aa")}),
                ends_at=NOW + timedelta(days=1),
            )
            content = decision.content_digest
            return bool(obstacles(decision, approved, content=content, csr_sha256=csr_sha256, now=NOW))

        assert waiver_of(check("a.example"), csr_sha256="aa").csr_sha256 == about
        assert not stands("a.example", "aa")
        assert stands("b.example", "aa")
        assert stands("a.example", "bb") is bool(about)

    def test_a_missing_proof_is_never_waived(self) -> None:
        assert standing(_decide(_asking("www.other.ac.uk")), NOT_VALIDATED) == {NOT_VALIDATED}

    @pytest.mark.parametrize(
        "name, outside", [("www.other.ac.uk", set()), ("www.example.org", {"names.outside_trusted_suffix"})]
    )
    def test_before_it_is_signed_a_name_may_still_be_proven(self, name: str, outside: set[str]) -> None:
        """By an ACME challenge; what an officer has to accept stands as ever."""
        assert standing(_decide(_asking(name)), is_signing=False) == outside
        assert standing(_decide(_asking(name))) == outside | {NOT_VALIDATED}

    def test_a_proof_that_lapsed_since_stands_against_it(self) -> None:
        facts = _asking("www.example.ac.uk", validations=(_validation(ends=1),))
        assert standing(_decide(facts)) == set()
        assert standing(_decide(facts, now=NOW + timedelta(days=1))) == {NOT_VALIDATED}

    @pytest.mark.parametrize("code", ["key.blocked", "organisation.disabled", "subject.organisation"])
    def test_a_refusal_is_never_waived(self, code: str) -> None:
        facts = replace(
            FACTS,
            key_blocked=True,
            subject_organisations=("Somebody Else",),
            organisation=replace(ORGANISATION, active=False),
        )
        assert code in standing(_decide(facts), code)

    @given(ANY_FACTS, st.lists(st.sampled_from(["csr.a", "key.b", NOT_VALIDATED, "names.c"])))
    def test_an_empty_answer_means_no_refusal_and_every_name_proven(
        self, facts: Facts, waived: list[str]
    ) -> None:
        decision = _decide(facts)
        if not standing(decision, *waived):
            assert decision.outcome is not Outcome.REFUSE
            assert not domains_to_validate(facts, now=NOW)
            assert _codes(decision.manual_reasons) <= set(waived)

    def test_a_suffix_that_is_no_longer_trusted_stands_against_it(self) -> None:
        facts = _asking("www.example.ac.uk", validations=())
        decision = _decide(facts, replace(RULES, trusted_suffixes=("gov.uk",)))
        assert standing(decision, NOT_VALIDATED) == {"names.outside_trusted_suffix", NOT_VALIDATED}


def test_an_address_waits_for_an_officer_and_its_own_server_proves_it() -> None:
    """RFC 8738: outside every trusted suffix; no mailbox and no domain of somebody's."""
    address = DnsName("10.1.2.3")
    asked = replace(FACTS, names=(address,), profile_id="tls-server-ip")
    checks = {check.code: check for check in decide(asked, RULES, now=NOW).checks}
    outside, missing = checks["names.outside_trusted_suffix"], checks[NOT_VALIDATED]
    assert (outside.verdict, missing.verdict) == (Verdict.MANUAL, Verdict.PENDING)
    assert "who owns the IP address" in outside.message
    assert "its own server does so, by ACME (http-01 or tls-alpn-01)" in missing.message
    assert domains_to_validate(asked, now=NOW) == {address: (address,)}
    proven = replace(ORGANISATION, validations=(_validation(address),))
    assert decide(replace(asked, organisation=proven), RULES, now=NOW).outcome is Outcome.AUTO
