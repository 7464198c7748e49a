"""A real OpenBao behind a proxy that spoils answers: nothing is lost, issued twice, or handed out wrongly."""

import logging
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certdesk.backends.openbao import OpenBaoBackend
from certdesk.domain.errors import BackendRefused, Misconfigured, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import Absent, Intent, Issued, certificate_facts, compare
from certdesk.domain.issuing.profiles import BUILT_IN
from certdesk.domain.issuing.states import Status, Work
from certdesk.services.requests.confirm import submit_request
from certdesk.services.revocation.revoke import drive_revocation, due_revocations
from certdesk.store.models import Certificate, Request
from tests.harness.faulty_proxy import Fault, FaultyProxy
from tests.harness.openbao import OpenBao, openbao_server
from tests.harness.served import answering
from tests.harness.waiting import wait_until
from tests.integration import support
from tests.integration.openbao_support import POLICY, intent_for, settings_for
from tests.integration.support import Clock, World, configured, issuance_of, world

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ("www.example.ac.uk", "mail.example.ac.uk")
#: What happens after the server has acted; it is for `find` to tell.
AFTER = (
    Fault.LOST_ANSWER,
    Fault.SILENCE,
    Fault.GARBAGE,
    Fault.NO_CERTIFICATE,
    Fault.HUGE,
    Fault.ERROR_AFTER,
)
SIGN = "/sign/"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with openbao_server(tmp_path_factory.mktemp("bao") / "server") as server:
        server.make_pki()
        server.role("web")
        yield server


@dataclass(slots=True)
class Place:
    """A back end that reaches the server through the proxy; `made` are the certificates since the start."""

    bao: OpenBao
    proxy: FaultyProxy
    folder: Path
    before: set[str]
    clock: Clock = field(default_factory=lambda: Clock(now=datetime.now(UTC)))

    def backend(self, **changes: object) -> OpenBaoBackend:
        """One that was just started: it remembers nothing of what another has sent."""
        given = {"address": self.proxy.address, "total_seconds": 2, "connect_seconds": 1, **changes}
        own = settings_for(self.bao, self.folder, **given)
        del own["kind"]
        backend = OpenBaoBackend.from_settings(name="bao", settings=own)
        backend._clock = self.clock
        return backend

    def made(self) -> set[str]:
        return {serial.replace(":", "").lstrip("0") for serial in self.bao.issued() - self.before}

    def signs(self) -> int:
        """How often the server was asked to sign."""
        return sum(SIGN in line for line in self.proxy.passed)


@pytest.fixture
def place(bao: OpenBao, tmp_path: Path) -> Iterator[Place]:
    with answering(FaultyProxy(bao.port)) as proxy:
        yield Place(bao, proxy, tmp_path, bao.issued())


@pytest.fixture
def w(place: Place) -> World:
    del place  # which knows what the server had before
    return world()


def asked(w: World, place: Place, backend: OpenBaoBackend, *, upload: bytes | None = None) -> Request:
    """A request for NAMES, taken as far as it goes while the applicant waits."""
    sent = support.submission(w.university, *NAMES, upload=upload)
    with configured(backends={"bao": backend}, default_backend="bao"):
        made = submit_request(actor=w.alice, submission=sent, channel="portal", clock=place.clock)
    return Request.objects.get(id=made.number)


def driven(row: Request, place: Place, backend: OpenBaoBackend, *, later: timedelta) -> Status:
    """The status after the worker has looked at it, some time later."""
    place.clock.forward(later)
    with configured(backends={"bao": backend}, default_backend="bao"):
        support.drive(row.pk, clock=place.clock)
    return support.state_of(row.pk)


def test_a_request_is_issued_while_the_applicant_waits_by_one_call(w: World, place: Place) -> None:
    row = asked(w, place, place.backend())
    assert row.status == Status.ISSUED
    certificate = Certificate.objects.get()
    assert place.made() == {certificate.serial}
    assert certificate_facts(bytes(certificate.der)).names == NAMES
    # The CA's certificate is read once; nothing is listed for what was claimed just now.
    assert [line.split("?")[0] for line in place.proxy.seen] == [
        "GET /v1/pki/issuer/default/json",
        "POST /v1/pki/sign/web",
    ]


