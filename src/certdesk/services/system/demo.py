"""The demo's people, organisations and first story, made through the same use cases as everything else.

Example University has had its first request approved and its domain validated; the other
organisation has not. Passwords, tokens and keys are random; they go into `demo.json`, for its owner alone.
"""

import json
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.contrib.auth.hashers import make_password

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.actors import SYSTEM, Actor, OrgRole, RaRole
from certdesk.domain.errors import Misconfigured
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.acme.credentials import create_credential
from certdesk.services.people.organisations import (
    Evidence,
    create_organisation,
    issued_password,
    validate_domain,
    vet_organisation,
)
from certdesk.services.people.second_factor import is_required
from certdesk.services.people.tokens import create_token, list_scopes
from certdesk.services.requests.asking import Submission
from certdesk.services.requests.confirm import approve_and_issue, submit_request
from certdesk.services.requests.decisions import judge_now
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import AuditEvent, Membership, Organisation, User
from certdesk.store.selectors.people import actor_for_token, actor_for_user


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    username: str
    name: str
    organisation: str = ""
    role: OrgRole | RaRole = OrgRole.APPLICANT

    @property
    def email(self) -> str:
        return f"{self.username}@{DOMAINS.get(self.organisation, 'ra.example.ac.uk')}"


UNIVERSITY, OTHER = "Example University", "Other College"
DOMAINS = {UNIVERSITY: "example.ac.uk", OTHER: "other.ac.uk"}
PEOPLE = (
    Person(username="alice", name="Alice Applicant", organisation=UNIVERSITY),
    Person(username="bob", name="Bob Builder", organisation=UNIVERSITY),
    Person(username="meg", name="Meg Manager", organisation=UNIVERSITY, role=OrgRole.MANAGER),
    Person(username="charlie", name="Charlie Outsider", organisation=OTHER),
    Person(username="olga", name="Olga Officer", role=RaRole.OFFICER),
    Person(username="otto", name="Otto Officer", role=RaRole.OFFICER),
    Person(username="rick", name="Rick Auditor", role=RaRole.AUDITOR),
    Person(username="op", name="Op Operator", role=RaRole.OPERATOR),
)


def prepare_demo(*, data: Path, now: datetime) -> Path:
    """Makes whatever of the demo is not there yet and returns the path of `demo.json`.

    Raises Misconfigured for a database with other people, who would get the demo's as officers.
    """
    path = data / "demo.json"
    if not _is_demo(data=data):
        if User.objects.exists():
            raise Misconfigured(
                "This database has people whom the demo did not make. Give the demo a folder of its own "
                "(DATA or CERTDESK_DATA) and no DATABASE_URL, or start without --demo."
            )
        with write_transaction():  # first, so that a demo that was made by half is known as one
            audit.record(SYSTEM, "demo.make", "demo", object_type="service", now=now)
    if User.objects.exists() and path.exists():
        told = json.loads(path.read_text(encoding="utf-8"))
        tokens = {name: _token(name, token, now=now) for name, token in told["api_tokens"].items()}
        _write(path, {**told, **_addresses(path), "api_tokens": tokens})
        return path
    passwords = {person.username: issued_password() for person in PEOPLE}
    users = {person.username: _person(person, passwords[person.username], now=now) for person in PEOPLE}
    olga = actor_for_user(users["olga"])
    organisations: dict[str, OrganisationId] = {}
    for name in DOMAINS:
        slug = name.lower().replace(" ", "-")
        row = Organisation.objects.filter(slug=slug).first()
        organisations[name] = (
            create_organisation(
                actor=olga, legal_name=name, slug=slug, country="GB", locality="Exampleton", now=now
            )
            if row is None
            else OrganisationId(row.pk)
        )
    for person in PEOPLE:
        if isinstance(person.role, OrgRole):
            Membership.objects.get_or_create(
                user=users[person.username],
                organisation_id=organisations[person.organisation],
                defaults={"role": person.role, "created_at": now},
            )
    actors = {name: actor_for_user(user) for name, user in users.items()}
    _first_story(actors, organisations[UNIVERSITY], now=now)
    tokens = {
        name: _token(name, "", now=now)
        for name, actor in actors.items()
        if not is_required(actor.ra_role)  # their tokens come after their second factor
    }
    people = [
        {
            "username": person.username,
            "password": passwords[person.username],
            "organisation": person.organisation,
            "role": person.role.value,
        }
        for person in PEOPLE
    ]
    # What olga has checked by hand proves nothing for a credential that she has made.
    makers = {UNIVERSITY: actors["meg"]}
    eab = []
    for name in DOMAINS:
        made = create_credential(
            actor=makers.get(name, actors["olga"]),
            organisation_id=organisations[name],
            name="demo",
            limits=Limits(),
            now=now,
        )
        eab.append({"organisation": name, "kid": made.kid, "hmac_key": made.hmac_key})
    _write(path, {**_addresses(path), "users": people, "api_tokens": tokens, "eab": eab})
    return path


