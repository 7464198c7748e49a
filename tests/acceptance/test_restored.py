"""After a restore from a backup the certificates of the gap are found, by what the CAs have kept."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_crash import run_script
from tests.harness.openbao import OpenBao, openbao_server
from tests.integration.openbao_support import POLICY, settings_for

pytestmark = pytest.mark.slow


class Place:
    """A service with its database on the disk, of which there is a backup."""

    def __init__(self, folder: Path, template: Path, **settings: str) -> None:
        self.data, self.settings = folder / "var", settings
        shutil.copytree(template, self.data)
        (self.database,) = self.data.glob("*.sqlite3")
        self.backup = folder / "backup.sqlite3"

    def run(self, *arguments: str) -> dict[str, Any]:
        return run_script("restored", self.data, *arguments, **self.settings)

    def back_up(self) -> None:
        with closing(sqlite3.connect(self.database)) as now, closing(sqlite3.connect(self.backup)) as kept:
            now.backup(kept)

    def restore(self) -> None:
        for name in ("", "-wal", "-shm"):
            self.database.with_name(self.database.name + name).unlink(missing_ok=True)
        shutil.copy(self.backup, self.database)


def test_by_the_journal_of_the_embedded_ca(demo_template: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, demo_template)
    kept = place.run("ask", "kept.example.ac.uk", "ended.example.ac.uk")
    place.back_up()
    lost = place.run("ask", "lost.example.ac.uk", "gone.example.ac.uk")
    place.run("revoke", kept["ended.example.ac.uk"])
    place.run("revoke", lost["gone.example.ac.uk"])
    place.restore()

    told = place.run("reconcile")
    (embedded,) = (one for one in told["cas"] if one["ca"] == "embedded")
    assert (told["exit"], embedded["problem"], told["audit"]) == (1, "", [])
    assert [(one["kind"], one["serial"], one["names"]) for one in embedded["findings"]] == [
        ("unknown", lost["lost.example.ac.uk"], ["lost.example.ac.uk"])
    ]
    assert told["revoked"] == [kept["ended.example.ac.uk"]], "a revocation that was lost is taken over"
    assert told["crl"] == sorted([kept["ended.example.ac.uk"], lost["gone.example.ac.uk"]])

    after = place.run("finish", "lost.example.ac.uk")
    assert after["crl"] == sorted([*told["crl"], lost["lost.example.ac.uk"]])
    assert place.run("reconcile")["exit"] == 0
    assert not set(place.run("ask", "next.example.ac.uk").values()) <= set(lost.values()), "a new number"


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[OpenBao]:
    with openbao_server(tmp_path / "server") as server:
        server.make_pki()
        server.role("web")
        yield server


def test_by_the_list_of_openbao(bao: OpenBao, demo_template: Path, tmp_path: Path) -> None:
    """The token may do no more than docs/cas.md tells to allow."""
    bao.call("PUT", "sys/policies/acl/certdesk", policy=POLICY)
    token = bao.call("POST", "auth/token/create", policies=["certdesk"], ttl="1h")["auth"]["client_token"]
    settings = settings_for(bao, tmp_path)
    Path(str(settings["token_file"])).write_text(f"{token}\n", encoding="utf-8")
    cas = tmp_path / "cas.toml"
    lines = [f'{key} = "{value}"' for key, value in settings.items()]
    profile = '[profiles.tls-server]\ntitle = "TLS server"\ncas = ["bao"]\n'
    cas.write_text("\n".join(["[cas.bao]", *lines, profile]), encoding="utf-8")
    place = Place(tmp_path, demo_template, CERTDESK_CAS=str(cas))

    kept = place.run("ask", "kept.example.ac.uk", "ended.example.ac.uk")
    place.back_up()
    lost = place.run("ask", "lost.example.ac.uk")
    behind = {"common_name": "behind.example.ac.uk", "key_type": "ec", "key_bits": 256, "ttl": "24h"}
    made = bao.call("POST", "pki/issue/web", **behind)["data"]["serial_number"]
    place.run("revoke", kept["ended.example.ac.uk"])
    place.restore()

    told = place.run("reconcile")
    (found,) = (one for one in told["cas"] if one["ca"] == "bao")
    assert (told["exit"], found["problem"], found["listed"]) == (1, "", 4), found
    assert {one["names"][0]: one["serial"] for one in found["findings"]} == {
        "lost.example.ac.uk": lost["lost.example.ac.uk"],
        "behind.example.ac.uk": made.replace(":", "").lstrip("0"),
    }
    assert told["revoked"] == [kept["ended.example.ac.uk"]]
    place.run("finish", "behind.example.ac.uk")
    assert bao.call("GET", f"pki/cert/{made}")["data"]["revocation_time"] > 0
    bao.stop()
    assert place.run("reconcile")["exit"] == 2
