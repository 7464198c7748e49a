"""The file of CAs and profiles: what it says is taken, and whatever is wrong in it is told with its place."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certdesk.backends.conformance import server_intent
from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority
from certdesk.conf.cas import CasFile, read_cas
from certdesk.domain.errors import Misconfigured
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.cas import CaLimits
from certdesk.domain.issuing.certificates import Issued, compare, subject_under
from certdesk.domain.issuing.downloads import to_pem
from certdesk.domain.issuing.profiles import BUILT_IN, certificate_validity
from certdesk.domain.policy.in_force import KeyType, Rules

NOW = datetime.now(UTC).replace(microsecond=0)
GOOD = """
[cas.bao]
kind = "openbao"
title = "Our OpenBao"
address = "https://bao.example.ac.uk:8200"
role = "web"
token_file = "bao.token"
ca_file = "/etc/ssl/own.pem"
max_days = 90
key_types = ["RSA", "P-256"]

[profiles.tls-server]
title = "TLS server"
cas = ["bao", "embedded"]
fail_over = true

[profiles.mutual]
title = "TLS, both sides"
version = 3
cas = ["embedded"]
usages = ["client", "server"]
common_name = false
subject = "DV"
ip_addresses = true
key_types = ["RSA"]
rsa_min_bits = 3072
organisations = ["example-university"]
"""


def read(folder: Path, text: str) -> CasFile:
    path = folder / "cas.toml"
    path.write_text(text, encoding="utf-8")
    return read_cas(path)


def test_a_file_is_taken_as_it_says(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert found.settings["bao"] == {
        "kind": "openbao",
        "title": "Our OpenBao",
        "address": "https://bao.example.ac.uk:8200",
        "role": "web",
        "token_file": tmp_path / "bao.token",  # beside the file that names it
        "ca_file": Path("/etc/ssl/own.pem"),
    }
    assert found.limits == {"bao": CaLimits(max_days=90, key_types=(KeyType.RSA, KeyType.P256))}
    usual, mutual = found.profiles["tls-server"], found.profiles["mutual"]
    assert usual.fail_over
    same = replace(usual, cas=None, fail_over=False)
    assert same == BUILT_IN["tls-server"]
    assert usual.cas == ("bao", "embedded")
    assert mutual.version == 3
    assert mutual.is_for("example-university")
    assert not mutual.is_for("other-college")
    assert mutual.within(Rules()).key_types == (KeyType.RSA,)
    assert mutual.within(Rules(rsa_min_bits=4096)).rsa_min_bits == 4096
    assert mutual.within(Rules()).rsa_min_bits == 3072


def test_without_profiles_the_two_built_in_stay(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD.partition("[profiles")[0]).profiles == BUILT_IN
    assert read(tmp_path, "") == CasFile()


WRONG = {
    "a CA that is no section": ("[cas]\nbao = 3", r"\[cas\.bao\]: It has to be a section"),
    "CAs that are no sections": ("cas = 3", r"\[cas\]: It has to be a section"),
    "a title that can't be stored": (
        '[profiles.tls-server]\ntitle = "TLS\\u0000"\ncas = ["embedded"]',
        r"line 2, \[profiles\.tls-server\] title: Write it in one line",
    ),
    "no TOML": ("[cas", "can't be read"),
    "a section": (GOOD + "[profile.x]\n", r"profile: There is no such section. Do you mean profiles\?"),
    "a key": (GOOD + "common_nam = true\n", r"line 28, \[profiles.mutual\] common_nam: .* common_name\?"),
    "a type": (GOOD.replace("version = 3", "version = '3'"), r"\[profiles.mutual\] version: .*integer"),
    "a choice": (GOOD.replace('"DV"', '"EV"'), r"line 23, \[profiles.mutual\] subject: .*'OV' or 'DV'"),
    "no kind": (GOOD.replace('kind = "openbao"\n', ""), r"line 2, \[cas.bao\] kind: It has to be set"),
    "no title": (GOOD.replace('title = "TLS server"\n', ""), r"\[profiles.tls-server\] title: It has"),
    "no CAs": (GOOD.replace('["bao", "embedded"]', "[]"), r"\[profiles.tls-server\] cas: .*at least 1"),
    "no such CA": (GOOD.replace('["bao", "embedded"]', '["boa"]'), r"“boa”: .* Do you mean bao\?"),
    "a kind of key": (GOOD.replace('["RSA"]', '["DSA"]'), r"\[profiles.mutual\] key_types.0: "),
    "too many bits": (GOOD.replace("3072", "9000"), r"\[profiles.mutual\] rsa_min_bits: "),
    "bits that no key has": (GOOD + "rsa_max_bits = 2048\n", r"\[profiles.mutual\] rsa_min_bits: .*above"),
    "too long": (GOOD.replace("fail_over = true", "max_days = 0"), r"\[profiles.tls-server\] max_days: "),
    "a name that is taken": (GOOD.replace("cas.bao", "cas.embedded"), r"\[cas.embedded\]: Choose another"),
    "a public CA for ML-DSA": (
        GOOD.replace('key_types = ["RSA", "P-256"]', 'public = true\nkey_types = ["P-256", "ML-DSA-65"]'),
        r"\[cas.bao\] key_types: No public CA certifies ML-DSA-65",
    ),
    "a profile of public CAs for ML-DSA": (
        GOOD.replace("max_days", "public = true\nmax_days")
        .replace('cas = ["embedded"]', 'cas = ["embedded", "bao"]')
        .replace('key_types = ["RSA"]', 'key_types = ["ML-DSA-44"]'),
        r"\[profiles.mutual\] key_types: “bao” is public",
    ),
    "our own kind": (GOOD.replace('"openbao"', '"scripted"'), r"\[cas.bao\] kind: The service sets up"),
    "an odd name": (GOOD.replace("profiles.mutual", 'profiles."a b"'), r"\[profiles.a b\]: Choose another"),
    "no usual profile": (GOOD.replace("tls-server", "tls"), r"\[profiles\]: Add \[profiles.tls-server\]"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, what: str) -> None:
    text, told = WRONG[what]
    with pytest.raises(Misconfigured, match=told) as refused:
        read(tmp_path, text)
    assert str(tmp_path / "cas.toml") in refused.value.detail


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"max_days.*; .*rsa_min_bits"):
        read(tmp_path, GOOD.replace("fail_over = true", "max_days = 0").replace("3072", "1"))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedBackend:
    folder = tmp_path_factory.mktemp("ca")
    config = EmbeddedConfig(directory=folder / "ca", root_directory=folder / "root", passphrase=b"words")
    create_authority(config, NOW, may_create=lambda: True)
    return EmbeddedBackend(config)


USAGES = {
    "server": ["SERVER_AUTH"],
    "client": ["CLIENT_AUTH"],
    "server, client": ["SERVER_AUTH", "CLIENT_AUTH"],
}


@pytest.mark.parametrize("usages, common_name, subject", list(product(USAGES, (True, False), ("OV", "DV"))))
@pytest.mark.parametrize("algorithm", ["rsa", "ec"])
def test_certificates_are_what_the_profile_says(
    tmp_path: Path, embedded: EmbeddedBackend, algorithm: str, usages: str, *, common_name: bool, subject: str
) -> None:
    text = f"""
        [profiles.tls-server]
        title = "Another"
        cas = ["embedded"]
        usages = {usages.split(", ")}
        common_name = {str(common_name).lower()}
        subject = "{subject}"
        max_days = 30
    """
    profile = read(tmp_path, text).profiles["tls-server"]
    key = (
        rsa.generate_private_key(65537, 2048)
        if algorithm == "rsa"
        else ec.generate_private_key(ec.SECP256R1())
    )
    begins, ends = certificate_validity(profile, duration_years=1, term_ends_at=None, now=NOW)
    usual = server_intent(now=NOW, key=key.public_key())
    distinguished = subject_under(profile, names=usual.names, organisation="Example University", country="GB")
    intent = replace(usual, profile=profile, subject=distinguished, not_before=begins, not_after=ends)
    intent = embedded.prepare(intent)
    issued = embedded.submit(intent)
    assert isinstance(issued, Issued)
    assert [check.verdict for check in compare(issued, intent)] == [Verdict.PASS]

    leaf = x509.load_der_x509_certificate(issued.chain[0])
    found = [one._name for one in leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value]
    assert found == [
        {"SERVER_AUTH": "serverAuth", "CLIENT_AUTH": "clientAuth"}[one] for one in USAGES[usages]
    ]
    for file, der in zip(("leaf", "issuing", "root"), issued.chain, strict=True):
        (tmp_path / file).write_bytes(to_pem(der))
    for usage in USAGES[usages]:  # those of the CAs above count too
        purpose = {"SERVER_AUTH": "sslserver", "CLIENT_AUTH": "sslclient"}[usage]
        command = [
            "openssl",
            "verify",
            "-purpose",
            purpose,
            "-CAfile",
            "root",
            "-untrusted",
            "issuing",
            "leaf",
        ]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    key_usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert key_usage.key_encipherment is (algorithm == "rsa" and "server" in usages)
    names = [one.rfc4514_attribute_name for one in leaf.subject]
    assert names == (["C", "O"] if subject == "OV" else []) + (["CN"] if common_name else [])
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical is (not names)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=30, seconds=-1)
    # And what another profile would say is noticed.
    other = replace(intent, profile=BUILT_IN["tls-server"])
    assert (compare(issued, other)[0].verdict is Verdict.PASS) is (usages == "server")


@pytest.mark.parametrize(
    "limits, days, curve, told",
    [
        (CaLimits(), 3650, ec.SECP521R1(), ""),
        (CaLimits(max_days=90), 90, ec.SECP256R1(), ""),
        (CaLimits(max_days=90), 91, ec.SECP256R1(), "longer than 90 days"),
        (CaLimits(key_types=(KeyType.P256,)), 90, ec.SECP256R1(), ""),
        (CaLimits(key_types=(KeyType.P256,)), 90, ec.SECP384R1(), "P-256"),
        (CaLimits(key_types=(KeyType.P256,)), 90, None, "P-256"),
        (CaLimits(key_types=(KeyType.RSA,)), 90, None, ""),
    ],
)
def test_a_ca_is_not_asked_beyond_its_limits(
    limits: CaLimits, days: int, curve: ec.EllipticCurve | None, told: str
) -> None:
    key = rsa.generate_private_key(65537, 2048) if curve is None else ec.generate_private_key(curve)
    usual = server_intent(now=NOW, key=key.public_key())
    ends = usual.not_before + timedelta(days=days, seconds=-1)
    objection = limits.objection(replace(usual, not_after=ends))
    assert told in objection
    assert bool(objection) is bool(told)
