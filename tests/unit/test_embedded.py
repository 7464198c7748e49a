"""The embedded CA: made once, opened strictly, signs exactly what was recorded and linted."""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from certdesk.backends.base import Finds, Prepares, PublishesCrl, RevokedEntry
from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority, open_authority
from certdesk.backends.embedded import authority as authority_module
from certdesk.backends.embedded import backend as backend_module
from certdesk.backends.registry import load_backends
from certdesk.domain.certificates import Intent, Issued, compare, server_subject
from certdesk.domain.downloads import to_pem
from certdesk.domain.errors import BackendRefused, InvariantViolated, Misconfigured
from certdesk.domain.findings import Verdict
from certdesk.domain.lint import Finding, Severity
from certdesk.domain.profiles import profile, validity

NOW = datetime.now(UTC)
RSA_KEY = rsa.generate_private_key(65537, 2048).public_key()
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


@pytest.fixture
def config(tmp_path: Path) -> EmbeddedConfig:
    return EmbeddedConfig(
        directory=tmp_path / "ca", root_directory=tmp_path / "root", passphrase=b"secret words"
    )


@pytest.fixture(scope="module")
def shared_config(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedConfig:
    folder = tmp_path_factory.mktemp("embedded")
    config = EmbeddedConfig(
        directory=folder / "ca", root_directory=folder / "root", passphrase=b"secret words"
    )
    create_authority(config, NOW)
    return config


@pytest.fixture
def backend(shared_config: EmbeddedConfig) -> EmbeddedBackend:
    return EmbeddedBackend(shared_config)


def make_intent(
    *,
    names: tuple[str, ...] = ("www.example.ac.uk",),
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | None = None,
    years: int = 1,
    subject: tuple[tuple[str, str], ...] | None = None,
) -> Intent:
    public_key = key or ec.generate_private_key(ec.SECP256R1()).public_key()
    begins, ends = validity(profile("tls-server"), duration_years=years, now=NOW)
    if subject is None:
        subject = server_subject(names=names, organisation="Example University", country="GB")
    return Intent(
        idempotency_key="k",
        backend="embedded",
        profile_id="tls-server",
        profile_version=1,
        csr_der=b"",
        spki_der=public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        names=names,
        subject=subject,
        not_before=begins,
        not_after=ends,
    )


def issue(backend: EmbeddedBackend, intent: Intent) -> tuple[bytes, ...]:
    prepared = backend.prepare(intent)
    outcome = backend.submit(prepared)
    assert isinstance(outcome, Issued)
    assert [check.verdict for check in compare(outcome, prepared)] == [Verdict.PASS]
    return outcome.chain


# The authority and its files


def test_keys_are_encrypted_private_and_apart(config: EmbeddedConfig) -> None:
    create_authority(config, NOW)
    files = {
        path.relative_to(config.directory.parent).as_posix(): path
        for path in config.directory.parent.rglob("*")
    }
    assert set(files) == {
        "ca",
        "ca/issuing.key",
        "ca/issuing.crt",
        "ca/root.crt",
        "root",
        "root/root.key",
        "root/root.crt",
    }
    for path in files.values():
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    for key in ("ca/issuing.key", "root/root.key"):
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in files[key].read_bytes()


def test_two_tiers(config: EmbeddedConfig) -> None:
    authority = create_authority(config, NOW)
    assert isinstance(authority.root.public_key(), ec.EllipticCurvePublicKey)
    root_key, issuing_key = authority.root.public_key(), authority.issuing.public_key()
    assert isinstance(root_key, ec.EllipticCurvePublicKey)
    assert isinstance(issuing_key, ec.EllipticCurvePublicKey)
    assert (root_key.curve.name, issuing_key.curve.name) == ("secp384r1", "secp256r1")
    limits = authority.issuing.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical
    assert (limits.value.ca, limits.value.path_length) == (True, 0)
    assert authority.root.not_valid_after_utc > NOW + timedelta(days=7299)
    assert authority.issuing.not_valid_after_utc > NOW + timedelta(days=3649)


def test_a_second_start_opens_the_same_ca(config: EmbeddedConfig) -> None:
    first = create_authority(config, NOW)
    again = create_authority(config, NOW + timedelta(days=1))
    assert again.issuing == first.issuing
    assert again.root == first.root


def test_eight_starts_at_once_make_one_ca(config: EmbeddedConfig) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_authority(config, NOW), range(8)))
    assert len({authority.issuing for authority in made}) == 1


def test_signing_never_needs_the_root_folder(config: EmbeddedConfig) -> None:
    create_authority(config, NOW)
    shutil.rmtree(config.root_directory)
    assert len(issue(EmbeddedBackend(config), make_intent())) == 3
    create_authority(config, NOW)
    assert not config.root_directory.exists()


