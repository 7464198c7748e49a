"""What each of the thin clients does in a way of its own."""

import base64
import ssl
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certdesk.backends.adcs import AdcsBackend
from certdesk.backends.conformance import issued
from certdesk.backends.harica import HaricaBackend, HaricaConfig
from certdesk.backends.harica.session import _life
from certdesk.backends.http.config import read_config
from certdesk.backends.sectigo import backend as sectigo_backend
from certdesk.domain.errors import BackendRefused, Misconfigured, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Absent, Accepted, Intent, Issued
from tests.harness.vendors.adcs import Adcs, ntlm_users
from tests.harness.vendors.digicert import DigiCert
from tests.harness.vendors.harica import Harica
from tests.harness.vendors.sectigo import Sectigo
from tests.harness.vendors.stand_in import Fault
from tests.integration.support import Clock
from tests.integration.vendors_support import Vendor, find, intent_for, vendor


@pytest.fixture
def digicert(tmp_path: Path) -> Iterator[tuple[DigiCert, Vendor]]:
    with vendor("digicert", tmp_path) as one:
        assert isinstance(one.server, DigiCert)
        yield one.server, one


@pytest.fixture
def sectigo(tmp_path: Path) -> Iterator[tuple[Sectigo, Vendor]]:
    with vendor("sectigo", tmp_path) as one:
        assert isinstance(one.server, Sectigo)
        yield one.server, one


@pytest.fixture
def harica(tmp_path: Path) -> Iterator[tuple[Harica, Vendor]]:
    with vendor("harica", tmp_path) as one:
        assert isinstance(one.server, Harica)
        yield one.server, one


@pytest.fixture
def adcs(tmp_path: Path) -> Iterator[tuple[Adcs, Vendor]]:
    with vendor("adcs", tmp_path) as one:
        assert isinstance(one.server, Adcs)
        yield one.server, one


def just_now() -> Intent:
    return intent_for(age=timedelta(0))


class TestDigiCert:
    def test_a_revocation_is_requested_once_and_reported_when_it_is_granted(
        self, digicert: tuple[DigiCert, Vendor]
    ) -> None:
        server, one = digicert
        backend = one.backend(skip_approval=False)
        leaf = issued(backend, intent_for()).chain[0]
        for _again in range(3):
            with pytest.raises(OutcomeUnknown, match="administrator of vendor has to approve"):
                backend.revoke(certificate_der=leaf, reason="superseded")
        assert len(server.paths("PUT")) == 1
        server.orders[0].status = "revoked"
        backend.revoke(certificate_der=leaf, reason="superseded")

    def test_a_revocation_that_was_rejected_is_not_requested_again(
        self, digicert: tuple[DigiCert, Vendor]
    ) -> None:
        server, one = digicert
        backend = one.backend(skip_approval=False)
        leaf = issued(backend, intent_for()).chain[0]
        with pytest.raises(OutcomeUnknown):
            backend.revoke(certificate_der=leaf, reason="superseded")
        server.rejects = True
        with pytest.raises(BackendRefused, match="rejected the revocation"):
            backend.revoke(certificate_der=leaf, reason="superseded")
        assert len(server.paths("PUT")) == 1

    def test_of_several_orders_with_our_key_the_first_that_lives_counts(
        self, digicert: tuple[DigiCert, Vendor]
    ) -> None:
        server, one = digicert
        backend, intent = one.backend(), intent_for()
        server.approves = False
        for _order in range(3):
            server.take(
                key=intent.idempotency_key,
                csr=x509.load_der_x509_csr(intent.csr_der).public_bytes(Encoding.PEM),
                names=list(intent.names),
                days=100,
                status="pending",
            )
        server.orders[0].status = "canceled"
        assert backend.submit(intent) == Accepted(handle=str(server.orders[1].number))

    def test_an_organization_that_is_not_there_is_told(self, digicert: tuple[DigiCert, Vendor]) -> None:
        _server, one = digicert
        codes = {check.code: check.verdict for check in one.backend(organization_id=7).check()}
        assert codes == {"backend.misconfigured": Verdict.REFUSE}

    def test_an_intent_that_ends_today_is_refused(self, digicert: tuple[DigiCert, Vendor]) -> None:
        server, one = digicert
        short = replace(intent_for(), not_after=datetime.now(UTC) + timedelta(hours=20))
        with pytest.raises(BackendRefused, match="whole days"):
            one.backend().submit(short)
        assert not server.orders


