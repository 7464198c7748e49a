"""`certdesk perspective` in a process of its own, as an operator would run it."""

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2

from certdesk.dcv.mpic import PerspectiveAddress
from tests.harness.ports import free_port
from tests.harness.waiting import wait_until


@contextlib.contextmanager
def running_perspective(folder: Path, *, resolver: str) -> Iterator[PerspectiveAddress]:
    """The address of a perspective that asks this resolver; it ends with the block."""
    token, port = secrets.token_urlsafe(32), free_port()
    token_file, log = folder / "token", folder / "perspective.log"
    token_file.write_text(f"{token}\n", encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "certdesk", "perspective", "--code", "ripe.here"),
                *("--token-file", str(token_file), "--port", str(port), "--resolver", resolver),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(f"{url}/healthz", trust_env=False).status_code == httpx2.codes.OK
        return False

    try:
        wait_until(answers, seconds=30, what="the perspective to answer")
        yield PerspectiveAddress(code="ripe.here", url=url, token=token)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
