"""Moving certificates from one CA to another: what stands in the way, batch by batch, and how far it is.

Nothing is signed or revoked here. A batch marks certificates in their `Renewal` rows; the worker renews them
for the same CSR, as it renews any, and the engine judges each. So the old ones hold until they end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address

from django.db.models import QuerySet

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import InvalidInput, StateConflict
from certdesk.domain.findings import Check
from certdesk.domain.issuing.profiles import Profile
from certdesk.domain.issuing.states import State
from certdesk.domain.issuing.terms import longest
from certdesk.domain.names.identifiers import is_ip_address
from certdesk.services.issuance.intents import CLIENT, kept_csr
from certdesk.services.requests.renewing import ABOUT_THE_KEY, against_renewal, ca_for
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import Certificate, Organisation, Renewal, Revocation

_CHUNK = 100


class Stage(StrEnum):
    """How far the move of one certificate is; the most urgent first."""

    HELD_UP = "held_up"  # something has to change first
    NEW_CSR = "new_csr"  # a person has to send one
    NOT_BEGUN = "not_begun"  # a batch can have it renewed for the same CSR
    UNDER_WAY = "under_way"  # in a batch, and the next certificate is not here yet
    CLIENT = "client"  # its client renews it by itself, at its next renewal
    ENDS = "ends"  # nothing follows: its request or term is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which certificates of `from_ca` move to `to_ca` (names of the file of CAs).

    `organisation` is a slug, `profile_id` a profile; empty is all.
    """

    from_ca: str
    to_ca: str
    organisation: str = ""
    profile_id: str = ""

    def columns(self, request: str) -> dict[str, str]:
        """As a filter; `request` is where the request stands from there, such as `request__`."""
        places = {"organisation__slug": self.organisation, "profile_id": self.profile_id}
        return {f"{request}{place}": wanted for place, wanted in places.items() if wanted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A certificate that is valid, the newest for its names under its request, and how its move stands.

    `against` says in sentences what stands in the way. `rolls_days`: it fills its term, and those that follow
    will last so many days each; None where that stays as it is. `validates_itself`: an ACME client does, with
    each order.
    """

    certificate: int
    request: int
    organisation: str
    profile: str
    names: tuple[str, ...]
    not_after: datetime
    stage: Stage
    against: tuple[str, ...] = ()
    rolls_days: int | None = None
    validates_itself: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a run has begun: the certificates by their numbers, and how many more it has not looked at."""

    begun: tuple[int, ...]
    left: int


def refuse_unknown(scope: Scope) -> None:
    """Raises InvalidInput for what there is not, and for the same CA twice; Misconfigured for `to_ca`."""
    runtime.current().backend(scope.to_ca)
    problems = {}
    if scope.from_ca == scope.to_ca:
        problems["to_ca"] = "Name two CAs."
    elif scope.from_ca not in runtime.current().backends and not _of(scope).exists():
        problems["from_ca"] = f"There is no CA “{scope.from_ca}”."
    if scope.organisation and not Organisation.objects.filter(slug=scope.organisation).exists():
        problems["organisation"] = f"There is no organisation “{scope.organisation}”. Write its short name."
    used = Certificate.objects.filter(request__profile_id=scope.profile_id)
    if scope.profile_id and scope.profile_id not in runtime.current().profiles and not used.exists():
        problems["profile"] = f"There is no profile “{scope.profile_id}”."
    if problems:
        raise InvalidInput("There is nothing to move.", problems)


def list_first(scope: Scope, *, now: datetime) -> dict[str, str]:
    """The profiles whose list of CAs does not put `to_ca` first of the two, with the line to write.

    Of those alone under which `from_ca` has issued what is valid yet.
    """
    rt, lines = runtime.current(), {}
    valid = _of(scope).filter(not_after__gt=now)
    for profile_id in valid.values_list("request__profile_id", flat=True).distinct():
        kind = rt.profiles.get(profile_id)  # without one nothing is issued under it any more
        if kind is not None and (cas := _asked(kind, scope)) != rt.cas_of(kind):
            lines[kind.id] = "cas = [" + ", ".join(f'"{name}"' for name in cas) + "]"
    return lines


def _asked(kind: Profile, scope: Scope) -> tuple[str, ...]:
    """The CAs that a profile asks once it puts `to_ca` first; those of now where it does so already.

    A CA whose certificates last longer goes before one that does not reach to the end of a term, wherever it
    stands (`intent_of`), so `from_ca` has to leave the list then.
    """
    rt = runtime.current()
    cas = rt.cas_of(kind)
    if scope.to_ca in (cas[: cas.index(scope.from_ca)] if scope.from_ca in cas else cas):
        return cas
    caps = [ca.max_days for ca in (rt.limits_of(scope.to_ca), rt.limits_of(scope.from_ca))]
    is_shorter = caps[0] is not None and (caps[1] is None or caps[0] < caps[1])
    gone = {scope.to_ca, scope.from_ca} if is_shorter else {scope.to_ca}
    return (scope.to_ca, *(name for name in cas if name not in gone))


def standing_and_moved(scope: Scope, *, now: datetime) -> tuple[list[int], int]:
    """The numbers of the certificates of `from_ca` that stand, and how many have one of `to_ca` instead.

    One stands that is valid, not revoked nor about to be, and that no newer one of its request has replaced.
    """
    of_ca = _of(scope)
    columns = ("id", "request_id", "issuance__names", "issuance__backend", "revoked_at", "not_after")
    rows = Certificate.objects.filter(request_id__in=of_ca.values("request_id"), withheld=False)
    newest, had = dict[tuple[int, frozenset[str]], tuple[int, str, bool]](), set[object]()
    every = rows.order_by("id").values_list(*columns)
    for number, request, names, ca, revoked_at, not_after in every.iterator():
        place = request, frozenset(names)
        newest[place] = number, ca, revoked_at is None and not_after > now
        if ca == scope.from_ca:
            had.add(place)
    standing = [number for number, ca, stands in newest.values() if ca == scope.from_ca and stands]
    moved = sum(place in had and ca == scope.to_ca for place, (_number, ca, _stands) in newest.items())
    revoking = Revocation.objects.filter(certificate_id__in=of_ca.values("id"))
    gone = set(revoking.values_list("certificate_id", flat=True))
    return [number for number in standing if number not in gone], moved


def _of(scope: Scope) -> QuerySet[Certificate]:
    """What `from_ca` has issued, whatever has become of it."""
    return Certificate.objects.filter(
        issuance__backend=scope.from_ca, withheld=False, **scope.columns("request__")
    )


def survey(numbers: list[int], scope: Scope, *, now: datetime) -> Iterator[Standing]:
    """What becomes of these certificates, in their order, some statements for each.

    It is judged as for a renewal, with `to_ca` alone: policy, validations, key and limits. Not CAA.
    """
    related = ("issuance", "request", "organisation")
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        rows = Certificate.objects.filter(id__in=chunk).select_related(*related).order_by("id")
        marks = {row.certificate_id: row for row in Renewal.objects.filter(certificate_id__in=chunk)}
        for row in rows:
            yield _standing(row, marks.get(row.pk), scope, now=now)


def _standing(row: Certificate, mark: Renewal | None, scope: Scope, *, now: datetime) -> Standing:
    rt, request = runtime.current(), row.request
    kind, ends_at = rt.standing_profile(request.profile_id), request.term_ends_at
    limits = rt.limits_of(scope.to_ca)
    stage, against, rolls_days = Stage.NOT_BEGUN, tuple[str, ...](), None
    is_client = row.issuance.order_id is not None or row.issuance.channel == CLIENT
    if request.state != State.APPROVED or ends_at is None or ends_at <= now:
        stage = Stage.ENDS
    else:
        # 1. What stands against the same CSR with that CA. A client brings a key of its own, and that of an
        #    ACME order proves its names anew.
        csr, found = kept_csr(row.issuance), tuple[Check, ...]()
        if row.issuance.order_id is None:
            found = against_renewal(row, request, csr, cas=(scope.to_ca,), now=now)
        if is_client:
            found = tuple(check for check in found if not check.code.startswith(ABOUT_THE_KEY))
        against = tuple(check.message for check in found)
        addresses = [name for name in row.issuance.names if is_ip_address(name)]
        if limits.public and (inner := [name for name in addresses if not ip_address(name).is_global]):
            told = f"No public CA certifies addresses that are not public: {', '.join(inner)} (BR 4.2.2)."
            against = (*against, told)
        if not against:
            # 2. Whether it would be asked, with it before the other one.
            chosen = ca_for(request, csr, cas=_asked(kind, scope), now=now)
            if chosen != scope.to_ca:
                told = (
                    f"“{chosen}” would be asked instead: it alone reaches to the end of the term, or "
                    f"“{scope.to_ca}” is stopped or does not answer. Once “{scope.to_ca}” is up, take "
                    f"“{chosen}” out of the profile’s list."
                )
                against = (told,)
        most = longest(kind, limits, at=now)
        if row.not_after >= ends_at and most is not None and now + most < ends_at:
            rolls_days = most.days
        # 3. Where it stands.
        if is_client:
            stage = Stage.HELD_UP if against else Stage.CLIENT
        elif found and all(check.code.startswith(ABOUT_THE_KEY) for check in found):
            stage = Stage.NEW_CSR
        elif against:
            stage = Stage.HELD_UP
        elif mark is not None and mark.move_to == scope.to_ca:
            stage = Stage.HELD_UP if mark.problem else Stage.UNDER_WAY
            against = (mark.problem,) if mark.problem else ()
    return Standing(
        certificate=row.pk,
        request=request.pk,
        organisation=row.organisation.slug,
        profile=request.profile_id,
        names=tuple(row.issuance.names),
        not_after=row.not_after,
        stage=stage,
        against=against,
        rolls_days=rolls_days,
        validates_itself=row.issuance.order_id is not None,
    )


def move_batch(*, actor: Actor, scope: Scope, limit: int, now: datetime) -> Batch:
    """Has the next certificates renewed by `to_ca` now, for the same CSR: `limit` at most, each once.

    What was to move the other way and has not is left where it is. Raises NotAuthorized; StateConflict while
    a profile does not put `to_ca` first, or it is stopped; InvalidInput, Misconfigured.
    """
    require(actor, Action.SERVICE_OPERATE, "Only an operator moves certificates to another CA.")
    rt = runtime.current()
    refuse_unknown(scope)
    if lines := list_first(scope, now=now):
        wanted = "; ".join(f"[profiles.{name}] {line}" for name, line in lines.items())
        told = f"“{scope.to_ca}” does not come before “{scope.from_ca}” in the file of CAs."
        raise StateConflict(f"{told} Write there, and restart: {wanted}")
    if stopped := rt.settings.why_stopped(ca=scope.to_ca):
        raise StateConflict(f"“{scope.to_ca}” is stopped, so nothing moves: {stopped}")

    # 1. What was to come back the other way stays.
    back = Renewal.objects.filter(
        move_to=scope.from_ca,
        certificate__issuance__backend=scope.to_ca,
        **scope.columns("certificate__request__"),
    )
    with write_transaction():
        stays = back.update(move_to="")
        if stays:
            data = {"from": scope.to_ca, "certificates": stays}
            audit.record(actor, "ca.move_undone", scope.from_ca, now=now, data=data)

    # 2. The next that can move; of two runs at once one gets each.
    numbers, marks = standing_and_moved(scope, now=now)[0], Renewal.objects.filter(move_to=scope.to_ca)
    marked = set(marks.values_list("certificate_id", flat=True))
    numbers, begun = [number for number in numbers if number not in marked], list[int]()
    for seen, one in enumerate(survey(numbers, scope, now=now)):
        if len(begun) == limit:
            return Batch(begun=tuple(begun), left=len(numbers) - seen)
        if one.stage is Stage.NOT_BEGUN and _begin(one, scope, actor=actor, now=now):
            begun.append(one.certificate)
    return Batch(begun=tuple(begun), left=0)


def _begin(one: Standing, scope: Scope, *, actor: Actor, now: datetime) -> bool:
    """Marks one and has the worker look at it at once; False where another run was faster."""
    organisation = Organisation.objects.get(slug=one.organisation).pk
    with write_transaction():
        mark = {"move_to": scope.to_ca, "next_attempt_at": now}
        rows = Renewal.objects.filter(certificate_id=one.certificate)
        _row, is_new = rows.get_or_create(certificate_id=one.certificate, defaults={**mark, "due_at": now})
        if not is_new and not rows.exclude(move_to=scope.to_ca).update(**mark):
            return False
        data = {"from": scope.from_ca, "to": scope.to_ca, "request": one.request}
        audit.record(actor, "certificate.move", one.certificate, organisation, now=now, data=data)
    return True
