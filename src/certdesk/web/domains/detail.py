"""A domain's page in words: state, deadlines, ways to prove it, what to publish, its story."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from certdesk.domain.deadlines import Deadlines, method_ends_at
from certdesk.domain.evidence import Method
from certdesk.domain.identifiers import url_host
from certdesk.services.publications import DnsRecord, Publication
from certdesk.services.validation_methods import Open
from certdesk.store.selectors.domains import ListedDomain, Standing, Watch
from certdesk.store.selectors.proofs import Proof
from certdesk.store.selectors.validation import CaState, Event, StoryEntry
from certdesk.web import times
from certdesk.web.domains.rows import days_left, kept_alive, look_of
from certdesk.web.requests.rows import Fact

_EVIDENCE: Mapping[str, str] = {
    "how": "How it was checked",
    "details": "Details",
    "reference": "Reference",
    "adn": "Domain asked about",
    "asked": "What was asked",
    "asked_by": "Asked by",
    "asked_at": "Asked at",
    "answered": "What came back",
    "answered_from": "From the address",
    "looked_at": "Looked at",
    "value_sha256": "SHA-256 of the value",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingView:
    """Whether a domain is proven, with what follows from it."""

    look: str
    state: str
    text: str
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineView:
    """Until when one kind of CA may rely on the proof."""

    title: str
    when: str
    left: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagView:
    """What a coming rule does, and what to do about it."""

    title: str
    text: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Something to copy: its name, its value, and what the copy button says."""

    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenView:
    """A challenge under way: what to publish, and how the last look went."""

    title: str
    help: str
    fields: tuple[Field, ...]
    line: str
    text: str
    problem: str
    check_href: str
    cancel_href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to prove the domain, in plain words."""

    method: str
    title: str
    badge: str
    summary: str
    text: str
    button: str
    help: str
    asks_reach: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryRow:
    """An event."""

    kind: str
    title: str
    at: str
    at_iso: str
    who: str
    text: str
    period: str
    source: str
    request: str
    request_href: str
    evidence: tuple[Fact, ...]
    end_href: str


def standing(row: ListedDomain, *, now: datetime) -> StandingView:
    """The head of a domain's page."""
    look, state = look_of(row, now=now)
    proof, valid = row.proof, row.standing in (Standing.VALIDATED, Standing.COVERED)
    if row.standing is Standing.COVERED:
        text = f"The proof of {row.covered_by} reaches down to it: nothing has to be done here."
    elif proof is None:
        text = "Requests for names at or below it wait until it is proven."
    elif row.standing is Standing.LAPSED:
        how = f"was ended by {proof.ended_by}" if proof.ended_by else "lapsed"
        text = (
            f"Its validation {how} on {times.day(proof.expires_at)}. Certificates that were issued go on "
            "working; new requests wait until it is validated again."
        )
    elif kept_alive(row):
        text = "Its persistent DNS record is there: the validation renews itself as long as it stays."
    else:
        text = f"Validated until {times.day(proof.expires_at)}: {days_left(proof.expires_at, now=now)}."
    return StandingView(look=look, state=state, text=text, valid=valid)


def deadline_views(deadlines: Deadlines, *, renews: bool, now: datetime) -> list[DeadlineView]:
    """For private CAs, where our record is the evidence, and for public ones, where it is a gate."""
    private, public = deadlines.private, deadlines.public
    found = []
    if private is not None:
        found.append(
            DeadlineView(
                title="For private CAs",
                when=times.day(private.until),
                left=_left(private.until, renews=renews, now=now),
                text="Our record is the evidence: nobody else has to check.",
            )
        )
    if public is None:
        when, left = "Does not count", ""
        text = "Public CAs accept none of these proofs. Prove the domain by the DNS or by a file for them."
    else:
        gone = not public.is_open(now=now)
        when = times.day(public.until)
        left = "ended" if gone else _left(public.until, renews=renews, now=now)
        text = "Our record only opens the way: a public CA checks the domain itself, and that is what counts."
    found.append(DeadlineView(title="For public CAs", when=when, left=left, text=text))
    return found


def flag_views(deadlines: Deadlines) -> list[FlagView]:
    """What coming rules do to the proofs that are relied on."""
    return [
        FlagView(title=_unbroken(flag.message), text=flag.to_do, rule=flag.rule) for flag in deadlines.flags
    ]


