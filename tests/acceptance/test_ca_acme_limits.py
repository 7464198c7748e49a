"""A real ACME CA (Pebble) is asked within its limits and not before it wants to be, by all processes."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.conformance import settled
from certdesk.domain.errors import BackendError, BackendRefused, Postponed, Unavailable
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Accepted, Issued, Refused
from tests.harness.acme_ca import ZONE, AcmeCa, acme_ca, csr_intent
from tests.harness.acme_proxy import AcmeProxy, Answer, acme_proxy, lost, problem

pytestmark = pytest.mark.slow
WWW, OTHER = f"www.{ZONE}", f"other.{ZONE}"
NOW = datetime.now(UTC).replace(second=0, microsecond=0)

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
def open_backend(ca: AcmeCa, proxy: AcmeProxy, tmp_path: Path) -> Open:
    """As another process opens it, at a time."""

    def opened(now: datetime = NOW, **changes: Any) -> AcmeBackend:
        return ca.behind(proxy, clock=lambda: now, **{"folder": tmp_path / "account", **changes})

    return opened


def ordered(proxy: AcmeProxy) -> int:
    """How many orders the CA was asked for."""
    return len([path for path in proxy.seen if path.startswith("/order-plz")])


def limits_of(backend: AcmeBackend) -> dict[str, tuple[Verdict, str, str]]:
    found = {check.code: (check.verdict, check.message, check.seen) for check in backend.check()}
    return {code: told for code, told in found.items() if code.startswith("backend.limit.")}


def test_what_the_ca_allows_no_more_of_waits_and_says_until_when(
    proxy: AcmeProxy, open_backend: Open
) -> None:
    limits = {"certificates_per_names": "2 per 2d"}
    for _ in range(2):
        assert isinstance(settled(open_backend(limits=limits), csr_intent(WWW)), Issued)
    held, before = csr_intent(WWW), ordered(proxy)
    tomorrow = f"{NOW + timedelta(days=1):%-d %B %Y, %H:%M} UTC"
    for _ in range(2):
        with pytest.raises(Postponed) as postponed:
            open_backend(limits=limits).submit(held)
        assert postponed.value.detail == (
            "The CA allows 2 certificates for exactly these names in 2 days; "
            f"the next on {tomorrow}. This one waits until then."
        )
    assert ordered(proxy) == before
    assert isinstance(open_backend(limits=limits).submit(csr_intent(OTHER)), Accepted)
    verdict, told, seen = limits_of(open_backend(limits=limits))["backend.limit.certificates_per_names"]
    assert (verdict, seen) == (Verdict.WARN, WWW)
    assert told == (
        "The CA allows 2 certificates for exactly the same names in 2 days: 2 used, 0 left, "
        f"the next on {tomorrow}."
    )
    later = NOW + timedelta(days=1, minutes=1)
    assert isinstance(settled(open_backend(later, limits=limits), held), Issued)


def test_each_limit_is_shown_and_none_without_limits(open_backend: Open) -> None:
    backend = open_backend(limits="letsencrypt")
    assert isinstance(backend.submit(csr_intent(WWW)), Accepted)
    assert {code: told[1] for code, told in limits_of(backend).items()} == {
        "backend.limit.orders": "The CA allows 300 orders in 3 hours: 1 used, 299 left.",
        "backend.limit.certificates_per_domain": (
            "The CA allows 50 certificates for each registered domain in 7 days: 1 used, 49 left."
        ),
        "backend.limit.certificates_per_names": (
            "The CA allows 5 certificates for exactly the same names in 7 days: 1 used, 4 left."
        ),
        "backend.limit.failures_per_name": (
            "The CA allows 5 failed validations of each name in 1 hour: 0 used, 5 left."
        ),
    }
    assert limits_of(open_backend()) == {}


def test_what_the_ca_did_not_take_spends_nothing(proxy: AcmeProxy, open_backend: Open) -> None:
    limits = {"orders": "1 per 1h", "certificates_per_names": "1 per 7d"}
    for meddle, error in (
        (problem("rejectedIdentifier", "no", status=403), BackendRefused),
        (problem("serverInternal", "oops", status=500), Unavailable),
        (lost, Unavailable),
    ):
        proxy.instead("/order-plz", meddle)
        with pytest.raises(error) as raised:
            open_backend(limits=limits).submit(csr_intent(WWW))
        assert not isinstance(raised.value, Postponed)
    assert isinstance(open_backend(limits=limits).submit(csr_intent(WWW)), Accepted)


def test_a_name_that_failed_too_often_is_held_back_before_the_ca_does(
    proxy: AcmeProxy, open_backend: Open
) -> None:
    limits = {"failures_per_name": "1 per 1h"}
    backend, intent = open_backend(limits=limits), csr_intent(OTHER)
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    proxy.meddle("/my-order/", *[lambda answer: with_status(answer, "invalid")] * 2)
    proxy.meddle("/authZ/", *[failed] * 2)
    for _ in range(2):  # however often it is seen
        refused = backend.poll(intent, accepted.handle)
        assert isinstance(refused, Refused)
        assert "could not validate" in refused.reason
    with pytest.raises(Postponed, match=f"1 failed validation of {OTHER} in 1 hour; the next on"):
        open_backend(limits=limits).submit(csr_intent(OTHER))
    assert isinstance(open_backend(limits=limits).submit(csr_intent(WWW)), Accepted)
    later = NOW + timedelta(hours=1)
    assert isinstance(open_backend(later, limits=limits).submit(csr_intent(OTHER)), Accepted)


def with_status(answer: Answer, status: str) -> Answer:
    return replace(answer, body=json.dumps({**json.loads(answer.body), "status": status}).encode())


def failed(answer: Answer) -> Answer:
    told = json.loads(answer.body)
    error = {"type": "urn:ietf:params:acme:error:dns", "detail": "no TXT record"}
    told["challenges"] = [{**one, "status": "invalid", "error": error} for one in told["challenges"]]
    return replace(answer, body=json.dumps({**told, "status": "invalid"}).encode())


def test_many_at_once_take_no_more_than_there_is(proxy: AcmeProxy, open_backend: Open) -> None:
    limits, came = {"orders": "3 per 1h"}, list[str]()
    open_backend().register()

    def ask() -> None:
        try:
            came.append(type(open_backend(limits=limits).submit(csr_intent(WWW))).__name__)
        except BackendError as error:
            came.append(type(error).__name__)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == ["Accepted"] * 3 + ["Postponed"] * 5


@pytest.mark.parametrize("where", ["/order-plz", "/dir", "/sign-me-up"])
def test_an_overloaded_ca_is_left_alone_by_all_processes(
    proxy: AcmeProxy, open_backend: Open, where: str
) -> None:
    proxy.instead(where, lambda _answer: Answer(status=503, headers={"Retry-After": "7200"}))
    with pytest.raises(Postponed, match="asks us to wait for 7200 seconds"):
        open_backend().submit(csr_intent(WWW))
    seen = len(proxy.seen)
    for name in (WWW, OTHER):
        with pytest.raises(Postponed, match=r"The CA wants no order before \d+ \w+ \d+, \d\d:\d\d UTC\."):
            open_backend().submit(csr_intent(name))
    assert len(proxy.seen) == seen
    assert isinstance(open_backend(NOW + timedelta(hours=2)).submit(csr_intent(WWW)), Accepted)


def test_an_order_is_left_alone_as_long_as_the_ca_wants(proxy: AcmeProxy, open_backend: Open) -> None:
    intent = csr_intent(WWW)
    accepted = open_backend().submit(intent)
    assert isinstance(accepted, Accepted)
    proxy.instead("/my-order/", problem("rateLimited", "too many reads", status=429, Retry_After="600"))
    with pytest.raises(Unavailable, match="for 600 seconds"):
        open_backend().poll(intent, accepted.handle)
    seen = len(proxy.seen)
    assert open_backend(NOW + timedelta(seconds=599)).poll(intent, accepted.handle) == accepted
    assert len(proxy.seen) == seen
    assert isinstance(settled(open_backend(NOW + timedelta(seconds=600)), intent), Issued)
