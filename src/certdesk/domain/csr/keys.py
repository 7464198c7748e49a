"""Public keys: what kind a key is, and whether it may be certified.

Works on the raw SubjectPublicKeyInfo, because loading a key hides what matters here: explicit EC parameters
load as the named curve and an RSA-PSS key loads as RSA. Sizes are tested before any mathematics.
Private keys are for `private_keys`.
Sources: RFC 5280 4.1.2.7, RFC 3279, RFC 5480, BR 6.1.1.3, 6.1.5 and 6.1.6.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import gmpy2
from badkeys.checks import checkrsa
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import ObjectIdentifier

from certdesk.domain.errors import BadKey
from certdesk.domain.findings import Check, Verdict

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
RSA_EXPONENT = 65537
MAX_EXPONENT_BITS = 256

#: What pyca's loaders raise for bytes that they do not like; each loader is tried on data of unknown kind.
PARSE_ERRORS = (
    ValueError,  # UnicodeError and binascii.Error included
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    NotImplementedError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_ADVICE = "Make a new key, RSA with 2048 to 4096 bits or EC P-256, P-384 or P-521, and a new CSR with it."

_RSA = "1.2.840.113549.1.1.1"
_EC = "1.2.840.10045.2.1"
_ALGORITHMS = {
    _RSA: "RSA",
    _EC: "EC",
    "1.2.840.113549.1.1.10": "RSA-PSS",
    "1.2.840.113549.1.1.7": "RSA-OAEP",
    "1.2.840.10040.4.1": "DSA",
    "1.2.840.113549.1.3.1": "DH",
    "1.3.101.110": "X25519",
    "1.3.101.111": "X448",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
    "1.2.156.10197.1.301": "SM2",
}
_CURVES = {
    "1.2.840.10045.3.1.1": ("P-192", 192),
    "1.3.132.0.33": ("P-224", 224),
    "1.2.840.10045.3.1.7": ("P-256", 256),
    "1.3.132.0.34": ("P-384", 384),
    "1.3.132.0.35": ("P-521", 521),
    "1.3.132.0.10": ("secp256k1", 256),
    "1.3.36.3.3.2.8.1.1.7": ("brainpoolP256r1", 256),
    "1.3.36.3.3.2.8.1.1.11": ("brainpoolP384r1", 384),
    "1.3.36.3.3.2.8.1.1.13": ("brainpoolP512r1", 512),
}
_ALLOWED_CURVES = frozenset({"P-256", "P-384", "P-521"})
EXPLICIT_CURVE = "explicit parameters"

#: badkeys check → our code and what was found. The list is explicit on purpose: with badkeys' own default it
#: looks for a blocklist file and may end the process. Checks on e are not needed, for e is 65537 by then.
_WEAKNESSES = {
    "smallfactors": (
        "key.weak.small_factor",
        "The modulus has a small prime factor, so that anybody can break it.",
    ),
    "fermat": ("key.weak.fermat", "Its two primes are too close together, so that anybody can break it."),
    "roca": ("key.weak.roca", "It comes from a chip or library with the ROCA flaw (CVE-2017-15361)."),
    "rsapoly": (
        "key.weak.rsapoly",
        "The modulus has a pattern that lets it be broken: its generator was flawed.",
    ),
    "sharedprimes": (
        "key.weak.sharedprimes",
        "It shares a prime with other known keys, so that anybody can break it.",
    ),
}
_ONE_PRIME = (
    "key.weak.one_prime",
    "The modulus is a prime or a power of one number, so that anybody can compute the private key.",
)
_SEQUENCE_TAG = b"\x30"


@asn1.sequence
class SubjectPublicKeyInfo:
    """RFC 5280 4.1: the AlgorithmIdentifier is left as its parts, for its parameters are what we look at."""

    algorithm: list[asn1.TLV]
    subject_public_key: asn1.BitString


@asn1.sequence
class _RsaPublicKey:
    modulus: int
    public_exponent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """A public key as people and policy speak of it; `size` in bits, `curve` empty for other than EC keys.

    `exponent` is None for other than RSA keys, and where it has more than the 256 bits that BR 6.1.6 speaks
    of: Python refuses to write a number of a stranger's length in decimal, and a page must not fail on that.
    """

    algorithm: str
    size: int
    curve: str = ""
    exponent: int | None = None
    spki_der: bytes
    spki_sha256: str


def key_facts(spki_der: bytes) -> KeyFacts:
    """Reads a SubjectPublicKeyInfo without loading the key: no heavy arithmetic, whatever its size.

    Raises:
        BadKey: it is not a SubjectPublicKeyInfo, or its RSA or EC key can't be read.
    """
    size, curve, exponent = 0, "", None
    try:
        spki = asn1.decode_der(SubjectPublicKeyInfo, spki_der)
        oid = spki.algorithm[0].parse(ObjectIdentifier).dotted_string
        if oid == _RSA:
            numbers = _rsa_numbers(spki)
            if numbers.modulus <= 0 or numbers.public_exponent <= 0:
                raise ValueError("modulus and exponent are positive numbers")  # noqa: TRY301 - told as the others
            size = numbers.modulus.bit_length()
            if numbers.public_exponent.bit_length() <= MAX_EXPONENT_BITS:
                exponent = numbers.public_exponent
        elif oid == _EC and spki.algorithm[1].tag_bytes == _SEQUENCE_TAG:
            curve = EXPLICIT_CURVE
        elif oid == _EC:
            named = spki.algorithm[1].parse(ObjectIdentifier).dotted_string
            curve, size = _CURVES.get(named, (named, 0))
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        told = f"The public key can't be read: it is damaged. {_ADVICE}"
        raise BadKey(told, code="key.unreadable") from error
    return KeyFacts(
        algorithm=_ALGORITHMS.get(oid, oid),
        size=size,
        curve=curve,
        exponent=exponent,
        spki_der=spki_der,
        spki_sha256=hashlib.sha256(spki_der).hexdigest(),
    )


def _rsa_numbers(spki: SubjectPublicKeyInfo) -> _RsaPublicKey:
    return asn1.decode_der(_RsaPublicKey, spki.subject_public_key.as_bytes())


def usual_spelling(spki_der: bytes) -> bytes:
    """The key as certificates spell it (BR 7.1.3.1). Raises PARSE_ERRORS where it can't be loaded."""
    return load_der_public_key(spki_der).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_key(key: KeyFacts) -> tuple[Check, ...]:
    """Every rule that the key breaks, or one passing `key.strength`; the cheapest tests come first."""
    match key.algorithm:
        case "RSA":
            found = _rsa_outer_checks(key) or _rsa_weaknesses(key) or _spelling_checks(key)
        case "EC" if key.curve in _ALLOWED_CURVES:
            found = _spelling_checks(key)
        case "ML-DSA-44" | "ML-DSA-65" | "ML-DSA-87":  # certified where policy, profile and CA say so
            found = _spelling_checks(key)
        case "EC":
            what = (
                "The EC key describes its curve by numbers instead of naming it (in OpenSSL: use "
                "named_curve)."
                if key.curve == EXPLICIT_CURVE
                else f"The EC key is on the curve {key.curve}; P-256, P-384 and P-521 are accepted."
            )
            found = (_refuse(key, "key.curve", f"{what} {_ADVICE}"),)
        case _:
            found = (_refuse(key, "key.type", f"Keys of type {key.algorithm} are not accepted. {_ADVICE}"),)
    told = "The key is strong enough and has none of the known weaknesses that were looked for."
    return found or (Check("key.strength", Verdict.PASS, told, seen=describe_key(key)),)


