"""One `_validation-persist` record: what it grants us, or why nothing (draft dns-persist-01 4.1). Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from certdesk.domain.issue_value import IssueValue, NotAnIssueValue, parse_issue_value

LABEL = "_validation-persist"

_SECONDS = re.compile(r"[0-9]{1,18}", re.ASCII)
#: The end of what a datetime can say; a later `persistUntil` is no limit that we can reach.
_LAST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


class RejectedReason(IntEnum):
    """Why a record does not count, the least telling first: a person is told the last of several."""

    NOT_A_RECORD = 0  # no issue-value at all, so nobody's (4.3.2: ignored)
    OTHER_ISSUER = 1
    MALFORMED = 2  # ours, and broken
    OTHER_ACCOUNT = 3
    EXPIRED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A record that counts: `wildcard` also for everything below; until when, if it says so."""

    issuer: str
    account_uri: str
    wildcard: bool
    persist_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A record that does not count."""

    reason: RejectedReason
    why: str


def parse_record(text: str, *, issuers: Collection[str], account_uri: str, now: datetime) -> Grant | Rejected:
    """What the record grants to this account at this issuer now.

    Unknown parameters are ignored, and unknown policies grant nothing more than the FQDN (4.1.1, 4.1.4).
    """
    value = parse_issue_value(text)
    if isinstance(value, NotAnIssueValue):
        return Rejected(reason=RejectedReason.NOT_A_RECORD, why=value.why)
    if value.issuer not in issuers:
        return Rejected(reason=RejectedReason.OTHER_ISSUER, why=f"it is for {value.issuer or 'nobody'}")
    tags = [tag for tag, _ in value.parameters]
    if len(set(tags)) < len(tags):
        return _malformed("a parameter stands in it twice")
    accounts = value.values("accounturi")
    if not accounts or not accounts[0]:
        return _malformed("accounturi is missing")
    until = _persist_until(value)
    if isinstance(until, Rejected):
        return until
    if accounts[0] != account_uri:  # Simple String Comparison (RFC 3986 6.2.1)
        return Rejected(reason=RejectedReason.OTHER_ACCOUNT, why=f"it is for the account {accounts[0]}")
    if until is not None and now > until:
        return Rejected(reason=RejectedReason.EXPIRED, why=f"it ended at {until:%Y-%m-%d %H:%M:%S} UTC")
    return Grant(
        issuer=value.issuer,
        account_uri=accounts[0],
        wildcard=[policy.lower() for policy in value.values("policy")] == ["wildcard"],
        persist_until=until,
    )


def _persist_until(value: IssueValue) -> datetime | Rejected | None:
    """The end that the record sets; None where it sets none."""
    found = value.values("persistUntil")
    if not found:
        return None
    if not _SECONDS.fullmatch(found[0]):
        return _malformed("persistUntil is not a number of seconds since 1970")
    return datetime.fromtimestamp(min(int(found[0]), _LAST), tz=UTC)


def _malformed(why: str) -> Rejected:
    return Rejected(reason=RejectedReason.MALFORMED, why=why)


def record_value(
    *, issuer: str, account_uri: str, wildcard: bool, persist_until: datetime | None = None
) -> str:
    """The value to publish, for the instructions on a page."""
    parts = [issuer, f"accounturi={account_uri}"]
    if wildcard:
        parts.append("policy=wildcard")
    if persist_until is not None:
        parts.append(f"persistUntil={int(persist_until.timestamp())}")
    return "; ".join(parts)