@pytest.mark.parametrize("fault", AFTER)
@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_was_signed_and_not_answered_is_found_and_signed_once(
    w: World, place: Place, fault: Fault, *, is_restarted: bool
) -> None:
    backend = place.backend()
    place.proxy.spoil(SIGN, fault)
    row = asked(w, place, backend)
    assert issuance_of(row.pk).state == Work.CLAIMED
    assert "don't know the outcome" in row.detail
    after = place.backend() if is_restarted else backend
    assert driven(row, place, after, later=timedelta(seconds=20)) == Status.ISSUED
    assert place.made() == {Certificate.objects.get().serial}
    assert place.signs() == 1


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_server_that_takes_its_time_is_not_asked_twice(
    w: World, place: Place, *, is_restarted: bool
) -> None:
    backend = place.backend()
    place.proxy.spoil(SIGN, Fault.HELD)
    row = asked(w, place, backend)
    after = place.backend() if is_restarted else backend
    for seconds in (20, 30):  # it may still be at work
        assert driven(row, place, after, later=timedelta(seconds=seconds)) == Status.ACCEPTED
    assert not place.made()
    place.proxy.release.set()
    wait_until(place.made, what="the server to sign")
    assert driven(row, place, after, later=timedelta(minutes=2)) == Status.ISSUED
    assert place.made() == {Certificate.objects.get().serial}
    assert sum(SIGN in line for line in place.proxy.seen) == 1


def test_what_never_reached_the_server_is_sent_again_once_it_can_no_longer_be_at_work(
    w: World, place: Place
) -> None:
    """Nobody knows whether it did, so it is looked up for a while; as after a crash before the call."""
    place.proxy.spoil(SIGN, Fault.DROPPED)
    row = asked(w, place, place.backend())
    restarted = place.backend()
    assert driven(row, place, restarted, later=timedelta(seconds=20)) == Status.ACCEPTED
    assert place.signs() == 0
    assert driven(row, place, restarted, later=timedelta(minutes=3)) == Status.ISSUED
    assert place.signs() == 1


def test_looking_and_sending_again_take_no_longer_than_one_answer_may(place: Place) -> None:
    """Else another process would take the claim over in the middle, and see that nothing is there yet."""
    backend = place.backend(settle_seconds=0)
    intent = intent_for(NAMES, now=place.clock() - timedelta(minutes=3))
    assert backend.find(intent) == Absent()
    backend._unsent[intent.idempotency_key] -= 1.5  # as if that had taken so long
    place.proxy.spoil(SIGN, Fault.HELD)
    begun = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        backend.submit(intent)
    assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.REDIRECT])
def test_what_the_server_did_not_take_is_tried_again_later(w: World, place: Place, fault: Fault) -> None:
    backend = place.backend()
    place.proxy.spoil(SIGN, fault, fault)
    row = asked(w, place, backend)
    assert issuance_of(row.pk).state == Work.WAITING
    assert driven(row, place, backend, later=timedelta(seconds=20)) == Status.ACCEPTED
    assert driven(row, place, backend, later=timedelta(seconds=60)) == Status.ISSUED
    assert place.made() == {Certificate.objects.get().serial}


