"""Factories for tests that touch the database: people, requests, CAs that misbehave, threads at once.

No tests live here. Everything is made through the services where the way there is part of the story, and
straight in the tables where only the rows matter.
"""

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from certdesk.backends.base import Backend
from certdesk.domain.actors import Actor, OrgRole, RaRole
from certdesk.domain.audit import GENESIS, Entry, chain_hash
from certdesk.domain.errors import CertdeskError
from certdesk.domain.findings import Check
from certdesk.domain.issuing.certificates import Absent, Intent, Issued, Outcome
from certdesk.domain.issuing.states import IssuanceId, OrganisationId, RequestId, Status
from certdesk.services.issuance import engine as issuance
from certdesk.services.mail.notices import note_told, tell_applicant
from certdesk.services.people.organisations import Evidence, validate_domain
from certdesk.services.requests.asking import Created, Submission, create_request
from certdesk.services.requests.confirm import approve_and_issue, submit_request
from certdesk.services.requests.decisions import approve_request, judge_now
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import ask_by_email
from certdesk.store.models import AuditEvent, Issuance, Membership, Organisation, Request, RequestEvent, User
from certdesk.store.selectors.people import actor_for_user

#: A made-up present; tests move on from here by passing later times.
NOW = datetime.now(UTC).replace(microsecond=0)
VETTED = "The register of universities names it."
_Result = TypeVar("_Result")
_numbers = itertools.count(1)


@dataclass(slots=True)
class Clock:
    """A clock that stands still until it is told to go on."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def forward(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


def actor(
    name: str,
    *,
    organisation: OrganisationId | None = None,
    role: OrgRole = OrgRole.APPLICANT,
    ra: RaRole = RaRole.NONE,
) -> Actor:
    """A person with a row of their own, as an actor."""
    user, _new = User.objects.get_or_create(
        username=name, defaults={"email": f"{name}@example.ac.uk", "ra_role": ra, "password": "!"}
    )
    if organisation is not None:
        Membership.objects.get_or_create(
            user=user, organisation_id=organisation, defaults={"role": role, "created_at": NOW}
        )
    return actor_for_user(user)


class Browser(Client):
    """A browser that knows pages by the names of their addresses."""

    def page(self, name: str, /, *args: object, **query: str) -> str:
        """A page, as text."""
        answer = self.get(reverse(name, args=args), query)
        assert answer.status_code == HTTPStatus.OK, answer.content
        return str(answer.content.decode())

    def send(self, name: str, /, *args: object, **form: object) -> HttpResponse:
        """The answer to a form."""
        answer = self.post(reverse(name, args=args), form)
        assert isinstance(answer, HttpResponse)
        return answer

    def sent(self, name: str, /, *args: object, **form: object) -> str:
        """The page that a form leads to in the end, as text."""
        return str(self.post(reverse(name, args=args), form, follow=True).content.decode())


def signed_in(username: str) -> Browser:
    """The browser of somebody who has signed in."""
    client = Browser()
    user = User.objects.get(username=username)
    client.force_login(user)
    return client


def organisation(name: str = "Example University", *, vetted: bool = True) -> OrganisationId:
    """An organisation; a vetted one has had its first request approved as well."""
    since = NOW - timedelta(days=30) if vetted else None
    row = Organisation.objects.create(
        slug=name.lower().replace(" ", "-"),
        legal_name=name,
        vetted_at=since,
        first_approved_at=since,
        created_at=NOW - timedelta(days=30),
    )
    return OrganisationId(row.pk)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The people of most stories. The university is vetted and `example.ac.uk` is its own."""

    university: OrganisationId
    alice: Actor
    bob: Actor
    olga: Actor
    otto: Actor


def world() -> World:
    """A university with two applicants, and two officers."""
    university = organisation()
    made = World(
        university=university,
        alice=actor("alice", organisation=university),
        bob=actor("bob", organisation=university),
        olga=actor("olga", ra=RaRole.OFFICER),
        otto=actor("otto", ra=RaRole.OFFICER),
    )
    validated("example.ac.uk", of=university, by=made.olga)
    return made


def manager(of: World) -> Actor:
    """The university's manager."""
    return actor("meg", organisation=of.university, role=OrgRole.MANAGER)


def validated(domain: str, *, of: OrganisationId, by: Actor, at: datetime | None = None) -> None:
    """Record an officer's ownership check."""
    evidence = Evidence(domain=domain, how="registry", details="The registry names them.")
    validate_domain(actor=by, organisation_id=of, evidence=evidence, now=at or NOW - timedelta(hours=1))


def ask_mailbox(who: Actor, name: str, mailbox: str, *, now: datetime = NOW) -> None:
    """Have somebody at a domain of the person's own organisation confirm by mail."""
    (own,) = who.organisation_ids
    ask_by_email(actor=who, organisation_id=own, name=name, mailbox=mailbox, now=now)


