"""An issuing CA below another root: its key and CSR, what may be installed, and its renewal."""

import ipaddress
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certdesk.backends.conformance import prepared, server_intent
from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority, read_config
from certdesk.backends.embedded.authority import public_key_of
from certdesk.backends.embedded.ceremony import install, make_request, sign_request
from certdesk.backends.embedded.keys import KINDS
from certdesk.backends.own_ca import ca_builder, key_usage
from certdesk.domain.errors import BackendRefused, Misconfigured
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import Issued, compare
from certdesk.domain.issuing.profiles import CLIENT_AUTH, SERVER_AUTH

NOW = datetime.now(UTC)


@pytest.fixture
def config(tmp_path: Path) -> EmbeddedConfig:
    return EmbeddedConfig(directory=tmp_path / "campus", passphrase=b"words", name="Campus", slug="campus")


class Root:
    """A root of somebody else's, which signs what it is given."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "University Root")])
        builder = ca_builder(self.name, self.key.public_key(), years=20, path_length=None, now=NOW)
        self.certificate = builder.issuer_name(self.name).sign(self.key, hashes.SHA384())

    def builder(self, csr_pem: str, *, years: int = 5, now: datetime = NOW) -> x509.CertificateBuilder:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        made = ca_builder(csr.subject, _key_of(csr_pem), years=years, path_length=0, now=now).issuer_name(
            self.name
        )
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return made.add_extension(above, critical=False)

    def chain(self, builder: x509.CertificateBuilder) -> bytes:
        return _pem(builder.sign(self.key, hashes.SHA384()), self.certificate)


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def _issued(config: EmbeddedConfig, folder: Path) -> Issued:
    """A certificate of the CA, as OpenSSL accepts it below the root."""
    backend = EmbeddedBackend(config)
    intent = prepared(backend, server_intent(now=NOW))
    done = backend.submit(intent)
    assert isinstance(done, Issued)
    assert worst(compare(done, intent)) is Verdict.PASS
    leaf, *above = (x509.load_der_x509_certificate(der) for der in done.chain)
    (folder / "leaf.pem").write_bytes(_pem(leaf))
    (folder / "above.pem").write_bytes(_pem(*above[:-1]))
    (folder / "root.pem").write_bytes(_pem(above[-1]))
    crl = backend.crl(revoked=[], number=1, this_update=NOW, next_update=NOW + timedelta(days=7))
    assert x509.load_der_x509_crl(crl).is_signature_valid(public_key_of(above[0]))
    if not config.key.startswith("ML-DSA"):  # Debian 12's OpenSSL does not know these
        files = ("-CAfile", "root.pem", "-untrusted", "above.pem", "leaf.pem")
        subprocess.run(["openssl", "verify", *files], cwd=folder, check=True, capture_output=True)
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key_signs_below_the_embedded_root(
    shared_config: EmbeddedConfig, config: EmbeddedConfig, tmp_path: Path, kind: str
) -> None:
    config = replace(config, key=kind)
    asked = make_request(config)
    assert asked.record["kind"] == ("RSA-3072" if kind == "RSA-4096" else kind)
    assert asked.record["key_made"]
    assert make_request(config).record == {**asked.record, "key_made": False}  # the key stays
    assert shared_config.root_directory is not None
    done = sign_request(
        asked.pem.encode(),
        root_directory=shared_config.root_directory,
        passphrase=shared_config.passphrase,
        years=9,
        now=NOW,
    )
    install(config, done.pem.encode(), now=NOW)
    _issued(config, tmp_path)


def test_below_a_root_of_somebody_else_and_renewed_for_the_same_key(
    config: EmbeddedConfig, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match="certdesk ca csr campus"):
        EmbeddedBackend(config)
    root, asked = Root(), make_request(config)
    first = root.chain(root.builder(asked.pem))
    install(config, first, now=NOW)
    _issued(config, tmp_path)
    longer = root.chain(root.builder(make_request(config).pem, years=9))
    install(config, longer, now=NOW)
    install(config, longer, now=NOW)  # once more does no harm
    done = _issued(config, tmp_path)
    assert x509.load_der_x509_certificate(done.chain[1]) == x509.load_pem_x509_certificates(longer)[0]
    kept = [path for path in config.directory.iterdir() if path.name.startswith("issuing-")]
    assert [x509.load_pem_x509_certificate(path.read_bytes()) for path in kept] == [
        x509.load_pem_x509_certificates(first)[0]
    ]


@pytest.mark.parametrize(
    "names, is_allowed",
    [
        (("www.example.ac.uk",), True),
        (("example.ac.uk", "*.Example.ac.uk", "192.0.2.7"), True),
        (("www.badexample.ac.uk",), False),
        (("www.example.ac.uk", "www.example.org"), False),
        (("www.secret.example.ac.uk",), False),
        (("198.51.100.7",), False),
        (("2001:db8::7",), False),
    ],
)
def test_a_ca_of_few_names_certifies_no_others(
    config: EmbeddedConfig, names: tuple[str, ...], *, is_allowed: bool
) -> None:
    root, csr = Root(), make_request(config).pem
    limits = x509.NameConstraints(
        permitted_subtrees=[
            x509.DNSName("example.ac.uk"),
            x509.IPAddress(ipaddress.ip_network("192.0.2.0/24")),
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "GB")])),
        ],
        excluded_subtrees=[x509.DNSName(".secret.example.ac.uk")],
    )
    install(config, root.chain(root.builder(csr).add_extension(limits, critical=True)), now=NOW)
    backend, intent = EmbeddedBackend(config), server_intent(now=NOW, names=names)
    if is_allowed:
        assert backend.prepare(intent).tbs
    else:
        for what in (backend.prepare, backend.specimen):
            with pytest.raises(BackendRefused, match="does not allow it to certify"):
                what(intent)
    with pytest.raises(BackendRefused, match="CN=another"):
        backend.prepare(replace(intent, subject=((NameOID.COMMON_NAME.dotted_string, "another"),)))


def test_a_ca_for_servers_alone_certifies_no_clients(config: EmbeddedConfig) -> None:
    root, csr = Root(), make_request(config).pem
    servers = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    install(config, root.chain(root.builder(csr).add_extension(servers, critical=False)), now=NOW)
    backend, intent = EmbeddedBackend(config), server_intent(now=NOW)
    assert backend.prepare(intent).tbs
    both = replace(intent.profile, eku=(SERVER_AUTH, CLIENT_AUTH))
    with pytest.raises(BackendRefused, match=f"certify usage {CLIENT_AUTH}"):
        backend.prepare(replace(intent, profile=both))


def test_an_installation_that_was_cut_short_is_told_and_done_again(config: EmbeddedConfig) -> None:
    """Killed between its two files: the new root is there, and the old certificate."""
    first, other, csr = Root(), Root(), make_request(config).pem
    install(config, first.chain(first.builder(csr)), now=NOW)
    before = (config.directory / "issuing.crt").read_bytes()
    renewed = other.chain(other.builder(csr))
    install(config, renewed, now=NOW)
    (config.directory / "issuing.crt").write_bytes(before)
    with pytest.raises(Misconfigured, match="certdesk ca install campus” again"):
        EmbeddedBackend(config)
    install(config, renewed, now=NOW)
    assert EmbeddedBackend(config).chain()[1] == other.certificate.public_bytes(Encoding.DER)


def test_what_nobody_could_verify_is_not_installed(config: EmbeddedConfig) -> None:
    root, csr = Root(), make_request(config).pem
    good = root.builder(csr)
    asked = x509.load_pem_x509_csr(csr.encode())
    plain = (
        x509.CertificateBuilder()
        .issuer_name(root.name)
        .subject_name(asked.subject)
        .public_key(asked.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=100))
    )
    may_sign = x509.BasicConstraints(ca=True, path_length=0)
    other = make_request(replace(config, directory=config.directory.parent / "other")).pem
    alone = root.chain(good)[: -len(_pem(root.certificate))]
    for content, told in {
        b"nothing": "PEM form",
        alone: "stand above",
        _pem(root.certificate) + alone: "not for this CA's key",
        root.chain(root.builder(other)): "not for this CA's key",
        alone + _pem(Root().certificate): "was not issued by",
        root.chain(root.builder(csr, years=1, now=NOW - timedelta(days=900))): "not valid now",
        root.chain(plain): "no basic constraints",
        root.chain(
            plain.add_extension(may_sign, critical=True).add_extension(
                key_usage("digital_signature"), critical=True
            )
        ): "may not sign certificates",
        root.chain(
            plain.add_extension(may_sign, critical=True).add_extension(
                key_usage("key_cert_sign"), critical=True
            )
        ): "subject key identifier",
    }.items():
        with pytest.raises(Misconfigured, match=told):
            install(config, content, now=NOW)
    assert sorted(path.name for path in config.directory.iterdir()) == ["issuing.key"]
    install(config, root.chain(good), now=NOW)
    with pytest.raises(Misconfigured, match="called otherwise"):
        install(config, root.chain(_renamed(root, csr)), now=NOW)


def test_a_ca_to_which_no_chain_could_be_built_is_not_installed(config: EmbeddedConfig) -> None:
    root, csr = Root(), make_request(config).pem
    good = root.builder(csr)
    mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\0")
    key = ec.generate_private_key(ec.SECP256R1())
    middle = (
        ca_builder(_name("Middle"), key.public_key(), years=9, path_length=0, now=NOW)
        .issuer_name(root.name)
        .sign(root.key, hashes.SHA384())
    )
    below = (
        ca_builder(_name("Campus"), _key_of(csr), years=5, path_length=0, now=NOW)
        .issuer_name(middle.subject)
        .sign(key, hashes.SHA256())
    )
    for content, told in (
        (root.chain(good.add_extension(mail, critical=False)), "neither TLS servers nor clients"),
        (root.chain(good.add_extension(odd, critical=True)), "critical extension"),
        (_pem(below, middle, root.certificate), "allows 0 CAs below it"),
        (root.chain(root.builder(csr, now=NOW + timedelta(days=1))), "has just begun"),
    ):
        with pytest.raises(Misconfigured, match=told):
            install(config, content, now=NOW)
    install(config, root.chain(good.add_extension(odd, critical=False)), now=NOW)


def test_a_renewal_keeps_the_identifier_that_stands_in_what_was_issued(config: EmbeddedConfig) -> None:
    root, csr = Root(), make_request(config).pem
    install(config, root.chain(root.builder(csr)), now=NOW)
    asked = x509.load_pem_x509_csr(csr.encode())
    renewed = (
        x509.CertificateBuilder()
        .issuer_name(root.name)
        .subject_name(asked.subject)
        .public_key(asked.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(b"another way"), critical=False)
    )
    with pytest.raises(Misconfigured, match="another subject key identifier"):
        install(config, root.chain(renewed), now=NOW)


def test_a_ca_with_a_root_of_its_own_gets_its_key_at_its_first_start_alone(tmp_path: Path) -> None:
    own = EmbeddedConfig(directory=tmp_path / "ca", root_directory=tmp_path / "root", passphrase=b"words")
    with pytest.raises(Misconfigured, match="first start"):
        make_request(own)
    create_authority(own, NOW, may_create=lambda: True)
    assert not make_request(own).record["key_made"]


def _key_of(csr_pem: str) -> ec.EllipticCurvePublicKey:
    key = x509.load_pem_x509_csr(csr_pem.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _renamed(root: Root, csr_pem: str) -> x509.CertificateBuilder:
    return ca_builder(_name("Another CA"), _key_of(csr_pem), years=5, path_length=0, now=NOW).issuer_name(
        root.name
    )


def test_the_embedded_root_signs_no_other_than_a_ca_beside_its_own(
    tmp_path: Path, config: EmbeddedConfig
) -> None:
    own = EmbeddedConfig(directory=tmp_path / "ca", root_directory=tmp_path / "root", passphrase=b"words")
    create_authority(own, NOW, may_create=lambda: True)
    csr = make_request(config).pem.encode()
    assert own.root_directory is not None

    def sign(content: bytes, *, years: int = 5, passphrase: bytes = b"words") -> None:
        assert own.root_directory is not None
        sign_request(content, root_directory=own.root_directory, passphrase=passphrase, years=years, now=NOW)

    broken = bytearray(x509.load_pem_x509_csr(csr).public_bytes(Encoding.DER))
    broken[-1] ^= 1
    pem = x509.load_der_x509_csr(bytes(broken)).public_bytes(Encoding.PEM)
    for content, years, passphrase, told in (
        (b"nothing", 5, b"words", "not a CSR"),
        (pem, 5, b"words", "own key"),
        (csr, 25, b"words", "The root ends"),
        (csr, 5, b"guess", "passphrase"),
    ):
        with pytest.raises(Misconfigured, match=told):
            sign(content, years=years, passphrase=passphrase)


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"passphrase": "words", "key": "P-521"}, "key must be one of P-256"),
        ({"passphrase_file": "/nowhere/pass"}, "can't be read"),
        ({}, "set a passphrase"),
        ({"token": "ca", "label": "issuing", "pin_file": "pin"}, "module to a file"),
        ({"module": "m", "token": "ca", "pin_file": "pin"}, "label must be a text"),
        (
            {"module": "m", "token": "ca", "label": "issuing", "pin_file": "pin", "key": "ML-DSA-65"},
            "in files alone",
        ),
        ({"passphrase": "words", "pin": "1234"}, "unknown settings pin"),
    ],
)
def test_settings_that_could_only_fail_later(settings: dict[str, object], told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        read_config(name="campus", settings={"directory": "/nowhere", **settings})