def test_a_server_that_is_sealed_stopped_and_started_again(w: World, place: Place, tmp_path: Path) -> None:
    with openbao_server(tmp_path / "own") as own:
        own.make_pki()
        own.role("web")
        backend = place.backend(address=own.address)
        place.bao, place.before = own, own.issued()
        (tmp_path / "token").write_text(own.token, encoding="utf-8")
        first = asked(w, place, backend)
        assert first.status == Status.ISSUED
        own.seal()
        assert [check.code for check in backend.check()] == ["backend.sealed"]
        row = asked(w, place, backend)
        assert issuance_of(row.pk).state == Work.WAITING
        assert "sealed" in row.detail
        own.stop()
        assert [check.code for check in backend.check()] == ["backend.unreachable"]
        assert backend.chain(), "what was read before is still known"
        assert place.backend(address=own.address).chain() == ()
        assert driven(row, place, backend, later=timedelta(seconds=20)) == Status.ACCEPTED
        own.start()
        assert driven(row, place, backend, later=timedelta(minutes=1)) == Status.ISSUED
        assert place.made() == {one.serial for one in Certificate.objects.all()}
        (first_certificate,) = Certificate.objects.filter(request=first)
        backend.revoke(certificate_der=bytes(first_certificate.der), reason="superseded")


def test_a_role_that_does_not_allow_the_name_refuses_and_says_so(w: World, place: Place) -> None:
    role = place.bao.role("narrow", allowed_domains="elsewhere.ac.uk")
    row = asked(w, place, place.backend(role=role))
    assert row.status == Status.REJECTED_BY_CA
    assert "not allowed by this role" in row.detail
    assert not place.made()


def _csr_by_common_name(name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)


def test_a_certificate_without_the_names_is_withheld_and_revoked(w: World, place: Place) -> None:
    """A role with use_csr_sans=true and a CSR that has its name in the subject: OpenBao answers 200."""
    role = place.bao.role("csr-names", use_csr_sans=True)
    backend = place.backend(role=role)
    row = asked(w, place, backend, upload=_csr_by_common_name(NAMES[0]))
    assert row.status == Status.REJECTED_BY_CA
    assert "names" in row.detail
    _nothing_is_handed_out(place, backend)


def test_a_certificate_that_ends_too_soon_is_withheld_and_revoked(w: World, place: Place) -> None:
    """A CA that is set to shorten, and that is another one than the setting `issuer` says."""
    made = place.bao.call(
        "POST", "pki/root/generate/internal", common_name="Short", ttl="720h", issuer_name="short"
    )
    issuer = made["data"]["issuer_id"]
    place.bao.call("POST", f"pki/issuer/{issuer}", leaf_not_after_behavior="truncate", issuer_name="short")
    place.before |= place.bao.issued()
    role = place.bao.role("short", issuer_ref="short")
    try:
        backend = place.backend(role=role)
        assert "backend.role.issuer" in {check.code for check in backend.check()}
        row = asked(w, place, backend)
        assert row.status == Status.REJECTED_BY_CA
        assert "sooner than was asked for" in row.detail
        _nothing_is_handed_out(place, backend)
        # Where the setting says so, nothing is sent.
        with pytest.raises(BackendRefused, match="no certificate may outlive it"):
            place.backend(role=role, issuer="short").submit(intent_for(NAMES, now=place.clock()))
    finally:
        place.bao.call("DELETE", f"pki/issuer/{issuer}")


@pytest.mark.parametrize("is_named", [False, True])
def test_an_organisation_that_the_role_adds_is_withheld(w: World, place: Place, *, is_named: bool) -> None:
    """Whether the profile has another one in the subject, or none."""
    role = place.bao.role("named", organization="Another University")
    backend = place.backend(role=role)
    kind = replace(BUILT_IN["tls-server"], organisation=is_named)
    with configured(profiles={"tls-server": kind}):
        row = asked(w, place, backend)
    assert row.status == Status.REJECTED_BY_CA
    assert "organisation" in row.detail
    _nothing_is_handed_out(place, backend)


def _nothing_is_handed_out(place: Place, backend: OpenBaoBackend) -> None:
    certificate = Certificate.objects.get()
    assert certificate.withheld
    assert place.made() == {certificate.serial}
    with configured(backends={"bao": backend}, default_backend="bao"):
        (revocation,) = due_revocations(now=place.clock())
        drive_revocation(revocation_id=revocation, clock=place.clock)
    (serial,) = place.bao.issued() - place.before
    assert place.bao.call("GET", f"pki/cert/{serial}")["data"]["revocation_time"] > 0


