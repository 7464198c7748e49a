"""The list of domains as an actor may see it: state, search, sort, keyset pages, counts, what lapses when.

What proves a domain, and until when for which kind of CA, is judged by `domain.validation.deadlines`.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from certdesk.domain.actors import Action, Actor
from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.names.identifiers import authorization_domain_names
from certdesk.domain.validation.deadlines import EMAIL_METHODS, Deadlines, deadlines_of, public_deadline
from certdesk.domain.validation.evidence import METHODS, Method, Validation
from certdesk.store.copied import copied
from certdesk.store.keyset import Page, page
from certdesk.store.models import (
    ChallengeOutcome,
    Domain,
    EmailChallenge,
    MethodChallenge,
    PersistentRecord,
    ValidationRecord,
)
from certdesk.store.selectors.proofs import OpenChallenge, Proof, challenge_row, proof_row
from certdesk.store.selectors.relying import Relying, relying_on
from certdesk.store.selectors.visible import visible

SOON = timedelta(days=30)
MONTHS = 14  # a proof that counts 398 days lapses in the last of them
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)  # sorts what nothing proves behind all that something did


_OfDomain = TypeVar("_OfDomain", EmailChallenge, MethodChallenge, ValidationRecord)


class Standing(StrEnum):
    """Whether anything proves control of a domain now."""

    VALIDATED = "validated"
    COVERED = "covered"  # by the proof of a domain above it
    LAPSED = "lapsed"
    NEVER = "never"


class State(StrEnum):
    """What the list can be narrowed to."""

    ATTENTION = "attention"
    SOON = "soon"
    VANISHED = "vanished"
    WAITING = "waiting"
    VALIDATED = "validated"
    LAPSED = "lapsed"
    NEVER = "never"
    SUNSET = "sunset"


class Sort(StrEnum):
    """How the list is ordered; the number breaks ties."""

    LAPSES = "lapses"
    NAME = "name"
    NAME_DESCENDING = "-name"
    ADDED = "added"


_ORDER: Mapping[Sort, tuple[str, ...]] = {
    Sort.LAPSES: ("rank", "due", "adn", "id"),
    Sort.NAME: ("adn", "id"),
    Sort.NAME_DESCENDING: ("-adn", "-id"),
    Sort.ADDED: ("-id",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is asked of the list. `month` is the first moment of a month in which validations lapse."""

    query: str = ""
    state: State | None = None
    month: datetime | None = None
    organisation_id: OrganisationId | None = None
    sort: Sort = Sort.LAPSES
    cursor: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ToPublish:
    """A record or file that was to be published and has not been found yet."""

    id: int
    method: Method
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A persistent record that is looked for: `seen_at` None while it was never there."""

    wildcard: bool
    asked_by: str
    created_at: datetime
    looked_at: datetime | None
    seen_at: datetime | None
    missing_since: datetime | None
    next_look_at: datetime | None

    @property
    def is_healthy(self) -> bool:
        """Whether the record was there when somebody last could tell."""
        return self.seen_at is not None and self.missing_since is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDomain:
    """A domain in the list; `proof` is its own one that lasts, or lasted, longest."""

    id: int
    adn: str
    organisation_id: OrganisationId
    organisation: str
    standing: Standing
    proof: Proof | None
    covered_by: str
    deadlines: Deadlines
    awaited: tuple[OpenChallenge, ...]
    to_publish: tuple[ToPublish, ...]
    watch: Watch | None
    relying: Relying


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """How many validations lapse in a month: for private CAs, and as gates before public ones."""

    begins_at: datetime
    private: int
    public: int


def list_domains(*, actor: Actor, filters: Filters, now: datetime) -> Page[ListedDomain]:
    """One page of the domains that the actor may see, by keyset. Raises InvalidInput for a damaged cursor."""
    found = page(
        _filtered(actor, filters, now=now).select_related("organisation"),
        _ORDER[filters.sort],
        sort=filters.sort.value,
        cursor=filters.cursor,
        limit=filters.limit,
        kinds={"rank": int, "due": datetime, "adn": str, "id": int},
    )
    return Page(
        rows=listed(found.rows, now=now), next_cursor=found.next_cursor, previous_cursor=found.previous_cursor
    )


def count_states(*, actor: Actor, query: str = "", now: datetime) -> dict[State | None, int]:
    """How many of the domains that match a search are in each state; None counts them all."""
    found = _filtered(actor, Filters(query=query), now=now).annotate(**_marks(now=now))
    counted = {state.value: Count("pk", filter=_in_state(state, now=now)) for state in State}
    figures = found.aggregate(all_of_them=Count("pk"), **counted)
    return {None: figures["all_of_them"], **{state: figures[state.value] for state in State}}


def lapsing_by_month(*, actor: Actor, query: str = "", now: datetime) -> list[Month]:
    """How many domains lapse in this month and the thirteen after it, if nobody does anything.

    Domains that a persistent record keeps alive are left out: they go on by themselves.
    """
    starts = months_from(now, MONTHS + 1)
    found = _filtered(actor, Filters(query=query), now=now).alias(**_marks(now=now))
    found = found.filter(is_kept_alive=False)  # type: ignore[misc] # annotated just before
    latest = found.values("latest")  # type: ignore[misc] # annotated in `_filtered`
    proofs = ValidationRecord.objects.filter(id__in=latest, expires_at__gt=now)
    private, public = [0] * MONTHS, [0] * MONTHS
    for method, start, end in proofs.values_list("method", "validated_at", "expires_at"):
        proof = Validation(adn="", method=Method(method), validated_at=start, expires_at=end)
        _count_into(private, starts, end, now=now)
        gate = public_deadline(proof, now=now)
        if gate is not None:
            _count_into(public, starts, gate.until, now=now)
    return [Month(begins_at=starts[n], private=private[n], public=public[n]) for n in range(MONTHS)]


def months_from(now: datetime, count: int) -> list[datetime]:
    """The first moments (UTC) of so many months, beginning with the one of `now`."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    months = [divmod(first.year * 12 + first.month - 1 + n, 12) for n in range(count)]
    return [first.replace(year=year, month=month + 1) for year, month in months]


