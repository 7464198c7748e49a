"""kill -9 at every step of the issuing cycle: nothing lost, nothing doubled, nothing signed unrecorded.

The crash table of docs/issuance-cycle.md, with real processes and a real database.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import crash_runner
from tests.harness.environment import steers_certdesk
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until
from tests.integration.support import csr

#: Each process is one of its own, forked by a process that has imported what takes long.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([*crash_runner.IMPORTED_BEFORE])
SECONDS = 90
#: The points of `crash_points.POINTS`, which can be imported only after django.setup(), and what has been
#: signed or recorded when the process dies there: the issuance's state, and whether a certificate exists.
POINTS = {
    "while preparing": ("", False),
    "while creating": ("", False),
    "while claiming": ("", False),
    "after claiming": ("claimed", False),
    "before signing": ("claimed", False),
    "after signing": ("claimed", True),
    "while recording": ("claimed", True),
    "after recording": ("issued", True),
    "accepted, before it is taken up": ("waiting", False),
    "accepted, while preparing": ("waiting", False),
    "accepted, while claiming": ("waiting", False),
    "accepted, after claiming": ("claimed", False),
}
#: Those of `crash_points.FURTHER_POINTS`: whether the second certificate is signed, and recorded.
FURTHER_POINTS = {
    "further, while claiming": (False, False),
    "further, after claiming": (False, True),
    "further, after signing": (True, True),
    "further, while recording": (True, True),
    "further, after recording": (True, True),
}

pytestmark = pytest.mark.slow


def _run(data: Path, *arguments: str, status: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not steers_certdesk(name)}
    environment |= {"CERTDESK_DATA": str(data), "CERTDESK_DEMO": "1", "CERTDESK_LOG_LEVEL": "CRITICAL"}
    output, errors = data.with_name("output"), data.with_name("errors")
    process = FORKS.Process(target=crash_runner.run, args=(arguments, environment, output, errors))
    process.start()
    process.join(SECONDS)
    process.kill()  # does nothing to one that has ended
    process.join()
    assert process.exitcode == status, (arguments, process.exitcode, output.read_text(), errors.read_text())
    return output.read_text()


def _told(output: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told


def _ours(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in told["requests"] if row["key"] == "crash"]


def _states(data: Path) -> list[str]:
    """What the crash has left, read without starting anything that might mend it."""
    with closing(sqlite3.connect(data / "certdesk.sqlite3")) as database:
        rows = database.execute(
            "SELECT i.state FROM store_issuance i JOIN store_request r ON r.id = i.request_id"
            " WHERE r.idempotency_key = 'crash'"
        )
        return [state for (state,) in rows]


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_loses_nothing_and_doubles_nothing(point: str, demo_template: Path, tmp_path: Path) -> None:
    data, folder = tmp_path / "var", tmp_path / "side"
    shutil.copytree(demo_template, data)
    folder.mkdir()
    state, signed = POINTS[point]

    _run(data, "crash", point, str(folder), status=-signal.SIGKILL)

    assert _states(data) == ([state] if state else [])
    assert (folder / "signed.der").exists() is signed

    told = _told(_run(data, "recover", str(folder)))
    (ours,) = _ours(told)
    assert ours["status"] == "issued"
    assert ours["events"] == ["create", "claim", "ca_accept", "issue"]
    assert ours["issuances"] == ["issued"]
    assert len(ours["certificates"]) == 1
    if signed:
        assert bytes.fromhex(ours["certificates"][0]) == (folder / "signed.der").read_bytes()
    assert told["replayed"] is (state != "")
    assert told["audit_problems"] == []
    assert told["unfinished_jobs"] == 0
    about_it = [subject for subject in told["mails"] if f"Request {ours['number']}:" in subject]
    assert len(about_it) == 1


@pytest.mark.parametrize("point", FURTHER_POINTS)
def test_a_crash_loses_no_further_certificate_and_doubles_none(
    point: str, demo_template: Path, tmp_path: Path
) -> None:
    """Another certificate under a request that has one, for a new key."""
    data, folder = tmp_path / "var", tmp_path / "side"
    shutil.copytree(demo_template, data)
    folder.mkdir()
    signed, recorded = FURTHER_POINTS[point]

    _run(data, "crash", point, str(folder), status=-signal.SIGKILL)
    assert (folder / "signed.der").exists() is signed

    told = _told(_run(data, "recover-further", str(folder)))
    (ours,) = _ours(told)
    assert ours["status"] == "issued"
    assert ours["events"] == ["create", "claim", "ca_accept", "issue", "issue"]
    assert ours["issuances"] == ["issued", "issued"]
    assert len(ours["certificates"]) == 2
    if signed:
        assert (folder / "signed.der").read_bytes().hex() in ours["certificates"]
    assert told["replayed"] is recorded
    assert told["audit_problems"] == []
    assert told["unfinished_jobs"] == 0


def test_a_second_crash_while_recovering_is_no_different(demo_template: Path, tmp_path: Path) -> None:
    """Killed after signing, and killed again in the middle of the same request's resubmission."""
    data, folder = tmp_path / "var", tmp_path / "side"
    shutil.copytree(demo_template, data)
    folder.mkdir()
    _run(data, "crash", "after signing", str(folder), status=-signal.SIGKILL)
    signed = (folder / "signed.der").read_bytes()
    _run(data, "crash", "after signing", str(folder))  # the replay touches nothing, so nothing kills it
    told = _told(_run(data, "recover", str(folder)))
    (ours,) = _ours(told)
    assert [bytes.fromhex(der) for der in ours["certificates"]] == [signed]


