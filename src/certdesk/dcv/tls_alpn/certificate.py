"""Reads the certificate shown for ALPN `acme-tls/1`: one name, one critical digest (RFC 8737 3)."""

import hashlib
import hmac
from datetime import datetime
from typing import ClassVar

from cryptography import x509

from certdesk.dcv.base import (
    Challenge,
    Network,
    NotValidated,
    Outcome,
    Problem,
    Record,
    Validated,
    not_fetched,
    refused_wildcard,
    require_sound,
)
from certdesk.dcv.fetch import NotFetched
from certdesk.domain.names.identifiers import is_ip_address, url_host
from certdesk.domain.validation.evidence import Method

#: id-pe-acmeIdentifier (RFC 8737 6.1).
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
#: What stands before the digest in DER.
OCTET_STRING_OF_32 = b"\x04\x20"
#: An honest one has some 500; so much of any is kept as evidence.
_KEPT_OCTETS = 2048


def identifier_value(key_authorization: str) -> bytes:
    """The extension's value: an OCTET STRING of the key authorization's SHA-256, DER."""
    return OCTET_STRING_OF_32 + hashlib.sha256(key_authorization.encode("ascii")).digest()


class TlsAlpnValidator:
    """Port 443 speaks `acme-tls/1` for the FQDN with a certificate that carries the digest."""

    methods: ClassVar[frozenset[Method]] = frozenset({Method.ACME_TLS_ALPN})

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """Shakes hands once."""
        require_sound(challenge, self.methods)
        if (refused := refused_wildcard(challenge, now=now)) is not None:
            return refused
        shown = network.fetcher.connect_tls_alpn(challenge.adn)
        digest = hashlib.sha256(challenge.expected.encode("ascii")).hexdigest()
        details: dict[str, object] = {"expected": f"sha256:{digest}"}
        if isinstance(shown, NotFetched):
            details["address"] = shown.address
        else:
            details["certificate"] = shown[:_KEPT_OCTETS].hex()
            details["certificate_digest"] = "sha256:" + hashlib.sha256(shown).hexdigest()
        asked = f"TLS {url_host(challenge.adn)}:443, ALPN acme-tls/1"
        answered = shown.code if isinstance(shown, NotFetched) else "a certificate"
        record = Record(challenge.method, challenge.adn, asked, answered, now, details)
        if isinstance(shown, NotFetched):
            return NotValidated(problem=not_fetched(shown), record=record)
        problem = problem_of(shown, adn=challenge.adn, value=identifier_value(challenge.expected))
        return Validated(record=record) if problem is None else NotValidated(problem=problem, record=record)


def problem_of(der: bytes, *, adn: str, value: bytes) -> Problem | None:
    """What is wrong with the certificate; None when it proves `adn` by the extension's `value`."""
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        identifier = extensions.get_extension_for_oid(ACME_IDENTIFIER)
    except x509.ExtensionNotFound:
        told = f"The certificate on port 443 of {adn} was not made for this validation."
        return _refused("extension", told)
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return _refused("certificate", f"The certificate on port 443 of {adn} can't be read.")
    if len(names) != 1 or not isinstance(names[0], x509.IPAddress if is_ip_address(adn) else x509.DNSName):
        told = f"The certificate must have exactly one name, {adn}, and no other (RFC 8737 3)."
        return _refused("names", told)
    if str(names[0].value).lower() != adn:
        return _refused("names", f"The certificate is for another name than {adn}.")
    if not identifier.critical:
        return _refused("critical", "The acmeIdentifier extension must be marked critical (RFC 8737 3).")
    shown = identifier.value
    if not isinstance(shown, x509.UnrecognizedExtension) or not hmac.compare_digest(shown.value, value):
        return _refused("digest", "The certificate carries another digest than this challenge's.")
    return None


def _refused(what: str, detail: str) -> Problem:
    return Problem(code=f"dcv.tls_alpn.{what}", detail=detail, acme_type="incorrectResponse", retry=True)
