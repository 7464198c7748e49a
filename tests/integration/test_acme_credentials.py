"""EAB credentials: who makes, limits, rotates, reveals and ends them, and that the key rests encrypted."""

import base64
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.actors import Actor, OrgRole, RaRole
from certdesk.domain.errors import InvalidInput, StateConflict
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.acme.credentials import (
    change_credential,
    hmac_key,
    reveal_key,
    revoke_credential,
    rotate_credential,
)
from certdesk.store.models import AuditEvent, EabCredential
from certdesk.store.selectors.acme import get_credential
from tests.integration.acme_support import credential
from tests.integration.support import NOW, actor, audit_problems, organisation

pytestmark = pytest.mark.django_db
ACTS: tuple[Callable[..., object], ...] = (
    *(rotate_credential, revoke_credential, reveal_key),
    partial(change_credential, name="x", limits=Limits()),
)


@pytest.fixture
def university() -> OrganisationId:
    return organisation()


@pytest.fixture
def meg(university: OrganisationId) -> Actor:
    return actor("meg", organisation=university, role=OrgRole.MANAGER)


def test_a_manager_makes_one_and_its_key_is_256_bits_stored_encrypted(
    meg: Actor, university: OrganisationId
) -> None:
    made = credential(meg, university)
    assert len(base64.urlsafe_b64decode(made.hmac_key + "=")) == 32
    assert "=" not in made.hmac_key
    row = EabCredential.objects.get(id=made.credential_id)
    assert made.hmac_key not in row.key_sealed
    assert hmac_key(row) == made.hmac_key
    told = str(list(AuditEvent.objects.values_list("data", flat=True)))
    assert made.kid in told
    assert made.hmac_key not in told
    assert audit_problems() == []


def test_an_officers_credential_asks_in_the_name_of_the_organisations_manager(
    meg: Actor, university: OrganisationId
) -> None:
    olga = actor("olga", ra=RaRole.OFFICER)
    made = credential(olga, university)
    assert EabCredential.objects.get(id=made.credential_id).owner_id == meg.user_id
    with pytest.raises(InvalidInput):
        credential(olga, organisation("Empty College"))


def test_rotating_makes_a_new_key_under_the_same_kid(meg: Actor, university: OrganisationId) -> None:
    made = credential(meg, university)
    new = rotate_credential(actor=meg, credential_id=made.credential_id, now=NOW)
    assert (new.kid, new.credential_id) == (made.kid, made.credential_id)
    assert new.hmac_key != made.hmac_key
    assert reveal_key(actor=meg, credential_id=made.credential_id, now=NOW) == new
    assert get_credential(actor=meg, credential_id=made.credential_id).rotated_at == NOW


def test_a_revoked_one_can_neither_be_changed_nor_shown(meg: Actor, university: OrganisationId) -> None:
    number = credential(meg, university).credential_id
    revoke_credential(actor=meg, credential_id=number, now=NOW)
    for act in ACTS:
        with pytest.raises(StateConflict), transaction.atomic():
            act(actor=meg, credential_id=number, now=NOW)
    assert not get_credential(actor=meg, credential_id=number).is_usable(now=NOW)


def test_limits_are_checked_stored_and_shown(meg: Actor, university: OrganisationId) -> None:
    wrong = Limits(
        suffixes=("ac.uk",), profile_id="no-such", max_accounts=0, expires_at=NOW - timedelta(days=1)
    )
    with pytest.raises(InvalidInput) as caught:
        credential(meg, university, wrong)
    assert set(caught.value.fields) == {"suffixes", "profile", "max_accounts", "expires_at"}
    limits = Limits(
        suffixes=("WWW.Example.ac.uk", "*.lab.example.ac.uk"),
        profile_id="tls-server",
        max_accounts=2,
        expires_at=NOW + timedelta(days=30),
    )
    number = credential(meg, university, limits).credential_id
    shown = get_credential(actor=meg, credential_id=number).limits
    assert shown.suffixes == ("www.example.ac.uk", "lab.example.ac.uk")
    assert shown.outside(
        ["a.lab.example.ac.uk", "lab.example.ac.uk", "example.ac.uk", "nolab.example.ac.uk"]
    ) == ("example.ac.uk", "nolab.example.ac.uk")
    change_credential(actor=meg, credential_id=number, name="all", limits=Limits(max_accounts=5), now=NOW)
    changed = get_credential(actor=meg, credential_id=number)
    assert (changed.name, changed.limits) == ("all", Limits(max_accounts=5))
    data = AuditEvent.objects.order_by("-seq").values_list("data", flat=True)[0]
    assert data["changed"]["max_accounts"] == [2, 5]
