"""Reading requests: every bad vector gets its code and advice, every good one its facts."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certdesk.domain.csr.csr import MAX_NAMES, MAX_UPLOAD, Csr, PrivateKeyPasted, may_hold_secrets, read_csr
from certdesk.domain.errors import BadCsr
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.policy.catalogue import explained
from tests.vectors import forge

VECTORS = Path(__file__).parent.parent / "vectors"
BAD = json.loads((VECTORS / "bad.json").read_text(encoding="utf-8"))
GOOD = json.loads((VECTORS / "good.json").read_text(encoding="utf-8"))
UNREADABLE = [row for row in BAD if row["stage"] == "unreadable"]
REFUSED = [row for row in BAD if row["stage"] == "refuse"]


def bad(file: str) -> bytes:
    return (VECTORS / "bad" / file).read_bytes()


def good(file: str) -> Csr:
    return read_csr((VECTORS / "good" / file).read_bytes())


def refusals(csr: Csr) -> list[Check]:
    return [check for check in csr.findings if check.verdict is Verdict.REFUSE]


def codes(csr: Csr) -> list[str]:
    return [check.code for check in csr.findings]


def test_there_are_enough_vectors_and_no_file_without_an_expectation() -> None:
    assert len(BAD) >= 60
    assert {row["file"] for row in BAD} == {path.name for path in (VECTORS / "bad").iterdir()}
    assert {row["file"] for row in GOOD} == {path.name for path in (VECTORS / "good").iterdir()}


@pytest.mark.parametrize("row", UNREADABLE, ids=lambda row: row["file"])
def test_what_is_no_request_is_named_with_advice(row: dict[str, str]) -> None:
    start = time.process_time()
    with pytest.raises(BadCsr) as caught:
        read_csr(bad(row["file"]))
    assert caught.value.code == row["code"]
    assert caught.value.detail.endswith(".")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["file"])
def test_what_may_not_be_certified_is_a_finding_with_advice(row: dict[str, str]) -> None:
    start = time.process_time()
    found = explained(refusals(read_csr(bad(row["file"]))))
    assert row["code"] in [check.code for check in found]
    for check in found:
        assert check.message
        assert check.message.isprintable()
        assert check.rule
        assert check.changed_by == "applicant"
        assert len(check.message) + len(check.seen) < 1000
    assert time.process_time() - start < 1


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row["file"])
def test_requests_of_real_tools_give_their_facts(row: dict[str, object]) -> None:
    csr = good(str(row["file"]))
    assert refusals(csr) == []
    assert list(csr.names) == row["names"]
    assert (csr.key.algorithm, csr.key.size) == (row["algorithm"], row["size"])


def test_a_request_written_as_pem_reads_the_same_again() -> None:
    csr = good("windows-utf-16.req")
    again = read_csr(csr.pem.encode())
    assert (again.der, again.sha256, again.names) == (csr.der, csr.sha256, csr.names)


def test_the_subject_is_read_in_order_with_short_names() -> None:
    csr = good("openssl-rsa-2048.csr")
    assert [(field.name, field.value) for field in csr.subject] == [
        ("C", "GB"),
        ("O", "Example University"),
        ("CN", "www.example.ac.uk"),
    ]
    assert csr.subject_value("O") == ("Example University",)
    assert csr.subject_value("OU") == ()
    assert csr.common_names == ("www.example.ac.uk",)


def test_a_subject_in_utf_16_is_read_as_text() -> None:
    assert good("windows-new-crlf.req").subject_value("O") == ("Example University",)


def test_extensions_that_were_asked_for_are_shown_and_not_refused() -> None:
    csr = good("pyca-asks-to-be-a-ca.csr")
    assert csr.requested_extensions == ("subjectAltName", "basicConstraints, critical", "extKeyUsage")
    shown = next(check for check in csr.findings if check.code == "csr.extensions")
    assert shown.verdict is Verdict.PASS
    assert "basicConstraints" in shown.seen


def test_the_old_windows_attribute_counts_as_the_list_of_extensions() -> None:
    assert good("windows-old-attribute.csr").names == ("www.example.ac.uk",)


def test_passes_are_listed_too_in_a_stable_order() -> None:
    assert codes(good("openssl-p-256.csr")) == [
        "csr.readable",
        "csr.signature_algorithm",
        "key.strength",
        "csr.signature",
        "names.valid",
        "csr.extensions",
    ]


_PASSWORD = forge.sequence(forge.oid("1.2.840.113549.1.9.7"), forge.set_of(forge.utf8(b"hunter2")))


@pytest.mark.parametrize(
    "der, secret, warned",
    [
        (forge.good_der(), False, False),
        (good("windows-new-crlf.req").der, False, False),  # certreq's version of the system
        (forge.ec_request(forge.san(b"www.example.ac.uk"), attributes=[_PASSWORD]), True, True),
        (forge.ec_request(subject=forge.name(("1.2.840.113549.1.9.7", b"hunter2"))), True, True),
        (  # who asked on which machine, as certreq writes it
            forge.ec_request(
                attributes=[
                    forge.sequence(
                        forge.oid("1.3.6.1.4.1.311.21.20"), forge.set_of(forge.utf8(b"jo on laptop7"))
                    )
                ]
            ),
            True,
            False,
        ),
        (forge.ec_request(forge.san(b"a.ac.uk"), forge.extension("1.2.3.4", b"\x04\0")), True, False),
        (b"\x30\x03nonsense", True, None),
    ],
    ids=["plain", "windows", "password", "password-in-subject", "user-name", "extension", "unreadable"],
)
def test_what_may_hold_a_secret_is_told_and_a_password_is_never_shown(
    der: bytes, *, secret: bool, warned: bool | None
) -> None:
    assert may_hold_secrets(der) is secret
    if warned is not None:
        csr = read_csr(der)
        found = [check.verdict for check in csr.findings if check.code == "csr.challenge_password"]
        assert found == [Verdict.WARN] * warned
        assert "hunter2" not in repr(replace(csr, der=b"")).replace(repr(csr.key.spki_der), "")


def test_the_signature_algorithm_is_named_in_words() -> None:
    assert good("openssl-sha-512.csr").signature_algorithm == "RSA with SHA-512"
    assert good("openssl-pss-signature.csr").signature_algorithm == "RSA-PSS with SHA-256"
    assert good("keytool-ec.csr").signature_algorithm.startswith("ECDSA with SHA-")


def test_several_bad_names_are_refused_one_by_one_and_the_valid_ones_kept() -> None:
    csr = read_csr(
        forge.ec_request(forge.san(b"a.example.ac.uk", b"b.local", b"*.ac.uk", b"c.example.ac.uk"))
    )
    assert csr.names == ("a.example.ac.uk", "c.example.ac.uk")
    assert [check.code for check in refusals(csr)] == ["names.internal", "names.wildcard_public_suffix"]


def test_a_common_name_that_is_in_the_san_too_is_no_duplicate() -> None:
    subject = forge.name(("2.5.4.3", b"WWW.example.ac.uk"))
    csr = read_csr(forge.ec_request(forge.san(b"mail.example.ac.uk", b"www.example.ac.uk"), subject=subject))
    assert csr.names == ("www.example.ac.uk", "mail.example.ac.uk")
    assert "names.duplicate" not in codes(csr)


def test_a_name_twice_in_the_san_is_a_warning() -> None:
    csr = read_csr(forge.ec_request(forge.san(b"www.example.ac.uk", b"WWW.example.ac.uk")))
    found = [check for check in csr.findings if check.code == "names.duplicate"]
    assert [check.verdict for check in found] == [Verdict.WARN]
    assert refusals(csr) == []


def test_a_character_that_folds_to_ascii_does_not_hide_behind_its_ascii_twin() -> None:
    subject = forge.name(("2.5.4.3", "\u212a.example.ac.uk".encode()))
    csr = read_csr(forge.ec_request(forge.san(b"k.example.ac.uk"), subject=subject))
    assert [check.code for check in refusals(csr)] == ["names.unicode"]


def test_the_hundredth_name_is_fine_and_the_common_name_counts() -> None:
    names = [f"h{number}.example.ac.uk".encode() for number in range(MAX_NAMES)]
    assert refusals(read_csr(forge.ec_request(forge.san(*names)))) == []
    one_more = forge.ec_request(forge.san(*names), subject=forge.name(("2.5.4.3", b"cn.example.ac.uk")))
    assert [check.code for check in refusals(read_csr(one_more))] == ["names.too_many"]


def test_documentation_names_and_mixed_scripts_are_warnings() -> None:
    csr = read_csr(forge.ec_request(forge.san(b"ac.uk.evil.example", b"xn--l-7sbab3e0ae.example.ac.uk")))
    warned = [check.code for check in csr.findings if check.verdict is Verdict.WARN]
    assert warned == ["names.documentation", "names.mixed_script"]
    assert refusals(csr) == []


def test_an_upload_of_the_largest_size_is_still_read() -> None:
    upload = forge.pem(forge.good_der()).ljust(MAX_UPLOAD, b"\n")
    assert read_csr(upload).names == ("www.example.ac.uk",)


def test_a_key_that_is_refused_costs_no_signature_check() -> None:
    csr = read_csr(bad("key-rsa-65536.der"))
    assert [check.code for check in csr.findings if check.code.startswith(("key.", "csr.sig"))] == [
        "csr.signature_algorithm",
        "key.size",
    ]
    assert csr.key.size == 65_536


@pytest.mark.parametrize(
    "word", ["pkcs8-rsa.pem", "pkcs1.pem", "crlf.pem", "cr.pem", "utf-16.pem", "pkcs8.der"]
)
def test_a_pasted_private_key_names_the_public_key_to_block(word: str) -> None:
    with pytest.raises(PrivateKeyPasted) as caught:
        read_csr(bad(f"private-key-{word}"))
    request = read_csr(forge.rsa_request(forge.seeded_rsa(2048)))
    assert caught.value.spki_sha256 == (request.key.spki_sha256,)


@pytest.mark.parametrize("row", [row for row in UNREADABLE if "-forged-" in row["file"]], ids=str)
def test_a_forged_private_key_names_no_public_key_to_block(row: dict[str, str]) -> None:
    """Anybody can write numbers around the modulus of somebody else's certificate."""
    with pytest.raises(PrivateKeyPasted) as caught:
        read_csr(bad(row["file"]))
    assert caught.value.spki_sha256 == ()
    assert "looks like" in caught.value.detail


