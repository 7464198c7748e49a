"""An issuing key in an HSM, by PKCS#11 (OASIS PKCS #11 3.0): it never leaves the token.

Libraries may be initialised without locks of the operating system, and closing the session that has signed in
ends all others: each process has one session for a token, behind one lock.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from certdesk.backends.embedded.keys import Kind, PublicKey, kind_of, verify
from certdesk.domain.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    import pkcs11

try:
    import pkcs11
    from pkcs11.util.ec import encode_ec_public_key, encode_ecdsa_signature, encode_named_curve_parameters
    from pkcs11.util.rsa import encode_rsa_public_key
except ImportError:  # an extra
    _IS_INSTALLED = False
else:
    _IS_INSTALLED = True
    _WRONG_PIN = (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.PinLenRange, pkcs11.PinInvalid)

T = TypeVar("T")
_CURVES = {"P-256": "secp256r1", "P-384": "secp384r1"}
_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))
_sessions: dict[tuple[Path, str], "_Open"] = {}
#: The process that did so; none where it has to be done again, for some libraries look for tokens only then.
_initialised: dict[Path, int | None] = {}
#: Tokens lock themselves after a few wrong PINs: one that was refused is not tried again by this process.
_refused: dict[tuple[Path, str], str] = {}


@dataclass(frozen=True, slots=True)
class _Open:
    process: int
    session: "pkcs11.Session"
    keys: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a key lies: the HSM's library, the token's label, the key's label, and the file with the PIN."""

    module: Path
    token: str
    label: str
    pin_file: Path


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that signs within its token, and belongs to this public key."""

    place: Place
    public_key: PublicKey

    @property
    def kind(self) -> Kind:
        return kind_of(self.public_key)

    @property
    def is_repeatable(self) -> bool:
        """Not with ECDSA, for which tokens draw a random number each time."""
        return self.kind.name not in _CURVES

    def sign(self, content: bytes) -> bytes:
        """The signature, looked at before it is used. Raises Unavailable, and nothing is signed then."""
        kind, label = self.kind, self.place.label

        def signature_of(opened: _Open) -> bytes:
            if label not in opened.keys:
                opened.keys[label] = opened.session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, label=label)
            if kind.name not in _CURVES:
                return bytes(opened.keys[label].sign(content, mechanism=pkcs11.Mechanism.SHA256_RSA_PKCS))
            assert kind.hash is not None  # noqa: S101 - for the type checker
            digest = hashlib.new(kind.hash.name, content).digest()
            return encode_ecdsa_signature(opened.keys[label].sign(digest, mechanism=pkcs11.Mechanism.ECDSA))

        signature = _with_token(self.place, signature_of)
        try:
            verify(self.public_key, signature, content, kind)
        except InvalidSignature:
            told = f"The key “{label}” in the HSM is not the one of the CA's certificate."
            raise Unavailable(told) from None
        return signature


def key_in_token(place: Place, *, make: Kind | None = None) -> tuple[PublicKey, str, bool]:
    """The public key of a key pair there, the token's serial number, and whether it was made just now.

    It is made where there is none, of the kind `make`, so that it can't be taken out. Raises Misconfigured,
    Unavailable.
    """
    if make is not None and (make.hash is None):
        raise Misconfigured(f"Keys of the kind {make.name} are made in files alone.")

    def pair(opened: _Open) -> tuple[PublicKey, str, bool]:
        session = opened.session
        serial = session.token.serial.decode(errors="replace").strip()
        wanted = {pkcs11.Attribute.LABEL: place.label, pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY}
        found = list(session.get_objects(wanted))
        if len(found) > 1:
            raise Misconfigured(f"The token “{place.token}” has several keys “{place.label}”.")
        if found:
            return _public(cast("pkcs11.PublicKey", found[0])), serial, False
        if make is None:
            raise Misconfigured(f"The token “{place.token}” has no key “{place.label}”.")
        template: dict[str, Any] = {
            "store": True,
            "label": place.label,
            "id": os.urandom(8),
            "capabilities": pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
            "private_template": {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False},
        }
        if make.name in _CURVES:
            curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[make.name])}
            parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
            public, _private = parameters.generate_keypair(**template)
        else:
            public, _private = session.generate_keypair(pkcs11.KeyType.RSA, make.bits, **template)
        return _public(public), serial, True

    return _with_token(place, pair, writes=True)


def _public(key: "pkcs11.PublicKey") -> PublicKey:
    encode = encode_ec_public_key if key.key_type == pkcs11.KeyType.EC else encode_rsa_public_key
    return cast("PublicKey", load_der_public_key(encode(key)))


def _with_token(place: Place, work: Callable[[_Open], T], *, writes: bool = False) -> T:
    """What work with the process's session gives, one use at a time. A session that broke is opened again.

    Raises Unavailable, Misconfigured.
    """
    if not _IS_INSTALLED:
        raise Misconfigured("Keys in an HSM need the extra “hsm”: pip install 'certdesk[hsm]'.")
    at = (place.module, place.token)
    with _lock:
        if writes:  # by a command, which has the token for itself
            _close(at)
        for is_last in (at not in _sessions, True):
            if at in _refused:
                raise Unavailable(_refused[at])
            try:
                if at not in _sessions or _sessions[at].process != os.getpid():
                    _sessions[at] = _Open(os.getpid(), _session(place, writes=writes))
                return work(_sessions[at])
            except _WRONG_PIN as error:
                _refused[at] = (
                    f"The HSM refuses the PIN in {place.pin_file} ({type(error).__name__}). It is not tried "
                    "again before the next start, for tokens lock themselves after a few. Correct the file."
                )
            except pkcs11.NoSuchKey:
                told = f"The token “{place.token}” has no key “{place.label}”."
                raise Unavailable(told) from None
            except (pkcs11.PKCS11Error, OSError) as error:
                _close(at)
                if is_last:
                    _initialised[place.module] = None
                    told = f"The HSM does not sign: {type(error).__name__} {error}".rstrip()
                    raise Unavailable(told) from None
        raise Unavailable(_refused[at])


def _session(place: Place, *, writes: bool) -> "pkcs11.Session":
    try:
        pin = place.pin_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"The file {place.pin_file} with the HSM's PIN can't be read: {error}") from None
    library = pkcs11.lib(str(place.module))
    if _initialised.setdefault(place.module, os.getpid()) != os.getpid():
        for at in [at for at in _sessions if at[0] == place.module]:
            del _sessions[at]  # it ends them all, and may give their numbers to others
        library.reinitialize()  # a child has to (PKCS #11 5.4), and knows no session of its parent
        _initialised[place.module] = os.getpid()
    return library.get_token(token_label=place.token).open(rw=writes, user_pin=pin)


def _close(at: tuple[Path, str]) -> None:
    opened = _sessions.pop(at, None)
    if opened is not None and opened.process == os.getpid():
        try:
            opened.session.close()
        except pkcs11.PKCS11Error:
            return  # it was closed already
