"""The embedded CA with its key in an HSM: SoftHSM, by PKCS#11."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certdesk.backends.conformance import (
    BackendConformance,
    BackendFactory,
    MakeIntent,
    PreparesConformance,
    PublishesCrlConformance,
    server_intent,
)
from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority
from certdesk.backends.embedded import token as room
from certdesk.backends.embedded.ceremony import install, make_request, sign_request
from certdesk.backends.embedded.keys import KINDS
from certdesk.backends.embedded.token import Place, TokenKey, key_in_token
from certdesk.domain.errors import Misconfigured, Unavailable
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import Intent, Issued, compare

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
NOW = datetime.now(UTC)

pytestmark = pytest.mark.skipif(
    shutil.which("softhsm2-util") is None or not MODULE.exists(), reason="needs SoftHSM (softhsm2)"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A token with nothing in it."""
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    (folder / "pin").write_text("1234\n")
    (folder / "conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SOFTHSM2_CONF", str(folder / "conf"))  # read as the library is first loaded
        told = ("--init-token", "--free", "--label", "ca", "--pin", "1234", "--so-pin", "567890")
        subprocess.run(["softhsm2-util", *told], check=True, capture_output=True)
        yield Place(module=MODULE, token="ca", label="issuing", pin_file=folder / "pin")


@pytest.fixture(scope="module", params=["P-256", "RSA-3072"])
def config(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, place: Place
) -> EmbeddedConfig:
    """An issuing CA below a root in files, its own key in the token."""
    folder, kind = tmp_path_factory.mktemp("ca"), request.param
    own = EmbeddedConfig(directory=folder / "ca", root_directory=folder / "root", passphrase=b"words")
    create_authority(own, NOW, may_create=lambda: True)
    at = Place(module=place.module, token=place.token, label=f"issuing {kind}", pin_file=place.pin_file)
    config = EmbeddedConfig(directory=folder / "hsm", name="Campus", slug="campus", key=kind, token=at)
    asked = make_request(config)
    assert asked.record["key_made"]
    assert asked.record["token"]
    assert make_request(config).record == {**asked.record, "key_made": False}
    done = sign_request(
        asked.pem.encode(), root_directory=folder / "root", passphrase=b"words", years=5, now=NOW
    )
    install(config, done.pem.encode(), now=NOW)
    return config


class TestHsm(BackendConformance, PreparesConformance, PublishesCrlConformance):
    @pytest.fixture
    def make_intent(self) -> MakeIntent:
        def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
            return server_intent(now=datetime.now(UTC), names=names)

        return make

    @pytest.fixture
    def backend_factory(self, config: EmbeddedConfig) -> BackendFactory:
        return lambda: EmbeddedBackend(config)


def _key(config: EmbeddedConfig) -> TokenKey:
    key = EmbeddedBackend(config)._authority.key
    assert isinstance(key, TokenKey)
    return key


def test_the_key_stays_in_the_token(config: EmbeddedConfig) -> None:
    import pkcs11  # noqa: PLC0415 - an extra

    key = _key(config)
    key.sign(b"something")
    private = room._sessions[key.place.module, key.place.token].keys[key.place.label]
    assert not private[pkcs11.Attribute.EXTRACTABLE]
    with pytest.raises(pkcs11.PKCS11Error):
        private[pkcs11.Attribute.VALUE]
    assert not [path for path in config.directory.iterdir() if path.suffix == ".key"]
    assert (key.sign(b"twice") == key.sign(b"twice")) is key.is_repeatable


