"""`certdesk ca`: what it prints, what it leaves at the CA and in the audit log, and how it ends."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.test import Client
from django.utils import timezone

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.embedded import create_authority
from certdesk.backends.openbao import OpenBaoBackend
from certdesk.backends.registry import UnusableBackend
from certdesk.cli import ca as commands
from certdesk.conf import apps
from certdesk.domain.actors import Actor
from certdesk.domain.errors import (
    BackendRefused,
    CertdeskError,
    InvalidInput,
    Misconfigured,
    NotAuthorized,
    OutcomeUnknown,
    Unavailable,
)
from certdesk.domain.issuing.profiles import BUILT_IN
from certdesk.domain.policy.in_force import KeyType
from certdesk.services.issuance.trial import try_ca
from certdesk.services.system import runtime
from certdesk.store.models import AuditEvent, Certificate, Request
from tests.harness.faulty_proxy import Fault, FaultyProxy
from tests.harness.openbao import OpenBao, openbao_server
from tests.harness.pebble import pebble_ca
from tests.harness.served import answering
from tests.integration.openbao_support import settings_for
from tests.integration.support import Clock, ScriptedCa, World, audit_problems, configured, signed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_configured")]

NAME = "www.example.ac.uk"


@pytest.fixture(autouse=True)
def django_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test run has set Django up; the command's own logging would outlive it."""
    monkeypatch.setattr(commands, "_set_up", lambda: None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands.ca, arguments)


def told() -> list[tuple[str, object]]:
    assert not audit_problems()
    return list(AuditEvent.objects.order_by("seq").values_list("action", "object_id"))


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with openbao_server(tmp_path_factory.mktemp("bao") / "server") as server:
        server.make_pki()
        server.role("web")
        yield server


@pytest.fixture
def vault(bao: OpenBao, tmp_path: Path) -> Iterator[OpenBaoBackend]:
    """A real OpenBao as the first CA of the usual profile."""
    own = settings_for(bao, tmp_path, title="Our OpenBao")
    del own["kind"]
    backend = OpenBaoBackend.from_settings(name="bao", settings=own)
    usual = replace(BUILT_IN["tls-server"], cas=("bao", "embedded"))
    known = {**runtime.current().backends, "bao": backend}
    with configured(backends=known, profiles={"tls-server": usual}):
        yield backend


def test_the_key_of_an_acme_account_is_rolled_over_and_recorded(tmp_path: Path) -> None:
    with pebble_ca(tmp_path / "pebble") as pebble:
        at = {"directory_url": pebble.directory, "ca_file": str(pebble.ca), "terms_agreed": True}
        pebbles = AcmeBackend.from_settings(
            name="pebble", settings={**at, "folder": str(tmp_path / "account")}
        )
        with configured(backends={**runtime.current().backends, "pebble": pebbles}):
            assert isinstance(run("roll-account-key", "pebble").exception, Misconfigured), "no account yet"
            account = pebbles.register().url
            done = run("roll-account-key", "pebble")
            assert done.exit_code == 0, done.output
            assert f"the key of {account} is now the one with SHA-256" in done.stdout
            wrong = run("roll-account-key", "embedded")
            assert (wrong.exit_code, "is not a CA of the kind “acme”" in wrong.output) == (2, True)
    assert told_of("pebble") == ["ca.roll_account_key"] * 2 + ["ca.rolled_account_key"]
    data = AuditEvent.objects.latest("seq").data
    assert data["account"] == account
    assert (tmp_path / f"account/account.key.{data['former_key_sha256']}").exists()
    assert data["key_sha256"] in done.stdout


def told_of(name: str) -> list[str]:
    return [action for action, object_id in told() if object_id == name]


def test_it_lists_cas_and_the_order_in_which_profiles_ask_them(vault: OpenBaoBackend) -> None:
    done = run("list")
    assert done.exit_code == 0
    assert "bao              Our OpenBao" in done.stdout
    assert "bao, then embedded" in done.stdout
    found = json.loads(run("list", "--json").stdout)
    assert found["profiles"] == [{"id": "tls-server", "title": "TLS server", "cas": ["bao", "embedded"]}]


def test_a_check_that_passes_and_one_that_does_not(vault: OpenBaoBackend) -> None:
    done = run("check")
    assert done.exit_code == 0
    assert "bao: ok: The role's settings fit. [server] (backend.role)" in done.stdout
    assert "bao: warning: The token has no end." in done.stdout
    broken = UnusableBackend(name="broken", reason="Its passphrase is wrong.")
    with configured(backends={"broken": broken, "bao": vault}):
        assert run("check").exit_code == 1
        assert run("check", "bao").exit_code == 0
        done = run("check", "broken")
        assert (done.exit_code, done.stdout) == (
            1,
            "broken: problem: Its passphrase is wrong. (backend.unusable)\n",
        )
        assert json.loads(run("check", "--json").stdout)["broken"][0]["verdict"] == "refuse"
    assert isinstance(run("check", "nobody").exception, CertdeskError)


