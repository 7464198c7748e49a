"""What was issued against what was intended, and the files made of it."""

import functools
import io
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Intent, Issued, certificate_facts, compare, subject_under
from certdesk.domain.issuing.downloads import (
    FORMS,
    bundle_zip,
    chain_pem,
    file_stem,
    fullchain_pem,
    pkcs7_der,
    server_zip,
    to_pem,
)
from certdesk.domain.issuing.profiles import no_longer_offered, profile

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PROFILE = profile("tls-server")
NAMES = ("www.example.ac.uk", "example.ac.uk")
SECOND = timedelta(seconds=1)
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
SERIAL = 2**126 + 99

Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


@functools.cache
def key(label: str) -> ec.EllipticCurvePrivateKey:
    """One key a label; labels other than the intended ones are strangers."""
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def spki(public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def ca(label: str, issuer: str, *, is_ca: bool = True, path_length: int | None = None) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(label))
        .issuer_name(name(issuer))
        .public_key(key(label).public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=4000))
        .add_extension(
            x509.BasicConstraints(ca=is_ca, path_length=path_length if is_ca else None), critical=True
        )
    )
    return builder.sign(key(issuer), hashes.SHA256()).public_bytes(Encoding.DER)


def leaf(
    *,
    names: tuple[str, ...] = NAMES,
    public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | None = None,
    issuer: str = "Issuing",
    signer: str = "Issuing",
    serial: int = SERIAL,
    begins: datetime = NOW,
    ends: datetime = NOW + timedelta(days=365) - SECOND,
    subject: tuple[tuple[str, str], ...] = ((NameOID.COMMON_NAME.dotted_string, NAMES[0]),),
    eku: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH,),
    is_ca: bool = False,
    change: Change = lambda builder: builder,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.ObjectIdentifier(o), v) for o, v in subject]))
        .issuer_name(name(issuer))
        .public_key(public or key("holder").public_key())
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names:
        san = x509.SubjectAlternativeName([x509.DNSName(host) for host in names])
        builder = builder.add_extension(san, critical=False)
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
    return change(builder).sign(key(signer), hashes.SHA256()).public_bytes(Encoding.DER)


def intent(*, recorded: bool = True) -> Intent:
    """What `leaf()` fulfils; `recorded` as by a back end that prepares."""
    return Intent(
        idempotency_key="k",
        backend="any",
        profile=PROFILE,
        csr_der=b"",
        spki_der=spki(key("holder").public_key()),
        names=NAMES,
        subject=((NameOID.COMMON_NAME.dotted_string, NAMES[0]),),
        not_before=NOW,
        not_after=NOW + timedelta(days=365) - SECOND,
        serial=SERIAL if recorded else None,
        tbs=x509.load_der_x509_certificate(leaf()).tbs_certificate_bytes if recorded else None,
    )


ROOT = ca("Root", "Root")
ISSUING = ca("Issuing", "Root", path_length=0)
CHAIN = (leaf(), ISSUING, ROOT)


def codes(chain: tuple[bytes, ...], wanted: Intent) -> set[str]:
    checks = compare(Issued(chain=chain), wanted)
    assert all(check.message for check in checks)
    if any(check.verdict is not Verdict.REFUSE for check in checks):
        assert [check.code for check in checks] == ["issuance.match"]
        assert checks[0].verdict is Verdict.PASS
    return {check.code.removeprefix("issuance.mismatch.") for check in checks}


MATCH = {"issuance.match"}


@pytest.mark.parametrize("recorded", [True, False])
def test_the_intended_certificate_matches(*, recorded: bool) -> None:
    assert codes(CHAIN, intent(recorded=recorded)) == MATCH


def test_a_chain_without_its_root_matches() -> None:
    assert codes(CHAIN[:2], intent()) == MATCH


def test_names_may_come_in_another_order() -> None:
    assert codes((leaf(names=NAMES[::-1]), ISSUING, ROOT), intent(recorded=False)) == MATCH


DIFFERENT = {
    "another key": (leaf(public=key("stranger").public_key()), "key"),
    "a name too many": (leaf(names=(*NAMES, "mail.example.ac.uk")), "names"),
    "a name too few": (leaf(names=NAMES[:1]), "names"),
    "a name twice": (leaf(names=(*NAMES, NAMES[0])), "names"),
    "no names": (leaf(names=()), "names"),
    "another common name": (leaf(subject=((NameOID.COMMON_NAME.dotted_string, "evil.example"),)), "subject"),
    "a CA": (leaf(is_ca=True), "ca"),
    "no extended key usage": (leaf(eku=()), "eku"),
    "for clients too": (leaf(eku=(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)), "eku"),
    "longer than intended": (leaf(ends=NOW + timedelta(days=365)), "validity"),
    "begins later than it ends": (leaf(begins=NOW, ends=NOW), "validity"),
    "back-dated too far": (leaf(begins=NOW - timedelta(hours=48) - SECOND), "validity"),
    "signed by a stranger": (leaf(signer="stranger"), "chain"),
    "issued by another CA": (leaf(issuer="Other"), "chain"),
    "may sign certificates": (
        leaf(
            change=lambda builder: builder.add_extension(
                x509.KeyUsage(*[bit in (0, 5) for bit in range(9)]), critical=True
            )
        ),
        "ca",
    ),
    "an address among the names": (
        leaf(
            names=(),
            change=lambda builder: builder.add_extension(
                x509.SubjectAlternativeName(
                    [*(x509.DNSName(n) for n in NAMES), x509.RFC822Name("a@b.example")]
                ),
                critical=False,
            ),
        ),
        "names",
    ),
}


