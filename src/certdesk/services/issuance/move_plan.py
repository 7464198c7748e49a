"""What a move from one CA to another takes: certificates, validations, DNS records, chain and features.

Reads; writes nothing. CAs are asked for their chains and, where that is wanted, the DNS for CAA records,
outside any transaction.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.backends.base import Backend, Finds, Lists
from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import BackendError, InvalidInput
from certdesk.domain.issuing.profiles import CLIENT_AUTH
from certdesk.domain.names.identifiers import is_ip_address
from certdesk.domain.validation.caa import Question
from certdesk.domain.validation.deadlines import PERSISTENT_METHODS, private_deadline, public_deadline
from certdesk.domain.validation.evidence import METHODS, Validation, covering
from certdesk.services.issuance.caa import ask_all
from certdesk.services.issuance.moving import (
    Scope,
    Stage,
    Standing,
    list_first,
    refuse_unknown,
    standing_and_moved,
    survey,
)
from certdesk.services.system import runtime
from certdesk.services.validation.persistent import account_uri
from certdesk.services.validation.publications import persistent_record
from certdesk.store.models import CaValidation, Certificate, Organisation, PersistentRecord
from certdesk.store.selectors.facts import organisation_facts

#: A proof that ends within this time may end amid the move.
SOON = timedelta(days=30)
#: So many names are looked up in the DNS at most; that takes a few minutes where it answers slowly.
MOST_NAMES = 500
_AT_A_TIME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Validate:
    """A domain that has to be validated, or asked about at the CA, and how many certificates wait for that.

    `until` is when the proof that there is ends; None where none counts.
    """

    organisation: str
    domain: str
    why: str
    until: datetime | None
    certificates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A DNS record that is missing or has to change; `line` is of a zone file, empty if none would help."""

    organisation: str
    name: str
    why: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A certificate of a CA's chain; `pin` is the SHA-256 of its public key in base64 (RFC 7469 2.4)."""

    subject: str
    pin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a move takes. `moved` have a certificate of the other CA already; `lists` are profiles whose list
    has to change, with the line to write; `features` are sentences of what the other CA does otherwise.

    `names_not_asked` are DNS names beyond those that were looked up.
    """

    scope: Scope
    moved: int
    standing: tuple[Standing, ...]
    lists: dict[str, str]
    validations: tuple[Validate, ...]
    records: tuple[Publish, ...]
    chain_from: tuple[Link, ...]
    chain_to: tuple[Link, ...]
    features: tuple[str, ...]
    names_not_asked: int = 0

    @property
    def counts(self) -> Counter[Stage]:
        """How many certificates are how far."""
        return Counter(one.stage for one in self.standing)

    @property
    def rolls(self) -> Counter[int]:
        """How many terms will be filled by a series of certificates, by the days that each lasts."""
        return Counter(one.rolls_days for one in self.standing if one.rolls_days is not None)

    @property
    def is_clear(self) -> bool:
        """Whether nothing stands in the way of putting the other CA first and running batches."""
        waits = self.counts[Stage.HELD_UP] + self.counts[Stage.NEW_CSR]
        return not (waits or self.validations or self.records or self.names_not_asked)


def plan_move(*, actor: Actor, scope: Scope, issuer: str = "", asks_dns: bool = False, now: datetime) -> Plan:
    """What a move takes as of now. `issuer` is the name by which CAA and persistent records have to name the
    other CA; by default those of the service.

    Raises NotAuthorized for anybody but operators and the system, Misconfigured, InvalidInput.
    """
    # 1. The certificates, each judged as if the other CA alone were asked.
    require(actor, Action.SERVICE_OPERATE, "Only an operator moves certificates to another CA.")
    rt = runtime.current()
    to = rt.backend(scope.to_ca)
    refuse_unknown(scope)
    numbers, moved = standing_and_moved(scope, now=now)
    standing = tuple(survey(numbers, scope, now=now))
    to_follow = [one for one in standing if one.stage is not Stage.ENDS]

    # 2. The names below each organisation: proofs, and CAA records where the DNS is asked.
    slugs = {one.organisation for one in to_follow}
    rows = {row.slug: row for row in Organisation.objects.filter(slug__in=slugs)}
    names_of: dict[str, set[str]] = {slug: set() for slug in slugs}
    for one in to_follow:
        names_of[one.organisation].update(one.names)
    proofs = {
        slug: organisation_facts(row, names=names_of[slug], now=now).validations for slug, row in rows.items()
    }
    needed = Counter(
        (one.organisation, name) for one in to_follow if not one.validates_itself for name in one.names
    )
    names = sorted((slug, name) for slug in slugs for name in names_of[slug] if not is_ip_address(name))
    caa = _caa(names[:MOST_NAMES], proofs, issuer, now=now) if asks_dns else ()
    return Plan(
        scope=scope,
        moved=moved,
        standing=standing,
        lists=list_first(scope, now=now),
        validations=(*_validations(needed, proofs, scope, now=now), *_at_the_ca(slugs, to, now=now)),
        records=(*caa, *_persistent(slugs, issuer)),
        chain_from=_chain(scope.from_ca),
        chain_to=_chain(scope.to_ca),
        features=_features(to, {rt.standing_profile(one.profile).id for one in to_follow}),
        names_not_asked=max(0, len(names) - MOST_NAMES) if asks_dns else 0,
    )


def _validations(
    wanted: Counter[tuple[str, str]],
    proofs: dict[str, tuple[Validation, ...]],
    scope: Scope,
    *,
    now: datetime,
) -> Iterable[Validate]:
    """What is not proven for the other CA, or not for long, soonest first."""
    public, found = runtime.current().limits_of(scope.to_ca).public, dict[tuple[str, str], Validate]()
    for (slug, name), count in wanted.items():
        held = [one for one in proofs[slug] if one.is_current(now=now) and one.covers(name)]
        judged = [
            (one, public_deadline(one, now=now) if public else private_deadline(one, now=now)) for one in held
        ]
        open_ones = [(line.until, one) for one, line in judged if line is not None and line.is_open(now=now)]
        until, proof = max(open_ones, key=lambda pair: pair[0], default=(None, None))
        if until is not None and proof is not None:
            if until > now + SOON or proof.method in PERSISTENT_METHODS:
                continue
            why = f"{METHODS[proof.method].title}: it ends amid the move."
        elif held:
            kinds = ", ".join(sorted({METHODS[one.method].title for one in held}))
            why = f"{kinds}: that does not count for a public CA."
        else:
            why = "It is not validated."
        domain = proof.adn if proof else held[0].adn if held else name.removeprefix("*.")
        before = found.get((slug, domain))
        found[slug, domain] = Validate(
            organisation=slug,
            domain=domain,
            why=why,
            until=until,
            certificates=count + (before.certificates if before else 0),
        )
    return sorted(found.values(), key=lambda one: (one.until or now, -one.certificates, one.domain))


def _at_the_ca(slugs: set[str], to: Backend, *, now: datetime) -> Iterable[Validate]:
    """Domains of which was noted last that they are not validated at the CA itself, or no longer."""
    rows = CaValidation.objects.filter(
        ca__in={to.name, to.title}, domain__organisation__slug__in=slugs
    ).select_related("domain__organisation")
    newest = {row.domain_id: row for row in rows.order_by("id")}
    for row in newest.values():
        if row.valid_until is None or row.valid_until <= now:
            why = f"{to.title} said on {row.heard_at:%-d %B %Y} that it is not validated there."
            slug = row.domain.organisation.slug
            yield Validate(organisation=slug, domain=row.domain.adn, why=why, until=None, certificates=0)


def _caa(
    names: list[tuple[str, str]], proofs: dict[str, tuple[Validation, ...]], issuer: str, *, now: datetime
) -> tuple[Publish, ...]:
    """The names whose CAA records do not let the other CA issue. Raises InvalidInput without a resolver."""
    rt = runtime.current()
    if rt.caa.ask is None:
        raise InvalidInput("The DNS can't be asked here.", {"dns": "Leave it out, or set up a resolver."})
    issuers = (issuer,) if issuer else rt.caa.issuers
    found = list[Publish]()
    for start in range(0, len(names), _AT_A_TIME):
        chunk = names[start : start + _AT_A_TIME]
        questions = []
        for slug, name in chunk:
            proof = covering(name, proofs[slug], now=now)
            uri = "" if issuer else rt.caa.account_uri
            method = None if proof is None else proof.method
            questions.append(Question(name=name, issuers=issuers, account_uri=uri, method=method))
        for (slug, name), checked in zip(chunk, ask_all(questions, rt.caa.ask, now=now), strict=True):
            said = checked.decision
            if not said.allowed:
                found.append(Publish(organisation=slug, name=name, why=said.detail, line=said.to_add))
    return tuple(found)


def _persistent(slugs: set[str], issuer: str) -> tuple[Publish, ...]:
    """The records that are watched and would have to name the other CA; none where the name stays."""
    rt = runtime.current()
    if not issuer or issuer in rt.persistence.issuers:
        return ()
    rows = PersistentRecord.objects.filter(
        stopped_at__isnull=True, domain__organisation__slug__in=slugs
    ).select_related("domain__organisation")
    why = f"The record names {rt.persistence.issuers[0]}. Publish this one beside it."
    return tuple(
        Publish(
            organisation=row.domain.organisation.slug,
            name=row.adn,
            why=why,
            line=persistent_record(
                adn=row.adn,
                issuer=issuer,
                account_uri=account_uri(row.domain.organisation.slug),
                wildcard=row.wildcard,
            ).line,
        )
        for row in rows.order_by("adn")
    )


def _chain(ca: str) -> tuple[Link, ...]:
    """What stands above a CA's certificates: as it says, else as with the last that it issued."""
    backend, chain = runtime.current().backends.get(ca), tuple[bytes, ...]()
    try:
        chain = () if backend is None else backend.chain()
    except BackendError:
        chain = ()  # it does not say now; what it sent last is known
    if not chain:
        issued = Certificate.objects.filter(issuance__backend=ca, withheld=False).order_by("-id")
        last = issued.values_list("issuer_chain__certificates", flat=True).first()
        chain = tuple(map(base64.b64decode, last or ()))
    links = []
    for der in chain:
        above = x509.load_der_x509_certificate(der)
        spki = above.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pin = base64.b64encode(hashlib.sha256(spki).digest()).decode()
        links.append(Link(subject=above.subject.rfc4514_string(), pin=pin))
    return tuple(links)


def _features(to: Backend, profiles: set[str]) -> tuple[str, ...]:
    """What the other CA does otherwise or not at all, as far as it is declared."""
    rt, told = runtime.current(), []
    limits = rt.limits_of(to.name)
    clients = sorted(name for name in profiles if CLIENT_AUTH in rt.standing_profile(name).eku)
    if limits.public and clients:
        told.append(
            "Most public CAs no longer certify clients (clientAuth). Keep with a private CA: "
            f"{', '.join(clients)}."
        )
    if limits.public:
        told.append("A public CA validates domains itself as well: have them validated there first.")
    if limits.max_days:
        told.append(f"Its certificates last {limits.max_days} days at most.")
    if getattr(to, "chooses_validity", False):
        told.append("It decides itself how long a certificate lasts.")
    if not to.inline:
        told.append("It does not answer at once: certificates come later, and nobody waits on a page.")
    if not isinstance(to, Finds):
        told.append("It can't look up what became of a request whose answer was lost: an officer does.")
    if not isinstance(to, Lists):
        told.append("It keeps no list that can be reconciled.")
    return tuple(told)
