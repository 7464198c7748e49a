"""An organisation that outsiders must see nothing of, with a request in every state; and charlie's beside it.

Everything that belongs to it carries a made-up word, so that one search through an answer tells whether
anything of it leaked.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.mail import EmailMessage, get_connection

from certdesk.domain.acme.credentials import Limits
from certdesk.domain.actors import Actor, OrgRole, RaRole
from certdesk.domain.csr.csr import read_csr
from certdesk.domain.issuing.states import OrganisationId, State, Status, UserId, Work
from certdesk.domain.validation.evidence import Method
from certdesk.services.acme.credentials import create_credential
from certdesk.services.acme.renewal import Matching, advise_renewal
from certdesk.services.people.organisations import (
    Evidence,
    create_organisation,
    validate_domain,
    vet_organisation,
)
from certdesk.services.people.tokens import create_token, list_scopes
from certdesk.services.requests.asking import Submission, withdraw_request
from certdesk.services.requests.confirm import submit_request
from certdesk.services.requests.decisions import judge_now, reject_request
from certdesk.services.revocation.blocked_keys import block_key
from certdesk.services.validation.by_email import ask_by_email
from certdesk.services.validation.by_publication import start_challenge
from certdesk.services.validation.persistent import watch_record
from certdesk.store.models import (
    AcmeAccount,
    ApiToken,
    BlockedKey,
    Certificate,
    Domain,
    EmailChallenge,
    Finding,
    Issuance,
    KeyProof,
    Membership,
    MethodChallenge,
    Request,
    User,
    ValidationRecord,
)
from certdesk.store.selectors.people import actor_for_user
from certdesk.web.requests.token import make_token
from tests.integration.proving import outside
from tests.integration.support import approve, signed_in
from tests.integration.written import Snapshot, snapshot

#: In every name of the organisation that must stay hidden, and nowhere else.
WORD = "quillmere"
DOMAIN = f"{WORD}.ac.uk"
PASSWORD = "several unrelated words"
OUTSIDE_DOMAIN = f"{WORD}.org"
#: Under a trusted suffix, and nobody there has confirmed it.
UNPROVEN_DOMAIN = f"{WORD}-press.ac.uk"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Objects of the hidden organisation, and charlie's own beside them."""

    users: dict[str, User]
    tokens: dict[str, str]  # they may do all that the person may
    readers: dict[str, str]  # they may read alone
    sessions: dict[str, str]  # of browsers that have signed in
    requests: dict[str, int]
    arguments: dict[str, object]
    secrets: tuple[str, ...]
    preview_token: str
    shown: str
    mine: dict[str, object]
    before: Snapshot


