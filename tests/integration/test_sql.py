"""Named statements: what the ORM would read of the same rows and write into them, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from certdesk.acme import orders as room
from certdesk.domain.errors import NotFound
from certdesk.domain.validation.evidence import Method
from certdesk.services.validation.ended import end_validation
from certdesk.store.db import write_transaction
from certdesk.store.driver import put
from certdesk.store.models import (
    AcmeAccount,
    AcmeAuthorization,
    AcmeChallenge,
    AcmeOrder,
    AuditEvent,
    BlockedKey,
    Domain,
    Organisation,
    Request,
    RequestEvent,
    SettingsVersion,
    ValidationRecord,
)
from certdesk.store.selectors.waiting import orders_overdue
from certdesk.store.sql import (
    account_now,
    authorization_now,
    covering_requests,
    facts_now,
    order_now,
    request_now,
)
from tests.harness.acme_client import make_csr
from tests.integration.acme_support import AcmeWorld, acme_world, scripted_network
from tests.integration.support import NOW, organisation

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "www.example.ac.uk"


def _same(found: Model, row: Model) -> bool:
    fields = [field.attname for field in row._meta.concrete_fields]
    return type(found) is type(row) and all(getattr(found, one) == getattr(row, one) for one in fields)


@pytest.fixture
def here() -> AcmeWorld:
    return acme_world()


def test_an_account_comes_with_all_that_stands_against_it(here: AcmeWorld) -> None:
    here.registered()
    row = AcmeAccount.objects.select_related("credential", "organisation").get()
    found = account_now(row.pk)
    assert found is not None
    for ours, theirs in (
        (found.account, row),
        (found.account.credential, row.credential),
        (found.account.organisation, row.organisation),
    ):
        assert _same(ours, theirs)
    assert (found.is_key_blocked, found.settings_version) == (False, 0)
    assert account_now(row.pk + 1) is None
    version = SettingsVersion.objects.create(at=NOW, by="op", values={}, changed={})
    for of, ended_at, blocked in (
        (organisation("Other College"), None, False),
        (None, NOW, False),
        (row.organisation_id, None, True),
        (None, None, True),
    ):
        block = BlockedKey.objects.create(
            spki_sha256=row.spki_sha256, organisation_id=of, reason="lost", at=NOW, ended_at=ended_at
        )
        found = account_now(row.pk)
        assert found is not None
        assert (found.is_key_blocked, found.settings_version) == (blocked, version.pk)
        block.delete()
    found.account.contacts = ["mailto:other@example.ac.uk"]
    found.account.save()  # an update, for it is there
    assert AcmeAccount.objects.get().contacts == ["mailto:other@example.ac.uk"]


def test_orders_and_authorizations_are_their_account_s(here: AcmeWorld) -> None:
    one, other = here.registered(), here.registered()
    one.order("b.example.ac.uk", "a.example.ac.uk")
    other.order(NAME)
    row = AcmeOrder.objects.order_by("id")[0]
    rows = list(AcmeAuthorization.objects.filter(order=row).order_by("id"))
    found = order_now(row.pk, account_id=row.account_id)
    assert found is not None
    assert _same(found[0], row)
    assert [_same(ours, theirs) for ours, theirs in zip(found[1], rows, strict=True)] == [True, True]
    assert order_now(row.pk, account_id=row.account_id + 1) is None
    assert authorization_now(rows[0].pk, account_id=row.account_id + 1) is None
    for count in range(3):
        read = authorization_now(rows[1].pk, account_id=row.account_id)
        assert read is not None
        assert _same(read[0], rows[1])
        assert _same(read[0].order, row)
        answered = list(AcmeChallenge.objects.filter(authorization=rows[1]))
        assert sorted(challenge.pk for challenge in read[1]) == sorted(challenge.pk for challenge in answered)
        assert len(answered) == count
        AcmeChallenge.objects.create(
            authorization=rows[1], type=f"kind-{count}", started_at=NOW, problem={"type": "x"}
        )


def test_requests_that_may_cover_a_name(here: AcmeWorld) -> None:
    one = here.registered()
    one.issue(NAME)
    issued = Request.objects.get()
    assert _same(request_now(issued.pk), issued)
    with pytest.raises(NotFound):
        request_now(issued.pk + 1)

    def found(name: str, *, of: int = issued.organisation_id, profile: str = "tls-server") -> list[int]:
        rows = covering_requests(of, profile_id=profile, name=name, most=20)
        assert all(_same(row, Request.objects.get(pk=row.pk)) for row in rows)
        return [row.pk for row in rows]

    assert found(NAME) == [issued.pk]
    assert found("other.example.ac.uk") == found(NAME, profile="x") == found(NAME, of=0) == []
    # One that has no certificate yet is found by what it is for.
    Request.objects.filter(pk=issued.pk).update(status="accepted", names=["other.example.ac.uk", NAME])
    assert found("other.example.ac.uk") == [issued.pk]
    Request.objects.filter(pk=issued.pk).update(state="ended")
    assert found(NAME) == []


def test_proofs_that_hold_now(here: AcmeWorld) -> None:
    row = ValidationRecord.objects.get(domain__organisation=here.world.university)
    asked: Any = {"adns": ["ac.uk", "example.ac.uk"], "now": NOW}
    expected = (("example.ac.uk", row.method, row.validated_at, row.expires_at),)
    assert facts_now(here.world.university, **asked).proofs == expected
    assert facts_now(here.world.university, adns=[], now=NOW).proofs == ()
    assert facts_now(here.world.university, adns=["ac.uk"], now=NOW).proofs == ()
    assert facts_now(organisation("Other College"), **asked).proofs == ()
    assert facts_now(here.world.university, adns=["example.ac.uk"], now=row.expires_at).proofs == ()


def test_rows_are_put_as_the_orm_would() -> None:
    home = organisation("First College")
    numbers = put(
        Domain, [{"organisation_id": home, "adn": f"{n}.example", "created_at": NOW} for n in range(120)]
    )
    assert [Domain.objects.get(adn=f"{n}.example").pk for n in (0, 49, 50, 119)] == [
        numbers[n] for n in (0, 49, 50, 119)
    ]
    assert set(Domain.objects.values_list("created_at", flat=True)) == {NOW}
    assert put(Domain, []) == []
    with pytest.raises(IntegrityError), write_transaction():
        put(Domain, [{"organisation_id": home, "adn": "1.example", "created_at": NOW}])
    later = NOW + timedelta(microseconds=1)
    event = {
        "seq": 1,
        "at": later,
        "actor": "x",
        "user_id": None,
        "action": "x",
        "object_type": "x",
        "object_id": "1",
        "organisation_id": home,
        "data": {"names": ["ü", None, True], "number": 1.5},
        "previous_hash": "a",
        "hash": "b",
    }
    assert put(AuditEvent, [event]) == []
    assert _same(AuditEvent.objects.get(), AuditEvent(**event))
    assert Organisation.objects.get().pk == home
    assert not RequestEvent.objects.exists()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at challenges in the thread that counts."""
    monkeypatch.setattr(room, "run_for_a_moment", lambda work: work())


