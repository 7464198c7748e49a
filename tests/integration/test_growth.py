"""What people do every day costs the database no more after years: no read grows with what lies there.

SQLite counts the steps of its virtual machine, which no other load on the machine disturbs. A read that walks
along all requests, certificates or domains of an organisation shows up as thousands of steps. Left out are
the search by words, whose index merges as it likes, and a domain's page, which counts up to 20,000 names.
"""

import json
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest
from cryptography import x509
from django.db import connection
from django.db.models import Model
from django.test import Client

from certdesk.domain.actors import RaRole
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.validation.evidence import Method
from certdesk.jobs.worker import Worker
from certdesk.services.requests.asking import preview_request
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.store.models import (
    AcmeAuthorization,
    AcmeOrder,
    Approval,
    CaaCheck,
    Certificate,
    CertificateName,
    Domain,
    Issuance,
    Request,
    RequestEvent,
    ValidationRecord,
)
from tests.harness.acme_client import AcmeClient, b64, make_csr
from tests.integration.acme_support import AcmeWorld, Scripts
from tests.integration.api_calls import with_token
from tests.integration.support import NOW, actor, signed_in, submission, submit

pytestmark = [pytest.mark.django_db(transaction=True)]

MANY = 400
#: How much dearer an act may become: a few more levels of the indexes.
ALLOWED = 1.25
#: Steps, in tens, of a count that stops at a hundred; a read of all that is copied takes hundreds more.
FEW = 70


def steps(act: Callable[[], object]) -> int:
    """How many steps of SQLite's machine an act takes, in tens, once everything is warm."""
    act()
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    connection.connection.set_progress_handler(step, 10)
    try:
        act()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return taken


def copied(row: Model, **changes: Callable[[int], object]) -> list[Model]:
    """As many more rows like this one; `changes` say what differs, by the copy's number."""
    kind = type(row)
    fields = [f.attname for f in kind._meta.concrete_fields if not f.primary_key]
    made = [
        kind(**{name: changes[name](n) if name in changes else getattr(row, name) for name in fields})
        for n in range(MANY)
    ]
    kind._base_manager.bulk_create(made)
    return made


def grow(number: int) -> None:
    """The organisation has had many more requests, certificates and domains like this one's."""
    request = Request.objects.get(id=number)
    requests = copied(
        request,
        names=lambda n: [f"copy-{n}.example.ac.uk"],
        common_names=lambda n: f"copy-{n}.example.ac.uk",
        idempotency_key=lambda n: f"copy {number} {n}",
        submission_digest=lambda n: f"copy {n}",
    )
    for event in RequestEvent.objects.filter(request_id=number):
        copied(event, request_id=lambda n: requests[n].pk)
    for approval in Approval.objects.filter(request_id=number):
        copied(approval, request_id=lambda n: requests[n].pk)
    issuance = Issuance.objects.get(request_id=number)
    orders: list[Any] = []
    if issuance.order_id is not None:
        order = AcmeOrder.objects.get(id=issuance.order_id)
        orders = copied(order, request_id=lambda n: requests[n].pk, certificate_id=lambda _n: None)
        for authorization in AcmeAuthorization.objects.filter(order=order):
            copied(authorization, order_id=lambda n: orders[n].pk, token=lambda n: f"copy {n}")
    issuances = copied(
        issuance,
        request_id=lambda n: requests[n].pk,
        order_id=lambda n: orders[n].pk if orders else None,
        idempotency_key=lambda n: f"copy {number} {n}",
        intent_key=lambda n: f"copy {number} {n}",
        serial=lambda n: f"{number}c{n}",
    )
    certificates = copied(
        Certificate.objects.get(request_id=number),
        request_id=lambda n: requests[n].pk,
        issuance_id=lambda n: issuances[n].pk,
        sha256=lambda n: f"copy {number} {n}",
        serial=lambda n: f"{number}c{n}",
    )
    for order, certificate in zip(orders, certificates, strict=bool(orders)):
        order.certificate_id = certificate.pk
    AcmeOrder.objects.bulk_update(orders, ["certificate"])
    for name in CertificateName.objects.filter(certificate__request_id=number):
        copied(name, certificate_id=lambda n: certificates[n].pk, name=lambda n: f"copy-{n}.example.ac.uk")
    for caa in CaaCheck.objects.filter(request_id=number):
        copied(caa, request_id=lambda n: requests[n].pk)


