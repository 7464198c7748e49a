"""ACME's problem follows from what a check is about, never from its verdict (RFC 8555 6.7)."""

from dataclasses import replace

import pytest

from certdesk.domain.acme.problems import TYPE_OF_CHECK, ProblemType, problem_of
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.catalogue import CATALOGUE
from certdesk.domain.policy.decide import judge
from certdesk.domain.policy.in_force import CaaMode, Handling, Rules
from certdesk.domain.policy.limits import CaaAnswer
from tests.unit.test_policy import FACTS, NOW, ORGANISATION


def _check(code: str, verdict: Verdict = Verdict.REFUSE, *names: str) -> Check:
    return Check(code=code, verdict=verdict, message=f"{code}.", names=names)


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_check_has_a_problem_whatever_its_verdict(code: str) -> None:
    assert {code, code.partition(".")[0]} & set(TYPE_OF_CHECK)
    kinds = {problem_of([_check(code, verdict)]).kind for verdict in CATALOGUE[code].verdicts}
    assert len(kinds) == 1


@pytest.mark.parametrize(
    "code, kind",
    [
        ("csr.signature", "badCSR"),
        ("subject.control", "badCSR"),
        ("key.size", "badCSR"),  # RFC 8555 6.7: "e.g., due to a short key"
        ("key.weak.fermat", "badPublicKey"),
        ("key.blocked", "badPublicKey"),
        ("key.used_elsewhere", "badPublicKey"),
        ("names.san_type", "badCSR"),
        ("names.internal", "rejectedIdentifier"),
        ("names.outside_trusted_suffix", "rejectedIdentifier"),
        ("domain.not_validated", "rejectedIdentifier"),
        ("caa.forbids", "caa"),
        ("caa.unknown", "dns"),
        ("organisation.disabled", "unauthorized"),
        ("organisation.first_request", "userActionRequired"),
        ("approval.missing", "userActionRequired"),
        ("certificate.ca_limits", "serverInternal"),
        ("backend.ca_ended", "serverInternal"),
        ("nobody.knows", "serverInternal"),
    ],
)
def test_a_problem_is_about_what_its_check_is_about(code: str, kind: str) -> None:
    for verdict in (Verdict.MANUAL, Verdict.REFUSE):
        assert problem_of([_check(code, verdict)]).kind == kind


def test_the_gravest_check_decides_and_what_may_come_right_by_itself_comes_last() -> None:
    manual, unknown = _check("organisation.not_vetted", Verdict.MANUAL), _check("caa.unknown")
    refused = _check("key.blocked")
    assert problem_of([manual, refused, unknown]).kind is ProblemType.BAD_PUBLIC_KEY
    mixed = problem_of([unknown, manual])
    assert mixed.kind is ProblemType.USER_ACTION_REQUIRED
    assert mixed.detail == "organisation.not_vetted. caa.unknown. Order again to see what is needed."
    assert problem_of([unknown]).detail == "caa.unknown."


def test_several_names_have_a_subproblem_each() -> None:
    """From policy's own checks: three names with three faults, one without any, an address."""
    names = tuple(map(DnsName, ("www.a.example", "www.b.example", "*.c.example", "d.example", "192.0.2.7")))
    caa = tuple(
        CaaAnswer(name=name, permits=name != "www.b.example", answered=name != "www.a.example", at=NOW)
        for name in names[:4]
    )
    rules = Rules(caa=CaaMode.REQUIRE, caa_unknown=Handling.REFUSE, wildcards=Handling.REFUSE)
    facts = replace(FACTS, names=names, caa=caa, organisation=replace(ORGANISATION, validations=()))
    about = ("caa.forbids", "caa.unknown", "names.wildcard_policy", "domain.not_validated")
    checks = [check for check in judge(facts, rules, now=NOW) if check.code in about]
    refused = problem_of([c for c in checks if c.code != "domain.not_validated"])
    assert [(p.name, p.type.value) for p in refused.subproblems] == [
        ("*.c.example", "rejectedIdentifier"),
        ("www.b.example", "caa"),
        ("www.a.example", "dns"),
    ]
    waiting = problem_of([c for c in checks if c.code == "domain.not_validated"])
    assert {(p.name, p.identifier_type) for p in waiting.subproblems} == {
        (name, "ip" if name == "192.0.2.7" else "dns") for name in names
    }
    assert not problem_of([_check("names.internal", Verdict.REFUSE, "a.local")]).subproblems