class TestSectigo:
    def test_the_longest_term_that_ends_in_time_is_asked_for(self, sectigo: tuple[Sectigo, Vendor]) -> None:
        server, one = sectigo
        backend = one.backend()
        for days, term in ((364, 199), (200, 199), (199, 30)):
            intent = replace(intent_for(), not_after=datetime.now(UTC) + timedelta(days=days, minutes=5))
            leaf = issued(backend, intent).chain[0]
            assert server.orders[-1].asked["days"] == term
            assert x509.load_der_x509_certificate(leaf).not_valid_after_utc <= intent.not_after
        intent = replace(intent_for(), not_after=datetime.now(UTC) + timedelta(days=30))
        with pytest.raises(BackendRefused, match="shortest term is 30 days, and 28 are left"):
            backend.submit(intent)

    def test_ours_is_found_on_a_later_page(
        self, sectigo: tuple[Sectigo, Vendor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sectigo_backend, "_PAGE", 2)
        _server, one = sectigo
        backend = one.backend()
        intents = [intent_for() for _ in range(5)]
        handles = [backend.submit(intent) for intent in intents]
        assert len(set(map(str, handles))) == 5
        again = find(backend, intents[4])
        assert isinstance(again, Issued)
        assert find(backend, intent_for()) == Absent()

    @pytest.mark.parametrize("code", [-2, -129])
    def test_an_error_inside_may_have_ordered_it(self, sectigo: tuple[Sectigo, Vendor], code: int) -> None:
        server, one = sectigo
        server.refuses = (code, "Internal error. Please contact Support for details.")
        server.faults["/enroll"].append(Fault.REFUSED)
        with pytest.raises(OutcomeUnknown, match="Internal error"):
            one.backend().submit(intent_for())

    def test_what_cannot_be_collected_yet_is_waited_for(self, sectigo: tuple[Sectigo, Vendor]) -> None:
        server, one = sectigo
        server.collectable = False
        backend, intent = one.backend(), intent_for()
        accepted = backend.submit(intent)
        assert isinstance(accepted, Accepted)
        assert backend.poll(intent, accepted.handle) == accepted
        server.collectable = True
        assert isinstance(backend.poll(intent, accepted.handle), Issued)

    @pytest.mark.parametrize(
        "reason, code", [("keyCompromise", 1), ("superseded", 4), ("privilegeWithdrawn", 0)]
    )
    def test_a_reason_goes_as_a_code_and_in_words(
        self, sectigo: tuple[Sectigo, Vendor], reason: str, code: int
    ) -> None:
        server, one = sectigo
        backend = one.backend()
        leaf = issued(backend, intent_for()).chain[0]
        backend.revoke(certificate_der=leaf, reason=reason)
        assert server.orders[0].asked["reasonCode"] == code
        assert reason in str(server.orders[0].asked["reason"])

    @pytest.mark.parametrize(
        "changes, told",
        [({"profile_id": 7}, "no certificate profile 7"), ({"terms": [30, 90]}, "of 90 days")],
    )
    def test_a_profile_that_does_not_fit_is_told(
        self, sectigo: tuple[Sectigo, Vendor], changes: dict[str, object], told: str
    ) -> None:
        _server, one = sectigo
        check = one.backend(**changes).check()[0]
        assert (check.code, check.verdict) == ("backend.profile", Verdict.REFUSE)
        assert told in check.message


class TestHarica:
    def test_one_sign_in_serves_until_it_ends(self, harica: tuple[Harica, Vendor]) -> None:
        server, one = harica
        backend = one.backend()
        issued(backend, intent_for())
        issued(backend, intent_for())
        assert server.sign_ins == 1
        server.jwt = "ended"
        assert isinstance(backend.submit(intent_for()), Accepted)
        assert server.sign_ins == 2

    def test_a_code_that_was_used_up_is_tried_once_more_soon_and_then_seldom(
        self, harica: tuple[Harica, Vendor]
    ) -> None:
        """Another worker may have signed in with the code of this half minute."""
        server, one = harica
        Path(str(one.settings["totp_file"])).write_text("JBSWY3DPEHPK3PXP" * 3, encoding="utf-8")
        clock = Clock()
        config = read_config(HaricaConfig, name="vendor", settings=one.settings)
        backend = HaricaBackend(config, clock=clock)
        for seconds, sign_ins in ((0, 1), (20, 1), (20, 2), (60, 2), (500, 2), (200, 3)):
            clock.forward(timedelta(seconds=seconds))
            assert backend.check()[0].code == "backend.misconfigured"
            assert server.sign_ins == sign_ins

    def test_a_request_that_may_be_ours_is_not_made_again(self, harica: tuple[Harica, Vendor]) -> None:
        """Should HARICA not keep what we call a request, nobody can tell whose it is."""
        server, one = harica
        server.keeps_names = False
        server.faults["RequestServerCertificate"].append(Fault.LOST)
        backend, intent = one.backend(), intent_for()
        with pytest.raises(OutcomeUnknown):
            backend.submit(intent)
        with pytest.raises(OutcomeUnknown, match="may be ours"):
            backend.submit(intent)
        with pytest.raises(OutcomeUnknown, match="may be ours"):
            find(backend, intent)
        assert isinstance(backend.submit(just_now()), Accepted), "of what was just claimed nothing was sent"

    @pytest.mark.parametrize(
        "reason, name",
        [("keyCompromise", "4.9.1.1.1.3"), ("superseded", "4.9.1.1.1.9"), ("unspecified", "4.9.1.1.1.1")],
    )
    def test_reasons_have_haricas_names(self, harica: tuple[Harica, Vendor], reason: str, name: str) -> None:
        server, one = harica
        backend = one.backend()
        backend.revoke(certificate_der=issued(backend, intent_for()).chain[0], reason=reason)
        assert server.orders[0].asked["reason"] == name

    def test_a_revocation_that_is_only_requested_is_not_reported_as_done(
        self, harica: tuple[Harica, Vendor]
    ) -> None:
        server, one = harica
        server.revokes = False
        backend = one.backend()
        leaf = issued(backend, intent_for()).chain[0]
        with pytest.raises(OutcomeUnknown, match="has not done it yet"):
            backend.revoke(certificate_der=leaf, reason="superseded")

    @pytest.mark.parametrize("organizations", [[], [{"id": "a"}, {"id": "b"}]])
    def test_names_have_to_belong_to_one_organization(
        self, harica: tuple[Harica, Vendor], organizations: list[dict[str, str]]
    ) -> None:
        server, one = harica
        server.organizations = organizations
        with pytest.raises(BackendRefused, match="organization"):
            one.backend().submit(intent_for())
        assert not server.orders


class TestAdcs:
    @pytest.mark.parametrize(
        "in_csr", [(), ("www.example.org",), ("www.example.ac.uk", "more.example.ac.uk")]
    )
    def test_a_csr_for_other_names_is_not_sent(
        self, adcs: tuple[Adcs, Vendor], in_csr: tuple[str, ...]
    ) -> None:
        server, one = adcs
        with pytest.raises(BackendRefused, match="names from the CSR"):
            one.backend().submit(intent_for(age=timedelta(0), in_csr=in_csr))
        assert not server.seen

    def test_no_template_is_a_refusal_with_the_reason(self, adcs: tuple[Adcs, Vendor]) -> None:
        _server, one = adcs
        with pytest.raises(BackendRefused, match="0x80094800, The request was for a certificate template"):
            one.backend(template="Other").submit(just_now())

    @pytest.mark.parametrize("scheme", ["ntlm", "negotiate"])
    def test_a_sign_in_is_bound_to_the_connection(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        monkeypatch.setenv("NTLM_USER_FILE", ntlm_users(tmp_path))
        with vendor("adcs", tmp_path) as one:
            server, settings = _with_tls(one, tmp_path)
            server.scheme = scheme
            backend = AdcsBackend.from_settings(name="ad", settings={**settings, "authentication": scheme})
            assert isinstance(issued(backend, just_now()), Issued)
            server.binding = b"of another connection, as where somebody relays"
            with pytest.raises(Unavailable, match="credentials"):
                backend.submit(just_now())
            server.binding = b""
            Path(str(settings["password_file"])).write_text("wrong", encoding="utf-8")
            with pytest.raises(Unavailable, match="credentials"):
                backend.submit(just_now())

    @pytest.mark.parametrize("token", ["not base 64 !", "TlRMTVNTUAACAAAA", "AAAA"])
    def test_a_handshake_that_makes_no_sense_leaves_nothing_unknown(
        self, adcs: tuple[Adcs, Vendor], token: str
    ) -> None:
        server, one = adcs
        server.scheme, server.nonsense = "ntlm", token
        with pytest.raises(Unavailable):
            one.backend(authentication="ntlm").submit(just_now())
        assert "/certsrv/certfnsh.asp" not in server.paths("POST")

    def test_a_server_of_another_ca_is_not_talked_to(self, tmp_path: Path) -> None:
        with vendor("adcs", tmp_path) as one:
            server, settings = _with_tls(one, tmp_path)
            trusting_others = {**settings, "ca_file": tmp_path / "other.pem"}
            (tmp_path / "other.pem").write_bytes(server.chain_pem)
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                AdcsBackend.from_settings(name="ad", settings=trusting_others).submit(just_now())
            assert not server.seen

    @pytest.mark.parametrize("authentication", ["ntlm", "negotiate"])
    def test_what_has_to_be_installed_is_named(
        self, adcs: tuple[Adcs, Vendor], monkeypatch: pytest.MonkeyPatch, authentication: str
    ) -> None:
        monkeypatch.setitem(sys.modules, "spnego", None)
        _server, one = adcs
        with pytest.raises(Misconfigured, match=r"pip install 'certdesk\[adcs\]'"):
            one.backend(authentication=authentication)


def _with_tls(one: Vendor, folder: Path) -> tuple[Adcs, dict[str, object]]:
    """The same stand-in over TLS, with a certificate that its settings trust."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca.example.ac.uk")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "tls.pem"
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = one.server
    assert isinstance(server, Adcs)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.binding = certificate.public_bytes(Encoding.DER)
    address = server.address.replace("http:", "https:")
    return server, {**one.settings, "address": address, "ca_file": path}


@pytest.mark.parametrize("ends", ["9" * 400, "[" * 5000 + "]" * 5000, "null", '"soon"'])
def test_a_jwt_whose_end_makes_no_sense_is_used_for_a_while(ends: str) -> None:
    payload = base64.urlsafe_b64encode(f'{{"exp": {ends}}}'.encode()).decode().rstrip("=")
    assert 0 < _life(f"e30.{payload}.", 0.0) < 3600