#: Statements and transactions of an order, BEGIN and COMMIT among the former: so many and no more.
MOST = {
    ("sqlite", "pre-validated"): (39, 3),
    ("sqlite", "challenged"): (65, 5),
    ("postgresql", "pre-validated"): (39, 3),
    ("postgresql", "challenged"): (68, 5),
}


@pytest.mark.parametrize("flow", ["pre-validated", "challenged"])
@pytest.mark.usefixtures("at_once")
def test_what_an_order_costs(here: AcmeWorld, flow: str) -> None:
    one = here.registered()
    one.issue("first.example.ac.uk")  # texts are made and settings read
    with scripted_network() as network, CaptureQueriesContext(connection) as heard:
        name = "www.another.ac.uk" if flow == "challenged" else NAME
        ordered = one.order(name).json
        if flow == "challenged":
            (authorization,) = ordered["authorizations"]
            prove = network[Method.ACME_HTTP].proofs.add
            assert one.answer(authorization, "http-01", prove).json["status"] == "valid"
            one.post(authorization)
        done = one.finalize(ordered, make_csr(name)).json
        assert one.post(done["certificate"]).body.startswith(b"-----BEGIN CERTIFICATE-----")
    texts = [each["sql"] for each in heard.captured_queries]
    counted = len(texts), sum(text.startswith("COMMIT") for text in texts)
    assert counted <= MOST[connection.vendor, flow], "\n".join(text[:100] for text in texts)


def test_orders_are_not_walked_along_for_what_a_few_of_them_have(here: AcmeWorld) -> None:
    """Those of an organisation whose proof ends, and those without a certificate."""
    proof = ValidationRecord.objects.get()
    with CaptureQueriesContext(connection) as queries:
        list(orders_overdue(now=NOW))
        end_validation(actor=here.meg, domain_id=proof.domain_id, record_id=proof.pk, reason="Sold.", now=NOW)
    asked = [query["sql"] for query in queries if '"store_acmeorder"' in query["sql"]]
    assert len(asked) == 2
    if connection.vendor == "sqlite":  # PostgreSQL walks along whatever is short
        for sql in asked:
            with connection.cursor() as cursor:
                plan = " ".join(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}"))
            assert "SCAN" not in plan, plan