def refuse_demo_data(*, data: Path) -> None:
    """Raises Misconfigured for a folder or a database that the demo has made."""
    if _is_demo(data=data):
        raise Misconfigured(
            f"The demo has made what is in {data} or its database: well-known people with rights, and a CA "
            "whose passphrase lies beside it. Start it with --demo, or set CERTDESK_DATA to an empty folder "
            "(and DATABASE_URL, if it is set, to an empty database) for a service of your own."
        )


def _is_demo(*, data: Path) -> bool:
    made = AuditEvent.objects.filter(object_type="service", object_id="demo", action="demo.make")
    return (data / "demo.json").exists() or made.exists()


def _person(person: Person, password: str, *, now: datetime) -> User:
    first, _space, last = person.name.partition(" ")
    user, _new = User.objects.update_or_create(
        username=person.username,
        defaults={
            "first_name": first,
            "last_name": last,
            "email": person.email,
            "password": make_password(password),
            "ra_role": person.role if isinstance(person.role, RaRole) else "",
            "date_joined": now,
        },
    )
    return user


def _token(username: str, kept: str, *, now: datetime) -> str:
    """The person's token if it works, or a new one for everything that a token may do."""
    if kept and actor_for_token(kept, now=now) is not None:
        return kept
    actor = actor_for_user(User.objects.get(username=username))
    until = now + timedelta(days=settings.CERTDESK.decision_token_days)
    return create_token(actor=actor, name="demo", scopes=list_scopes(actor=actor), expires_at=until, now=now)


def _first_story(actors: dict[str, Actor], university: OrganisationId, *, now: datetime) -> None:
    """Bob asked first, and Olga approved: what made Example University's later requests automatic."""
    if Organisation.objects.filter(id=university, first_approved_at__isnull=False).exists():
        return
    olga, domain = actors["olga"], DOMAINS[UNIVERSITY]
    if Organisation.objects.filter(id=university, vetted_at__isnull=True).exists():
        vet_organisation(
            actor=olga,
            organisation_id=university,
            evidence="Royal charter; register of universities.",
            now=now,
        )
    validate_domain(
        actor=olga,
        organisation_id=university,
        evidence=Evidence(domain, "registry", "The registry names Example University as the holder."),
        now=now,
    )
    # A CSR whose private key is forgotten at once: nobody serves this certificate.
    names = (f"www.{domain}", domain)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, UNIVERSITY),
            x509.NameAttribute(NameOID.COMMON_NAME, names[0]),
        ]
    )
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(sans, critical=False)
    )
    csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    created = submit_request(
        actor=actors["bob"],
        submission=Submission(
            organisation_id=university,
            upload=csr.public_bytes(serialization.Encoding.PEM),
            duration_years=1,
            server_software="Apache httpd",
        ),
        channel="portal",
        clock=lambda: now,
    )
    shown = judge_now(actor=olga, number=created.number, now=now).shown
    approve_and_issue(
        actor=olga,
        number=created.number,
        shown=shown,
        note="First request of the university; known to us.",
        clock=lambda: now,
    )


def _addresses(path: Path) -> dict[str, object]:
    """What may differ from one start to the next: another port, a moved folder, a renamed RA team."""
    rt = runtime.current()
    return {
        "base_url": rt.base_url,
        "acme_directory": f"{rt.base_url}/acme/directory",
        "ra": rt.rules.ra,
        "mailbox": str(path.parent / "mail"),
    }


def _write(path: Path, content: dict[str, object]) -> None:
    temporary = path.with_suffix(f".{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        json.dump(content, handle, indent=2)
        handle.write("\n")
    temporary.replace(path)
