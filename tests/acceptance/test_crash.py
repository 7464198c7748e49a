"""kill -9 at every step of the issuing cycle: nothing lost, nothing doubled, nothing signed unrecorded.

The crash table of docs/issuance-cycle.md, with real processes and a real database.
"""

import json
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.crash_points import POINTS
from tests.harness.environment import plain
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until
from tests.integration.support import csr

SECONDS = 180
ISSUED = ["create", "claim", "ca_accept", "issue"]


def run_script(script: str, data: Path, *arguments: str, **settings: str) -> dict[str, Any]:
    """What a script of this folder prints about a demo's data, with these settings as well."""
    demo = {"CERTDESK_DATA": str(data), "CERTDESK_DEMO": "1", "CERTDESK_LOG_LEVEL": "CRITICAL"}
    environment = plain(**demo, **settings)
    command = [sys.executable, "-m", f"tests.acceptance.{script}", *arguments]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ran.returncode == 0, (arguments, ran.stdout, ran.stderr)
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return told


def _run(data: Path, *arguments: str) -> dict[str, Any]:
    return run_script("crash_points", data, *arguments)


@pytest.fixture(scope="module")
def told(demo_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is there after a process was killed at every point, and all was taken up again."""
    folder = tmp_path_factory.mktemp("crash")
    shutil.copytree(demo_template, folder / "var")
    return _run(folder / "var", "crash", str(folder))


@pytest.mark.parametrize("channel, place", POINTS)
def test_a_crash_loses_nothing_and_doubles_nothing(channel: str, place: str, told: dict[str, Any]) -> None:
    _arm, state, signed = POINTS[channel, place]
    ours = told["points"][f"{channel} {place}"]
    assert ours["killed"]
    assert not ours.get("killed_again"), "the replay touches nothing, so that nothing kills it"
    assert ours["left"] == ([state] if state else [])
    assert bool(ours["signed"]) is signed
    assert ours["replayed"] is (state != "" or channel == "worker")
    assert ours["issuances"] == ["issued"]
    assert len(ours["certificates"]) == 1
    assert not signed or ours["certificates"] == [ours["signed"]]
    assert ours["events"] == [*ISSUED, *(["issue"] if channel == "another" else [])]
    assert ours["mails"] == (0 if channel == "order" else 1)


def test_what_the_crashes_have_left_is_whole(told: dict[str, Any]) -> None:
    assert told["audit_problems"] == []
    assert told["unfinished_jobs"] == 0


class Traffic:
    """Applicants who keep sending requests, each with its own Idempotency-Key, until told to stop."""

    def __init__(self, server: DemoServer, *, applicants: int, prefix: str = "") -> None:
        self._url, self._token = f"{server.base_url}/api/v1/requests", server.demo.api_tokens["alice"]
        self._prefix = prefix
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

    def make(self, key: str) -> None:
        """Make the request of this key, with a name of its own."""
        text = csr(f"h{key}.example.ac.uk").decode()
        self.bodies[key] = json.dumps({"csr": text, "duration_years": 1, "server_software": "nginx"}).encode()

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
            key = f"{self._prefix}{applicant}-{count}"
            self.make(key)
            try:
                self.acknowledged[key] = self.post(key)
            except OSError:  # the server is dead: that is what this is about
                return


def test_a_server_killed_in_the_middle_of_traffic_comes_back_whole(
    start_server: Callable[..., DemoServer],
) -> None:
    server = start_server()
    traffic = Traffic(server, applicants=4)
    traffic.start()
    wait_until(lambda: len(traffic.acknowledged) >= 20, what="twenty certificates", seconds=60)
    server.kill9()
    traffic.stop()
    server.start()

    heard = dict(traffic.acknowledged)
    numbers = {key: traffic.post(key) for key in traffic.bodies}
    assert {key: numbers[key] for key in heard} == heard

    def settled() -> list[dict[str, Any]]:
        found = [r for r in _run(server.data, "report")["requests"] if r["key"] in numbers]
        return found if all(row["status"] == "issued" for row in found) else []

    rows = wait_until(settled, what="every request to be issued", seconds=60)
    assert {row["key"]: row["number"] for row in rows} == numbers
    for row in rows:
        assert row["certificates"] == 1, row
        assert row["issuances"] == ["issued"], row
        assert row["events"] == ISSUED, row
    assert _run(server.data, "report")["audit_problems"] == []
