"""The embedded CA's two tiers: made once, opened strictly."""

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations
from pathlib import Path
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certdesk.backends.conformance import server_intent
from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority, open_authority
from certdesk.domain.errors import Misconfigured
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Issued, compare

NOW = datetime.now(UTC)
make = partial(create_authority, may_create=lambda: True)


@pytest.fixture
def config(tmp_path: Path) -> EmbeddedConfig:
    return EmbeddedConfig(
        directory=tmp_path / "ca", root_directory=tmp_path / "root", passphrase=b"secret words"
    )


def _issue(config: EmbeddedConfig) -> None:
    backend = EmbeddedBackend(config)
    intent = backend.prepare(server_intent(now=NOW))
    outcome = backend.submit(intent)
    assert isinstance(outcome, Issued)
    assert [check.verdict for check in compare(outcome, intent)] == [Verdict.PASS]


def test_keys_are_encrypted_private_and_apart(config: EmbeddedConfig) -> None:
    make(config, NOW)
    files = {
        path.relative_to(config.directory.parent).as_posix(): path
        for path in config.directory.parent.rglob("*")
    }
    assert set(files) == {
        "ca",
        "ca/issuing.key",
        "ca/issuing.crt",
        "ca/root.crt",
        "root",
        "root/root.key",
        "root/root.crt",
    }
    for path in files.values():
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    for key in ("ca/issuing.key", "root/root.key"):
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in files[key].read_bytes()


def test_two_tiers(config: EmbeddedConfig) -> None:
    authority = make(config, NOW)
    root_key, issuing_key = authority.above[0].public_key(), authority.issuing.public_key()
    assert isinstance(root_key, ec.EllipticCurvePublicKey)
    assert isinstance(issuing_key, ec.EllipticCurvePublicKey)
    assert (root_key.curve.name, issuing_key.curve.name) == ("secp384r1", "secp256r1")
    limits = authority.issuing.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical
    assert (limits.value.ca, limits.value.path_length) == (True, 0)
    assert authority.above[0].not_valid_after_utc > NOW + timedelta(days=7299)
    assert authority.issuing.not_valid_after_utc > NOW + timedelta(days=3649)


def test_a_second_start_opens_the_same_ca(config: EmbeddedConfig) -> None:
    first = make(config, NOW)
    again = make(config, NOW + timedelta(days=1))
    assert again.issuing == first.issuing
    assert again.above == first.above


def test_eight_starts_at_once_make_one_ca(config: EmbeddedConfig) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make(config, NOW), range(8)))
    assert len({authority.issuing for authority in made}) == 1


def test_signing_never_needs_the_root_folder(config: EmbeddedConfig) -> None:
    make(config, NOW)
    assert config.root_directory is not None
    shutil.rmtree(config.root_directory)
    _issue(config)
    make(config, NOW)
    assert not config.root_directory.exists()


def test_a_start_that_dies_before_any_file_has_its_name_is_made_good(config: EmbeddedConfig) -> None:
    killed = mock.patch.object(Path, "hardlink_to", side_effect=KeyboardInterrupt)
    with killed, pytest.raises(KeyboardInterrupt):
        make(config, NOW)
    assert list(config.directory.glob(".*.new"))
    make(config, NOW)
    _issue(config)
    assert not list(config.directory.parent.rglob("*.new"))


FILES = ("ca/issuing.key", "ca/issuing.crt", "ca/root.crt", "root/root.key", "root/root.crt")


def _contents(config: EmbeddedConfig) -> dict[str, bytes]:
    top = config.directory.parent
    return {name: (top / name).read_bytes() for name in FILES if (top / name).exists()}


