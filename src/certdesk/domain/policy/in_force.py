"""What policy decides by, as values: one set of rules in force for one organisation, profile and CA.

The defaults are the seed's. How a file gives others is `file`; what follows from them is `decide`.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from certdesk.domain.audit import digest

#: Counts up when `decide` itself comes to other answers for the same facts and rules.
DECIDING_VERSION = 2


class Handling(StrEnum):
    """What becomes of a request to which something applies, mildest first."""

    AUTO = "auto"
    MANUAL = "manual"
    REFUSE = "refuse"


class CaaMode(StrEnum):
    """How much a CAA answer counts, mildest first (RFC 8659)."""

    OFF = "off"
    WARN = "warn"
    REQUIRE = "require"


class KeyType(StrEnum):
    """The kinds of keys that can be certified at all (BR 6.1.5; ML-DSA, RFC 9881, by private CAs alone)."""

    RSA = "RSA"
    P256 = "P-256"
    P384 = "P-384"
    P521 = "P-521"
    ML_DSA_44 = "ML-DSA-44"
    ML_DSA_65 = "ML-DSA-65"
    ML_DSA_87 = "ML-DSA-87"


#: What is certified unless an operator says otherwise, of policy, of a profile and of a CA.
USUAL_KEY_TYPES = (KeyType.RSA, KeyType.P256, KeyType.P384, KeyType.P521)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that policy reads; `digest` names exactly this version of them.

    `caa_unknown` says what a missing or stale CAA answer does where `caa` is REQUIRE. `daily_cap` counts
    an organisation's requests in any 24 hours, 0 for no cap; what is above it waits for an officer.
    `reused_key` is about a key that another organisation has used before.
    """

    trusted_suffixes: tuple[str, ...] = ("ac.uk", "gov.uk")
    durations: tuple[int, ...] = (1, 2, 3)
    server_software: tuple[str, ...] = ()
    ra: str = "JTAG"
    key_types: tuple[KeyType, ...] = USUAL_KEY_TYPES
    rsa_min_bits: int = 2048
    rsa_max_bits: int = 4096
    max_names: int = 100
    wildcards: Handling = Handling.AUTO
    outside_suffix: Handling = Handling.MANUAL
    caa: CaaMode = CaaMode.OFF
    caa_unknown: Handling = Handling.MANUAL
    first_request_waits: bool = True
    daily_cap: int = 0
    reused_key: Handling = Handling.MANUAL

    @property
    def digest(self) -> str:
        """SHA-256 over what decides: it differs exactly when another decision is possible.

        The order of a list decides nothing, nor does the RA team's name.
        """
        return _digest(self)


@lru_cache(maxsize=1024)
def _digest(rules: Rules) -> str:
    deciding = {f.name: canonical(getattr(rules, f.name)) for f in fields(rules) if f.name != "ra"}
    return digest(deciding | {"version": DECIDING_VERSION})


@lru_cache(maxsize=1024)
def strictest(one: Rules, other: Rules) -> Rules:
    """Rules under which nothing goes through that either would stop; the texts are the first one's.

    For what may be asked of several CAs, each with rules of its own.
    """

    def stricter(name: str, here: Any, there: Any) -> Any:  # noqa: ANN401 - values of all types
        match here, there:
            case bool(), bool():
                return here or there
            case int(), int() if name == "daily_cap":
                return min(here or there, there or here)
            case int(), int():
                return max(here, there) if name == "rsa_min_bits" else min(here, there)
            case Handling(), Handling():
                return max(here, there, key=[*Handling].index)  # mildest first
            case CaaMode(), CaaMode():
                return max(here, there, key=[*CaaMode].index)
            case tuple(), tuple():
                return tuple(item for item in here if item in there)
        return here

    pairs = {f.name: (getattr(one, f.name), getattr(other, f.name)) for f in fields(Rules)}
    return replace(one, **{name: stricter(name, *pair) for name, pair in pairs.items()})


def canonical(value: object) -> object:
    """A value in one form: the order of a list decides nothing."""
    return sorted(set(value)) if isinstance(value, tuple) else value
