"""The list of known compromised and weak keys in badkeys' format: looking a key up, and how old the list is.

The format: 16 octets a key, sorted; the first 15 are the start of SHA-256 over a number of the key (the
modulus of RSA, the x coordinate of EC; big-endian, without leading zeros), the last names the list that it
came from. Pure: whoever opens the file is `services.revocation.known_keys`. Nothing is ever downloaded.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from certdesk.domain.findings import Check, Verdict

RECORD = 16
_HASH = RECORD - 1


class Octets(Protocol):
    """What a list is read from: bytes, or a file mapped into memory."""

    def __len__(self) -> int:
        """How many octets."""

    def __getitem__(self, where: slice, /) -> bytes:
        """Some of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownKeys:
    """A list; `as_of` is None where none is loaded. `titles` maps a list's number to its name."""

    octets: Octets = b""
    titles: Mapping[int, str] = field(default_factory=dict)
    as_of: datetime | None = None

    def __len__(self) -> int:
        """How many keys are on the list."""
        return len(self.octets) // RECORD

    def find(self, number: int) -> str | None:
        """The name of the list that has this key, or None; a binary search, some 25 steps for 30 million."""
        wanted = hashlib.sha256(number.to_bytes((number.bit_length() + 7) // 8)).digest()[:_HASH]
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.octets[middle * RECORD : middle * RECORD + _HASH] < wanted:
                low = middle + 1
            else:
                high = middle
        found = self.octets[low * RECORD : (low + 1) * RECORD]
        if found[:_HASH] != wanted:
            return None
        return self.titles.get(found[_HASH], f"list {found[_HASH]}")


NO_LIST = KnownKeys()


def check_known(spki_der: bytes, known: KnownKeys, *, now: datetime) -> Check:
    """Whether a key, which the CSR's own checks have passed, is on the list; says how old the list is."""
    if known.as_of is None:
        told = (
            "No list of known compromised keys is loaded on this service: the key was not looked up in one."
        )
        return Check("key.known", Verdict.NOT_CHECKED, told)
    name = None  # lists have no other kinds of keys
    match load_der_public_key(spki_der):
        case rsa.RSAPublicKey() as key:
            name = known.find(key.public_numbers().n)
        case ec.EllipticCurvePublicKey() as key:
            name = known.find(key.public_numbers().x)
    if name is not None:
        told = (
            f"This key is on the list of known compromised keys ({name}): anybody may have its "
            "private part. Use it nowhere. Make a new key and CSR."
        )
        return Check("key.known_compromised", Verdict.REFUSE, told, seen=name)
    days = max((now - known.as_of).days, 0)
    age = "1 day old" if days == 1 else f"{days} days old"
    told = f"The key is not among {len(known):,} known compromised keys."
    return Check("key.known", Verdict.PASS, told, seen=f"list of {known.as_of:%-d %B %Y}, {age}")