@pytest.mark.parametrize("der,code", DIFFERENT.values(), ids=DIFFERENT)
def test_each_difference_of_a_foreign_ca_is_refused(der: bytes, code: str) -> None:
    assert codes((der, ISSUING, ROOT), intent(recorded=False)) == {code}


def test_a_foreign_ca_may_begin_earlier_and_end_sooner() -> None:
    der = leaf(begins=NOW - timedelta(hours=1), ends=NOW + timedelta(days=90))
    assert codes((der, ISSUING, ROOT), intent(recorded=False)) == MATCH
    assert codes((der, ISSUING, ROOT), intent()) == {"validity", "tbs"}


def test_another_organisation_is_refused_and_a_missing_one_is_not() -> None:
    wanted = replace(intent(recorded=False), subject=((NameOID.ORGANIZATION_NAME.dotted_string, "Ours"),))
    theirs = leaf(subject=((NameOID.ORGANIZATION_NAME.dotted_string, "Theirs"),))
    assert codes((theirs, ISSUING, ROOT), wanted) == {"subject"}
    assert codes((leaf(subject=()), ISSUING, ROOT), wanted) == MATCH


BROKEN_CHAINS: dict[str, tuple[tuple[bytes, ...], str]] = {
    "empty": ((), "empty"),
    "leaf alone": (CHAIN[:1], "chain"),
    "wrong order": ((leaf(), ROOT, ISSUING), "chain"),
    "not a CA in between": ((leaf(), ca("Issuing", "Root", is_ca=False), ROOT), "chain"),
    "too deep for the root": ((leaf(), ISSUING, ca("Root", "Root", path_length=0)), "chain"),
    "too deep for a CA": (
        (leaf(), ca("Issuing", "Middle"), ca("Middle", "Root", path_length=0), ROOT),
        "chain",
    ),
    "an unrelated CA at the end": ((leaf(), ISSUING, ca("Other", "Other")), "chain"),
    "garbage leaf": ((b"garbage", ISSUING, ROOT), "unreadable"),
    "garbage issuer": ((leaf(), b"garbage", ROOT), "unreadable"),
    "nothing": ((b"",), "unreadable"),
}


@pytest.mark.parametrize("chain,code", BROKEN_CHAINS.values(), ids=BROKEN_CHAINS)
def test_the_chain_must_hold(chain: tuple[bytes, ...], code: str) -> None:
    assert codes(chain, intent()) == {code}


def test_an_rsa_key_of_another_algorithm_is_another_key() -> None:
    wanted = replace(intent(recorded=False), spki_der=spki(rsa_key().public_key()))
    signed = leaf(public=rsa_key().public_key())
    assert codes((signed, ISSUING, ROOT), wanted) == MATCH
    assert codes((signed, ISSUING, ROOT), intent(recorded=False)) == {"key"}


@OPENSSL
def test_an_rsassa_pss_key_is_not_the_plain_rsa_key(tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", "-nodes"]
    command += ["-keyout", "key", "-subj", "/CN=www.example.ac.uk", "-outform", "DER", "-out", "leaf"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    der = (tmp_path / "leaf").read_bytes()
    public_key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    wanted = replace(intent(recorded=False), spki_der=spki(public_key))
    assert "key" in codes((der, ISSUING, ROOT), wanted)


CHANGES: dict[str, st.SearchStrategy[object]] = {
    "spki_der": st.just(spki(key("stranger").public_key())),
    "names": st.lists(
        st.sampled_from(["a.example.ac.uk", "www.example.ac.uk", "example.ac.uk"]), max_size=4
    ).map(tuple),
    "serial": st.integers(min_value=1, max_value=2**159),
    "tbs": st.binary(min_size=1, max_size=40),
    "not_before": st.integers(-(10**6), 10**6).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    "not_after": st.integers(-(10**6), 10**6).map(
        lambda seconds: NOW + timedelta(days=365) - SECOND + timedelta(seconds=seconds)
    ),
    "profile": st.builds(
        no_longer_offered, st.sampled_from(["tls-client", "tls-server"]), st.integers(1, 50)
    ),
}


@given(st.data())
def test_a_single_changed_field_is_always_noticed(data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(CHANGES)))
    value = data.draw(CHANGES[field])
    wanted = replace(intent(), **{field: value})  # type: ignore[arg-type]  # the table holds the right types
    same = sorted(wanted.names) == sorted(NAMES) and replace(wanted, names=NAMES) == intent()
    assert (codes(CHAIN, wanted) == MATCH) is same


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.integers(0, len(CHAIN[0]) - 1), st.integers(1, 255))
@example(12, 1)  # the version
def test_a_flipped_byte_never_raises_and_is_noticed(position: int, mask: int) -> None:
    flipped = bytearray(CHAIN[0])
    flipped[position] ^= mask
    if codes((bytes(flipped), ISSUING, ROOT), intent()) == MATCH:
        # The count of unused bits in the signature's BIT STRING is the one thing that nothing signs.
        same = x509.load_der_x509_certificate(bytes(flipped))
        assert same.tbs_certificate_bytes == intent().tbs
        assert same.signature == x509.load_der_x509_certificate(CHAIN[0]).signature