def test_a_test_certificate_is_issued_compared_revoked_and_recorded(
    vault: OpenBaoBackend, bao: OpenBao
) -> None:
    before = bao.issued()
    done = run("test-issue", NAME)
    assert done.exit_code == 0, done.output
    (serial,) = bao.issued() - before
    plain = serial.replace(":", "").lstrip("0")
    assert f"serial number {plain}" in done.stdout
    assert "(issuance.match)" in done.stdout
    assert bao.call("GET", f"pki/cert/{serial}")["data"]["revocation_time"] > 0
    assert told() == [("ca.try", "bao"), ("ca.tried", "bao")]
    last = AuditEvent.objects.latest("seq").data
    assert (last["serial"], last["revoked"], last["name"]) == (plain, True, NAME)
    assert not Certificate.objects.exists()
    assert not Request.objects.exists()


def test_what_was_signed_and_not_answered_is_found_and_revoked(bao: OpenBao, tmp_path: Path) -> None:
    before = bao.issued()
    with answering(FaultyProxy(bao.port)) as proxy:
        own = settings_for(bao, tmp_path, address=proxy.address, total_seconds=2, connect_seconds=1)
        del own["kind"]
        backend = OpenBaoBackend.from_settings(name="bao", settings=own)
        with configured(backends={"bao": backend}, default_backend="bao"):
            proxy.spoil("/sign/", Fault.LOST_ANSWER)
            assert run("test-issue", NAME).exit_code == 0
            (serial,) = bao.issued() - before
            assert bao.call("GET", f"pki/cert/{serial}")["data"]["revocation_time"] > 0
            proxy.spoil("/sign/", Fault.DROPPED)
            assert isinstance(run("test-issue", NAME).exception, OutcomeUnknown)
    assert len(bao.issued() - before) == 1


def test_a_key_of_a_kind_that_the_profile_takes_is_made(vault: OpenBaoBackend) -> None:
    for kind in (KeyType.RSA, KeyType.P384):
        with configured(profiles={"tls-server": replace(BUILT_IN["tls-server"], key_types=(kind,))}):
            assert run("test-issue", NAME, "--ca", "bao").exit_code == 0


def test_the_embedded_ca_signs_nothing_for_a_test() -> None:
    done = run("test-issue", NAME)
    assert done.exit_code == 0
    assert "Nothing was" in done.stdout
    assert told() == []


def test_another_certificate_than_was_asked_for_is_revoked_as_well() -> None:
    ca = ScriptedCa(answers=[partial(signed, names=("www.evil.example",))], name="odd", inline=True)
    with configured(backends={"odd": ca}, default_backend="odd"):
        done = run("test-issue", NAME)
    assert done.exit_code == 1
    assert "(issuance.mismatch.names)" in done.stdout
    assert AuditEvent.objects.latest("seq").data["revoked"] is True


def test_one_that_could_not_be_revoked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ca = ScriptedCa(answers=[signed], name="odd", inline=True)

    def busy(**_told: object) -> None:
        raise Unavailable("The line is busy.")

    monkeypatch.setattr(ScriptedCa, "revoke", lambda _self, **_given: busy())
    with configured(backends={"odd": ca}, default_backend="odd"):
        done = run("test-issue", NAME)
    assert done.exit_code == 1
    assert "It could not be revoked; do so at the CA. The line is busy." in done.stderr
    assert AuditEvent.objects.latest("seq").data["revoked"] is False


def test_a_refusal_is_told_and_recorded_as_tried() -> None:
    ca = ScriptedCa(answers=[BackendRefused("Not today.")], name="odd", inline=True)
    with configured(backends={"odd": ca}, default_backend="odd"):
        assert isinstance(run("test-issue", NAME).exception, BackendRefused)
    assert told() == [("ca.try", "odd")]


def test_what_cannot_be_tried_is_said_before_anything_is_sent() -> None:
    slow = ScriptedCa(answers=[signed], name="slow")
    with configured(backends={"slow": slow}, default_backend="slow"):
        assert isinstance(run("test-issue", NAME).exception, InvalidInput)
    assert isinstance(run("test-issue", "not a host").exception, CertdeskError)
    assert isinstance(run("test-issue", NAME, "--profile", "none").exception, InvalidInput)
    assert told() == []


