"""Lint per shape: what a certificate shares with one that linted clean is not linted again.

A shape is everything but serial number, validity, common name, public key, names and key identifier. The
first certificate of a shape is linted in full. Of a later one pkilint's own validators judge key and names;
serial number, validity, common name and key identifier are checked here. Whatever is not plainly clean is
linted in full, so that nothing passes here that full lint would stop.
"""

import hashlib
import ipaddress
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtensionOID, NameOID
from pkilint.document import PDUNode
from pkilint.pkix.certificate import RFC5280Certificate
from pyasn1.error import PyAsn1Error  # type: ignore[import-untyped]  # as below
from pyasn1_alt_modules import rfc5280  # type: ignore[import-untyped]  # ships no type information
from pyasn1_fasder import decode_der  # type: ignore[import-untyped]  # as above

from certdesk.domain.issuing.lint import Finding, blocking, lint_certificate, lint_part

#: The version of pkilint whose validators are known to read no more than this allows
#: (tests/unit/test_lint_shapes.py). With another one, every certificate is linted in full.
PROVEN_WITH = "0.13.3"
#: Organisations times lengths times days, in the life of a process. At more, it begins afresh.
MOST_SHAPES = 2000
_TBS = "certificate.tbsCertificate"
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
_LONGEST_SERIAL = 159  # bits: 20 octets, of which the first bit is the sign (RFC 5280 4.1.2.2)
_LONGEST_COMMON_NAME = 64  # RFC 5280 A.1
_OCTET_STRING = 0x04
#: Extensions whose values differ within a shape; that they are there, where, and whether critical does not.
_VARY = (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.SUBJECT_KEY_IDENTIFIER)


class How(StrEnum):
    BY_SHAPE = "by_shape"
    NEW_SHAPE = "new_shape"  # in full: the first of its shape
    FELL_BACK = "fell_back"  # in full: of no shape, or not plainly clean


@asn1.sequence
class _Attribute:
    oid: ObjectIdentifier
    value: asn1.TLV


@asn1.sequence
class _Extension:
    oid: ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    value: bytes


@asn1.sequence
class _Validity:
    begin: asn1.UTCTime
    end: asn1.UTCTime


@asn1.sequence
class _PublicKey:
    algorithm: asn1.TLV
    bits: asn1.BitString


@asn1.sequence
class _Tbs:
    version: Annotated[int, asn1.Explicit(0)]
    serial: int
    algorithm: asn1.TLV
    issuer: asn1.TLV
    validity: _Validity
    subject: list[asn1.SetOf[_Attribute]]
    key: _PublicKey
    extensions: Annotated[list[_Extension], asn1.Explicit(3)]