def test_facts_of_a_certificate() -> None:
    facts = certificate_facts(CHAIN[0])
    assert (facts.serial, facts.serial_hex) == (SERIAL, f"{SERIAL:x}")
    assert facts.names == NAMES
    assert facts.subject == f"CN={NAMES[0]}"
    assert facts.issuer == "CN=Issuing"
    assert (facts.not_before, facts.not_after) == (NOW, NOW + timedelta(days=365) - SECOND)
    assert not facts.is_ca
    assert certificate_facts(ROOT).is_ca
    assert len(facts.sha256) == len(facts.spki_sha256) == 64


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----"])
def test_facts_of_no_certificate_are_a_value_error(der: bytes) -> None:
    with pytest.raises(ValueError, match="not a readable certificate"):
        certificate_facts(der)


def test_the_subject_is_in_order_and_within_its_bounds() -> None:
    subject = subject_under(PROFILE, names=NAMES, organisation="Example University", country="GB")
    assert [value for _, value in subject] == ["GB", "Example University", NAMES[0]]
    long = "a" * 60 + ".example.ac.uk"
    assert subject_under(PROFILE, names=(long,), organisation="U" * 65) == ()
    assert subject_under(PROFILE, names=()) == ()


# Files


def test_the_full_chain_leaves_the_root_out_unless_asked() -> None:
    assert fullchain_pem(CHAIN) == to_pem(CHAIN[0]) + to_pem(ISSUING)
    assert fullchain_pem(CHAIN, with_root=True) == to_pem(CHAIN[0]) + to_pem(ISSUING) + to_pem(ROOT)


def test_file_names() -> None:
    ends = datetime(2027, 1, 8, 23, 59, tzinfo=UTC)
    assert file_stem("host.example.ac.uk", ends) == "host_example_ac_uk-2027-01-08"
    assert file_stem("*.example.ac.uk", ends) == "wildcard_example_ac_uk-2027-01-08"
    assert file_stem("../../etc/passwd\x00", ends) == "______-etc-passwd--2027-01-08".replace(
        "______", "__-__"
    )
    assert len(file_stem("a" * 300, ends)) < 120


def test_the_zip_holds_every_certificate_and_no_key() -> None:
    packed = bundle_zip(CHAIN, "www_example_ac_uk-2027-11-23")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        contents = {entry: archive.read(entry) for entry in archive.namelist()}
    assert list(contents) == [
        "www_example_ac_uk-2027-11-23.crt",
        "chain-1-Issuing.crt",
        "root-Root.crt",
        "README.txt",
    ]
    assert contents["www_example_ac_uk-2027-11-23.crt"] == to_pem(CHAIN[0])
    assert contents["chain-1-Issuing.crt"] == to_pem(ISSUING)
    assert contents["root-Root.crt"] == to_pem(ROOT)
    assert not any(b"PRIVATE" in content for content in contents.values())
    for entry in list(contents)[:3]:
        assert entry in contents["README.txt"].decode()
    assert bundle_zip(CHAIN, "www_example_ac_uk-2027-11-23") == packed


def test_the_chain_alone_goes_with_the_certificate_alone() -> None:
    assert FORMS["pem"].make(CHAIN) + FORMS["chain"].make(CHAIN) == fullchain_pem(CHAIN)
    assert chain_pem((CHAIN[0], ROOT)) == to_pem(ROOT), "nothing stands between: the root takes its place"


@pytest.mark.parametrize(
    "form,names",
    [
        ("fullchain", ["www-fullchain.pem", "root-Root.crt", "INSTALL.txt"]),
        ("p7b", ["www.p7b", "root-Root.crt", "INSTALL.txt"]),
        ("zip", ["www.crt", "chain-1-Issuing.crt", "root-Root.crt", "INSTALL.txt"]),
    ],
)
def test_the_zip_for_a_server_holds_what_it_takes_and_how(form: str, names: list[str]) -> None:
    packed = server_zip(CHAIN, "www", form=form, instructions="Take it.\nReload.\n")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == names
        assert archive.read("INSTALL.txt") == b"Take it.\r\nReload."
        if form in FORMS:
            assert archive.read(names[0]) == FORMS[form].make(CHAIN)


@OPENSSL
def test_openssl_reads_the_pkcs7_file(tmp_path: Path) -> None:
    file = tmp_path / "chain.p7b"
    file.write_bytes(pkcs7_der(CHAIN))
    command = ["openssl", "pkcs7", "-inform", "DER", "-in", str(file), "-print_certs"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.count("BEGIN CERTIFICATE") == 3