def csr(*names: str, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """A PEM CSR for these names; without any, for a new name under example.ac.uk. Its key is a new one."""
    names = names or (f"host{next(_numbers)}.example.ac.uk",)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return (
        builder.add_extension(sans, critical=False)
        .sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def submission(of: OrganisationId, *names: str, years: int = 1, upload: bytes | None = None) -> Submission:
    """What an applicant would send."""
    return Submission(
        organisation_id=of, upload=upload or csr(*names), duration_years=years, server_software="nginx"
    )


def submit(who: Actor, *names: str, clock: Callable[[], datetime] = lambda: NOW) -> Created:
    """Submit a new CSR for the person's own organisation."""
    (own,) = who.organisation_ids
    return submit_request(actor=who, submission=submission(own, *names), channel="portal", clock=clock)


def create(who: Actor, *names: str, now: datetime = NOW) -> Created:
    """The same, with the certificate left to the worker."""
    (own,) = who.organisation_ids
    return create_request(actor=who, submission=submission(own, *names), channel="portal", now=now)


def state_of(number: int) -> Status:
    """What people read of a request, in the database."""
    return Status(Request.objects.values_list("status", flat=True).get(id=number))


def issuance_of(number: int) -> Issuance:
    """The newest issuance under a request."""
    return Issuance.objects.filter(request_id=number).latest("id")


def issue(number: int, *, clock: Callable[[], datetime] = lambda: NOW) -> Status:
    """Take the newest issuance of a request a step on; the request's status then."""
    issuance.issue(issuance_id=IssuanceId(issuance_of(number).pk), clock=clock)
    return state_of(number)


def drive(number: int, *, clock: Callable[[], datetime] = lambda: NOW) -> Status | None:
    """The same as the worker does it; None when nothing was due."""
    done = issuance.drive(issuance_id=IssuanceId(issuance_of(number).pk), clock=clock)
    return None if done is None else state_of(number)


def due(*, now: datetime) -> list[int]:
    """The requests with an issuance that the worker has to look at."""
    found = issuance.due_issuances(now=now, limit=100)
    requests = dict(Issuance.objects.filter(id__in=found).values_list("id", "request_id"))
    return [requests[number] for number in found]


def approve(
    who: Actor,
    number: int,
    *,
    evidence: Sequence[Evidence] = (),
    note: str = "",
    clock: Callable[[], datetime] = lambda: NOW,
) -> None:
    """Open a request that waits, as an officer does, and approve what is shown; have it issued."""
    told = seen(who, number, now=clock())
    approve_and_issue(actor=who, number=number, evidence=evidence, message=note, clock=clock, **told)


def seen(who: Actor, number: int, *, now: datetime = NOW) -> dict[str, Any]:
    """What an officer is shown, and how the organisation was vetted if the form asks."""
    judged = judge_now(actor=who, number=number, now=now)
    return {"shown": judged.shown, "vetting": "" if judged.vetted else VETTED}


def events_of(number: int) -> list[str]:
    """The history, as names of events."""
    return list(RequestEvent.objects.filter(request_id=number).order_by("id").values_list("event", flat=True))


def notify(event_id: int) -> bool:
    """Deal with an event as the worker's job does; whether there was anything to do."""
    if tell_applicant(event_id=event_id):
        note_told(event_id=event_id, now=NOW)
        return True
    return False


def copies(number: int, *, count: int, **changes: object) -> list[RequestId]:
    """Rows like that of one request: cheap, without history or audit."""
    row = Request.objects.values().get(id=number) | changes
    del row["id"]
    rows = [Request(**row | {"idempotency_key": f"copy-{next(_numbers)}"}) for _ in range(count)]
    return [RequestId(row.pk) for row in Request.objects.bulk_create(rows)]


def listed_numbers(page: bytes) -> list[int]:
    """The numbers of the requests in a page's table, in its order."""
    row = r'data-label="Request ID"><a href="/requests/(\d+)/">'
    return [int(number) for number in re.findall(row, page.decode())]


def together(calls: Sequence[Callable[[], _Result]]) -> list[_Result | Exception]:
    """Run all calls at once, each in a thread with its own connection; what each returned or raised."""
    gate = threading.Barrier(len(calls))
    results: list[_Result | Exception | None] = [None] * len(calls)

    def run(index: int, call: Callable[[], _Result]) -> None:
        try:
            gate.wait(timeout=30)
            results[index] = call()
        except Exception as error:  # noqa: BLE001 - what a thread raises is what the test looks at
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a thread hangs"
    return cast("list[_Result | Exception]", results)


def outcomes(results: Sequence[object]) -> tuple[list[object], list[CertdeskError]]:
    """What succeeded and what was refused; anything else that was raised fails the test."""
    unexpected = [r for r in results if isinstance(r, Exception) and not isinstance(r, CertdeskError)]
    assert not unexpected, unexpected
    refused = [r for r in results if isinstance(r, CertdeskError)]
    return [r for r in results if not isinstance(r, Exception)], refused


def audit_problems() -> list[str]:
    """What is wrong with the audit chain, recomputed from its rows alone."""
    problems, previous, expected = [], GENESIS, 1
    for row in AuditEvent.objects.order_by("seq"):
        entry = Entry(**{one.name: getattr(row, one.name) for one in fields(Entry)})
        if row.seq != expected:
            problems.append(f"{row.seq}: gap")
        if row.previous_hash != previous:
            problems.append(f"{row.seq}: does not follow the row before")
        if row.hash != chain_hash(entry, previous_hash=row.previous_hash):
            problems.append(f"{row.seq}: altered")
        previous, expected = row.hash, row.seq + 1
    return problems


@contextmanager
def configured(**changes: object) -> Iterator[None]:
    """Work with a runtime that differs in these fields; the usual one comes back afterwards, as it was."""
    usual = runtime.current()
    before = {name: value for name, value in vars(runtime._Holder).items() if not name.startswith("__")}
    runtime.configure(lambda: replace(usual, **changes))  # type: ignore[arg-type]  # fields of all types
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(runtime._Holder, name, value)


@contextmanager
def backend(one: Backend) -> Iterator[None]:
    """Work with this CA alone."""
    with configured(backends={one.name: one}, default_backend=one.name):
        yield


@dataclass(slots=True)
class ScriptedCa:
    """A slow CA of somebody else: no capability beyond the minimum, and each answer is scripted.

    `answers` are used up by `submit`, `polls` by `poll`; the last one is repeated. An exception is raised,
    a function is called with the intent, anything else is returned.
    """

    answers: list[object]
    polls: list[object] = field(default_factory=list)
    name: str = "scripted"
    title: str = "The scripted CA"
    inline: bool = False
    submitted: list[Intent] = field(default_factory=list)
    polled: list[str] = field(default_factory=list)

    def submit(self, intent: Intent) -> Outcome:
        """Answer as the script says."""
        self.submitted.append(intent)
        return _answer(self.answers, intent)

    def poll(self, intent: Intent, handle: str) -> Outcome:
        """Answer as the script says."""
        self.polled.append(handle)
        return _answer(self.polls, intent)

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:
        """Do nothing."""

    def check(self) -> tuple[Check, ...]:
        """Find nothing."""
        return ()

    def chain(self) -> tuple[bytes, ...]:
        """The test CA alone."""
        return (authority()[1].public_bytes(Encoding.DER),)


@dataclass(slots=True)
class FindingCa(ScriptedCa):
    """One that can be asked what became of a submit; `found` is scripted like the others."""

    found: list[object] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    def find(self, intent: Intent) -> Outcome | Absent:
        """Answer as the script says."""
        self.looked_up.append(intent.idempotency_key)
        return _answer(self.found, intent) if self.found else Absent()


def approve_only(
    who: Actor, number: int, *, evidence: Sequence[Evidence] = (), note: str = "", now: datetime = NOW
) -> None:
    """Approve what is shown, and leave the rest to the worker."""
    told = seen(who, number, now=now)
    approve_request(actor=who, number=number, evidence=evidence, message=note, now=now, **told)


def _answer(script: list[object], intent: Intent) -> Outcome:
    answer = script.pop(0) if len(script) > 1 else script[0]
    if isinstance(answer, Exception):
        raise answer
    return cast("Outcome", answer(intent) if callable(answer) else answer)


@cache
def authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The key and certificate of a CA made for the tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Scripted root")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=365))
        .not_valid_after(NOW + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return key, builder.sign(key, hashes.SHA256())


def signed(
    intent: Intent,
    *,
    names: Sequence[str] = (),
    other_key: bool = False,
    longer: timedelta = timedelta(0),
    nameless: bool = False,
) -> Issued:
    """What a CA returns for an intent: the right certificate unless told to get it wrong."""
    key, issuer = authority()
    names = tuple(names) or intent.names
    public_key = (
        ec.generate_private_key(ec.SECP256R1()).public_key()
        if other_key
        else load_der_public_key(intent.spki_der)
    )
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(intent.not_before)
        .not_valid_after(intent.not_after + longer)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if not nameless:
        sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(sans, critical=False)
    leaf = builder.sign(key, hashes.SHA256())
    return Issued(chain=(leaf.public_bytes(Encoding.DER), issuer.public_bytes(Encoding.DER)))


def outsider(*domains: str) -> Actor:
    """charlie, of an organisation of his own with these domains validated."""
    college = organisation("Other College")
    for domain in domains:
        validated(domain, of=college, by=actor("olga", ra=RaRole.OFFICER))
    return actor("charlie", organisation=college)


def sent(who: Actor, upload: bytes, *, now: datetime = NOW) -> Created:
    """Create a request with this CSR for the person's own organisation; the certificate is the worker's."""
    (own,) = who.organisation_ids
    asked = submission(own, upload=upload)
    return create_request(actor=who, submission=asked, channel="portal", now=now)