def ca_facts(states: tuple[CaState, ...], *, now: datetime) -> list[Fact]:
    """What each public CA says of its own validation."""
    found = []
    for one in states:
        if one.valid_until is None:
            state = "not validated there"
        else:
            over = one.valid_until <= now
            state = f"{'was validated' if over else 'validated'} there until {times.day(one.valid_until)}"
        found.append(
            Fact(label=one.ca, value=f"{state} (heard {times.day(one.heard_at)} from {one.heard_from})")
        )
    return found


def open_view(one: Open) -> OpenView:
    """A challenge under way."""
    fields, line = publication_fields(one.publication)
    again = f" We look again by ourselves {times.at(one.next_look_at)}." if one.next_look_at else ""
    return OpenView(
        title=_OPEN_TITLES[one.method],
        help=WAY_HELP[one.method],
        fields=fields,
        line=line,
        text=f"Asked by {one.asked_by}. The value works until {times.at(one.expires_at)}.{again}",
        problem=f"Last look, {times.at(one.last_looked_at)}: {one.last_problem}"
        if one.last_looked_at
        else "",
        check_href=reverse("domains-check", args=[one.challenge_id]),
        cancel_href=reverse("domains-cancel-challenge", args=[one.challenge_id]),
    )


def watch_view(row: ListedDomain, watch: Watch, record: DnsRecord) -> OpenView:
    """A persistent record: what to publish, and whether it is there."""
    fields, line = publication_fields(record)
    if watch.missing_since is not None:
        title = "The persistent DNS record has vanished"
        text = (
            f"It was gone on {times.at(watch.missing_since)}. Publish it again; nothing is extended before."
        )
    elif watch.seen_at is not None:
        title = "The persistent DNS record is there"
        text = f"Last seen {times.at(watch.seen_at)}. Leave it in place: the validation renews itself."
    else:
        title = "Publish the persistent DNS record"
        text = f"Asked by {watch.asked_by}. Publish it once and leave it in place."
    again = f" We look again {times.at(watch.next_look_at)}." if watch.next_look_at else ""
    return OpenView(
        title=title,
        help=WAY_HELP[Method.DNS_PERSIST],
        fields=fields,
        line=line,
        text=text + again,
        problem="",
        check_href=reverse("domains-persistent-check", args=[row.id]),
        cancel_href=reverse("domains-persistent-stop", args=[row.id]),
    )


def publication_fields(published: Publication) -> tuple[tuple[Field, ...], str]:
    """What to copy into a form, and a DNS record as one line of a zone file."""
    if isinstance(published, DnsRecord):
        fields = (
            Field(label="Name", value=published.name),
            Field(label="Type", value=published.kind),
            Field(label="Value", value=published.value),
        )
        return fields, published.line
    return (
        Field(label="Address", value=published.url),
        Field(label="Path on the server", value=published.path),
        Field(label="Content", value=published.content),
    ), ""


def ways(*, offered: frozenset[Method], adn: str) -> list[Way]:
    """What can be chosen, the one that lasts longest first."""
    known = [
        Way(
            method=Method.DNS_PERSIST.value,
            title="Persistent DNS record",
            badge="Nothing to do again",
            summary="One TXT record that stays. We read it every day and renew the validation.",
            text="Best where you can add a record once and leave it: it survives every shortening of the "
            "rules. If it vanishes, you are told at once.",
            button="Show the record",
            help=WAY_HELP[Method.DNS_PERSIST],
            asks_reach=True,
        ),
        Way(
            method=Method.DNS_TXT.value,
            title="DNS TXT record",
            badge="",
            summary="A TXT record with a random value, found within minutes.",
            text=f"It proves {adn} and every name below it, wildcards included. It may be removed "
            "once it was found.",
            button="Make the value",
            help=WAY_HELP[Method.DNS_TXT],
            asks_reach=False,
        ),
        Way(
            method=Method.DNS_CNAME.value,
            title="DNS CNAME record",
            badge="",
            summary="The same with a CNAME, for DNS services that take no TXT record there.",
            text=f"It proves {adn} and every name below it, wildcards included.",
            button="Make the value",
            help=WAY_HELP[Method.DNS_CNAME],
            asks_reach=False,
        ),
        Way(
            method=Method.HTTP_FILE.value,
            title="File on the web server",
            badge="",
            summary=f"A small text file at http://{url_host(adn)}/.well-known/…",
            text=f"It proves {adn} alone: no name below it and no wildcard. The server has to answer on "
            "port 80 or 443 from where we are.",
            button="Make the file",
            help=WAY_HELP[Method.HTTP_FILE],
            asks_reach=False,
        ),
    ]
    return [way for way in known if Method(way.method) in offered]


