"""What the embedded CA signs: exactly what was recorded and linted, as openssl and pkilint see it too."""

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from certdesk.backends.base import Finds, Prepares, PublishesCrl, RevokedEntry
from certdesk.backends.conformance import server_intent
from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig
from certdesk.backends.embedded import backend as backend_module
from certdesk.backends.embedded.authority import open_authority
from certdesk.backends.embedded.encoding import issuer_parts, signed, specimen_of
from certdesk.backends.embedded.keys import KINDS, KeyInMemory, throw_away
from certdesk.domain.errors import BackendRefused, InvariantViolated
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Intent, Issued, certificate_facts, compare
from certdesk.domain.issuing.downloads import to_pem
from certdesk.domain.issuing.lint import EXEMPTIONS, Finding, Severity
from certdesk.domain.issuing.profiles import no_longer_offered, profile

NOW = datetime.now(UTC)
RSA_KEY = rsa.generate_private_key(65537, 2048).public_key()
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


@pytest.fixture
def backend(shared_config: EmbeddedConfig) -> EmbeddedBackend:
    return EmbeddedBackend(shared_config)


def issue(backend: EmbeddedBackend, intent: Intent) -> tuple[bytes, ...]:
    prepared = backend.prepare(intent)
    outcome = backend.submit(prepared)
    assert isinstance(outcome, Issued)
    assert [check.verdict for check in compare(outcome, prepared)] == [Verdict.PASS]
    return outcome.chain


# Signing