def visible_domains(actor: Actor) -> QuerySet[Domain]:
    """The domains that the actor may see, and no others."""
    return Domain.objects.filter(visible(actor, Action.DOMAIN_READ))


def listed(rows: Sequence[Domain], *, now: datetime) -> list[ListedDomain]:
    """Rows of the table with everything that the list says about them: a fixed number of queries."""
    own, above = _proofs(rows, now=now), _proofs_above(rows, now=now)
    open_ones = {"domain__in": rows, "outcome": ChallengeOutcome.OPEN}
    mails = EmailChallenge.objects.filter(**open_ones).select_related("asked_by")
    awaited = _by_domain(mails.order_by("-created_at", "-id"))
    published = MethodChallenge.objects.filter(**open_ones, expires_at__gt=now)
    to_publish = _by_domain(published.order_by("-id"))
    records = PersistentRecord.objects.filter(domain__in=rows, stopped_at__isnull=True)
    watched = {one.domain_id: one for one in records.select_related("asked_by")}
    relying = relying_on([(OrganisationId(row.organisation_id), row.adn) for row in rows], now=now)
    found = []
    for row in rows:
        proofs, watch = own.get(row.pk, []), watched.get(row.pk)
        longest = max(proofs, key=lambda record: (record.expires_at, record.pk), default=None)
        covered_by = above.get((row.organisation_id, row.adn), "")
        if longest is not None and longest.expires_at > now:
            standing = Standing.VALIDATED
        elif covered_by:
            standing = Standing.COVERED
        else:
            standing = Standing.LAPSED if longest is not None else Standing.NEVER
        found.append(
            copied(
                ListedDomain,
                row,
                organisation=row.organisation.legal_name,
                standing=standing,
                proof=proof_row(longest) if longest else None,
                covered_by=covered_by,
                deadlines=deadlines_of(
                    (copied(Validation, one, adn="", method=Method(one.method)) for one in proofs), now=now
                ),
                awaited=tuple(map(challenge_row, awaited.get(row.pk, ()))),
                to_publish=tuple(
                    copied(ToPublish, one, method=Method(one.method)) for one in to_publish.get(row.pk, ())
                ),
                watch=copied(Watch, watch, asked_by=watch.asked_by.username) if watch else None,
                relying=relying[OrganisationId(row.organisation_id), row.adn],
            )
        )
    return found


def _by_domain(found: Iterable[_OfDomain]) -> dict[int, list[_OfDomain]]:
    grouped: dict[int, list[_OfDomain]] = {}
    for row in found:
        grouped.setdefault(row.domain_id, []).append(row)
    return grouped


