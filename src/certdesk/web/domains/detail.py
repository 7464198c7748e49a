"""A domain's page in words: state, deadlines, ways to prove it, what to publish, its story."""

from collections.abc import Mapping
from datetime import datetime

from django.urls import reverse

from certdesk.domain.validation.evidence import Method
from certdesk.services.validation.by_publication import Open
from certdesk.services.validation.publications import DnsRecord
from certdesk.store.selectors.domains import ListedDomain, Standing, Watch
from certdesk.store.selectors.proofs import Proof
from certdesk.store.selectors.validation import StoryEntry
from certdesk.web import times
from certdesk.web.domains.rows import kept_alive, look_of

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


def standing(row: ListedDomain, *, now: datetime) -> dict[str, object]:
    """The head of a domain's page: whether it is validated, and what follows from it."""
    look, state = look_of(row, now=now)
    proof, valid = row.proof, row.standing in (Standing.VALIDATED, Standing.COVERED)
    if row.standing is Standing.COVERED:
        text = f"The validation of {row.covered_by} covers it: you need not do anything here."
    elif proof is None:
        text = "Requests for names at or below it wait until it is validated."
    elif row.standing is Standing.LAPSED:
        how = f"was ended by {proof.ended_by}" if proof.ended_by else "lapsed"
        text = (
            f"Its validation {how} on {times.day(proof.expires_at)}. Existing certificates stay valid. New "
            "requests wait until it is validated again."
        )
    elif kept_alive(row):
        text = (
            "We have found its persistent DNS record. The validation renews automatically while it is there."
        )
    else:
        text = f"Validated until {times.day(proof.expires_at)}: {times.days_left(proof.expires_at, now)}."
    return {"look": look, "state": state, "text": text, "valid": valid}


def open_view(one: Open) -> dict[str, object]:
    """A challenge under way: what to publish, and how the last check went."""
    return {
        "title": _OPEN_TITLES[one.method],
        "help": WAY_HELP[one.method],
        "published": one.publication,
        "text": f"Asked by {one.asked_by}. The value works until {times.at(one.expires_at)}.",
        "next_look_at": one.next_look_at,
        "problem": one.last_problem if one.last_looked_at else "",
        "problem_at": one.last_looked_at,
        "check_href": reverse("domains-check", args=[one.challenge_id]),
        "cancel_href": reverse("domains-cancel-challenge", args=[one.challenge_id]),
    }


def watch_view(row: ListedDomain, watch: Watch, record: DnsRecord) -> dict[str, object]:
    """A persistent record: what to publish, and whether it is there."""
    if watch.missing_since is not None:
        title = "The persistent DNS record is missing"
        text = f"It was missing on {times.at(watch.missing_since)}. Publish it again to renew the validation."
    elif watch.seen_at is not None:
        title = "The persistent DNS record is there"
        text = f"Last seen {times.at(watch.seen_at)}. Leave it in place: the validation renews automatically."
    else:
        title = "Publish the persistent DNS record"
        text = f"Asked by {watch.asked_by}. Publish it once and leave it in place."
    return {
        "title": title,
        "help": WAY_HELP[Method.DNS_PERSIST],
        "published": record,
        "text": text,
        "next_look_at": watch.next_look_at,
        "check_href": reverse("domains-persistent-check", args=[row.id]),
        "cancel_href": reverse("domains-persistent-stop", args=[row.id]),
        "is_watch": True,
    }


def period(proof: Proof, *, now: datetime) -> str:
    """Until when a proof counts, or did."""
    if proof.ended_by:
        return f"Ended {times.at(proof.expires_at)} by {proof.ended_by}"
    return f"{'Counted' if proof.expires_at <= now else 'Counts'} until {times.at(proof.expires_at)}"


def evidence(entry: StoryEntry) -> list[tuple[str, str]]:
    """What was seen, with names that people know."""
    return [
        (_EVIDENCE.get(name, name.replace("_", " ").capitalize()), _words(value))
        for name, value in entry.evidence.items()
        if value not in ("", None, [], {})
    ]


def _words(value: object) -> str:
    """Evidence as lines: nested facts are written one below the other."""
    if isinstance(value, Mapping):
        return "\n".join(
            f"{name}: {_words(inner)}" for name, inner in value.items() if inner not in ("", None)
        )
    if isinstance(value, list):
        return ", ".join(_words(inner) for inner in value)
    return str(value)


#: They are one way with two reaches.
PERSISTENT_WAYS = (Method.DNS_PERSIST, Method.DNS_PERSIST_WILDCARD)
_OPEN_TITLES: Mapping[Method, str] = {
    Method.DNS_TXT: "Publish this TXT record",
    Method.DNS_CNAME: "Publish this CNAME record",
    Method.HTTP_FILE: "Put this file on the web server",
}
#: The help on each way, the one that lasts longest first.
WAY_HELP: Mapping[Method, str] = {
    Method.DNS_PERSIST: "/help/domains/#persistent",
    Method.DNS_TXT: "/help/domains/#txt",
    Method.DNS_CNAME: "/help/domains/#cname",
    Method.HTTP_FILE: "/help/domains/#file",
}
