"""Organisations, their people and their domains: who may change what, and what is never half done."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import check_password
from django.db import IntegrityError, transaction

from certdesk.domain.actors import Actor, OrgRole
from certdesk.domain.errors import CertdeskError, InvalidInput, NotFound, RejectedIdentifier, StateConflict
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.people.membership import add_member, disable_member
from certdesk.services.people.organisations import (
    Evidence,
    create_organisation,
    issued_password,
    validate_domain,
    vet_organisation,
)
from certdesk.services.people.tokens import create_token, revoke_token
from certdesk.services.system import runtime
from certdesk.store.models import ApiToken, AuditEvent, Domain, Organisation, User, ValidationRecord
from certdesk.store.selectors.people import actor_for_token, actor_for_user
from tests.integration.support import NOW, World, manager, organisation

pytestmark = pytest.mark.django_db(transaction=True)


def _add(by: Actor, to: OrganisationId, **changes: str) -> str:
    given = {"username": "nell", "name": "Nell New", "email": "nell@example.ac.uk"} | changes
    issued = add_member(
        actor=by,
        organisation_id=to,
        username=given["username"],
        name=given["name"],
        email=given["email"],
        role=OrgRole.APPLICANT,
        now=NOW,
    )
    return issued.password


def _proof(domain: str, details: str = "Looked up.") -> Evidence:
    return Evidence(domain=domain, how="registry", details=details)


class TestRegistering:
    def test_makes_one_that_is_not_vetted_yet(self, w: World) -> None:
        made = create_organisation(actor=w.olga, legal_name=" New   College ", country="ie", now=NOW)
        row = Organisation.objects.get(id=made)
        assert (row.slug, row.legal_name, row.country) == ("new-college", "New College", "IE")
        assert row.vetted_at is None
        assert row.first_approved_at is None
        assert AuditEvent.objects.filter(action="organisation.create", object_id=str(made)).count() == 1

    @pytest.mark.parametrize(
        "given, field",
        [
            ({"legal_name": " "}, "legal_name"),
            ({"legal_name": "x" * 65}, "legal_name"),
            ({"legal_name": "a\0b"}, "legal_name"),
            ({"legal_name": "Ok", "country": "GBR"}, "country"),
            ({"legal_name": "Ok", "country": "4_"}, "country"),
            ({"legal_name": "Ok", "locality": "x" * 129}, "locality"),
            ({"legal_name": "Ok", "slug": "no spaces"}, "slug"),
            ({"legal_name": "Example University"}, "slug"),
            ({"legal_name": "大学"}, "slug"),
        ],
    )
    def test_refuses_what_can_not_be_and_says_which_field(
        self, w: World, given: dict[str, str], field: str
    ) -> None:
        with pytest.raises(InvalidInput) as caught:
            create_organisation(actor=w.olga, now=NOW, **given)
        assert field in caught.value.fields

    def test_vetting_needs_evidence_and_happens_once(self, w: World) -> None:
        new = organisation("New College", vetted=False)
        with pytest.raises(InvalidInput):
            vet_organisation(actor=w.olga, organisation_id=new, evidence="  ", now=NOW)
        vet_organisation(actor=w.olga, organisation_id=new, evidence="Charter.", now=NOW)
        with pytest.raises(StateConflict):
            vet_organisation(actor=w.otto, organisation_id=new, evidence="Charter.", now=NOW)
        assert AuditEvent.objects.get(action="organisation.vet").data == {"evidence": "Charter."}


class TestValidating:
    def test_records_who_what_and_until_when(self, w: World) -> None:
        validate_domain(actor=w.olga, organisation_id=w.university, evidence=_proof("Owned.Example"), now=NOW)
        record = ValidationRecord.objects.get(domain__adn="owned.example")
        assert record.validated_by_id == w.olga.user_id
        assert record.evidence["details"] == "Looked up."
        assert record.expires_at == NOW + timedelta(days=runtime.current().ownership_days)
        assert AuditEvent.objects.filter(action="domain.validate").last().data["adn"] == "owned.example"  # type: ignore[union-attr]  # it was just made

    def test_again_adds_a_record_to_the_same_domain(self, w: World) -> None:
        """Records are inserted, never changed."""
        for days in (0, 1):
            validate_domain(
                actor=w.olga,
                organisation_id=w.university,
                evidence=_proof("owned.example"),
                now=NOW + timedelta(days=days),
            )
        assert Domain.objects.filter(adn="owned.example").count() == 1
        assert ValidationRecord.objects.filter(domain__adn="owned.example").count() == 2

    @pytest.mark.parametrize(
        "domain", ["ac.uk", "co.uk", "uk", "example", "", "*.owned.example", "a b.example", "server.local"]
    )
    def test_refuses_what_nobody_can_own(self, w: World, domain: str) -> None:
        before = Domain.objects.count()
        with pytest.raises(RejectedIdentifier):
            validate_domain(actor=w.olga, organisation_id=w.university, evidence=_proof(domain), now=NOW)
        assert Domain.objects.count() == before

    def test_needs_an_organisation(self, w: World) -> None:
        with pytest.raises(NotFound):
            validate_domain(
                actor=w.olga, organisation_id=OrganisationId(99), evidence=_proof("x.ac.uk"), now=NOW
            )

    @pytest.mark.usefixtures("w")
    def test_the_database_holds_no_proof_that_ends_before_it_begins(self) -> None:
        record = ValidationRecord.objects.get()
        record.pk, record.expires_at = None, record.validated_at
        with pytest.raises(IntegrityError), transaction.atomic():
            record.save(force_insert=True)


class TestPeople:
    def test_a_manager_adds_people_with_a_password_to_be_changed(self, w: World) -> None:
        password = _add(manager(w), w.university, username=" Nell.New ")
        user = User.objects.get(username="nell.new")
        assert check_password(password, user.password)
        assert user.must_change_password
        assert actor_for_user(user).organisation_ids == {w.university}
        assert password not in str(list(AuditEvent.objects.values_list("data", flat=True)))

    @pytest.mark.parametrize(
        "given, field",
        [
            ({"username": ""}, "username"),
            ({"username": "a b"}, "username"),
            ({"username": "a\nb"}, "username"),
            ({"username": "ALICE"}, "username"),
            ({"username": "x" * 151}, "username"),
            ({"email": "nowhere"}, "email"),
            ({"email": "a@b.example\nBcc: c@d.example"}, "email"),
            ({"email": f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.{'f' * 20}.example"}, "email"),
            ({"name": "  "}, "name"),
            ({"name": "a\0b"}, "name"),
        ],
    )
    def test_refuses_what_can_not_be(self, w: World, given: dict[str, str], field: str) -> None:
        before = User.objects.count()
        with pytest.raises(InvalidInput) as caught:
            _add(w.olga, w.university, **given)
        assert field in caught.value.fields
        assert User.objects.count() == before

    def test_to_an_organisation_that_is_not_there(self, w: World) -> None:
        before = User.objects.count()
        with pytest.raises(NotFound):
            _add(w.olga, OrganisationId(9999))
        assert User.objects.count() == before

    def test_who_was_disabled_may_do_nothing_there_any_more(self, w: World) -> None:
        assert w.bob.user_id is not None
        disable_member(actor=manager(w), organisation_id=w.university, user_id=w.bob.user_id, now=NOW)
        assert actor_for_user(User.objects.get(username="bob")).organisation_ids == frozenset()
        with pytest.raises(NotFound):
            disable_member(actor=manager(w), organisation_id=w.university, user_id=w.bob.user_id, now=NOW)

    def test_issued_passwords_differ_and_can_be_read_out(self) -> None:
        made = {issued_password() for _ in range(50)}
        assert len(made) == 50
        assert all(len(p) == 24 and not set(p) & set("0O1lIi") for p in made)


class TestTokens:
    def test_are_the_person_and_end_when_told(self, w: World) -> None:
        token = create_token(actor=w.alice, name="script", expires_at=NOW + timedelta(days=1), now=NOW)
        who = actor_for_token(token, now=NOW)
        assert who
        assert replace(who, token=None) == w.alice
        assert actor_for_token(token, now=NOW + timedelta(days=1)) is None
        assert actor_for_token(token + "x", now=NOW) is None
        row = ApiToken.objects.get()
        assert token not in row.digest
        with pytest.raises(NotFound):
            revoke_token(actor=w.bob, token_id=row.pk, now=NOW)
        assert actor_for_token(token, now=NOW) == who
        revoke_token(actor=w.alice, token_id=row.pk, now=NOW)
        assert actor_for_token(token, now=NOW) is None
        with pytest.raises(NotFound):
            revoke_token(actor=w.alice, token_id=row.pk, now=NOW)

    def test_end_with_the_person(self, w: World) -> None:
        token = create_token(actor=w.alice, name="script", expires_at=None, now=NOW)
        User.objects.filter(username="alice").update(is_active=False)
        assert actor_for_token(token, now=NOW) is None

    @pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\0b"])
    def test_need_a_name(self, w: World, name: str) -> None:
        with pytest.raises(InvalidInput):
            create_token(actor=w.alice, name=name, expires_at=None, now=NOW)

    @pytest.mark.usefixtures("w")
    def test_are_not_for_an_issued_password_or_the_system(self) -> None:
        User.objects.filter(username="alice").update(must_change_password=True)
        for who in (actor_for_user(User.objects.get(username="alice")), Actor(label="x", is_system=True)):
            with pytest.raises(CertdeskError):
                create_token(actor=who, name="script", expires_at=None, now=NOW)