class _Killed(BaseException):
    """Stands for a process that dies."""


@pytest.mark.parametrize("writes", range(5))
def test_a_start_that_dies_half_way_is_made_good(
    config: EmbeddedConfig, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    real, done = authority_module._write, 0

    def write(path: Path, content: bytes) -> None:
        nonlocal done
        if done == writes:
            path.with_name(f".{path.name}.new").write_bytes(content[:10])
            raise _Killed
        done += 1
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(authority_module, "_write", write)
        with pytest.raises(_Killed):
            create_authority(config, NOW)
    with pytest.raises(Misconfigured):
        open_authority(config)
    create_authority(config, NOW)
    assert issue(EmbeddedBackend(config), make_intent())
    assert not list(config.directory.parent.rglob("*.new"))


def test_a_wrong_passphrase_is_told_as_such(config: EmbeddedConfig) -> None:
    create_authority(config, NOW)
    with pytest.raises(Misconfigured, match="passphrase") as caught:
        open_authority(replace(config, passphrase=b"guess"))
    assert "guess" not in caught.value.detail
    assert "secret words" not in repr(config)


@pytest.mark.parametrize("file", ["issuing.key", "issuing.crt", "root.crt"])
def test_a_missing_file_is_named(config: EmbeddedConfig, file: str) -> None:
    create_authority(config, NOW)
    (config.directory / file).unlink()
    with pytest.raises(Misconfigured, match=file):
        open_authority(config)


def test_a_lost_key_is_never_replaced_silently(config: EmbeddedConfig) -> None:
    create_authority(config, NOW)
    (config.directory / "issuing.key").unlink()
    with pytest.raises(Misconfigured, match=r"issuing\.key"):
        create_authority(config, NOW)


@pytest.mark.parametrize("file", ["issuing.key", "issuing.crt", "root.crt"])
def test_damage_is_named(config: EmbeddedConfig, file: str) -> None:
    create_authority(config, NOW)
    (config.directory / file).write_bytes(b"damage")
    with pytest.raises(Misconfigured, match=file):
        open_authority(config)


def test_another_cas_files_are_noticed(config: EmbeddedConfig, tmp_path: Path) -> None:
    create_authority(config, NOW)
    other = replace(config, directory=tmp_path / "ca2", root_directory=tmp_path / "root2")
    create_authority(other, NOW)
    for file in ("issuing.key", "root.crt"):
        mine = (config.directory / file).read_bytes()
        (config.directory / file).write_bytes((other.directory / file).read_bytes())
        with pytest.raises(Misconfigured, match=file):
            open_authority(config)
        (config.directory / file).write_bytes(mine)
    open_authority(config)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_advice(config: EmbeddedConfig, mode: int) -> None:
    create_authority(config, NOW)
    (config.directory / "issuing.key").chmod(mode)
    with pytest.raises(Misconfigured, match="chmod 600"):
        open_authority(config)


def test_a_folder_that_others_can_enter_is_refused_with_advice(config: EmbeddedConfig) -> None:
    create_authority(config, NOW)
    config.directory.chmod(0o755)
    with pytest.raises(Misconfigured, match="chmod 700"):
        open_authority(config)


def test_a_careless_umask_changes_nothing(config: EmbeddedConfig) -> None:
    before = os.umask(0)
    try:
        create_authority(config, NOW)
    finally:
        os.umask(before)
    open_authority(config)


def test_configurations_that_would_fail_later_fail_now(config: EmbeddedConfig) -> None:
    for change in (
        {"passphrase": b""},
        {"root_directory": config.directory},
        {"slug": "a/b"},
        {"slug": ""},
        {"status_url": "https://ca.example.ac.uk"},
    ):
        with pytest.raises(Misconfigured):
            replace(config, **change)


# Signing


def test_what_stands_in_a_certificate(backend: EmbeddedBackend) -> None:
    names = ("www.example.ac.uk", "*.example.ac.uk")
    leaf = x509.load_der_x509_certificate(issue(backend, make_intent(names=names))[0])
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


def test_an_rsa_key_may_encipher_keys(backend: EmbeddedBackend) -> None:
    leaf = x509.load_der_x509_certificate(issue(backend, make_intent(key=RSA_KEY))[0])
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


def test_names_are_critical_exactly_when_the_subject_is_empty(backend: EmbeddedBackend) -> None:
    leaf = x509.load_der_x509_certificate(issue(backend, make_intent(subject=()))[0])
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_preparing_again_keeps_the_recorded_serial(backend: EmbeddedBackend) -> None:
    first = backend.prepare(make_intent())
    assert backend.prepare(first) == first


def test_a_hundred_names_and_three_years(backend: EmbeddedBackend) -> None:
    names = tuple(f"host{number}.example.ac.uk" for number in range(100))
    assert issue(backend, make_intent(names=names, years=3))


@pytest.mark.parametrize(
    "name", ["a b.example.ac.uk", "bücher.example", "", "server.local", "a_b.example.ac.uk"]
)
def test_impossible_names_are_refused_before_signing(backend: EmbeddedBackend, name: str) -> None:
    with pytest.raises(BackendRefused):
        backend.prepare(make_intent(names=(name,)))


@pytest.mark.parametrize(
    "change",
    [
        {"spki_der": b"no key"},
        {"profile_id": "code-signing"},
        {"profile_version": 99},
        {"subject": (("2.5.4.6", "Great Britain"),)},
        {"subject": (("not an oid", "x"),)},
        {"subject": (("2.5.4.3", "other.example.ac.uk"),)},
        {"names": ()},
        {"not_after": NOW + timedelta(days=5000)},
        {"not_before": NOW - timedelta(days=5000)},
        {"not_before": NOW + timedelta(days=900)},
        {"serial": 2**160},
        {"serial": 0},
    ],
    ids=str,
)
def test_impossible_intents_are_refused_before_signing(
    backend: EmbeddedBackend, change: dict[str, object]
) -> None:
    with pytest.raises(BackendRefused) as caught:
        backend.prepare(replace(make_intent(), **change))  # type: ignore[arg-type]  # the table is right
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
        backend.prepare(replace(make_intent(), spki_der=spki))


def test_lint_stops_prepare_and_says_why(backend: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding(code="some.rule", severity=Severity.ERROR, message="is broken")
    monkeypatch.setattr(backend_module, "_lint", lambda _: (finding,))
    with pytest.raises(BackendRefused, match=r"some\.rule is broken"):
        backend.prepare(make_intent())


def test_lint_stops_submit_even_for_recorded_bytes(
    backend: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = backend.prepare(make_intent())
    finding = Finding(code="new.rule", severity=Severity.FATAL, message="")
    monkeypatch.setattr(backend_module, "_lint", lambda _: (finding,))
    with pytest.raises(BackendRefused, match=r"new\.rule"):
        backend.submit(prepared)


@pytest.mark.parametrize("field", ["serial", "names", "subject", "not_before", "not_after", "spki_der"])
def test_an_intent_that_changed_after_recording_is_not_signed(backend: EmbeddedBackend, field: str) -> None:
    prepared, other = (
        backend.prepare(make_intent()),
        backend.prepare(make_intent(names=("other.example.ac.uk",), years=2)),
    )
    second = timedelta(seconds=1)
    other = replace(other, not_before=prepared.not_before + second)
    with pytest.raises(InvariantViolated):
        backend.submit(replace(prepared, **{field: getattr(other, field)}))


def test_the_throw_away_key_certifies_nothing(backend: EmbeddedBackend) -> None:
    chain = issue(backend, make_intent())
    leaf, issuing = (x509.load_der_x509_certificate(der) for der in chain[:2])
    assert backend_module._throw_away_key().public_key() != issuing.public_key()
    leaf.verify_directly_issued_by(issuing)


def test_capabilities(backend: EmbeddedBackend) -> None:
    assert isinstance(backend, Prepares)
    assert isinstance(backend, PublishesCrl)
    assert not isinstance(backend, Finds)
    assert backend.inline


def test_polling_what_is_never_open_is_our_bug(backend: EmbeddedBackend) -> None:
    with pytest.raises(InvariantViolated):
        backend.poll("anything")


@pytest.mark.parametrize(
    "days,verdict", [(0, Verdict.PASS), (365 * 7, Verdict.WARN), (365 * 11, Verdict.REFUSE)]
)
def test_check_looks_at_the_calendar(shared_config: EmbeddedConfig, days: int, verdict: Verdict) -> None:
    backend = EmbeddedBackend(shared_config, clock=lambda: NOW + timedelta(days=days))
    assert [check.verdict for check in backend.check()] == [verdict]


# openssl and pkilint, from outside


@OPENSSL
@pytest.mark.parametrize("years", [1, 2, 3])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_openssl_verifies_the_chain(backend: EmbeddedBackend, tmp_path: Path, years: int, kind: str) -> None:
    chain = issue(backend, make_intent(years=years, key=RSA_KEY if kind == "rsa" else None))
    for file, der in zip(("leaf", "issuing", "root"), chain, strict=True):
        (tmp_path / file).write_bytes(to_pem(der))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "root"]
    command += ["-verify_hostname", "www.example.ac.uk", "-untrusted", "issuing", "leaf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "leaf: OK\n", done.stderr


@OPENSSL
def test_openssl_finds_the_revoked_certificate_in_the_crl(backend: EmbeddedBackend, tmp_path: Path) -> None:
    chain = issue(backend, make_intent())
    for file, der in zip(("leaf", "issuing", "root"), chain, strict=True):
        (tmp_path / file).write_bytes(to_pem(der))

    def verify(revoked: list[RevokedEntry]) -> str:
        der = backend.crl(
            revoked=revoked,
            number=1,
            this_update=NOW - timedelta(hours=1),
            next_update=NOW + timedelta(days=7),
        )
        (tmp_path / "crl").write_bytes(x509.load_der_x509_crl(der).public_bytes(Encoding.PEM))
        command = ["openssl", "verify", "-crl_check", "-CRLfile", "crl", "-CAfile", "root"]
        command += ["-untrusted", "issuing", "leaf"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    serial = x509.load_der_x509_certificate(chain[0]).serial_number
    assert verify([]) == "leaf: OK\n"
    assert "certificate revoked" in verify(
        [RevokedEntry(serial=serial, revoked_at=NOW, reason="keyCompromise")]
    )


def test_a_crl_is_repeatable_and_leaves_unspecified_reasons_out(backend: EmbeddedBackend) -> None:
    entries = [
        RevokedEntry(serial=number, revoked_at=NOW, reason=reason)
        for number, reason in enumerate(["", "unspecified", "keyCompromise", "superseded"], start=1)
    ]

    def crl() -> bytes:
        return backend.crl(
            revoked=iter(entries), number=3, this_update=NOW, next_update=NOW + timedelta(days=7)
        )

    assert crl() == crl()
    reasons = [len(entry.extensions) for entry in x509.load_der_x509_crl(crl())]
    assert reasons == [0, 0, 1, 1]


def _pkilint(tool: str, *arguments: str) -> list[str]:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"needs {tool}")
    done = subprocess.run(
        [found, "lint", *arguments, "-f", "json"], capture_output=True, text=True, check=False
    )
    return [
        finding["code"]
        for result in json.loads(done.stdout)["results"]
        for finding in result["finding_descriptions"]
        if finding["severity"] in ("ERROR", "FATAL")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1, 2], ids=["leaf", "issuing", "root"])
def test_pkilint_itself_finds_no_error(backend: EmbeddedBackend, tmp_path: Path, position: int) -> None:
    file = tmp_path / "certificate.der"
    file.write_bytes(issue(backend, make_intent(years=3))[position])
    assert _pkilint("lint_pkix_cert", str(file)) == []


@pytest.mark.slow
def test_the_br_linter_finds_only_what_is_exempt(backend: EmbeddedBackend, tmp_path: Path) -> None:
    file = tmp_path / "certificate.der"
    file.write_bytes(issue(backend, make_intent(years=3))[0])
    assert set(_pkilint("lint_cabf_serverauth_cert", "-t", "OV-FINAL-CERTIFICATE", str(file))) == {
        "cabf.serverauth.certificate_validity_period_exceeds_200_days",
        "cabf.serverauth.subscriber.certificate_policies_extension_absent",
        "cabf.serverauth.subscriber_stateprovince_and_locality_missing",
        "cabf.internal_domain_name",  # the status address of the demo, 127.0.0.1
    }


# The registry


Settings = dict[str, object]


@pytest.fixture
def settings(shared_config: EmbeddedConfig) -> Settings:
    return {
        "directory": str(shared_config.directory),
        "root_directory": str(shared_config.root_directory),
        "passphrase": "secret words",
    }


def test_the_registry_loads_by_name_or_kind(settings: Settings) -> None:
    backends = load_backends(
        {"embedded": settings, "campus": {**settings, "kind": "embedded", "name": "Campus"}}
    )
    assert [backend.name for backend in backends.values()] == ["embedded", "campus"]
    assert backends["campus"].title == "Campus"


@pytest.mark.parametrize(
    "change",
    [
        lambda settings: {**settings, "kind": "no-such-ca"},
        lambda settings: {**settings, "kind": 7},
        lambda settings: {**settings, "colour": "blue"},
        lambda settings: {**settings, "passphrase": ""},
        lambda settings: {**settings, "passphrase": "guess"},
        lambda settings: {**settings, "directory": ""},
        lambda settings: {**settings, "directory": "/nonexistent"},
        lambda settings: {**settings, "name": 3},
        lambda _: {},
    ],
)
def test_one_that_cannot_load_stops_the_start(
    settings: Settings, change: Callable[[Settings], Settings]
) -> None:
    with pytest.raises(Misconfigured):
        load_backends({"embedded": change(settings)})
