"""What goes to the program and comes from it, as JSON; docs/cas.md is the contract. Nothing is run here.

All that a program says is checked: types, sizes, certificates. `Unreadable` is what breaks the contract.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

from certdesk.backends.base import Listed
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import UNREADABLE, Intent

VERSION = 1
_MOST_CERTIFICATES, _MOST_FINDINGS, _MOST_HANDLE = 10, 50, 255
_MOST_LISTED = 500
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SHORT = {
    NameOID.COUNTRY_NAME.dotted_string: "C",
    NameOID.LOCALITY_NAME.dotted_string: "L",
    NameOID.ORGANIZATION_NAME.dotted_string: "O",
    NameOID.COMMON_NAME.dotted_string: "CN",
}


class Unreadable(Exception):
    """What the program printed is not what it has to print; its text says in what way."""


def question(act: str, **about: object) -> bytes:
    """The object for an act, and what it is about."""
    return json.dumps({"version": VERSION, "act": act, **about}).encode()


def intent_json(intent: Intent) -> dict[str, object]:
    """An intent in the words of RFC 5280. Raises one of UNREADABLE for a CSR or key that can't be read."""
    key = load_der_public_key(intent.spki_der)
    usages = intent.profile.key_usage.get("rsa" if isinstance(key, rsa.RSAPublicKey) else "ec", frozenset())
    return {
        "idempotency_key": intent.idempotency_key,
        "profile": intent.profile_id,
        "profile_version": intent.profile_version,
        "names": list(intent.names),
        "subject": [[_SHORT.get(oid, oid), value] for oid, value in intent.subject],
        "not_before": _time(intent.not_before),
        "not_after": _time(intent.not_after),
        "key_usage": sorted(_camel(usage) for usage in usages),
        "extended_key_usage": list(intent.profile.eku),
        "server_software": intent.server_software,
        "csr": x509.load_der_x509_csr(intent.csr_der).public_bytes(Encoding.PEM).decode(),
    }


def pem(der: bytes) -> str:
    """Raises one of UNREADABLE."""
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def answer(output: bytes) -> Mapping[str, object]:
    """The one object that was printed, with its `outcome` as a text. Raises Unreadable."""
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        raise Unreadable("it printed no JSON" if output.strip() else "it printed nothing") from None
    if not isinstance(found, dict) or not isinstance(found.get("outcome"), str):
        raise Unreadable("it printed JSON without an outcome")
    return found


def chain_of(said: Mapping[str, object]) -> tuple[bytes, ...]:
    """Its certificates as DER, in their order. Raises Unreadable when there are none, or too many."""
    given = said.get("chain")
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise Unreadable("its chain is no list of PEM texts")
    try:
        found = tuple(
            one.public_bytes(Encoding.DER)
            for text in given
            for one in x509.load_pem_x509_certificates(text.encode())
        )
    except UNREADABLE:
        raise Unreadable("a certificate of its chain can't be read") from None
    if not 0 < len(found) <= _MOST_CERTIFICATES:
        raise Unreadable(f"its chain has {len(found)} certificates")
    return found


def handle_of(said: Mapping[str, object]) -> str:
    """Raises Unreadable for none, or one that can't be recorded."""
    handle = said.get("handle")
    if not isinstance(handle, str) or not 0 < len(handle) <= _MOST_HANDLE or not handle.isprintable():
        raise Unreadable(f"its handle is no text of 1 to {_MOST_HANDLE} printable characters")
    return handle


def text_of(said: Mapping[str, object], key: str) -> str:
    """Words for people, as they were printed; empty where there are none. Raises Unreadable."""
    text = said.get(key, "")
    if not isinstance(text, str):
        raise Unreadable(f"its {key} is no text")
    return text


def findings_of(said: Mapping[str, object]) -> Iterator[Check]:
    """As checks, with the program's own codes below `backend.program`. Raises Unreadable."""
    found = said.get("findings")
    if not isinstance(found, list) or len(found) > _MOST_FINDINGS:
        raise Unreadable(f"its findings are no list of {_MOST_FINDINGS} at most")
    for one in found:
        code = one.get("code", "finding") if isinstance(one, dict) else ""
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise Unreadable("a finding has no code of small letters, digits and underscores")
        if one.get("verdict") not in ("pass", "warn", "refuse") or not text_of(one, "message"):
            raise Unreadable("a finding needs a message, and pass, warn or refuse as its verdict")
        yield Check(f"backend.program.{code}", Verdict(one["verdict"]), one["message"])


def listed_of(said: Mapping[str, object]) -> tuple[list[Listed], str]:
    """A page of the CA's list, and where the next one begins; empty after the last. Raises Unreadable."""
    given, following = said.get("certificates"), text_of(said, "next")
    if not isinstance(given, list) or len(given) > _MOST_LISTED:
        raise Unreadable(f"its certificates are no list of {_MOST_LISTED} at most")
    return [_listed(one) for one in given], following


def _listed(one: object) -> Listed:
    if not isinstance(one, dict):
        raise Unreadable("what it lists is no object")
    try:
        leaf = x509.load_pem_x509_certificate(text_of(one, "certificate").encode())
        issued_at, serial = _moment(one, "issued_at"), leaf.serial_number
        der = leaf.public_bytes(Encoding.DER)
    except UNREADABLE:
        raise Unreadable("a certificate that it lists can't be read") from None
    revoked_at = _moment(one, "revoked_at")
    return Listed(
        serial=serial,
        key=text_of(one, "idempotency_key"),
        issued_at=issued_at or leaf.not_valid_before_utc,
        is_revoked=revoked_at is not None,
        revoked_at=revoked_at,
        reason=text_of(one, "reason"),
        der=der,
    )


def _moment(one: Mapping[str, object], key: str) -> datetime | None:
    """A time of RFC 3339, with its offset from UTC; None where there is none. Raises Unreadable."""
    if one.get(key) is None:
        return None
    try:
        at = datetime.fromisoformat(text_of(one, key))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Unreadable(f"its {key} is no time such as 2026-11-27T10:30:00Z")
    return at


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(one.title() for one in rest)