class _Traffic:
    """Applicants who keep sending requests, each with its own Idempotency-Key, until told to stop."""

    def __init__(self, server: DemoServer, *, applicants: int) -> None:
        self._url, self._token = f"{server.base_url}/api/v1/requests", server.demo.api_tokens["alice"]
        self.bodies: dict[str, bytes] = {}
        self.acknowledged: dict[str, int] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(applicants)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def post(self, key: str) -> int:
        """Send the request of this key; its number."""
        request = urllib.request.Request(
            self._url,
            data=self.bodies[key],
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "Idempotency-Key": key,
            },
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(json.load(response)["id"])

    def _send(self, applicant: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            key = f"{applicant}-{count}"
            text = csr(f"h{applicant}-{count}.example.ac.uk").decode()
            self.bodies[key] = json.dumps(
                {"csr": text, "duration_years": 1, "server_software": "nginx"}
            ).encode()
            try:
                self.acknowledged[key] = self.post(key)
            except OSError:  # the server is dead: that is what this is about
                return


def test_a_server_killed_in_the_middle_of_traffic_comes_back_whole(
    start_server: Callable[..., DemoServer],
) -> None:
    server = start_server()
    traffic = _Traffic(server, applicants=4)
    traffic.start()
    wait_until(lambda: len(traffic.acknowledged) >= 20, what="twenty certificates", seconds=60)
    server.kill9()
    traffic.stop()
    server.start()

    heard = dict(traffic.acknowledged)
    numbers = {key: traffic.post(key) for key in traffic.bodies}
    assert {key: numbers[key] for key in heard} == heard

    def settled() -> list[dict[str, Any]]:
        found = [r for r in _told(_run(server.data, "report"))["requests"] if r["key"] in numbers]
        return found if all(row["status"] == "issued" for row in found) else []

    rows = wait_until(settled, what="every request to be issued", seconds=60)
    assert {row["key"]: row["number"] for row in rows} == numbers
    for row in rows:
        assert len(row["certificates"]) == 1, row
        assert row["issuances"] == ["issued"], row
        assert row["events"] == ["create", "claim", "ca_accept", "issue"], row
    assert _told(_run(server.data, "report"))["audit_problems"] == []