def test_every_day_s_acts_cost_the_same_after_years(
    here: AcmeWorld, one: AcmeClient, network: Scripts
) -> None:
    w, worker = here.world, Worker()
    hosts = (f"h{n}.example.ac.uk" for n in count())
    number = submit(w.alice, next(hosts)).number
    one.issue("renewed.example.ac.uk")
    leaf = x509.load_pem_x509_certificates(one.issue("shown.example.ac.uk"))[0]
    machine = Request.objects.filter(channel="acme").latest("id").pk
    certificate = Certificate.objects.get(request_id=machine)
    waits = submit(w.alice, "www.example.org").number
    domain = Domain.objects.get(adn="example.ac.uk", organisation_id=w.university)
    alice, olga, oscar = (
        signed_in(name) for name in ("alice", "olga", actor("oscar", ra=RaRole.OPERATOR).label)
    )
    rest = with_token(w.alice)
    key = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    window = f"{one.at['renewalInfo']}/{b64(key or b'')}.{b64(serial)}"

    def challenged() -> None:
        order = one.order(f"{next(hosts)}.another.ac.uk").json
        one.answer(order["authorizations"][0], "http-01", network[Method.ACME_HTTP].proofs.add)
        assert one.finalize(order, make_csr(order["identifiers"][0]["value"])).status == 200

    def revoked() -> None:
        made = Certificate.objects.get(request_id=submit(w.alice, next(hosts)).number)
        revoke_certificate(
            actor=w.alice,
            certificate_id=made.pk,
            reason=RevocationReason.CESSATION_OF_OPERATION,
            clock=lambda: NOW,
        )

    acts: dict[str, Callable[[], object]] = {
        "order": lambda: one.issue(next(hosts)),
        "renewal": lambda: one.issue("renewed.example.ac.uk"),
        "challenged": challenged,
        "renewal window": lambda: one.get(window),
        "preview": lambda: preview_request(
            actor=w.alice, submission=submission(w.university, next(hosts)), now=NOW
        ),
        "confirm": lambda: submit(w.alice, next(hosts)),
        "revoke": revoked,
        "worker's round": lambda: worker.tick(now=NOW),
        "zip": lambda: rest.get(f"/requests/{number}/bundle.zip"),
        "REST list": lambda: rest.get("/requests?limit=2"),
        "REST show": lambda: rest.get(f"/requests/{number}"),
        "REST certificates": lambda: rest.get("/certificates?limit=2"),
        "REST certificate": lambda: rest.get(f"/certificates/{certificate.pk}"),
        "REST by serial": lambda: rest.get(f"/certificates?serial={certificate.serial}"),
        "service": lambda: opened(oscar, "/service/"),
        **{
            f"{who}: {address}": partial(opened, client, address)
            for who, client in (("alice", alice), ("olga", olga))
            for address in (
                *("/", "/requests/", f"/requests/{number}/", f"/requests/{machine}/", f"/requests/{waits}/"),
                "/requests/?status=withdrawn",
            )
        },
        **{f"olga: {address}": partial(opened, olga, address) for address in ("/queue/", f"/queue/{waits}/")},
    }
    for _ in range(60):  # more than a page of the list, which is full before and after
        submit(w.alice, next(hosts))
    while worker.tick(now=NOW):
        pass
    before = {name: steps(act) for name, act in acts.items()}
    grow(number)
    grow(machine)
    domains = copied(domain, adn=lambda n: f"copy-{n}.example.org")
    for record in ValidationRecord.objects.filter(domain=domain):
        copied(record, domain_id=lambda n: domains[n].pk)
    after = {name: steps(act) for name, act in acts.items()}
    dearer = {
        name: (before[name], after[name]) for name in acts if after[name] > before[name] * ALLOWED + FEW
    }
    assert not dearer, json.dumps(dearer, indent=1)


def opened(client: Client, address: str) -> None:
    assert client.get(address).status_code == 200, address