def csr_for(*names: str) -> bytes:
    """A PEM CSR for these names, with a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(sans, critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def _submission(organisation: OrganisationId, *names: str) -> Submission:
    return Submission(
        organisation_id=organisation, upload=csr_for(*names), duration_years=1, server_software="nginx"
    )


def _people(university: OrganisationId, college: OrganisationId, *, password: str) -> dict[str, User]:
    homes = {
        "charlie": (college, OrgRole.APPLICANT),
        "alice": (university, OrgRole.APPLICANT),
        "bob": (university, OrgRole.APPLICANT),
        "meg": (university, OrgRole.MANAGER),
    }
    users = {}
    for name, (organisation, role) in homes.items():
        username = name if name == "charlie" else f"{name}.{WORD}"
        users[name] = User.objects.create(
            username=username, email=f"{username}@example.org", password=password
        )
        Membership.objects.create(user=users[name], organisation_id=organisation, role=role, created_at=now())
    return users


def _staff(*, password: str) -> dict[str, User]:
    roles = {
        "olga": RaRole.OFFICER,
        "otto": RaRole.OFFICER,
        "rick": RaRole.AUDITOR,
        "op": RaRole.OPERATOR,
    }
    return {
        name: User.objects.create(username=name, email=f"{name}@example.org", password=password, ra_role=role)
        for name, role in roles.items()
    }


def _ask(actor: Actor, organisation: OrganisationId, *names: str) -> int:
    return submit_request(
        actor=actor, submission=_submission(organisation, *names), channel="portal", clock=now
    ).number


def _requests(actors: dict[str, Actor], university: OrganisationId) -> dict[str, int]:
    """A request of the hidden organisation in every status. Alice made them all."""
    alice, olga = actors["alice"], actors["olga"]
    numbers = {"first": _ask(alice, university, f"www.{DOMAIN}")}
    approve(olga, numbers["first"], note="First request; known to us.", clock=now)
    for status in Status:
        inside = status is Status.ISSUED
        name = f"{status.value.replace('_', '-')}.{DOMAIN if inside else OUTSIDE_DOMAIN}"
        numbers[status.value] = _ask(alice, university, name)
    numbers["pending"] = _ask(alice, university, f"www.{UNPROVEN_DOMAIN}")
    withdraw_request(actor=alice, number=numbers[Status.WITHDRAWN.value], now=now())
    reject_request(actor=olga, number=numbers[Status.REJECTED_BY_RA.value], details="Not theirs.", now=now())
    # What only a slow CA would bring about is written as it would stand in the table.
    works = {
        Status.ACCEPTED: Work.WAITING,
        Status.SUBMITTED: Work.SUBMITTED,
        Status.REJECTED_BY_CA: Work.REFUSED,
    }
    term = {"term_starts_at": now(), "term_ends_at": now() + timedelta(days=365)}
    for status, work in works.items():
        asked = Request.objects.filter(id=numbers[status.value])
        asked.update(state=State.APPROVED, status=status, **term)
        Issuance.objects.filter(request__in=asked).update(state=work, intent_key=f"intent-{work}")
    for status in Status:
        stands = Request.objects.get(id=numbers[status.value])
        assert stands.status == status.value, (status, stands.status, stands.detail)
    return numbers


def _session(user: User) -> str:
    browser = signed_in(user.username)
    return browser.cookies[settings.SESSION_COOKIE_NAME].value


def _write_mail() -> None:
    """Something for the demo's mailbox: under test, Django keeps mail in memory instead."""
    folder = settings.CERTDESK.mail_directory
    folder.mkdir(exist_ok=True)
    files = get_connection("django.core.mail.backends.filebased.EmailBackend", file_path=folder)
    EmailMessage(
        subject="For the mailbox", body="Hello.", to=["charlie@example.org"], connection=files
    ).send()