def test_a_wrong_token_is_told_and_a_right_one_in_the_same_file_goes_on(w: World, place: Place) -> None:
    backend = place.backend()
    token = place.folder / "token"
    token.write_text("s.wrong", encoding="utf-8")
    codes = {check.code for check in backend.check() if check.verdict is Verdict.REFUSE}
    assert codes == {"backend.misconfigured"}
    row = asked(w, place, backend)
    assert issuance_of(row.pk).state == Work.WAITING
    assert "Check the token and its policy" in row.detail
    token.write_text(place.bao.token, encoding="utf-8")
    assert driven(row, place, backend, later=timedelta(seconds=20)) == Status.ISSUED
    assert place.made() == {Certificate.objects.get().serial}


def test_an_approle_signs_in_again_when_its_token_has_ended(place: Place) -> None:
    bao = place.bao
    if "approle/" not in bao.call("GET", "sys/auth")["data"]:
        bao.call("POST", "sys/auth/approle", type="approle")
    bao.call("PUT", "sys/policies/acl/certdesk", policy=POLICY)
    bao.call("POST", "auth/approle/role/certdesk", token_policies="certdesk", token_ttl="1h")
    role_id = bao.call("GET", "auth/approle/role/certdesk/role-id")["data"]["role_id"]
    secret = place.folder / "secret"
    secret.write_text(bao.call("POST", "auth/approle/role/certdesk/secret-id")["data"]["secret_id"])
    own = settings_for(bao, place.folder, role_id=role_id, secret_id_file=secret)
    del own["token_file"], own["kind"]
    backend = OpenBaoBackend.from_settings(name="bao", settings=own)
    assert isinstance(backend.submit(intent_for(NAMES, now=datetime.now(UTC))), Issued)
    bao.call("PUT", "auth/token/revoke", token=backend._api._mine.token)
    assert isinstance(backend.submit(intent_for(NAMES, now=datetime.now(UTC))), Issued)
    secret.write_text("00000000-0000-0000-0000-000000000000")
    bao.call("PUT", "auth/token/revoke", token=backend._api._mine.token)
    with pytest.raises(Unavailable, match="sign-in was refused"):
        backend.submit(intent_for(NAMES, now=datetime.now(UTC)))


def test_revoking_twice_unknown_and_foreign_certificates(place: Place) -> None:
    backend = place.backend()
    sent = backend.submit(intent_for(NAMES, now=place.clock()))
    assert isinstance(sent, Issued)
    for _twice in range(2):
        backend.revoke(certificate_der=sent.chain[0], reason="keyCompromise")
    place.bao.make_pki("other")
    place.bao.role("web", "other")
    foreign = place.backend(mount="other").submit(intent_for(NAMES, now=place.clock()))
    assert isinstance(foreign, Issued)
    with pytest.raises(BackendRefused, match="not issued by this CA"):
        place.backend().revoke(certificate_der=foreign.chain[0], reason="keyCompromise")
    place.proxy.spoil("/revoke", Fault.LOST_ANSWER)
    with pytest.raises(OutcomeUnknown):
        backend.revoke(certificate_der=sent.chain[0], reason="keyCompromise")


def test_what_the_ca_has_revoked_since_is_not_handed_out(place: Place) -> None:
    backend, intent = place.backend(), intent_for(NAMES, now=place.clock())
    sent = backend.submit(intent)
    assert isinstance(sent, Issued)
    backend.revoke(certificate_der=sent.chain[0], reason="superseded")
    assert "revoked it since" in getattr(backend.find(intent), "reason", "")


def test_names_of_all_kinds_are_certified_and_found(place: Place) -> None:
    names = ("www.example.ac.uk", "*.example.ac.uk", "192.0.2.7", "2001:db8::7")
    backend, intent = place.backend(), intent_for(names, now=place.clock())
    sent = backend.submit(intent)
    assert isinstance(sent, Issued)
    assert worst(compare(sent, intent)) is Verdict.PASS
    assert place.backend().find(intent) == sent


