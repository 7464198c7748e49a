"""The key of our account at a real ACME CA (Pebble) is rolled over while others work, and after crashes."""

import json
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certdesk.backends.acme import AcmeBackend, roll_over
from certdesk.backends.conformance import settled
from certdesk.domain.errors import BackendError, Misconfigured, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Accepted, Issued
from tests.harness.acme_ca import ZONE, AcmeCa, acme_ca, csr_intent
from tests.harness.acme_proxy import AcmeProxy, Answer, acme_proxy, lost, problem

pytestmark = pytest.mark.slow
WWW = f"www.{ZONE}"
KEY, NEXT, CHANGE = "account.key", "account.key.next", "/rollover-account-key"

Open = Callable[..., AcmeBackend]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with acme_ca(tmp_path_factory.mktemp("ca")) as running:
        yield running


@pytest.fixture
def proxy(ca: AcmeCa, tmp_path: Path) -> Iterator[AcmeProxy]:
    with acme_proxy(ca.pebble.port, tmp_path / "proxy") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "account"


@pytest.fixture
def open_backend(ca: AcmeCa, proxy: AcmeProxy, folder: Path) -> Open:
    """Another process each time."""

    def opened(**changes: Any) -> AcmeBackend:
        return ca.behind(proxy, **{"folder": folder, **changes})

    return opened


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[AcmeBackend], None]:
    """Rolls over, and dies when the CA has the new key and the folder does not know."""

    def die(_folder: Path) -> None:
        raise Killed

    def rolled(backend: AcmeBackend) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(roll_over, "_promote", die)
            with pytest.raises(Killed):
                backend.roll_account_key()

    return rolled


def works(backend: AcmeBackend) -> bool:
    return isinstance(backend.submit(csr_intent(WWW)), Accepted)


def test_others_go_on_with_the_new_key(ca: AcmeCa, open_backend: Open, folder: Path) -> None:
    running = open_backend()
    before = settled(running, csr_intent(WWW))
    assert isinstance(before, Issued)
    begun = csr_intent(f"begun.{ZONE}")
    assert isinstance(running.submit(begun), Accepted)
    former, account = (folder / KEY).read_bytes(), running.register()

    done = open_backend().roll_account_key()
    assert done.account == account.url
    kept = folder / f"{KEY}.{done.former}"
    assert (kept.read_bytes(), stat.S_IMODE(kept.stat().st_mode)) == (former, 0o600)
    assert (folder / KEY).read_bytes() != former
    assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o600
    assert not (folder / NEXT).exists()

    for backend in (running, open_backend()):
        assert backend.register() == account
        assert {one.code: one.verdict for one in backend.check()}["backend.account"] is Verdict.PASS
    assert isinstance(settled(running, begun), Issued)
    running.revoke(certificate_der=before.chain[0], reason="superseded")
    assert ca.pebble.status(before.chain[0]) == "Revoked"


def test_the_former_key_is_no_longer_the_accounts(open_backend: Open, folder: Path, tmp_path: Path) -> None:
    open_backend().register()
    shutil.copytree(folder, tmp_path / "stolen")
    open_backend().roll_account_key()
    with pytest.raises(BackendError):
        open_backend(folder=str(tmp_path / "stolen")).submit(csr_intent(WWW))


def test_a_crash_after_the_change_is_made_good_by_whoever_asks_next(
    open_backend: Open, folder: Path, killed: Callable[[AcmeBackend], None]
) -> None:
    running, former = open_backend(), b""
    for backend in (running, open_backend()):  # one that has the former key in its memory, one that reads it
        assert works(running)
        former = (folder / KEY).read_bytes()
        killed(open_backend())
        assert (folder / KEY).read_bytes() == former
        assert (folder / NEXT).exists()
        assert works(backend)
        assert (folder / KEY).read_bytes() != former
        assert not (folder / NEXT).exists()
    assert len(list(folder.glob(f"{KEY}.*"))) == 2


def test_the_same_again_ends_what_was_begun(
    proxy: AcmeProxy, open_backend: Open, folder: Path, killed: Callable[[AcmeBackend], None]
) -> None:
    open_backend().register()
    killed(open_backend())
    new = (folder / NEXT).read_bytes()
    open_backend().roll_account_key()
    assert (folder / KEY).read_bytes() == new
    assert proxy.seen.count(CHANGE) == 1


@pytest.mark.parametrize("reaches_the_ca", [True, False])
def test_a_lost_answer(proxy: AcmeProxy, open_backend: Open, folder: Path, *, reaches_the_ca: bool) -> None:
    running = open_backend()
    assert works(running)
    if reaches_the_ca:
        proxy.meddle(CHANGE, lost)
        open_backend().roll_account_key()
    else:
        proxy.instead(CHANGE, lost)
        with pytest.raises(OutcomeUnknown):
            open_backend().roll_account_key()
        assert works(running)
        assert works(open_backend())
        new = (folder / NEXT).read_bytes()  # the CA may get to know it yet, so it is never thrown away
        open_backend().roll_account_key()
        assert (folder / KEY).read_bytes() == new
    assert works(running)
    assert works(open_backend())


def test_a_ca_that_does_not_change_it(proxy: AcmeProxy, open_backend: Open, folder: Path) -> None:
    with pytest.raises(Misconfigured, match="The CA has registered no account yet"):
        open_backend().roll_account_key()
    assert works(open_backend())
    former = (folder / KEY).read_bytes()
    proxy.instead(CHANGE, problem("badPublicKey", "not on Fridays"))
    with pytest.raises(Misconfigured, match="doesn't change our account's key"):
        open_backend().roll_account_key()
    proxy.instead(CHANGE, problem("rateLimited", "later", status=429))
    with pytest.raises(Unavailable, match="later"):
        open_backend().roll_account_key()

    def without(answer: Answer) -> Answer:
        told = json.loads(answer.body)
        del told["keyChange"]
        return replace(answer, body=json.dumps(told).encode())

    proxy.meddle("/dir", *[without] * 2)
    with pytest.raises(Misconfigured, match="does not let an account's key be changed"):
        open_backend().roll_account_key()
    assert (folder / KEY).read_bytes() == former
    assert works(open_backend())


def test_a_former_key_is_kept_until_the_last_certificate_under_it_has_ended(
    open_backend: Open, folder: Path
) -> None:
    assert isinstance(settled(open_backend(), csr_intent(WWW)), Issued)
    first = open_backend().roll_account_key()
    second = open_backend().roll_account_key()
    kept = {path.name for path in folder.glob(f"{KEY}.*")}
    assert kept == {f"{KEY}.{first.former}", f"{KEY}.{second.former}"}
    later = datetime.now(UTC) + timedelta(days=98)  # Pebble's last for 90, and this is to the week
    third = open_backend(clock=lambda: later).roll_account_key()
    kept = {path.name for path in folder.glob(f"{KEY}.*")}
    assert f"{KEY}.{first.former}" not in kept
    assert f"{KEY}.{third.former}" in kept
    assert works(open_backend())


def test_many_at_once(open_backend: Open, folder: Path) -> None:
    running = open_backend()
    assert works(running)
    told: list[object] = []

    def work(turn: int) -> None:
        try:
            told.append(open_backend().roll_account_key() if turn % 2 else works(running))
        except BackendError as error:
            told.append(error)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [one for one in told if isinstance(one, BackendError) or one is False], told
    assert len(list(folder.glob(f"{KEY}.*"))) == 3