def build() -> World:
    """Everything, through the use cases that make it in real life."""
    password = make_password(PASSWORD)  # slow on purpose, so one for all
    users = _staff(password=password)
    olga = actor_for_user(users["olga"])

    def organisation(legal_name: str, slug: str) -> OrganisationId:
        return create_organisation(
            actor=olga, legal_name=legal_name, slug=slug, country="GB", locality="Exampleton", now=now()
        )

    university = organisation("Quillmere University", f"{WORD}-university")
    organisation("Quillmere Institute", f"{WORD}-institute")
    college = organisation("Other College", "other-college")
    users |= _people(university, college, password=password)
    vet_organisation(actor=olga, organisation_id=university, evidence="Royal charter.", now=now())
    evidence = Evidence(domain=DOMAIN, how="registry", details="The registry names them.")
    validate_domain(actor=olga, organisation_id=university, evidence=evidence, now=now())
    actors = {name: actor_for_user(user) for name, user in users.items()}
    requests = _requests(actors, university)
    own = _ask(actors["charlie"], college, "www.other.ac.uk")
    tokens = {
        name: create_token(
            actor=actor,
            name=f"of {name}",
            scopes=list_scopes(actor=actor),
            expires_at=now() + timedelta(days=30),
            now=now(),
        )
        for name, actor in actors.items()
    }
    readers = {
        name: create_token(actor=actor, name="reads", expires_at=None, now=now())
        for name, actor in actors.items()
    }
    _write_mail()
    previewed = _submission(university, f"preview.{DOMAIN}")
    ask_by_email(
        actor=actors["alice"],
        organisation_id=university,
        name=UNPROVEN_DOMAIN,
        mailbox=f"hostmaster@{UNPROVEN_DOMAIN}",
        now=now(),
    )
    proven_domain = Domain.objects.get(adn=DOMAIN).pk
    with outside():
        start_challenge(actor=actors["alice"], domain_id=proven_domain, method=Method.DNS_TXT, now=now())
        watch_record(actor=actors["alice"], domain_id=proven_domain, wildcard=True, now=now())
    certificate = Certificate.objects.get(request_id=requests[Status.ISSUED.value])
    return World(
        users=users,
        tokens=tokens,
        readers=readers,
        sessions={name: _session(user) for name, user in users.items()},
        requests=requests,
        arguments={
            "number": requests[Status.ISSUED.value],
            "slug": f"{WORD}-university",
            "user_id": users["bob"].pk,
            "domain_id": Domain.objects.get(adn=DOMAIN).pk,
            "validation_id": ValidationRecord.objects.get(domain__adn=DOMAIN).pk,
            "method": "dns_txt",
            "method_challenge_id": MethodChallenge.objects.get().pk,
            "challenge_id": EmailChallenge.objects.get().pk,
            "certificate_id": certificate.pk,
            "organisation_id": university,
            **_acme(actors, university),
            "token_id": ApiToken.objects.filter(user=users["alice"]).earliest("id").pk,
            "issuer": "embedded",
            "form": "pem",
            "index": 0,
            "key": "a-key",
            "uidb36": "1",
        },
        secrets=_secrets(requests),
        preview_token=make_token(
            submission=previewed,
            csr_der=read_csr(previewed.upload).der,
            user_id=UserId(users["alice"].pk),
        ),
        shown=judge_now(actor=olga, number=requests["waiting_for_approval"], now=now()).shown.token(),
        mine={"number": own, "slug": "other-college"},
        before=snapshot(),
    )


def _acme(actors: dict[str, Actor], university: OrganisationId) -> dict[str, object]:
    """A credential of the hidden organisation, an account with it, an operator's advice, and a finding."""
    made = create_credential(
        actor=actors["meg"], organisation_id=university, name=f"{WORD} servers", limits=Limits(), now=now()
    )
    account = AcmeAccount.objects.create(
        credential_id=made.credential_id,
        organisation_id=university,
        thumbprint=f"{WORD:x<43}",
        jwk={},
        spki_sha256="0" * 64,
        contacts=[f"mailto:webmaster@{DOMAIN}"],
        binding={},
        created_at=now(),
        last_used_at=now(),
        window_started_at=now(),
        last_problem=f"www.{OUTSIDE_DOMAIN} is outside.",
        last_problem_at=now(),
    )
    advice_id = advise_renewal(
        actor=actors["op"],
        starts_at=now(),
        ends_at=now() + timedelta(days=1),
        reason="A rehearsal.",
        matching=Matching(profile_id="no-such-profile"),
        now=now(),
    )
    block_key(
        "0" * 64,
        proof=KeyProof.CLAIM,
        reason=f"{WORD} says so.",
        organisation_id=university,
        actor=actors["meg"],
        now=now(),
    )
    finding = Finding.objects.create(
        backend="embedded",
        kind="unknown",
        about="1",
        names=[f"{WORD}.{DOMAIN}"],
        der=b"None.",
        found_at=now(),
    )
    return {
        "finding_id": finding.pk,
        "credential_id": made.credential_id,
        "account_id": account.pk,
        "advice_id": advice_id,
        "blocked_id": BlockedKey.objects.get().pk,
    }


def _secrets(requests: dict[str, int]) -> tuple[str, ...]:
    """What no outsider may read: the word, links to requests, serial numbers, fingerprints."""
    found = [WORD, *(f"/requests/{number}/" for number in requests.values())]
    for certificate in Certificate.objects.all():
        pairs = ":".join(re.findall("..", certificate.serial))
        found += [certificate.serial, pairs, certificate.sha256, certificate.spki_sha256]
    return tuple(text.lower() for text in found)
