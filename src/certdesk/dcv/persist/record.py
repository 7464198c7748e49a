"""One `_validation-persist` record: what it grants us, or why nothing (draft dns-persist 4.1). Pure.

The account stands in it in clear (-01), or hashed with its key and the domain (-02).
"""

import base64
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from certdesk.domain.validation.issue_value import NotAnIssueValue, parse_issue_value

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
    reason: RejectedReason
    why: str


#: The one algorithm that everybody has to know (-02 4.1.3); a record with another names another account.
HASH = "sha-256"
#: In the place of the domain, where one record is to serve for many (-02 4.1.3).
ANY_DOMAIN = "*"


def hashed_account_uri(*, prefix: str, domain: str, thumbprint: str, account_uri: str) -> str:
    """The URI that says in a record at `domain` which account is meant, and does not name it (-02 4.1.3).

    `thumbprint` is the RFC 7638 one of the account's key in base64url; `domain` an A-label name, or `*`.
    """
    name = domain.encode("ascii")
    octets = bytes([len(name)]) + name + thumbprint.encode("ascii") + account_uri.encode("ascii")
    digest = base64.urlsafe_b64encode(hashlib.sha256(octets).digest()).rstrip(b"=").decode("ascii")
    return f"{prefix}{HASH}/{digest}"


def accepted_uris(
    *, prefix: str, domain: str, thumbprints: Sequence[str], account_uri: str
) -> tuple[str, ...]:
    """What a record at `domain` may call the account: its URI, and its hashed ones with every key it had."""
    hashed = (
        hashed_account_uri(prefix=prefix, domain=name, thumbprint=thumbprint, account_uri=account_uri)
        for thumbprint in thumbprints
        for name in (domain, ANY_DOMAIN)
    )
    return (account_uri, *(hashed if prefix else ()))


def parse_record(
    text: str, *, issuers: Collection[str], account_uris: Collection[str], now: datetime
) -> Grant | Rejected:
    """What the record grants to the account that any of these URIs means, at this issuer, now.

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
    until, said = None, value.values("persistUntil")
    if said and not _SECONDS.fullmatch(said[0]):
        return _malformed("persistUntil is not a number of seconds since 1970")
    if said:
        until = datetime.fromtimestamp(min(int(said[0]), _LAST), tz=UTC)
    if accounts[0] not in account_uris:  # Simple String Comparison (RFC 3986 6.2.1)
        return Rejected(reason=RejectedReason.OTHER_ACCOUNT, why=f"it is for the account {accounts[0]}")
    if until is not None and now > until:
        return Rejected(reason=RejectedReason.EXPIRED, why=f"it ended at {until:%Y-%m-%d %H:%M:%S} UTC")
    return Grant(
        issuer=value.issuer,
        account_uri=accounts[0],
        wildcard=[policy.lower() for policy in value.values("policy")] == ["wildcard"],
        persist_until=until,
    )


def _malformed(why: str) -> Rejected:
    return Rejected(reason=RejectedReason.MALFORMED, why=why)


def record_value(*, issuer: str, account_uri: str, wildcard: bool) -> str:
    """The value to publish, for the instructions on a page."""
    parts = [issuer, f"accounturi={account_uri}"]
    if wildcard:
        parts.append("policy=wildcard")
    return "; ".join(parts)
