"""What stands where a CA's API should answers as it likes: an exchange ends in time, whatever comes."""

import time
from collections.abc import Iterator

import pytest

from certdesk.backends.http.transport import Exchanges
from certdesk.domain.errors import OutcomeUnknown, Unavailable
from tests.harness.hostile_http import HostileHttp
from tests.harness.served import answering

_SECONDS = 0.4
#: Beyond any margin.
_TOO_LONG = 10.0


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileHttp]:
    with answering(HostileHttp()) as server:
        yield server


@pytest.fixture
def exchanges(hostile: HostileHttp) -> Exchanges:
    return Exchanges(
        name="ca",
        base_url=f"http://127.0.0.1:{hostile.server_address[1]}/",
        ca_file=None,
        connect_seconds=0.2,
    )


@pytest.mark.parametrize("path", ["huge", "headers", "drip", "drip-body", "silent", "garbage", "short"])
@pytest.mark.parametrize("acting, error", [(True, OutcomeUnknown), (False, Unavailable)])
def test_an_answer_without_end_or_sense_is_lost(
    exchanges: Exchanges, path: str, *, acting: bool, error: type[Exception]
) -> None:
    began = time.monotonic()
    with pytest.raises(error):
        exchanges.exchange("GET", path, until=began + _SECONDS, acting=acting, headers={})
    assert time.monotonic() - began < _TOO_LONG


def test_a_redirect_is_an_answer_and_not_followed(exchanges: Exchanges, hostile: HostileHttp) -> None:
    before = len(hostile.seen)
    reply = exchanges.exchange(
        "GET", "to/302?/status/200", until=time.monotonic() + _TOO_LONG, acting=True, headers={}
    )
    assert (reply.status, len(hostile.seen)) == (302, before + 1)


def test_nothing_is_sent_once_the_time_is_over(exchanges: Exchanges, hostile: HostileHttp) -> None:
    before = len(hostile.seen)
    with pytest.raises(Unavailable, match="too long"):
        exchanges.exchange("GET", "echo", until=time.monotonic(), acting=True, headers={})
    assert len(hostile.seen) == before


def test_neither_headers_nor_bodies_show(exchanges: Exchanges) -> None:
    reply = exchanges.exchange(
        "GET",
        "status/200?secret",
        until=time.monotonic() + _TOO_LONG,
        acting=False,
        headers={"X-Key": "secret"},
    )
    assert reply.text == "secret"
    assert "secret" not in repr(reply)
