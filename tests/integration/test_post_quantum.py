"""Keys of ML-DSA (RFC 9881): certified by a private CA where policy, profile and CA say so."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority
from certdesk.backends.embedded.ceremony import install, make_request, sign_request
from certdesk.conf.cas import read_cas
from certdesk.domain.errors import BadCsr, PolicyRefused
from certdesk.domain.issuing.cas import CaLimits
from certdesk.domain.issuing.profiles import BUILT_IN
from certdesk.domain.issuing.states import Status
from certdesk.domain.policy.file import read_policy
from certdesk.domain.policy.in_force import USUAL_KEY_TYPES, KeyType
from certdesk.services.requests.confirm import submit_request
from certdesk.services.system import runtime
from certdesk.store.models import Certificate, Issuance, Request
from tests.harness.acme_client import AcmeClient
from tests.integration import support
from tests.integration.acme_support import AcmeWorld
from tests.integration.support import Clock, World, configured

pytestmark = pytest.mark.django_db(transaction=True)

KINDS: dict[KeyType, type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey]] = {
    KeyType.ML_DSA_44: mldsa.MLDSA44PrivateKey,
    KeyType.ML_DSA_65: mldsa.MLDSA65PrivateKey,
}
USUAL = BUILT_IN["tls-server"]


def csr(kind: KeyType) -> bytes:
    key = KINDS[kind].generate()
    names = x509.SubjectAlternativeName([x509.DNSName("www.example.ac.uk")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.add_extension(names, critical=False).sign(key, None).public_bytes(Encoding.PEM)


def asked(w: World, upload: bytes) -> Request:
    sent = support.submission(w.university, upload=upload)
    made = submit_request(actor=w.alice, submission=sent, channel="portal", clock=Clock())
    return Request.objects.get(id=made.number)


def allowed(*, policy: bool = True, profile: bool = True) -> dict[str, object]:
    kinds = tuple(KINDS) if profile else USUAL_KEY_TYPES
    text = 'version = "1"\n[default]\nkey_types = ["P-256", "ML-DSA-44", "ML-DSA-65"]\n' if policy else ""
    own = {"policy": read_policy(text, profiles=["tls-server"])} if text else {}
    return {"profiles": {"tls-server": replace(USUAL, key_types=kinds)}, **own}


@pytest.mark.parametrize("kind", KINDS)
def test_where_all_say_so_it_is_certified(w: World, kind: KeyType) -> None:
    with configured(**allowed()):
        row = asked(w, csr(kind))
    assert row.status == Status.ISSUED
    leaf = x509.load_der_x509_certificate(bytes(Certificate.objects.get().der))
    assert type(leaf.public_key()).__name__ == type(KINDS[kind].generate().public_key()).__name__


def test_it_is_off_until_policy_and_profile_and_ca_allow_it(w: World) -> None:
    upload = csr(KeyType.ML_DSA_65)
    for which in ({}, allowed(policy=False), allowed(profile=False)):
        with configured(**which), pytest.raises(PolicyRefused, match="ML-DSA-65 are not accepted"):
            asked(w, upload)
    of_a_file = CaLimits(key_types=USUAL_KEY_TYPES)
    only_that = replace(USUAL, key_types=tuple(KINDS), cas=("public",))
    with (
        configured(
            **allowed()
            | {
                "profiles": {"tls-server": only_that},
                "backends": {**runtime.current().backends, "public": runtime.current().backends["embedded"]},
                "limits": {"public": of_a_file},
            }
        ),
        pytest.raises(PolicyRefused, match="kinds of keys alone"),
    ):
        asked(w, upload)
    assert not Request.objects.exists()


def test_a_ca_and_a_profile_in_a_file_have_to_name_it(tmp_path: Path) -> None:
    """A public CA, which could not certify it, is never asked by mistake."""
    text = '[cas.public]\nkind = "openbao"\n[profiles.tls-server]\ntitle = "TLS"\ncas = ["public"]\n'
    (tmp_path / "cas.toml").write_text(text)
    read = read_cas(tmp_path / "cas.toml")
    assert read.limits["public"].key_types == read.profiles["tls-server"].key_types == USUAL_KEY_TYPES


def test_a_ca_with_such_a_key_certifies_such_a_key(w: World, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    own = EmbeddedConfig(directory=tmp_path / "ca", root_directory=tmp_path / "root", passphrase=b"words")
    create_authority(own, now, may_create=lambda: True)
    config = EmbeddedConfig(
        directory=tmp_path / "pq", passphrase=b"words", name="Quantum", slug="quantum", key="ML-DSA-65"
    )
    asked_for = make_request(config).pem.encode()
    root = tmp_path / "root"
    done = sign_request(asked_for, root_directory=root, passphrase=b"words", years=9, now=now)
    install(config, done.pem.encode(), now=now)
    only_that = replace(USUAL, key_types=tuple(KINDS), cas=("quantum",))
    settings = allowed() | {
        "profiles": {"tls-server": only_that},
        "backends": {**runtime.current().backends, "quantum": EmbeddedBackend(config)},
    }
    with configured(**settings):
        row = asked(w, csr(KeyType.ML_DSA_65))
    assert row.status == Status.ISSUED
    leaf = x509.load_der_x509_certificate(bytes(Certificate.objects.get().der))
    assert leaf.signature_algorithm_oid.dotted_string == "2.16.840.1.101.3.4.3.18"
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificates(done.pem.encode())[0])


def test_an_acme_order_takes_it_where_all_say_so(here: AcmeWorld, one: AcmeClient) -> None:
    upload = x509.load_pem_x509_csr(csr(KeyType.ML_DSA_44)).public_bytes(Encoding.DER)
    refused = one.finalize(one.order("www.example.ac.uk").json, upload)
    assert (refused.status, refused.json["type"]) == (400, "urn:ietf:params:acme:error:badCSR")
    assert "ML-DSA-44 are not accepted" in refused.json["detail"]
    with configured(**allowed()):
        done = one.finalize(one.order("www.example.ac.uk").json, upload)
    assert done.json["status"] == "valid"
    assert Issuance.objects.get().key == "ML-DSA-44"


def test_a_private_key_that_comes_with_it_is_blocked_and_not_kept(w: World) -> None:
    key = mldsa.MLDSA65PrivateKey.generate()
    names = x509.SubjectAlternativeName([x509.DNSName("www.example.ac.uk")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    upload = builder.add_extension(names, critical=False).sign(key, None).public_bytes(Encoding.PEM)
    pasted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with configured(**allowed()):
        with pytest.raises(BadCsr, match="private key"):
            asked(w, pasted + upload)
        with pytest.raises(PolicyRefused, match="compromised"):
            asked(w, upload)
    assert not Request.objects.exists()
