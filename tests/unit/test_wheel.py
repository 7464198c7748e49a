"""The wheel holds all of the package; in a clean environment it is a client that needs three libraries."""

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import files, requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
#: All that commands which talk REST import. The service needs far more.
CLIENT = ("click", "cryptography", "httpx2")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_it_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/certdesk"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    there = {name.removeprefix("src/") for name in listed if (ROOT / name).exists()}
    with ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert (there - held, held - there) == (set(), set())


def with_all_that_they_need(*libraries: str) -> set[str]:
    """The distributions, with those that they require here."""
    known: set[str] = set()
    asked = list(libraries)
    while asked:
        known.add(one := asked.pop())
        needs = [Requirement(line) for line in requires(one) or ()]
        wanted = {need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})}
        asked += wanted - known
    return known


def test_a_client_needs_no_more_than_three_libraries(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    where = {"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")}
    site = Path(sysconfig.get_path("purelib", vars=where))
    with ZipFile(wheel) as packed:
        packed.extractall(site)
    for library in with_all_that_they_need(*CLIENT):
        for held in files(library) or ():
            first = held.parts[0]
            if first != ".." and not (site / first).exists():
                (site / first).symlink_to(Path(str(held.locate())).parents[len(held.parts) - 1] / first)

    def certdesk(*arguments: str) -> subprocess.CompletedProcess[str]:
        start = "from importlib.metadata import entry_points as e; e(name='certdesk')['certdesk'].load()()"
        command = [str(tmp_path / "env" / "bin" / "python"), "-I", "-c", start, *arguments]
        own = {"PATH": os.defpath, "HOME": str(tmp_path), "CERTDESK_TOKEN": "cdk_x"}
        return subprocess.run(command, env=own, capture_output=True, text=True, check=False)

    told = certdesk("--help")
    assert told.returncode == 0, told.stderr
    nobody = certdesk("request", "list", "--url", "http://127.0.0.1:1")
    assert (nobody.returncode, "can't be reached" in nobody.stderr) == (75, True), nobody.stderr
    assert not (site / "django").exists()
