"""Who may do what: one table, deny by default."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.actors import (
    LIMITED_SCOPES,
    SYSTEM,
    Action,
    Actor,
    OrgRole,
    RaRole,
    Scope,
    Token,
    can,
    scopes_of,
)
from certdesk.domain.errors import MissingScope
from certdesk.domain.issuing.states import OrganisationId, UserId

OWN, FOREIGN = OrganisationId(1), OrganisationId(2)

#: The whole table once more, written from the product's point of view.
OWN_TOKENS = {Action.TOKEN_READ, Action.TOKEN_MANAGE}
OFFICER = {
    *(Action.REQUEST_READ, Action.REQUEST_DECIDE, Action.REQUEST_END, Action.CERTIFICATE_REVOKE),
    *(Action.ORGANISATION_READ, Action.ORGANISATION_CREATE, Action.ORGANISATION_VET),
    *(Action.MEMBERS_READ, Action.MEMBERS_MANAGE, Action.VALIDATION_END),
    *(Action.DOMAIN_READ, Action.DOMAIN_ASK, Action.DOMAIN_VALIDATE),
    *(Action.ACME_READ, Action.ACME_MANAGE, Action.KEY_READ, Action.KEY_BLOCK),
}
AUDITOR = {
    *(Action.REQUEST_READ, Action.ORGANISATION_READ, Action.MEMBERS_READ),
    *(Action.DOMAIN_READ, Action.ACME_READ, Action.AUDIT_READ, Action.KEY_READ),
    Action.FINDING_READ,
}
APPLICANT = {
    *(Action.REQUEST_CREATE, Action.REQUEST_READ, Action.REQUEST_WITHDRAW, Action.CERTIFICATE_REVOKE),
    *(Action.ORGANISATION_READ, Action.DOMAIN_READ, Action.DOMAIN_ASK),
}
MANAGER = APPLICANT | {
    Action.REQUEST_END,
    *(Action.MEMBERS_READ, Action.MEMBERS_MANAGE),
    *(Action.ACME_READ, Action.ACME_MANAGE, Action.VALIDATION_END),
}
RA = {
    RaRole.NONE: set[Action](),
    RaRole.OFFICER: OFFICER,
    RaRole.AUDITOR: AUDITOR,
    RaRole.OPERATOR: {Action.SERVICE_OPERATE, Action.FINDING_READ},
}
ORGANISATION = {OrgRole.APPLICANT: APPLICANT, OrgRole.MANAGER: MANAGER}
ACME_ACCOUNT = {Action.ACME_ACCOUNT, Action.ACME_ORDER, Action.CERTIFICATE_REVOKE}


def _actor(ra: RaRole = RaRole.NONE, role: OrgRole | None = None, *, must_change: bool = False) -> Actor:
    return Actor(
        label="somebody",
        user_id=UserId(7),
        ra_role=ra,
        memberships={OWN: role} if role else {},
        must_change_password=must_change,
    )


def _allowed(actor: Actor, organisation_id: OrganisationId | None) -> set[Action]:
    """What the actor may do, but for their own tokens, which are everybody's who signs in."""
    found = {action for action in Action if can(actor, action, organisation_id=organisation_id)}
    signs_in = actor.user_id is not None or actor.is_system
    assert (found >= OWN_TOKENS) is (signs_in and not actor.must_change_password)
    return found - OWN_TOKENS


@pytest.mark.parametrize("ra", RaRole)
@pytest.mark.parametrize("organisation_id", [None, OWN, FOREIGN])
def test_the_ra_acts_across_organisations(ra: RaRole, organisation_id: OrganisationId | None) -> None:
    assert _allowed(_actor(ra), organisation_id) == RA[ra]


@pytest.mark.parametrize("role", OrgRole)
def test_members_act_for_their_own_organisation_alone(role: OrgRole) -> None:
    actor = _actor(role=role)
    assert _allowed(actor, OWN) == ORGANISATION[role]
    assert _allowed(actor, FOREIGN) == set()
    assert _allowed(actor, None) == set()


@pytest.mark.parametrize("ra", RaRole)
@pytest.mark.parametrize("role", OrgRole)
def test_two_roles_add_up(ra: RaRole, role: OrgRole) -> None:
    actor = _actor(ra, role)
    assert _allowed(actor, OWN) == RA[ra] | ORGANISATION[role]
    assert _allowed(actor, FOREIGN) == RA[ra]


@given(st.sampled_from(RaRole), st.sampled_from([None, *OrgRole]), st.sampled_from([None, OWN, FOREIGN]))
def test_a_password_still_to_change_allows_nothing(
    ra: RaRole, role: OrgRole | None, organisation_id: OrganisationId | None
) -> None:
    assert _allowed(_actor(ra, role, must_change=True), organisation_id) == set()


def test_every_action_is_somebodys() -> None:
    anybodys = set().union(ACME_ACCOUNT, *RA.values(), *ORGANISATION.values())
    assert anybodys | OWN_TOKENS == set(Action)
    assert _allowed(SYSTEM, None) | OWN_TOKENS == set(Action)


@given(
    st.sampled_from(RaRole),
    st.sampled_from([None, *OrgRole]),
    st.sampled_from([None, OWN, FOREIGN]),
    st.frozensets(st.sampled_from(Scope)),
    st.sampled_from(["", "It is too old."]),
)
def test_a_token_never_may_more_than_its_person_and_all_scopes_are_the_person(
    ra: RaRole,
    role: OrgRole | None,
    organisation_id: OrganisationId | None,
    scopes: frozenset[Scope],
    limit: str,
) -> None:
    person = _actor(ra, role)
    token = Token(id=1, scopes=scopes, created_at=datetime.now(UTC), expires_at=None, limit=limit)
    whole = replace(token, scopes=frozenset(Scope), limit="")
    for action in Action:
        may = can(person, action, organisation_id=organisation_id)
        assert can(replace(person, token=whole), action, organisation_id=organisation_id) is may
        missing = ""
        try:
            assert can(replace(person, token=token), action, organisation_id=organisation_id) is may
        except MissingScope as refused:
            missing = refused.scope
        if missing:
            assert may  # who may not is told so, whatever the token
            assert missing not in scopes or (limit and missing in LIMITED_SCOPES)
            assert missing in scopes_of(person)


@pytest.mark.parametrize("acme_for", [None, OWN])
def test_an_acme_account_acts_for_its_own_organisation_until_it_has_ended(
    acme_for: OrganisationId | None,
) -> None:
    account = Actor(label="ACME account 7", acme_for=acme_for)
    assert _allowed(account, OWN) == (ACME_ACCOUNT if acme_for else set())
    assert _allowed(account, FOREIGN) == _allowed(account, None) == set()


def test_nobody_decides_as_a_member_and_no_officer_asks() -> None:
    """W3 begins here: asking and deciding are never one role."""
    assert Action.REQUEST_DECIDE not in MANAGER
    assert Action.REQUEST_CREATE not in _allowed(_actor(RaRole.OFFICER), OWN)


def test_who_sees_everything_is_who_may_read_every_request() -> None:
    for ra in RaRole:
        actor = _actor(ra)
        assert actor.sees_everything is can(actor, Action.REQUEST_READ)
    assert SYSTEM.sees_everything


def test_an_actor_without_memberships_belongs_nowhere() -> None:
    assert _actor().organisation_ids == frozenset()
    assert _actor(role=OrgRole.APPLICANT).organisation_ids == {OWN}