@asn1.sequence
class _Certificate:
    tbs: _Tbs
    algorithm: asn1.TLV
    signature: asn1.BitString


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A certificate taken apart: its shape, and the parts that pkilint judges each time."""

    shape: tuple[object, ...]
    is_ov: bool
    key: PDUNode
    names: PDUNode


class _Part(RFC5280Certificate):  # type: ignore[misc]  # pkilint ships no type information
    """All that a validator may ask about the certificate whose part it judges.

    One that asks anything else breaks, which is a FATAL finding, so that full lint decides.
    """

    is_ca = False  # no CA's certificate lints clean as a server's
    not_before = None

    def __init__(self, not_before: datetime) -> None:
        super().__init__(None, b"")
        self.not_before = not_before


class ShapeLint:
    """Remembers the shapes that linted clean, and counts how it came to its verdicts.

    Safe to share between threads: at worst a shape is linted in full twice.
    """

    def __init__(self, *, pkilint: str = version("pkilint")) -> None:
        self._is_proven = pkilint == PROVEN_WITH
        self._clean: set[tuple[object, ...]] = set()
        self.counts: Counter[How] = Counter()

    def objections(self, der: bytes) -> tuple[Finding, ...]:
        """The findings that forbid to sign a certificate (DER): none exactly where full lint has none."""
        parts = _taken_apart(der) if self._is_proven else None
        how = How.FELL_BACK
        if parts is not None and parts.shape not in self._clean:
            how = How.NEW_SHAPE
        elif parts is not None and not blocking(
            (*lint_part(parts.key, is_ov=parts.is_ov), *lint_part(parts.names, is_ov=parts.is_ov))
        ):
            how = How.BY_SHAPE
        self.counts[how] += 1
        if how is How.BY_SHAPE:
            return ()
        found = blocking(lint_certificate(der))
        if parts is not None and not found:
            if len(self._clean) >= MOST_SHAPES:
                self._clean.clear()
            self._clean.add(parts.shape)
        return found


#: What this process has linted.
SHAPES = ShapeLint()


def _taken_apart(der: bytes) -> _Parts | None:
    """The parts; None where a certificate is not of the plain kind that has a shape, or a value is wrong.

    Full lint then says what is the matter.
    """
    # 1. All its fields in strict DER (RFC 5280 4.1), with times as UTCTime; the names as pkilint reads them.
    try:
        certificate = asn1.decode_der(_Certificate, der)
        tbs = certificate.tbs
        ((names_at, names_der),) = (
            (f"{_TBS}.extensions.{index}.extnValue.subjectAltName", extension.value)
            for index, extension in enumerate(tbs.extensions)
            if extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        )
        begin, end = tbs.validity.begin.as_datetime(), tbs.validity.end.as_datetime()
        document = _Part(begin)
        names, rest = _node(document, names_at, rfc5280.SubjectAltName(), names_der)
        key_der = asn1.encode_der(tbs.key)
        key, _rest = _node(document, f"{_TBS}.subjectPublicKeyInfo", rfc5280.SubjectPublicKeyInfo(), key_der)
    except (ValueError, PyAsn1Error):
        return None

    # 2. Serial number (RFC 5280 4.1.2.2) and key identifier (4.2.1.2, method 1).
    bits = tbs.key.bits.as_bytes()
    digest = hashlib.sha1(bits, usedforsecurity=False).digest()
    identifiers = [one.value for one in tbs.extensions if one.oid == ExtensionOID.SUBJECT_KEY_IDENTIFIER]
    if not 0 < tbs.serial < 1 << _LONGEST_SERIAL or rest:
        return None
    if identifiers not in ([], [bytes((_OCTET_STRING, len(digest))) + digest]):
        return None

    # 3. The common name: one of the names, letter for letter (BR 7.1.4.3).
    kinds, shown = set[str](), set[str]()
    for name in names.children.values():
        kind, value = name.child
        kinds.add(kind)
        if kind == "dNSName":
            shown.add(str(value.pdu))
        elif kind == "iPAddress" and len(value.pdu) in (4, 16):
            shown.add(str(ipaddress.ip_address(value.pdu.asOctets())))
        else:
            return None
    subject = [[(one.oid, one.value) for one in rdn.as_list()] for rdn in tbs.subject]
    common_names = [bytes(value.data) for rdn in subject for oid, value in rdn if oid == NameOID.COMMON_NAME]
    if any(len(name) > _LONGEST_COMMON_NAME or name.decode("latin-1") not in shown for name in common_names):
        return None

    # 4. The shape: all the rest. Rules with a date begin at midnight (UTC) and count whole days, so of the
    # validity its first day and its length in days, the last second included, say which of them hold.
    shape = (
        tbs.version,
        *(
            (part.tag_bytes, bytes(part.data))
            for part in (tbs.algorithm, tbs.issuer, tbs.key.algorithm, certificate.algorithm)
        ),
        tbs.key.bits.padding_bits(),
        begin.date(),
        -((begin - end - _SECOND) // _DAY),
        tuple(
            tuple(
                (oid, value.tag_bytes, b"" if oid == NameOID.COMMON_NAME else bytes(value.data))
                for oid, value in rdn
            )
            for rdn in subject
        ),
        frozenset(kinds),
        tuple((one.oid, one.critical, b"" if one.oid in _VARY else one.value) for one in tbs.extensions),
    )
    is_ov = any(oid == NameOID.ORGANIZATION_NAME for rdn in subject for oid, _value in rdn)
    return _Parts(shape=shape, is_ov=is_ov, key=key, names=names)


def _node(document: _Part, path: str, kind: object, der: bytes) -> tuple[PDUNode, bytes]:
    """A part as pkilint sees it in the whole, and what follows it. Raises ValueError or PyAsn1Error."""
    decoded, rest = decode_der(der, asn1Spec=kind)
    return PDUNode(document, path, decoded, None), rest