def test_threads_and_children_sign_and_a_broken_session_is_opened_again(config: EmbeddedConfig) -> None:
    key, failed = _key(config), list[BaseException]()

    def sign() -> None:
        try:
            for _ in range(20):
                key.sign(b"something")
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    threads = [threading.Thread(target=sign) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    room._sessions[key.place.module, key.place.token].session.close()
    assert key.sign(b"something")
    script = (
        "import os, sys, pathlib; from cryptography import x509\n"
        "from certdesk.backends.embedded.token import Place, TokenKey\n"
        "ca = x509.load_pem_x509_certificate(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "key = TokenKey(Place(module=pathlib.Path(sys.argv[2]), token='ca', label=sys.argv[3],\n"
        "    pin_file=pathlib.Path(sys.argv[4])), ca.public_key())\n"
        "key.sign(b'the parent'); child = os.fork()\n"
        "if child == 0: key.sign(b'the child'); os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7; key.sign(b'the parent still')\n"
    )
    place = key.place
    arguments = (config.directory / "issuing.crt", place.module, place.label, place.pin_file)
    subprocess.run(
        [shutil.which("python") or "python3", "-c", script, *map(str, arguments)],
        check=True,
        capture_output=True,
        timeout=60,
        env=os.environ,
    )


def test_what_is_wrong_with_the_token_is_told_and_waited_for(config: EmbeddedConfig, place: Place) -> None:
    key = _key(config)
    backend = EmbeddedBackend(config)
    assert worst(backend.check()) is Verdict.PASS
    for at, told in (
        (Place(module=MODULE, token="other", label="x", pin_file=place.pin_file), "NoSuchToken"),
        (Place(module=MODULE, token="ca", label="x", pin_file=place.pin_file), "has no key “x”"),
        (Place(module=MODULE.with_name("none.so"), token="ca", label="x", pin_file=place.pin_file), "HSM"),
        (Place(module=MODULE, token="dark", label="x", pin_file=Path("/nowhere")), "PIN can't be read"),
    ):
        with pytest.raises(Unavailable, match=told):
            TokenKey(at, key.public_key).sign(b"something")
    with pytest.raises(Misconfigured, match="has no key"):
        key_in_token(Place(module=MODULE, token="ca", label="x", pin_file=place.pin_file))
    assert key.sign(b"something")


def test_a_token_that_was_away_signs_again_when_it_is_back(config: EmbeddedConfig, place: Place) -> None:
    """SoftHSM, as other libraries, looks for its tokens as it is initialised alone."""
    key, tokens = _key(config), place.pin_file.with_name("tokens")
    assert key.sign(b"something")
    tokens.rename(tokens.with_name("away"))
    try:
        for _ in range(2):
            with pytest.raises(Unavailable):
                key.sign(b"something")
    finally:
        tokens.with_name("away").rename(tokens)
    with suppress(Unavailable):  # it is looked for once more after a failure
        key.sign(b"something")
    assert key.sign(b"something")


def test_a_key_that_is_not_the_certificate_s_signs_nothing(config: EmbeddedConfig, place: Place) -> None:
    _key(config).sign(b"something")
    other, _serial, _is_new = key_in_token(
        Place(module=MODULE, token="ca", label=f"another {config.key}", pin_file=place.pin_file),
        make=KINDS[config.key],
    )
    with pytest.raises(Unavailable, match="not the one of the CA's certificate"):
        TokenKey(_key(config).place, other).sign(b"something")


def test_a_wrong_pin_is_not_tried_again(config: EmbeddedConfig, place: Place) -> None:
    """A token locks itself after a few."""
    backend, key = EmbeddedBackend(config), _key(config)
    at = (key.place.module, key.place.token)
    room._close(at)
    place.pin_file.write_text("9999")
    try:
        with pytest.raises(Unavailable, match="refuses the PIN"):
            key.sign(b"something")
        place.pin_file.write_text("1234")
        with pytest.raises(Unavailable, match="before the next start"):
            key.sign(b"something")
        assert worst(backend.check()) is Verdict.REFUSE
        intent = backend.prepare(server_intent(now=NOW))  # made with the throw-away key
        with pytest.raises(Unavailable):
            backend.submit(intent)
    finally:
        place.pin_file.write_text("1234\n")
        room._refused.clear()
    done = backend.submit(intent)
    assert isinstance(done, Issued)
    assert worst(compare(done, intent)) is Verdict.PASS
    assert backend.crl(revoked=[], number=1, this_update=NOW, next_update=NOW + timedelta(days=1))