def email_note() -> str:
    """What becomes of e-mail, beside the mailbox."""
    ends = method_ends_at(Method.EMAIL_CONSTRUCTED)
    if ends is None:
        return ""
    return f"Public CAs stop accepting e-mail on {times.day(ends)}. For private CAs it stays."


def proof_facts(proof: Proof, *, now: datetime) -> list[Fact]:
    """One proof, before it is ended."""
    return [
        Fact(label="Method", value=proof.method),
        Fact(label="Validated", value=f"{times.at(proof.validated_at)}, {proof.who}"),
        Fact(label="Period", value=_period(proof, now=now)),
    ]


def _period(proof: Proof, *, now: datetime) -> str:
    if proof.ended_by:
        return f"Ended {times.at(proof.expires_at)} by {proof.ended_by}"
    return f"{'Counted' if proof.expires_at <= now else 'Counts'} until {times.at(proof.expires_at)}"


def story_row(
    entry: StoryEntry, *, domain_id: int, may_end: bool, shows_evidence: bool, now: datetime
) -> StoryRow:
    """An event; the whole evidence is for the RA."""
    proof = entry.proof
    period = source = request = end_href = ""
    if proof is not None:
        period = _period(proof, now=now)
        if may_end and proof.expires_at > now:
            end_href = reverse("domains-end-validation", args=[domain_id, proof.id])
        source, request = proof.source, str(proof.request_id or "")
    elif entry.code:
        source = entry.code
    more = f" ({entry.times} times, the last one shown)" if entry.times > 1 else ""
    return StoryRow(
        kind=entry.event.value,
        title=entry.title + more,
        at=times.at(entry.at),
        at_iso=times.iso(entry.at),
        who=entry.who,
        text=entry.text,
        period=period,
        source=source,
        request=request,
        request_href=reverse("requests-show", args=[request]) if request else "",
        evidence=_evidence(entry) if shows_evidence or entry.event is Event.LOOKED else (),
        end_href=end_href,
    )


def _unbroken(text: str) -> str:
    """No line ends within "e-mail"."""
    return text.replace("e-mail", "e\N{NON-BREAKING HYPHEN}mail")


def _evidence(entry: StoryEntry) -> tuple[Fact, ...]:
    return tuple(
        Fact(label=_EVIDENCE.get(name, name.replace("_", " ").capitalize()), value=_words(value))
        for name, value in entry.evidence.items()
        if value not in ("", None, [], {})
    )


def _words(value: object) -> str:
    """Evidence as lines: nested facts are written one below the other."""
    if isinstance(value, Mapping):
        return "\n".join(
            f"{name}: {_words(inner)}" for name, inner in value.items() if inner not in ("", None)
        )
    if isinstance(value, list):
        return ", ".join(_words(inner) for inner in value)
    return str(value)


def _left(until: datetime, *, renews: bool, now: datetime) -> str:
    return "renews itself" if renews else days_left(until, now=now)


#: They are one way with two reaches.
PERSISTENT_WAYS = (Method.DNS_PERSIST, Method.DNS_PERSIST_WILDCARD)
_OPEN_TITLES: Mapping[Method, str] = {
    Method.DNS_TXT: "Publish this TXT record",
    Method.DNS_CNAME: "Publish this CNAME record",
    Method.HTTP_FILE: "Put this file onto the web server",
}
WAY_HELP: Mapping[Method, str] = {
    Method.DNS_TXT: "/help/domains/#txt",
    Method.DNS_CNAME: "/help/domains/#cname",
    Method.HTTP_FILE: "/help/domains/#file",
    Method.DNS_PERSIST: "/help/domains/#persistent",
}
