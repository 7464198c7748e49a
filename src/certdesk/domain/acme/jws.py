"""Signed messages of ACME clients (RFC 8555 6.2, RFC 7515): read strictly, verified once, keys judged.

Who the signer is, and whether the nonce is ours, is not known here. The cryptography is joserfc's. Pure.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OctKey, OKPKey, RSAKey

from certdesk.domain.acme.problems import AcmeRefused, ProblemType, malformed
from certdesk.domain.csr.keys import MAX_RSA_BITS, MIN_RSA_BITS, check_key, key_facts
from certdesk.domain.errors import BadKey
from certdesk.domain.findings import Verdict

#: RFC 8555 6.2: ES256 and EdDSA (by RFC 9864 also called Ed25519); none and MACs never.
ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "PS256")
MAC_ALGORITHM = "HS256"  # RFC 8555 7.3.4
MAX_BODY = 128 * 1024
MAX_HEADER = 8192  # an RSA key of 4096 bits is part of the header
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
#: What joserfc and cryptography raise for keys and signatures that are odd in some way.
_ODD = (JoseError, ValueError, TypeError, KeyError, binascii.Error)

PublicKey = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """A public key that may sign for an account. `thumbprint` is RFC 7638's, `spki_sha256` in hex."""

    jwk: dict[str, str]
    thumbprint: str
    spki_sha256: str
    key: PublicKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message whose form was checked and whose signature was not. Exactly one of `jwk` and `kid` is set."""

    flattened: Mapping[str, str]
    alg: str
    nonce: str
    url: str
    jwk: Mapping[str, Any] | None
    kid: str
    payload: bytes


def read_envelope(body: bytes, *, is_inner: bool = False) -> Envelope:
    """The message of a request, or with `is_inner` the one inside of a key change (no nonce).

    Raises AcmeRefused: malformed, badNonce without one, badSignatureAlgorithm with those that are accepted.
    """
    return envelope_of(flattened_object(_json(body, "The body")), is_inner=is_inner)


def envelope_of(flattened: Mapping[str, str], *, is_inner: bool = False) -> Envelope:
    """As `read_envelope`, of a message that is JSON already."""
    header = _header(flattened, algorithms=ALGORITHMS)
    jwk, kid, nonce = header.get("jwk"), header.get("kid"), header.get("nonce")
    if (jwk is None) == (kid is None):
        raise malformed("The protected header needs either “jwk” or “kid”, and not both.")
    if jwk is not None and not isinstance(jwk, dict):
        raise malformed("“jwk” is not a JSON Web Key.")
    if kid is not None and not isinstance(kid, str):
        raise malformed("“kid” is not the address of an account.")
    if not is_inner and (not isinstance(nonce, str) or not nonce or not _BASE64URL.fullmatch(nonce)):
        told = "The message carries no nonce of ours. Fetch one and send again."
        raise AcmeRefused(ProblemType.BAD_NONCE, told)
    return Envelope(
        flattened=flattened,
        alg=header["alg"],
        nonce="" if is_inner else str(nonce),
        url=header["url"],
        jwk=jwk,
        kid=kid or "",
        payload=_decoded(flattened["payload"], "payload"),
    )


def json_object(payload: bytes) -> dict[str, Any]:
    """The payload as the object that it has to be; a member that is null is one that is absent.

    Raises AcmeRefused: malformed.
    """
    found = _json(payload, "The payload")
    if not isinstance(found, dict):
        raise malformed("The payload is not a JSON object.")
    return {name: value for name, value in found.items() if value is not None}


def account_key(jwk: Mapping[str, Any]) -> AccountKey:
    """The public key of a JWK, judged as strictly as one that is to be certified; Ed25519 may sign too.

    It has to be spelled in the one way of RFC 7518 6 and RFC 8037 2: with another spelling the same key
    would have another thumbprint. Raises AcmeRefused: badPublicKey, with what to do.
    """
    if _PRIVATE & set(jwk):
        raise _bad_key("The key contains its private part. Make a new key, and send the public half alone.")
    members = {name: jwk.get(name) for name in ("kty", "crv", "x", "y", "n", "e") if name in jwk}
    if any(not isinstance(value, str) for value in members.values()):
        raise _bad_key("The key can't be read as a JSON Web Key.")
    # Before any arithmetic: a modulus of 65,536 bits must cost nothing.
    longest, modulus = -(-MAX_RSA_BITS // 6), len(str(members.get("n", "")))
    odd = not MIN_RSA_BITS // 6 <= modulus <= longest or len(str(members.get("e", ""))) > longest
    if members.get("kty") == "RSA" and odd:
        raise _bad_key(f"RSA keys have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits here. Make a new one.")
    try:
        key = JWKRegistry.import_key({name: str(value) for name, value in members.items()})
    except _ODD:
        raise _bad_key("The key can't be read as a JSON Web Key.") from None
    if not isinstance(key, (RSAKey, ECKey, OKPKey)):
        raise _bad_key("A key of this type can't sign for an account. Use EC P-256, RSA or Ed25519.")
    try:
        spki = key.as_der(private=False)
        canonical = type(key).import_key(spki).as_dict(private=False)
    except _ODD:
        raise _bad_key("The key can't be read as a public key.") from None
    if members != canonical:
        raise _bad_key(
            "The key is not spelled as RFC 7518 asks: base64url without padding, numbers of an RSA key "
            "without leading zero octets, coordinates of an EC key in full length, no other members of a key."
        )
    try:
        facts = key_facts(spki)
    except BadKey as error:
        raise _bad_key(error.detail) from None
    for check in () if facts.algorithm == "Ed25519" else check_key(facts):
        if check.verdict is Verdict.REFUSE:
            raise _bad_key(check.message)
    return AccountKey(
        jwk={name: str(value) for name, value in members.items()},
        thumbprint=key.thumbprint(),
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        key=key,
    )


def stored_key(jwk: Mapping[str, str]) -> PublicKey:
    """The key of an account as it was stored, parsed once and kept among the last thousand."""
    return _parsed(json.dumps(jwk, sort_keys=True))


def verify(envelope: Envelope, key: PublicKey) -> None:
    """Returns when the key made the signature. Raises AcmeRefused: malformed."""
    try:
        fits = _fits(envelope.flattened, envelope.alg, key)
    except _ODD:
        raise malformed(f"The key can't have made a signature of the kind {envelope.alg}.") from None
    if not fits:
        raise malformed("The signature does not fit the message and the key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """An external account binding whose form was checked and whose MAC was not (RFC 8555 7.3.4)."""

    flattened: Mapping[str, str]
    kid: str


def read_binding(value: object, *, url: str, jwk: Mapping[str, str]) -> Binding:
    """The binding in a new account's payload. It has to be about this key and this address.

    Raises AcmeRefused: malformed, badSignatureAlgorithm.
    """
    if not isinstance(value, dict):
        raise malformed("“externalAccountBinding” is a JWS in flattened JSON serialization.")
    flattened = flattened_object(value)
    header = _header(flattened, algorithms=(MAC_ALGORITHM,))
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise malformed("The external account binding names no key (“kid”).")
    if "nonce" in header:
        raise malformed("The external account binding has a nonce, which only the outer message has.")
    if header["url"] != url:
        raise malformed("The external account binding was made for another address.")
    bound = json_object(_decoded(flattened["payload"], "payload"))
    if not is_spelling_of(jwk, bound):
        raise malformed("The external account binding is not about the key that signs, as “jwk” spells it.")
    return Binding(flattened=flattened, kid=kid)


def is_spelling_of(jwk: Mapping[str, str], value: object) -> bool:
    """Whether this is the public key of a JWK that `account_key` let in: a key has one spelling."""
    return (
        isinstance(value, dict)
        and {name: value.get(name) for name in jwk} == dict(jwk)
        and not _PRIVATE & set(value)
    )


def has_valid_mac(binding: Binding, hmac_key: str) -> bool:
    """Whether the MAC was made with this key (base64url). Compared in constant time by joserfc."""
    key = OctKey.import_key({"kty": "oct", "k": hmac_key})
    try:
        return _fits(binding.flattened, MAC_ALGORITHM, key)
    except _ODD:
        return False


def key_authorization(token: str, thumbprint: str) -> str:
    """What proves that a challenge was answered by the holder of an account's key (RFC 8555 8.1)."""
    return f"{token}.{thumbprint}"