def test_a_private_key_in_a_field_of_a_request_is_found() -> None:
    key = forge.ec_key("other").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    request = forge.ec_request(forge.san(b"www.example.ac.uk"), subject=forge.name(("2.5.4.11", key)))
    with pytest.raises(PrivateKeyPasted) as caught:
        read_csr(forge.pem(request))
    assert len(caught.value.spki_sha256) == 1


def test_right_primes_with_another_private_exponent_prove_nothing() -> None:
    key = forge.seeded_rsa(2048).private_numbers()
    parts = (0, key.p * key.q, 65537, key.d - 2, key.p, key.q, key.dmp1, key.dmq1, key.iqmp)
    with pytest.raises(PrivateKeyPasted) as caught:
        read_csr(forge.pem(forge.sequence(*map(forge.integer, parts)), label="RSA PRIVATE KEY"))
    assert caught.value.spki_sha256 == ()


def test_proving_many_keys_is_cheap() -> None:
    key = forge.seeded_rsa(4096).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    started = time.process_time()
    with pytest.raises(PrivateKeyPasted):
        read_csr(key * (MAX_UPLOAD // len(key)))
    assert time.process_time() - started < 0.5


def test_every_private_key_in_an_upload_is_named_for_blocking() -> None:
    with pytest.raises(PrivateKeyPasted) as caught:
        read_csr(bad("private-key-two-keys.pem"))
    curve = read_csr(forge.good_der()).key.spki_sha256
    assert len(caught.value.spki_sha256) == 2
    assert curve in caught.value.spki_sha256


@pytest.mark.parametrize("row", [row for row in UNREADABLE if row["file"].startswith("private-key")], ids=str)
def test_nothing_of_a_private_key_is_in_its_error(row: dict[str, str]) -> None:
    with pytest.raises(PrivateKeyPasted) as caught:
        read_csr(bad(row["file"]))
    error = caught.value
    assert "compromised" in error.detail
    assert error.__cause__ is None
    assert error.args == (error.detail,)


def test_the_key_fingerprint_is_that_of_the_public_key() -> None:
    key = forge.ec_key().public_key()
    csr = read_csr(forge.good_der())
    assert csr.key.spki_der == key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