def test_another_key_other_names_and_another_end_are_not_taken_for_it(place: Place) -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), place.clock()
    intent = intent_for(NAMES, now=now, key=key)
    others: list[Intent] = [
        intent_for(NAMES, now=now),
        intent_for(NAMES[:1], now=now, key=key),
        intent_for(NAMES, now=now - timedelta(seconds=90), key=key),
    ]
    for other in others:
        assert isinstance(place.backend().submit(other), Issued)
    assert place.backend().find(intent) == Absent()


def test_a_long_list_is_read_page_by_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certdesk.backends.openbao.backend._PAGE", 2)
    backend = place.backend()
    intents = [intent_for(NAMES, now=place.clock()) for _ in range(4)]
    sent = [backend.submit(intent) for intent in intents]
    assert [place.backend().find(intent) for intent in intents] == sent


def test_where_the_list_has_neither_details_nor_pages_each_certificate_is_read(place: Place) -> None:
    """As Vault documents it; no Vault was asked."""
    place.proxy.as_vault = True
    backend = place.backend()
    intents = [intent_for(NAMES, now=place.clock()) for _ in range(3)]
    sent = [backend.submit(intent) for intent in intents]
    assert [place.backend().find(intent) for intent in intents] == sent
    assert place.backend().find(intent_for(NAMES, now=place.clock())) == Absent()
    place.bao.make_pki("empty")
    assert place.backend(mount="empty").find(intents[0]) == Absent()