def encoded(value: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding. Raises ValueError for a wrong length."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(text: bytes, what: str) -> object:
    try:
        found = json.loads(text.decode())  # UTF-8 and nothing else (RFC 8259 8.1)
        if b"\\u" in text:  # half of a pair of surrogates comes by an escape alone, and stands in no text
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise malformed(f"{what} is not JSON.") from None
    return found


def flattened_object(value: object) -> Mapping[str, str]:
    """The members of a message in flattened JSON serialization, checked and not decoded (RFC 8555 6.2).

    Raises AcmeRefused: malformed, an unprotected header among it.
    """
    if not isinstance(value, dict):
        raise malformed("The message is not a JWS in flattened JSON serialization.")
    if "signatures" in value:
        raise malformed("The message has several signatures; exactly one is allowed.")
    if "header" in value:
        raise malformed("The message has an unprotected header, which is not allowed.")
    found = {name: value.get(name) for name in ("protected", "payload", "signature")}
    for name, text in found.items():
        if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
            raise malformed(f"“{name}” is missing, or not base64url without padding.")
    return {name: str(text) for name, text in found.items()}


def _header(flattened: Mapping[str, str], *, algorithms: tuple[str, ...]) -> dict[str, Any]:
    if len(flattened["protected"]) > MAX_HEADER:
        raise malformed("The protected header is too long.")
    header = _json(_decoded(flattened["protected"], "protected"), "The protected header")
    if not isinstance(header, dict):
        raise malformed("The protected header is not a JSON object.")
    if "crit" in header or "b64" in header:
        raise malformed("The message needs an extension of JWS that is not understood here.")
    if header.get("alg") not in algorithms:
        told = f"Sign with one of: {', '.join(algorithms)}."
        raise AcmeRefused(ProblemType.BAD_SIGNATURE_ALGORITHM, told, extra={"algorithms": list(algorithms)})
    if not isinstance(header.get("url"), str):
        raise malformed("The protected header has no “url”.")
    return header


def _decoded(text: str, name: str) -> bytes:
    try:
        return decoded(text)
    except (ValueError, binascii.Error):
        raise malformed(f"“{name}” is not base64url without padding.") from None


def _bad_key(detail: str) -> AcmeRefused:
    return AcmeRefused(ProblemType.BAD_PUBLIC_KEY, detail)


@lru_cache(maxsize=1024)
def _parsed(jwk: str) -> PublicKey:
    key = JWKRegistry.import_key(json.loads(jwk))
    assert isinstance(key, (RSAKey, ECKey, OKPKey))  # noqa: S101 - `account_key` let no other in
    return key


def _fits(flattened: Mapping[str, str], algorithm: str, key: PublicKey | OctKey) -> bool:
    """Whether the key made the signature; raises what joserfc does where it can't have made one.

    Form and algorithm were checked when the message was read, so that joserfc does not read it again.
    """
    model = jws.JWSRegistry.algorithms[algorithm]
    model.check_key(key)
    content = f"{flattened['protected']}.{flattened['payload']}".encode()
    return model.verify(content, decoded(flattened["signature"]), key)
