"""What policy is told of an organisation: its own current proofs, and nothing of anybody else's."""

from datetime import timedelta

import pytest

from certdesk.domain.csr.csr import read_csr
from certdesk.domain.errors import NotFound
from certdesk.domain.issuing.profiles import profile
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.requests.preflight import Subject, judged
from certdesk.store.models import BlockedKey, Organisation, ValidationRecord
from certdesk.store.selectors.facts import organisation_facts, organisation_row
from tests.integration.support import NOW, World, csr, organisation, validated

pytestmark = pytest.mark.django_db(transaction=True)


def test_proofs_are_the_organisations_own_and_current(w: World) -> None:
    other = organisation("Other College")
    validated("other.ac.uk", of=other, by=w.olga)
    validated("old.example", of=w.university, by=w.olga, at=NOW - timedelta(days=399))
    names = ("www.example.ac.uk", "www.other.ac.uk", "old.example")
    facts = organisation_facts(organisation_row(w.university), names=names, now=NOW)
    assert [v.adn for v in facts.validations] == ["example.ac.uk"]
    end = facts.validations[0].expires_at
    assert organisation_facts(organisation_row(w.university), names=names, now=end).validations == ()
    assert ValidationRecord.objects.count() == 3


@pytest.mark.parametrize(
    "name, proofs",
    [
        ("www.sub.example.ac.uk", ["example.ac.uk", "sub.example.ac.uk"]),
        ("*.sub.example.ac.uk", ["example.ac.uk", "sub.example.ac.uk"]),
        ("example.ac.uk", ["example.ac.uk"]),
        ("notexample.ac.uk", []),
        ("ac.uk", []),
    ],
)
def test_only_proofs_that_may_reach_the_names_are_read(w: World, name: str, proofs: list[str]) -> None:
    validated("sub.example.ac.uk", of=w.university, by=w.olga)
    validated("www.other.example.ac.uk", of=w.university, by=w.olga)
    facts = organisation_facts(organisation_row(w.university), names=(name,), now=NOW)
    assert sorted(v.adn for v in facts.validations) == proofs


def test_more_names_than_a_statement_carries_are_still_judged(w: World) -> None:
    names = tuple(f"h{number}.example.ac.uk" for number in range(5001))
    facts = organisation_facts(organisation_row(w.university), names=names, now=NOW)
    assert [v.adn for v in facts.validations] == ["example.ac.uk"]


@pytest.mark.parametrize(
    "column, value, fact",
    [
        ("vetted_at", None, "vetted"),
        ("first_approved_at", None, "has_approved_request"),
        ("is_active", False, "active"),
    ],
)
def test_each_flag_follows_its_column(w: World, column: str, value: object, fact: str) -> None:
    before = organisation_facts(organisation_row(w.university), names=(), now=NOW)
    assert getattr(before, fact) is True
    Organisation.objects.filter(id=w.university).update(**{column: value})
    after = organisation_facts(organisation_row(w.university), names=(), now=NOW)
    assert getattr(after, fact) is False


def test_a_blocked_key_is_told(w: World) -> None:
    read = read_csr(csr("www.example.ac.uk"))

    subject = Subject(
        organisation=organisation_row(w.university),
        profile=profile("tls-server"),
        names=read.names,
        duration_years=1,
        server_software="nginx",
        csr=read,
    )
    BlockedKey.objects.create(spki_sha256="0" * 64, reason="another key", at=NOW)
    assert judged(subject, now=NOW)[0].key_blocked is False
    BlockedKey.objects.create(spki_sha256=read.key.spki_sha256, reason="this key", at=NOW)
    assert judged(subject, now=NOW)[0].key_blocked is True


def test_an_organisation_that_is_not_there() -> None:
    with pytest.raises(NotFound):
        organisation_row(OrganisationId(99))