def test_no_page_of_the_list_leaves_anything_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sixty serial numbers some begin alike, and stand on two pages."""
    monkeypatch.setattr("certdesk.backends.openbao.backend._PAGE", 3)
    place.bao.make_pki("paged")
    place.bao.role("web", "paged")
    backend = place.backend(mount="paged", total_seconds=8)
    intent = intent_for(NAMES, now=place.clock())
    for _ in range(60):
        assert isinstance(backend.submit(intent_for(NAMES, now=place.clock())), Issued)
    listed = list(backend._candidates(intent, until=time.monotonic() + 8))
    stored = place.bao.issued("paged")
    assert len(listed) == len(stored) == 61, "the CA's own certificate among them"
    assert set(listed) == stored


ROLES: dict[str, tuple[dict[str, object], str, Verdict]] = {
    "no_store": ({"no_store": True}, "backend.role.no_store", Verdict.REFUSE),
    "use_csr_sans": ({"use_csr_sans": True}, "backend.role.csr_names", Verdict.WARN),
    "use_csr_common_name": ({"use_csr_common_name": True}, "backend.role.csr_common_name", Verdict.WARN),
    "no flags": ({"server_flag": False}, "backend.role.usages", Verdict.REFUSE),
    "code signing": ({"code_signing_flag": True}, "backend.role.usages", Verdict.REFUSE),
    "not_after forbidden": ({"not_after_bound": "forbid"}, "backend.role.not_after", Verdict.REFUSE),
    "not_after limited": ({"not_after_bound": "ttl-limited"}, "backend.role.not_after", Verdict.WARN),
    "no names": ({"allowed_domains": ""}, "backend.role.no_names", Verdict.REFUSE),
    "one kind of key": ({"key_type": "ec", "key_bits": 384}, "backend.role.keys", Verdict.WARN),
    "as documented": ({}, "backend.role", Verdict.PASS),
}


@pytest.mark.parametrize("what", ROLES)
def test_a_role_is_looked_at(place: Place, what: str) -> None:
    changes, code, verdict = ROLES[what]
    backend = place.backend(role=place.bao.role("looked-at", **changes))
    found = {check.code: check.verdict for check in backend.check() if check.code.startswith("backend.role")}
    assert found == {code: verdict}


def test_what_else_is_looked_at(place: Place) -> None:
    def codes(**changes: object) -> dict[str, Verdict]:
        return {check.code: check.verdict for check in place.backend(**changes).check()}

    assert codes() == {
        "backend.credentials": Verdict.WARN,  # the root token, which has no end
        "backend.role": Verdict.PASS,
        "backend.ready": Verdict.PASS,
    }
    assert codes(role="none")["backend.role.missing"] is Verdict.REFUSE
    assert codes(mount="nowhere")["backend.no_ca"] is Verdict.REFUSE
    short = place.bao.call("POST", "auth/token/create", ttl="2h", policies=["default"])["auth"]
    backend = place.backend()
    (place.folder / "token").write_text(short["client_token"], encoding="utf-8")
    found = {check.code: check.verdict for check in backend.check()}
    assert found["backend.credentials"] is Verdict.WARN
    assert found["backend.permissions"] is Verdict.REFUSE
    assert found["backend.role.unseen"] is Verdict.WARN


@pytest.mark.parametrize(
    "ahead, code", [(timedelta(days=7 * 365), "ca_ends_soon"), (timedelta(days=11 * 365), "ca_ended")]
)
def test_a_chain_that_ends_is_told(place: Place, ahead: timedelta, code: str) -> None:
    place.clock.forward(ahead)
    codes = {check.code: check.verdict for check in place.backend().check()}
    assert codes[f"backend.{code}"] is (Verdict.REFUSE if code == "ca_ended" else Verdict.WARN)
    assert codes["backend.clock"] is Verdict.REFUSE


def test_over_tls_the_server_shows_a_certificate_that_is_trusted(place: Place, tmp_path: Path) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(support.NOW - timedelta(days=1))
    builder = builder.not_valid_after(support.NOW + timedelta(days=9)).add_extension(here, critical=True)
    own = tmp_path / "own.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    own.write_bytes(pem + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    place.proxy.socket = context.wrap_socket(place.proxy.socket, server_side=True)
    address = place.proxy.address.replace("http:", "https:")
    trusting = place.backend(address=address, ca_file=own)
    assert isinstance(trusting.submit(intent_for(NAMES, now=place.clock())), Issued)
    strict = place.backend(address=address)
    with pytest.raises(Unavailable, match="can't be reached"):
        strict.submit(intent_for(NAMES, now=place.clock()))
    (check,) = strict.check()
    assert check.code == "backend.unreachable"
    assert "certificate verify failed" in check.message
    assert len(place.made()) == 1


def test_the_chain_is_not_read_for_everybody_who_looks(place: Place) -> None:
    backend = place.backend()
    assert len({backend.chain() for _ in range(5)}) == 1
    down = place.backend(address="http://127.0.0.1:1")
    assert {down.chain() for _ in range(5)} == {()}
    assert place.proxy.seen == ["GET /v1/pki/issuer/default/json"]


def test_secrets_stand_nowhere(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    backend, told = place.backend(), []
    place.proxy.spoil(SIGN, *AFTER, Fault.BUSY)
    for _ in range(len(AFTER) + 2):
        try:
            backend.submit(intent_for(NAMES, now=place.clock()))
        except (OutcomeUnknown, Unavailable) as error:
            told += [error.detail, repr(error.__cause__)]
    told += [repr(backend._config), repr(vars(backend)), repr(vars(backend._api)), caplog.text]
    told += [str(check) for check in backend.check()]
    assert place.bao.token not in "".join(told)


def test_a_list_that_breaks_or_tells_too_little_is_none_to_compare_with(place: Place) -> None:
    backend, since = place.backend(), datetime.now(UTC) - timedelta(hours=1)
    made = backend.submit(intent_for(NAMES, now=place.clock()))
    assert isinstance(made, Issued)
    serial = certificate_facts(made.chain[0]).serial
    assert serial in {one.serial for one in backend.listed(since=since)}
    for fault in (Fault.DROPPED, Fault.GARBAGE, Fault.HUGE, Fault.BUSY, Fault.ERROR_AFTER):
        for path in ("/certs/detailed", "/certs/revoked", "/issuers"):
            place.proxy.spoil(path, fault)
            with pytest.raises(Unavailable):
                list(backend.listed(since=since))
    place.proxy.as_vault = True
    with pytest.raises(Misconfigured, match="which Vault lacks"):
        list(backend.listed(since=since))