def describe_key(key: KeyFacts) -> str:
    """The key in a few words, such as “RSA 2048” or “EC P-256”."""
    return f"{key.algorithm} {key.curve or key.size or ''}".strip()


def _refuse(key: KeyFacts, code: str, message: str) -> Check:
    return Check(code, Verdict.REFUSE, message, seen=describe_key(key))


def _rsa_outer_checks(key: KeyFacts) -> tuple[Check, ...]:
    """Size and exponent, which cost nothing; where one fails, no mathematics is done on the key."""
    found = []
    if not MIN_RSA_BITS <= key.size <= MAX_RSA_BITS or key.size % 8:
        told = (
            f"The RSA key has {key.size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} in whole bytes are accepted."
        )
        found.append(_refuse(key, "key.size", f"{told} {_ADVICE}"))
    if key.exponent != RSA_EXPONENT:
        told = f"The RSA key's public exponent is not {RSA_EXPONENT}, the only one accepted."
        found.append(_refuse(key, "key.exponent", f"{told} {_ADVICE}"))
    return tuple(found)


def _rsa_weaknesses(key: KeyFacts) -> tuple[Check, ...]:
    modulus = _rsa_numbers(asn1.decode_der(SubjectPublicKeyInfo, key.spki_der)).modulus
    broken = checkrsa(modulus, e=RSA_EXPONENT, checks=tuple(_WEAKNESSES))
    found = [weakness for name, weakness in _WEAKNESSES.items() if name in broken]
    if not broken and _has_one_prime(modulus):
        found = [_ONE_PRIME]
    return tuple(
        _refuse(key, code, f"This key is weak. {what} Use it nowhere. {_ADVICE}") for code, what in found
    )


@lru_cache(maxsize=256)
def _has_one_prime(modulus: int) -> bool:
    """Whether the modulus is p or p^k: no round of Miller-Rabin calls a prime composite (FIPS 186-5 B.3).

    One costs 2 ms for 2048 bits and 15 ms for 4096; a preview and its confirmation share it.
    """
    number = gmpy2.mpz(modulus)
    return bool(gmpy2.is_power(number) or gmpy2.is_strong_prp(number, 2))


def _spelling_checks(key: KeyFacts) -> tuple[Check, ...]:
    """Loading checks that an EC point is on its curve (BR 6.1.6); a key has one spelling (BR 7.1.3.1).

    Blocks and limits go by the bytes, so that a key spelled in another way would pass for another key.
    """
    try:
        plain = usual_spelling(key.spki_der)
    except PARSE_ERRORS:
        what = f"The {key.algorithm} key can't be used: its numbers or parameters are wrong."
        return (_refuse(key, "key.invalid", f"{what} {_ADVICE}"),)
    if plain == key.spki_der:
        return ()
    what = (
        "The EC key's point is compressed. Make the CSR with the point uncompressed (in OpenSSL: "
        "-conv_form uncompressed)."
        if key.algorithm == "EC"
        else f"The RSA key's algorithm is not followed by NULL, as certificates need it. {_ADVICE}"
    )
    return (_refuse(key, "key.encoding", what),)