def _filtered(actor: Actor, filters: Filters, *, now: datetime) -> QuerySet[Domain]:
    longest = ValidationRecord.objects.filter(domain=OuterRef("pk")).order_by("-expires_at", "-id")
    found = visible_domains(actor).annotate(
        until=Subquery(longest.values("expires_at")[:1]),
        latest=Subquery(longest.values("id")[:1]),
        longest_method=Subquery(longest.values("method")[:1]),
        due=Coalesce(F("until"), Value(_NEVER)),
        rank=Case(
            When(until__gt=now, then=Value(0)),
            When(until__isnull=False, then=Value(1)),
            default=Value(2),
            output_field=IntegerField(),
        ),
    )
    if filters.organisation_id is not None:
        found = found.filter(organisation_id=filters.organisation_id)
    words = filters.query.strip().lower()[:200]
    if not words.isprintable():  # no name holds such a character, and no database takes all of them
        return found.none()
    if words:
        found = found.filter(Q(adn__icontains=words) | Q(organisation__legal_name__icontains=words))
    if filters.month is not None:
        _this, following = months_from(filters.month, 2)
        within = Q(until__gt=now, until__gte=filters.month, until__lt=following, is_kept_alive=False)
        found = found.alias(**_marks(now=now)).filter(within)
    if filters.state is not None:
        found = found.alias(**_marks(now=now)).filter(_in_state(filters.state, now=now))
    return found


def _in_state(state: State, *, now: datetime) -> Q:
    """Which domains are in a state, in terms of the annotations and of `_marks`."""
    soon = Q(until__gt=now, until__lte=now + SOON, is_kept_alive=False)
    lapsed = Q(until__lte=now)
    vanished = Q(has_vanished=True)
    match state:
        case State.ATTENTION:
            return soon | lapsed | vanished
        case State.SOON:
            return soon
        case State.VANISHED:
            return vanished
        case State.WAITING:
            return Q(is_asked=True) | Q(is_to_be_published=True) | Q(is_to_persist=True)
        case State.VALIDATED:
            return Q(until__gt=now)
        case State.LAPSED:
            return lapsed
        case State.NEVER:
            return Q(until__isnull=True)
        case State.SUNSET:
            return Q(until__gt=now, longest_method__in=[m.value for m in EMAIL_METHODS])


def _marks(*, now: datetime) -> dict[str, Exists]:
    """What is under way or watched for a domain, as columns."""
    running = {"domain": OuterRef("pk"), "outcome": ChallengeOutcome.OPEN, "expires_at__gt": now}
    watched = PersistentRecord.objects.filter(domain=OuterRef("pk"), stopped_at__isnull=True)
    return {
        # The watcher writes the next proof by itself.
        "is_kept_alive": Exists(watched.filter(seen_at__isnull=False, missing_since__isnull=True)),
        "has_vanished": Exists(watched.filter(missing_since__isnull=False)),
        "is_to_persist": Exists(watched.filter(seen_at__isnull=True, next_look_at__isnull=False)),
        "is_asked": Exists(EmailChallenge.objects.filter(sent_at__isnull=False, **running)),
        "is_to_be_published": Exists(MethodChallenge.objects.filter(**running)),
    }


def _proofs(rows: Sequence[Domain], *, now: datetime) -> dict[int, list[ValidationRecord]]:
    """Each domain's proofs that count, and the last one of those that none proves any more."""
    longest = ValidationRecord.objects.filter(domain=OuterRef("pk")).order_by("-expires_at", "-id")
    last = Domain.objects.filter(id__in=[row.pk for row in rows]).annotate(
        latest=Subquery(longest.values("id")[:1])
    )
    wanted = Q(domain__in=rows, expires_at__gt=now) | Q(id__in=last.values("latest"))
    records = ValidationRecord.objects.filter(wanted).select_related("validated_by", "ended_by")
    return _by_domain(records.order_by("id"))


def _proofs_above(rows: Sequence[Domain], *, now: datetime) -> dict[tuple[int, str], str]:
    """Organisation and ADN → the nearest domain above it whose proof reaches down and counts now."""
    parents: dict[str, Sequence[str]] = {}
    for row in rows:
        with suppress(RejectedIdentifier):
            parents[row.adn] = authorization_domain_names(row.adn)[1:]
    wanted = {adn for above in parents.values() for adn in above}
    if not wanted:
        return {}
    reaching = [m.value for m in Method if METHODS[m].covers_subdomains]
    records = ValidationRecord.objects.filter(
        domain__organisation_id__in={row.organisation_id for row in rows},
        domain__adn__in=wanted,
        method__in=reaching,
        validated_at__lte=now,
        expires_at__gt=now,
    )
    proven = set(records.values_list("domain__organisation_id", "domain__adn"))
    return {
        (row.organisation_id, row.adn): next(
            (adn for adn in parents.get(row.adn, ()) if (row.organisation_id, adn) in proven), ""
        )
        for row in rows
    }


def _count_into(months: list[int], starts: Sequence[datetime], moment: datetime, *, now: datetime) -> None:
    if moment <= now:
        return
    for index in range(len(months)):
        if starts[index] <= moment < starts[index + 1]:
            months[index] += 1