def test_only_the_system_and_operators_try_a_ca(w: World) -> None:
    for who in (w.alice, w.olga, Actor(label="nobody")):
        with pytest.raises(NotAuthorized):
            try_ca(actor=who, name=NAME, profile_id="tls-server", clock=Clock())


def test_a_ca_below_the_embedded_root_is_asked_for_signed_installed_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words").write_text("some words\n")
    (tmp_path / "words").chmod(0o600)
    (tmp_path / "cas.toml").write_text(
        '[cas.campus]\nkind = "embedded"\nname = "Campus"\nkey = "P-384"\n'
        'passphrase_file = "words"\ndirectory = "campus"\n'
    )
    config = settings.CERTDESK.model_copy(update={"cas": tmp_path / "cas.toml"})
    monkeypatch.setattr(settings, "CERTDESK", config)
    before = apps.make_runtime(config).backends["campus"]
    assert "certdesk ca install campus" in before.check()[0].message
    for name in ("openbao", "embedded2"):
        refused = run("csr", name)
        assert isinstance(refused.exception, Misconfigured)
    asked = run("csr", "campus")
    assert asked.exit_code == 0
    assert "A new key of the kind P-384" in asked.stderr
    (tmp_path / "campus.csr").write_text(asked.stdout)
    signed_now = run("sign", str(tmp_path / "campus.csr"), "--years", "8")
    (tmp_path / "campus.pem").write_text(signed_now.stdout)
    assert "Restart the service" in run("install", "campus", str(tmp_path / "campus.pem")).stderr
    assert [(action, name) for action, name in told()] == [
        ("ca.csr", "campus"),
        ("ca.sign", "embedded"),
        ("ca.install", "campus"),
    ]
    keys = {row.data["spki_sha256"] for row in AuditEvent.objects.all()}
    assert len(keys) == 1  # the same in all three
    backends = apps.make_runtime(config).backends
    with configured(backends=backends):
        assert "backend.credentials_open" not in run("check", "campus").stdout
        (tmp_path / "words").chmod(0o644)
        shown = run("check", "campus")
        assert (shown.exit_code, "backend.credentials_open" in shown.stdout) == (0, True)
        der = Client().get("/ca/campus.crl").content
        issuer = x509.load_der_x509_certificate(Client().get("/ca/campus.cer").content)
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert x509.load_der_x509_crl(der).is_signature_valid(key)
    there = sorted(path.read_bytes() for path in (tmp_path / "campus").iterdir() if path.is_file())
    with monkeypatch.context() as patched:  # no audit, no action
        patched.setattr("certdesk.store.audit.put_last", Mock(side_effect=RuntimeError("the disk is full")))
        assert isinstance(run("install", "campus", str(tmp_path / "campus.pem")).exception, RuntimeError)
    assert sorted(path.read_bytes() for path in (tmp_path / "campus").iterdir() if path.is_file()) == there
    again = run("csr", "campus")
    assert "The key that was there" in again.stderr
    (tmp_path / "again.csr").write_text(again.stdout)
    (tmp_path / "again.pem").write_text(run("sign", str(tmp_path / "again.csr")).stdout)
    assert run("install", "campus", str(tmp_path / "again.pem")).exit_code == 0
    renewed = apps.make_runtime(config).backends  # its CRL is known, and it is the same CA
    assert renewed["campus"].chain()[0] != backends["campus"].chain()[0]


def test_two_sections_are_two_cas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one key each would publish a CRL without what the other revoked; the root's folder is the root's."""
    own = settings.CERTDESK
    (tmp_path / "words").write_text(own.ca_passphrase.get_secret_value())
    start = 'kind = "embedded"\nname = "Campus"\npassphrase_file = "words"\n'
    (tmp_path / "cas.toml").write_text(
        f'[cas.root]\n{start}[cas.issuing]\n{start}[cas.other]\nslug = "embedded"\n{start}'
    )
    config = own.model_copy(update={"cas": tmp_path / "cas.toml"})
    monkeypatch.setattr(settings, "CERTDESK", config)
    create_authority(apps.embedded_config(own), now=timezone.now(), may_create=lambda: True)
    before = {path: path.read_bytes() for path in (own.data / "ca").rglob("*.*")}
    for name, told in (("root", "folder of its own"), ("issuing", "folder of its own"), ("other", "slug")):
        refused = run("csr", name)
        assert isinstance(refused.exception, Misconfigured)
        assert told in refused.exception.detail
    assert {path: path.read_bytes() for path in (own.data / "ca").rglob("*.*")} == before
    with pytest.raises(Misconfigured, match="“embedded” and “issuing” are one"):
        apps.make_runtime(config)
