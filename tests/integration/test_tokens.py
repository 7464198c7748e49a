"""API tokens: what they may do, for how long, who makes them, and what ends them."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.hashers import make_password
from pytest_django import Settings

from certdesk.domain.actors import Action, Actor, OrgRole, RaRole, Scope, can
from certdesk.domain.errors import InvalidInput, NotAuthorized
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.people import accounts as people
from certdesk.services.people import membership, organisations
from certdesk.services.people.tokens import bearer, create_token, list_scopes, revoke_token
from certdesk.store.models import ApiToken, AuditEvent, Membership, User
from tests.integration.accounts import CHANGE, CHOSEN, OLD, add_app, give, sign_in, user_of
from tests.integration.support import NOW, World, actor, audit_problems

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def works(token: str) -> bool:
    return bearer(token, now=NOW) is not None


def made(who: Actor, *scopes: Scope, days: int | None = 30) -> str:
    until = NOW + days * DAY if days else None
    return create_token(actor=who, name="script", scopes=scopes, expires_at=until, now=NOW)


def holder(token: str) -> Actor:
    found = bearer(token, now=NOW)
    assert found is not None
    return found


def _uid(who: Actor) -> int:
    return int(who.user_id or 0)


def _factor_reset(who: Actor, by: Actor) -> None:
    add_app(sign_in(who.label))
    people.reset_second_factor(actor=by, user_id=_uid(who), now=NOW)


def _factor_removed(who: Actor, _by: Actor) -> None:
    browser = sign_in(who.label)
    add_app(browser)
    assert browser.post("/accounts/2fa/totp/deactivate/").status_code == 302


RESETS: dict[str, Callable[[Actor, Actor], object]] = {
    "issued": lambda who, by: people.issue_new_password(actor=by, user_id=_uid(who), now=NOW),
    "disabled": lambda who, by: people.disable_account(actor=by, user_id=_uid(who), now=NOW),
    "by mail": lambda who, _by: people.reset_password(user_id=_uid(who), new=CHOSEN, now=NOW),
    "factor reset": _factor_reset,
    "factor removed": _factor_removed,
}


@pytest.mark.parametrize("reset", RESETS)
def test_whatever_takes_an_account_back_ends_its_tokens(w: World, reset: str) -> None:
    give(w.alice)
    token, other = made(w.alice), made(w.bob)
    RESETS[reset](w.alice, w.olga)
    assert not works(token)
    assert works(other)
    assert ApiToken.objects.get(user_id=w.alice.user_id or 0).revoked_by in ("alice", "olga")
    assert audit_problems() == []


@pytest.mark.parametrize("answer,left", [({}, False), ({"tokens": "end"}, False), ({"tokens": "keep"}, True)])
def test_changing_the_password_asks_about_the_tokens_and_ends_them_by_default(
    w: World, answer: dict[str, str], *, left: bool
) -> None:
    give(w.alice)
    browser = sign_in("alice")
    assert b"API token" not in browser.get(CHANGE).content.split(b"<form", 2)[-1]
    token, _second = made(w.alice), made(w.alice)
    assert b"End my 2 API tokens" in browser.get(CHANGE).content
    browser.post(CHANGE, {"oldpassword": OLD, "password1": CHOSEN, "password2": CHOSEN, **answer})
    assert user_of(w.alice).check_password(CHOSEN)
    assert works(token) is left
    assert AuditEvent.objects.get(action="password.change").data["tokens"] == (0 if left else 2)


@pytest.mark.parametrize("ended", ["membership", "organisation"])
def test_a_token_loses_what_its_person_loses(w: World, ended: str) -> None:
    other = organisations.create_organisation(
        actor=w.olga, legal_name="Other", country="GB", locality="", now=NOW
    )
    Membership.objects.create(
        user_id=w.alice.user_id or 0, organisation_id=other, role="applicant", created_at=NOW
    )
    token = made(w.alice, Scope.REQUEST)
    end = partial(organisations.disable_organisation, reason="Closed.")
    if ended == "membership":
        end = partial(membership.disable_member, user_id=_uid(w.alice))
    end(actor=w.olga, organisation_id=w.university, now=NOW)
    left = holder(token)
    assert not can(left, Action.REQUEST_READ, organisation_id=w.university)
    assert can(left, Action.REQUEST_CREATE, organisation_id=other)


def test_a_token_can_read_and_what_its_scopes_say_and_names_the_one_that_lacks(w: World, meg: Actor) -> None:
    who = holder(made(meg, Scope.REQUEST))
    assert can(who, Action.REQUEST_READ, organisation_id=w.university)
    assert can(who, Action.REQUEST_CREATE, organisation_id=w.university)
    with pytest.raises(NotAuthorized, match="manage") as refused:
        can(who, Action.ACME_MANAGE, organisation_id=w.university)
    assert refused.value.code == "token.scope"
    assert not can(who, Action.REQUEST_DECIDE)  # nor could the person


@pytest.mark.parametrize(
    "scopes,days,field",
    [
        ((Scope.REQUEST,), 3, "scopes"),  # wider than the maker
        ((), 11, "expires_at"),  # outlives the maker
        ((Scope.REVOKE, Scope.MANAGE), 3, "scopes"),
    ],
)
def test_a_token_makes_none_that_is_wider_or_outlives_it(
    meg: Actor, scopes: tuple[Scope, ...], days: int, field: str
) -> None:
    maker = holder(made(meg, Scope.TOKENS, Scope.REVOKE, days=10))
    with pytest.raises(InvalidInput) as refused:
        made(maker, *scopes, days=days)
    assert list(refused.value.fields) == [field]


def test_a_token_made_by_a_token_ends_with_it_at_the_latest(w: World) -> None:
    first = made(w.alice, Scope.TOKENS, days=10)
    second = made(holder(first), Scope.TOKENS, days=None)
    third = made(holder(second), days=9)
    assert ApiToken.objects.order_by("id")[1].expires_at == NOW + 10 * DAY
    revoke_token(actor=w.alice, token_id=holder(first).token.id, now=NOW)  # type: ignore[union-attr] # it is a token's
    assert [works(token) for token in (first, second, third)] == [False, False, False]
    with pytest.raises(NotAuthorized):
        made(Actor(label="alice", user_id=w.alice.user_id, token=holder(made(w.alice)).token))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("meanwhile", ["issued", "disabled"])
def test_nobody_makes_a_token_who_was_disabled_or_reset_meanwhile(w: World, meanwhile: str) -> None:
    maker = holder(made(w.alice, Scope.TOKENS))
    RESETS[meanwhile](w.alice, w.olga)
    for stale in (w.alice, maker):
        with pytest.raises(NotAuthorized):
            made(stale)


def test_a_token_that_has_ended_meanwhile_makes_none(w: World) -> None:
    maker = holder(made(w.alice, Scope.TOKENS))
    ApiToken.objects.update(revoked_at=NOW)
    with pytest.raises(NotAuthorized):
        made(maker)


def test_nobody_gives_a_token_what_they_cannot_do(w: World, meg: Actor) -> None:
    assert list_scopes(actor=w.alice) == {Scope.READ, Scope.REQUEST, Scope.REVOKE, Scope.TOKENS}
    assert list_scopes(actor=meg) == set(Scope) - {Scope.DECIDE}
    with pytest.raises(InvalidInput) as refused:
        made(w.alice, Scope.MANAGE)
    assert "scopes" in refused.value.fields


@pytest.mark.parametrize("scope,who", [(Scope.MANAGE, "meg"), (Scope.DECIDE, "olga")])
@pytest.mark.parametrize("days", [None, 31])
def test_deciding_and_managing_is_short_lived(
    w: World, meg: Actor, scope: Scope, who: str, days: int | None
) -> None:
    person = {"meg": meg, "olga": w.olga}[who]
    with pytest.raises(InvalidInput) as refused:
        made(person, scope, days=days)
    assert "30 days" in refused.value.fields["expires_at"]
    assert made(person, days=days)  # reading may last


def test_a_shorter_limit_holds_for_tokens_made_before(w: World, meg: Actor, settings: Settings) -> None:
    token = made(meg, Scope.MANAGE)
    settings.CERTDESK = settings.CERTDESK.model_copy(update={"decision_token_days": 1})
    later = bearer(token, now=NOW + DAY)
    assert later is not None
    assert can(later, Action.REQUEST_READ, organisation_id=w.university)
    with pytest.raises(NotAuthorized, match="1 day"):
        can(later, Action.MEMBERS_MANAGE, organisation_id=w.university)


def test_no_token_decides_for_who_is_bound_to_a_second_factor_unless_allowed(
    w: World, settings: Settings
) -> None:
    token = made(w.olga, Scope.DECIDE)
    assert can(holder(token), Action.REQUEST_DECIDE)
    give(w.olga)
    add_app(sign_in("olga"))
    for action in (Action.REQUEST_DECIDE, Action.CERTIFICATE_REVOKE):
        with pytest.raises(NotAuthorized, match="second factor"):
            can(holder(token), action)
    assert can(holder(token), Action.REQUEST_READ)
    with pytest.raises(InvalidInput):
        made(w.olga, Scope.DECIDE)
    settings.CERTDESK = settings.CERTDESK.model_copy(update={"second_factor_decision_tokens": True})
    assert can(holder(token), Action.REQUEST_DECIDE)
    assert made(w.olga, Scope.DECIDE)


@pytest.mark.parametrize("role", [RaRole.OFFICER, RaRole.AUDITOR, RaRole.OPERATOR])
def test_the_ra_is_bound_where_the_service_asks_for_a_second_factor(
    w: World, settings: Settings, role: RaRole
) -> None:
    who = actor("nora", ra=role, organisation=w.university, role=OrgRole.MANAGER)
    token = made(who, Scope.MANAGE)
    settings.CERTDESK = settings.CERTDESK.model_copy(update={"require_second_factor": "always"})
    with pytest.raises(NotAuthorized, match="second factor"):
        can(holder(token), Action.ACME_MANAGE, organisation_id=OrganisationId(w.university))


def test_the_page_offers_what_the_person_can_give(w: World) -> None:
    User.objects.filter(username="alice").update(password=make_password(OLD))
    browser = sign_in("alice")
    page = browser.get("/accounts/tokens/").content.decode()
    assert "Revoke certificates" in page
    assert "Decide requests" not in page
    answer = browser.post("/accounts/tokens/", {"name": "backup", "days": "30", "scopes": ["request"]})
    assert ApiToken.objects.get().scopes == "read request"
    assert "Read, request" in answer.content.decode()
    refused = browser.post("/accounts/tokens/", {"name": "backup", "days": "30", "scopes": ["decide"]})
    assert refused.status_code == 422
