"""The embedded CA's journal: whole lines or none, of many at once, and no certificate without."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certdesk.backends.base import Lists
from certdesk.backends.conformance import server_intent
from certdesk.backends.embedded import EmbeddedConfig, JournallingEmbeddedBackend
from certdesk.backends.embedded.journal import Journal
from certdesk.backends.registry import load_backends
from certdesk.domain.errors import BackendRefused, Misconfigured, Unavailable
from certdesk.domain.issuing.certificates import Issued

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=999)
LONG = b"\x30" * 3000


@pytest.fixture
def ca(shared_config: EmbeddedConfig, tmp_path: Path) -> JournallingEmbeddedBackend:
    return JournallingEmbeddedBackend(replace(shared_config, journal=tmp_path / "journal"))


def signed(ca: JournallingEmbeddedBackend) -> bytes:
    outcome = ca.submit(ca.prepare(server_intent(now=datetime.now(UTC))))
    assert isinstance(outcome, Issued)
    return outcome.chain[0]


def test_it_is_kept_where_a_folder_is_set(shared_config: EmbeddedConfig, tmp_path: Path) -> None:
    paths = {"directory": shared_config.directory, "root_directory": shared_config.root_directory}
    own = {**paths, "passphrase": shared_config.passphrase}
    with_one = {**own, "journal": tmp_path / "journal"}
    loaded = load_backends({"embedded": own, "other": {"kind": "embedded", **with_one}})
    assert [isinstance(one, Lists) for one in loaded.values()] == [False, True]
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="can't keep its journal"):
        Journal(tmp_path / "file" / "folder")


def test_what_is_handed_out_is_written_down_and_nothing_else_is_handed_out(
    ca: JournallingEmbeddedBackend, shared_config: EmbeddedConfig, tmp_path: Path
) -> None:
    leaf = signed(ca)
    (one,) = ca.listed(since=datetime.now(UTC) - timedelta(hours=1))
    assert (one.der, one.is_revoked) == (leaf, False)
    (file,) = (tmp_path / "journal").glob("*.log")
    assert file.stat().st_mode & 0o777 == 0o600
    full = JournallingEmbeddedBackend(replace(shared_config, journal=tmp_path / "full"))
    (tmp_path / "full" / file.name).symlink_to("/dev/full")
    with pytest.raises(Unavailable, match="can't write its journal"):
        signed(full)
    with pytest.raises(Unavailable):
        full.revoke(certificate_der=leaf, reason="superseded")


def test_a_revocation_that_was_refused_is_not_written_down(ca: JournallingEmbeddedBackend) -> None:
    leaf = signed(ca)
    with pytest.raises(BackendRefused):
        ca.revoke(certificate_der=leaf, reason="no such reason")
    (one,) = ca.listed(since=LONG_AGO)
    assert not one.is_revoked


def test_what_a_crash_cut_off_spoils_no_line_after_it(tmp_path: Path) -> None:
    Journal(tmp_path).issued(LONG, key="whole", at=NOW)
    (file,) = tmp_path.glob("*.log")
    whole = file.read_bytes()
    for length in (5, 30, len(whole) // 2, len(whole) - 3, len(whole) - 1):
        file.write_bytes(whole + whole[:length])
        Journal(tmp_path).issued(LONG, key="after", at=NOW)
        keys = [key for _kind, _at, key, _der in Journal(tmp_path).lines(since=LONG_AGO)]
        assert keys in (["whole", "after"], ["whole", "whole", "after"])
        assert keys.count("whole") == (2 if length == len(whole) - 1 else 1)


def test_what_was_changed_by_hand_is_told(tmp_path: Path) -> None:
    for line in (
        "issued 1 2 .",
        "issued noon key AAAA .",
        "issued 9e99 key AAAA .",
        "issued 1795000000 key AAAA .",
    ):
        (tmp_path / "2026-11.log").write_text(f"{line}\n")
        with pytest.raises(Unavailable, match="journal of the embedded CA"):
            list(Journal(tmp_path).listed(since=LONG_AGO))


def test_only_the_months_that_are_asked_for_are_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for days in (0, 40, 80):
        journal.revoked(days + 1, reason="superseded", at=NOW - timedelta(days=days))
    assert len(list(tmp_path.glob("*.log"))) == 3
    (tmp_path / "2026-09.log").write_text("issued by hand .\n")
    found = [one.serial for one in journal.listed(since=NOW - timedelta(days=41))]
    assert sorted(found, key=str) == [1, 41]
    assert [one.serial for one in journal.listed(since=NOW)] == [1]


def _write(folder: Path, name: str) -> None:
    journal = Journal(folder)
    for number in range(50):
        journal.issued(LONG, key=f"{name} {number}", at=NOW)


def test_lines_of_many_threads_and_processes_do_not_mix(tmp_path: Path) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_write, args=(tmp_path, f"p{n}"))
        for n in range(2)
    ]
    for one in processes:
        one.start()
    shared = Journal(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: shared.issued(LONG, key=f"t {n}", at=NOW), range(200)))
    for one in processes:
        one.join(timeout=60)
        assert one.exitcode == 0
    found = [key for _kind, _at, key, _der in shared.lines(since=LONG_AGO)]
    assert len(found) == len(set(found)) == 300
