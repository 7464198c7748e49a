"""kill -9 again and again while certificates come from OpenBao, whose answers get lost now and then.

Nothing is lost, nothing is there twice, and OpenBao has no certificate that the service does not know.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_crash import Traffic, run_script
from tests.harness.faulty_proxy import Fault, FaultyProxy
from tests.harness.openbao import OpenBao, openbao_server
from tests.harness.served import answering
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.slow

KILLS, A_ROUND = 4, 15
FAULTS = (
    *(Fault.LOST_ANSWER, None, None, Fault.ERROR_AFTER, None, Fault.DROPPED, None, None),
    *(Fault.BUSY, None, Fault.GARBAGE, None, None, None, None, None),
) * 3


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[OpenBao]:
    with openbao_server(tmp_path / "bao") as server:
        server.make_pki()
        server.role("web", allowed_domains="ac.uk,example.org")
        yield server


def test_servers_killed_while_openbao_signs_come_back_whole(
    bao: OpenBao, start_server: Callable[..., DemoServer], tmp_path: Path
) -> None:
    before = bao.issued()
    (tmp_path / "token").write_text(bao.token, encoding="utf-8")
    with answering(FaultyProxy(bao.port)) as proxy:
        proxy.spoil("/sign/", *FAULTS)
        file = tmp_path / "cas.toml"
        file.write_text(
            f"""
            [cas.bao]
            kind = "openbao"
            address = "{proxy.address}"
            role = "web"
            token_file = "token"
            total_seconds = 3
            connect_seconds = 1
            settle_seconds = 5

            [profiles.tls-server]
            title = "TLS server"
            cas = ["bao"]
            """,
            encoding="utf-8",
        )
        server = start_server(extra={"CERTDESK_CAS": str(file)})
        numbers: dict[str, int] = {}
        for turn in range(KILLS):
            traffic = Traffic(server, applicants=4, prefix=f"round{turn}-")
            traffic.start()
            wait_until(lambda of=traffic: len(of.acknowledged) >= A_ROUND, what="certificates", seconds=120)  # type: ignore[misc]  # bound to this round
            server.kill9()
            traffic.stop()
            server.start()
            numbers |= {key: traffic.post(key) for key in traffic.bodies}

        def report() -> dict[str, Any]:
            return run_script("crash_points", server.data, "report")

        def settled() -> bool:
            ours = [row for row in report()["requests"] if row["key"] in numbers]
            return all(row["status"] == "issued" for row in ours)

        wait_until(settled, what="every request to be issued", seconds=300)
        told = report()
    ours = [row for row in told["requests"] if row["key"] in numbers]
    assert {row["key"]: row["number"] for row in ours} == numbers
    assert {row["certificates"] for row in ours} == {1}
    assert told["audit_problems"] == []
    there = {serial.replace(":", "").lstrip("0") for serial in bao.issued() - before}
    known = set(told["serials"])
    assert (there - known, known - there) == (set(), set())
    assert len(there) >= len(ours) >= KILLS * A_ROUND
    assert not proxy.plans[0].faults, "each fault has happened"