@pytest.mark.parametrize("unused", [True, False])
@pytest.mark.parametrize(
    "lost", [lost for size in range(1, 5) for lost in combinations(FILES, size) if "ca/" in "".join(lost)]
)
def test_a_ca_that_lost_a_file_is_neither_made_anew_nor_overwritten(
    config: EmbeddedConfig, lost: tuple[str, ...], *, unused: bool
) -> None:
    """Also one whose database is empty, which says what to do if there is no backup."""
    make(config, NOW)
    for name in lost:
        (config.directory.parent / name).unlink()
    before = _contents(config)
    with pytest.raises(Misconfigured, match="from a backup") as refused:
        make(config, NOW, may_create=lambda: unused)
    assert _contents(config) == before
    for name in lost:
        assert name.startswith("root/") or str(config.directory.parent / name) in refused.value.detail
    assert (f"remove {config.directory}" in refused.value.detail) is unused


def test_an_empty_place_is_filled_only_where_nothing_was_issued(config: EmbeddedConfig) -> None:
    """As when the whole folder is lost, or another machine's is not there."""
    with pytest.raises(Misconfigured, match=r"issuing\.key.*from a backup"):
        make(config, NOW, may_create=lambda: False)
    assert _contents(config) == {}


def test_a_complete_ca_is_opened_whatever_the_database_says(config: EmbeddedConfig) -> None:
    make(config, NOW)
    make(config, NOW, may_create=lambda: False)


def test_a_file_that_turns_up_meanwhile_is_not_overwritten(config: EmbeddedConfig) -> None:
    """Two CAs that share a root folder do not share the lock."""
    other = replace(config, directory=config.directory.with_name("other"))

    def meanwhile() -> bool:
        make(other, NOW)
        return True

    with pytest.raises(Misconfigured, match=r"root\.key: File exists"):
        make(config, NOW, may_create=meanwhile)
    make(other, NOW)


def test_a_wrong_passphrase_is_told_as_such(config: EmbeddedConfig) -> None:
    make(config, NOW)
    with pytest.raises(Misconfigured, match="passphrase") as caught:
        open_authority(replace(config, passphrase=b"guess"))
    assert "guess" not in caught.value.detail
    assert "secret words" not in repr(config)


@pytest.mark.parametrize("file", ["issuing.key", "issuing.crt", "root.crt"])
def test_a_damaged_or_missing_file_is_named(config: EmbeddedConfig, file: str) -> None:
    make(config, NOW)
    for change in (lambda path: path.write_bytes(b"damage"), Path.unlink):
        change(config.directory / file)
        with pytest.raises(Misconfigured, match=file):
            open_authority(config)


def test_another_cas_files_are_noticed(config: EmbeddedConfig, tmp_path: Path) -> None:
    make(config, NOW)
    other = replace(config, directory=tmp_path / "ca2", root_directory=tmp_path / "root2")
    make(other, NOW)
    for file in ("issuing.key", "root.crt"):
        mine = (config.directory / file).read_bytes()
        (config.directory / file).write_bytes((other.directory / file).read_bytes())
        with pytest.raises(Misconfigured, match=file):
            open_authority(config)
        (config.directory / file).write_bytes(mine)
    open_authority(config)


@pytest.mark.parametrize(
    "place, mode, advice",
    [
        *(("issuing.key", mode, "chmod 600") for mode in (0o640, 0o604, 0o660, 0o644)),
        ("", 0o755, "chmod 700"),
    ],
)
def test_what_others_can_read_or_enter_is_refused_with_advice(
    config: EmbeddedConfig, place: str, mode: int, advice: str
) -> None:
    make(config, NOW)
    (config.directory / place).chmod(mode)
    with pytest.raises(Misconfigured, match=advice):
        open_authority(config)


def test_a_careless_umask_changes_nothing(config: EmbeddedConfig) -> None:
    before = os.umask(0)
    try:
        make(config, NOW)
    finally:
        os.umask(before)
    open_authority(config)


def test_configurations_that_would_fail_later_fail_now(config: EmbeddedConfig) -> None:
    for change in (
        {"passphrase": b""},
        {"root_directory": config.directory},
        {"slug": "a/b"},
        {"slug": ""},
        {"status_url": "https://ca.example.ac.uk"},
    ):
        with pytest.raises(Misconfigured):
            replace(config, **change)
