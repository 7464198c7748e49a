"""Domains in a list as pages show them: finished strings. No reading and no deciding here."""

from collections.abc import Mapping
from datetime import datetime

from certdesk.domain.validation.evidence import Method
from certdesk.store.selectors.domains import SOON, ListedDomain, Standing, State
from certdesk.web import times

#: Shorter than the titles of `domain.validation.evidence`, for narrow columns.
SHORT: Mapping[Method, str] = {
    Method.MANUAL_OWNERSHIP: "Officer’s check",
    Method.EMAIL_CONSTRUCTED: "E-mail",
    Method.DNS_TXT: "DNS TXT",
    Method.DNS_CNAME: "DNS CNAME",
    Method.HTTP_FILE: "Web file",
    Method.ACME_HTTP: "ACME http-01",
    Method.ACME_DNS: "ACME dns-01",
    Method.ACME_DNS_ACCOUNT: "ACME dns-account-01",
    Method.ACME_TLS_ALPN: "ACME tls-alpn-01",
    Method.DNS_PERSIST: "Persistent record",
    Method.DNS_PERSIST_WILDCARD: "Persistent record",
}
STATES: Mapping[State, str] = {
    State.ATTENTION: "Needs attention",
    State.SOON: "Lapses soon",
    State.VANISHED: "Record vanished",
    State.WAITING: "Under way",
    State.VALIDATED: "Validated",
    State.LAPSED: "Lapsed",
    State.NEVER: "Not validated",
    State.SUNSET: "By e-mail",
}


def list_row(row: ListedDomain, *, now: datetime) -> dict[str, object]:
    """A line of the list."""
    look, state = look_of(row, now=now)
    gate = row.deadlines.public
    return {
        "row": row,
        "look": look,
        "state": state,
        "awaited": awaited(row, now=now),
        "method": SHORT[row.proof.method_id] if row.proof else "",
        "is_kept": kept_alive(row),
        "gate": gate if gate is not None and gate.is_open(now=now) else None,
        "flag": flag_words(row),
    }


def look_of(row: ListedDomain, *, now: datetime) -> tuple[str, str]:
    """Icon and word."""
    if row.watch is not None and row.watch.missing_since is not None:
        return "stop", "Record vanished"
    if row.standing is Standing.VALIDATED and row.proof is not None:
        if kept_alive(row):
            return "ok", "Validated"
        soon = row.proof.expires_at - now <= SOON
        return ("warn", "Lapses soon") if soon else ("ok", "Validated")
    if row.standing is Standing.COVERED:
        return "ok", "Covered"
    if row.standing is Standing.LAPSED:
        return "stop", "Ended" if row.proof and row.proof.ended_by else "Lapsed"
    return ("busy", "Under way") if awaited(row, now=now) else ("idle", "Not validated")


def kept_alive(row: ListedDomain) -> bool:
    """Whether the watcher writes the next proof by itself."""
    return row.watch is not None and row.watch.is_healthy


def flag_words(row: ListedDomain) -> str:
    """What a coming rule does to the proof, in few words; empty where none does anything."""
    flags = row.deadlines.flags
    if not flags:
        return ""
    ending = next((flag for flag in flags if flag.code.startswith("method.")), None)
    return f"E-mail ends {times.day(ending.on)}" if ending else "Cut short by a coming rule"


def awaited(row: ListedDomain, *, now: datetime) -> str:
    """Who was asked, and what is looked for."""
    boxes = [one.mailbox for one in row.awaited if one.sent_at and not one.is_expired(now=now)]
    parts = [f"Waiting for {' or '.join(boxes)}"] if boxes else []
    things = ("file" if one.method is Method.HTTP_FILE else "DNS record" for one in row.to_publish)
    parts += [f"Looking for the {thing}" for thing in things]
    watch = row.watch
    if watch is not None and watch.seen_at is None and watch.next_look_at is not None:
        parts.append("Looking for the persistent record")
    return "; ".join(parts)