def test_what_stands_in_a_certificate(backend: EmbeddedBackend) -> None:
    names = ("www.example.ac.uk", "*.example.ac.uk")
    leaf = x509.load_der_x509_certificate(issue(backend, server_intent(now=NOW, names=names))[0])
    found = {extension.value.__class__: extension for extension in leaf.extensions}
    assert leaf.subject.rfc4514_string() == "CN=www.example.ac.uk,O=Example University,C=GB"
    assert found[x509.SubjectAlternativeName].value.get_values_for_type(x509.DNSName) == list(names)
    assert list(found[x509.ExtendedKeyUsage].value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert {kind.__name__ for kind, extension in found.items() if extension.critical} == {
        "BasicConstraints",
        "KeyUsage",
    }
    assert found[x509.KeyUsage].value.digital_signature
    assert not found[x509.KeyUsage].value.key_encipherment
    (access,) = found[x509.AuthorityInformationAccess].value
    assert access.access_location.value == "http://127.0.0.1:8000/ca/embedded.cer"
    (point,) = found[x509.CRLDistributionPoints].value
    assert point.full_name[0].value == "http://127.0.0.1:8000/ca/embedded.crl"
    assert len(found) == 8


def test_rfc8738_addresses_stand_in_a_certificate_as_addresses(backend: EmbeddedBackend) -> None:
    """In the order that was asked for; the linter lets a private network's own pass."""
    names = ("10.1.2.3", "www.example.ac.uk", "2001:db8::1")
    intent = replace(server_intent(now=NOW, names=names), profile=profile("tls-server-ip"))
    facts = certificate_facts(issue(backend, intent)[0])
    assert facts.names == names
    sans = x509.load_der_x509_certificate(facts.der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [type(name) for name in sans.value] == [x509.IPAddress, x509.DNSName, x509.IPAddress]


def test_an_rsa_key_may_encipher_keys(backend: EmbeddedBackend) -> None:
    leaf = x509.load_der_x509_certificate(issue(backend, server_intent(now=NOW, key=RSA_KEY))[0])
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


def test_names_are_critical_exactly_when_the_subject_is_empty(backend: EmbeddedBackend) -> None:
    leaf = x509.load_der_x509_certificate(issue(backend, server_intent(now=NOW, subject=()))[0])
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_preparing_again_keeps_the_recorded_serial(backend: EmbeddedBackend) -> None:
    first = backend.prepare(server_intent(now=NOW))
    assert backend.prepare(first) == first


@pytest.mark.parametrize("count", [1, 3, 100])
def test_the_recorded_bytes_are_signed_as_the_library_signs_their_intent(
    shared_config: EmbeddedConfig, count: int
) -> None:
    """The same certificate, byte for byte, whatever the lengths in it; the signature is deterministic."""
    authority = open_authority(shared_config)
    assert isinstance(authority.key, KeyInMemory)
    parts = issuer_parts(
        authority.issuing, issuer_url=shared_config.issuer_url, crl_url=shared_config.crl_url
    )
    names = tuple(f"www{number}.example.ac.uk" for number in range(count))
    intent = replace(server_intent(now=NOW, names=names), serial=7)
    with mock.patch("certdesk.backends.embedded.encoding.throw_away", return_value=authority.key.key):
        expected = specimen_of(intent, parts, authority.key.kind)
    ours = specimen_of(intent, parts, authority.key.kind)
    assert ours.tbs_certificate_bytes == expected.tbs_certificate_bytes
    assert ours.signature != expected.signature
    assert signed(ours.tbs_certificate_bytes, authority.key) == expected.public_bytes(Encoding.DER)


def test_a_hundred_names_and_three_years(backend: EmbeddedBackend) -> None:
    names = tuple(f"host{number}.example.ac.uk" for number in range(100))
    assert issue(backend, server_intent(now=NOW, names=names, years=3))


@pytest.mark.parametrize(
    "name", ["a b.example.ac.uk", "bücher.example", "", "server.local", "a_b.example.ac.uk"]
)
def test_impossible_names_are_refused_before_signing(backend: EmbeddedBackend, name: str) -> None:
    with pytest.raises(BackendRefused):
        backend.prepare(server_intent(now=NOW, names=(name,)))


IMPOSSIBLE: dict[str, dict[str, object]] = {
    "no key": {"spki_der": b"no key"},
    "no such profile": {"profile": no_longer_offered("code-signing", 1)},
    "no such version": {"profile": no_longer_offered("tls-server", 99)},
    "country of many letters": {"subject": (("2.5.4.6", "Great Britain"),)},
    "subject without OID": {"subject": (("not an oid", "x"),)},
    "common name not among the names": {"subject": (("2.5.4.3", "other.example.ac.uk"),)},
    "no names": {"names": ()},
    "outlives the CA": {"not_after": NOW + timedelta(days=5000)},
    "older than the CA": {"not_before": NOW - timedelta(days=5000)},
    "begins after its end": {"not_before": NOW + timedelta(days=900)},
    "serial too long": {"serial": 2**160},
    "serial zero": {"serial": 0},
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_intents_are_refused_before_signing(
    backend: EmbeddedBackend, change: dict[str, object]
) -> None:
    with pytest.raises(BackendRefused) as caught:
        backend.prepare(replace(server_intent(now=NOW), **change))  # type: ignore[arg-type]  # the table is right
    assert caught.value.detail


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate().public_key(),
        dsa.generate_parameters(1024).generate_private_key().public_key(),
    ],
    ids=["ed25519", "dsa"],
)
def test_other_kinds_of_keys_are_refused(
    backend: EmbeddedBackend, key: ed25519.Ed25519PublicKey | dsa.DSAPublicKey
) -> None:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(BackendRefused):
        backend.prepare(replace(server_intent(now=NOW), spki_der=spki))


@pytest.mark.parametrize("severity", [Severity.ERROR, Severity.FATAL])
def test_lint_stops_prepare_and_submit_even_of_recorded_bytes(
    backend: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch, severity: Severity
) -> None:
    prepared = backend.prepare(server_intent(now=NOW))
    finding = Finding(code="some.rule", severity=severity, message="is broken")
    monkeypatch.setattr(backend_module, "_lint", lambda _specimen, **_how: (finding,))
    for act in (backend.prepare, backend.submit):
        with pytest.raises(BackendRefused, match=r"some\.rule is broken"):
            act(prepared)


@pytest.mark.parametrize("field", ["serial", "names", "subject", "not_before", "not_after", "spki_der"])
def test_an_intent_that_changed_after_recording_is_not_signed(backend: EmbeddedBackend, field: str) -> None:
    prepared, other = (
        backend.prepare(server_intent(now=NOW)),
        backend.prepare(server_intent(now=NOW, names=("other.example.ac.uk",), years=2)),
    )
    second = timedelta(seconds=1)
    other = replace(other, not_before=prepared.not_before + second)
    with pytest.raises(InvariantViolated):
        backend.submit(replace(prepared, **{field: getattr(other, field)}))


def test_the_throw_away_key_certifies_nothing(backend: EmbeddedBackend) -> None:
    chain = issue(backend, server_intent(now=NOW))
    leaf, issuing = (x509.load_der_x509_certificate(der) for der in chain[:2])
    assert throw_away(KINDS["P-256"]).public_key() != issuing.public_key()
    leaf.verify_directly_issued_by(issuing)


def test_capabilities(backend: EmbeddedBackend) -> None:
    assert isinstance(backend, Prepares)
    assert isinstance(backend, PublishesCrl)
    assert not isinstance(backend, Finds)
    assert backend.inline


def test_polling_what_is_never_open_is_our_bug(backend: EmbeddedBackend) -> None:
    with pytest.raises(InvariantViolated):
        backend.poll(server_intent(now=NOW), "anything")


@pytest.mark.parametrize(
    "days,verdict", [(0, Verdict.PASS), (365 * 7, Verdict.WARN), (365 * 11, Verdict.REFUSE)]
)
def test_check_looks_at_the_calendar(shared_config: EmbeddedConfig, days: int, verdict: Verdict) -> None:
    backend = EmbeddedBackend(shared_config, clock=lambda: NOW + timedelta(days=days))
    about_the_end, about_lint = backend.check()
    assert (about_the_end.verdict, about_lint.code) == (verdict, "backend.lint")


def test_after_its_end_a_ca_signs_nothing_but_its_crl(shared_config: EmbeddedConfig) -> None:
    """Not even what it had recorded before, and what would end in time."""
    clock = NOW
    backend = EmbeddedBackend(shared_config, clock=lambda: clock)
    recorded = backend.prepare(server_intent(now=NOW))
    clock += timedelta(days=3650)
    for refused in (backend.prepare, backend.specimen, backend.submit):
        with pytest.raises(BackendRefused, match="own certificate ended"):
            refused(recorded)
    crl = backend.crl(revoked=[], number=1, this_update=clock, next_update=clock + timedelta(days=7))
    key = x509.load_der_x509_certificate(backend.chain()[0]).public_key()
    assert x509.load_der_x509_crl(crl).is_signature_valid(key)  # type: ignore[arg-type]  # CA keys can verify


# openssl and pkilint, from outside


def openssl_verify(folder: Path, chain: tuple[bytes, ...], *how: str) -> str:
    """What `openssl verify` says of a chain."""
    for file, der in zip(("leaf", "issuing", "root"), chain, strict=True):
        (folder / file).write_bytes(to_pem(der))
    command = ["openssl", "verify", *how, "-CAfile", "root", "-untrusted", "issuing", "leaf"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def crl_of(backend: EmbeddedBackend, *revoked: tuple[int, str]) -> x509.CertificateRevocationList:
    """The CRL with these serial numbers and reasons."""
    entries = (RevokedEntry(serial=serial, revoked_at=NOW, reason=reason) for serial, reason in revoked)
    times = {"this_update": NOW - timedelta(hours=1), "next_update": NOW + timedelta(days=7)}
    return x509.load_der_x509_crl(backend.crl(revoked=entries, number=1, **times))


@OPENSSL
@pytest.mark.parametrize("years", [1, 2, 3])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_openssl_verifies_the_chain(backend: EmbeddedBackend, tmp_path: Path, years: int, kind: str) -> None:
    chain = issue(backend, server_intent(now=NOW, years=years, key=RSA_KEY if kind == "rsa" else None))
    strictly = ("-x509_strict", "-purpose", "sslserver", "-verify_hostname", "www.example.ac.uk")
    assert openssl_verify(tmp_path, chain, *strictly) == "leaf: OK\n"


@OPENSSL
def test_openssl_finds_the_revoked_certificate_in_the_crl(backend: EmbeddedBackend, tmp_path: Path) -> None:
    chain = issue(backend, server_intent(now=NOW))
    serial = x509.load_der_x509_certificate(chain[0]).serial_number
    for crl, told in (
        (crl_of(backend), "leaf: OK\n"),
        (crl_of(backend, (serial, "keyCompromise")), "certificate revoked"),
    ):
        (tmp_path / "crl").write_bytes(crl.public_bytes(Encoding.PEM))
        assert told in openssl_verify(tmp_path, chain, "-crl_check", "-CRLfile", "crl")


def test_a_crl_is_repeatable_and_leaves_unspecified_reasons_out(backend: EmbeddedBackend) -> None:
    revoked = list(enumerate(["", "unspecified", "keyCompromise", "superseded"], start=1))
    assert crl_of(backend, *revoked) == crl_of(backend, *revoked)
    assert [len(entry.extensions) for entry in crl_of(backend, *revoked)] == [0, 0, 1, 1]


def _pkilint(tool: str, der: bytes, folder: Path, *how: str) -> list[str]:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"needs {tool}")
    file = folder / "certificate.der"
    file.write_bytes(der)
    command = [found, "lint", *how, str(file), "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [
        finding["code"]
        for result in json.loads(done.stdout)["results"]
        for finding in result["finding_descriptions"]
        if finding["severity"] in ("ERROR", "FATAL")
    ]


@pytest.mark.parametrize("position", [0, 1, 2], ids=["leaf", "issuing", "root"])
def test_pkilint_itself_finds_no_error(backend: EmbeddedBackend, tmp_path: Path, position: int) -> None:
    der = issue(backend, server_intent(now=NOW, years=3))[position]
    assert _pkilint("lint_pkix_cert", der, tmp_path) == []


def test_the_br_linter_finds_only_what_is_exempt(backend: EmbeddedBackend, tmp_path: Path) -> None:
    der = issue(backend, server_intent(now=NOW, years=3))[0]
    found = set(_pkilint("lint_cabf_serverauth_cert", der, tmp_path, "-t", "OV-FINAL-CERTIFICATE"))
    assert found <= {exemption.code for exemption in EXEMPTIONS}
    assert "cabf.serverauth.subscriber.certificate_policies_extension_absent" in found
