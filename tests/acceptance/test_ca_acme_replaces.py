"""Renewals say what they replace (RFC 9773 5), to the CA that wants it and when it does.

Pebble 2.4 has no renewal information: a proxy in front adds it, and says what CAs say of `replaces`.
Certdesk's own ACME server has both (test_ca_acme_certdesk).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.conformance import settled
from certdesk.domain.acme.renewal import renewal_identifier
from certdesk.domain.errors import BackendRefused, Unavailable
from certdesk.domain.issuing.certificates import Accepted, Intent, Issued
from tests.harness.acme_ca import ZONE, AcmeCa, acme_ca, csr_intent
from tests.harness.acme_proxy import AcmeProxy, Answer, Meddle, acme_proxy, garbage, problem

pytestmark = pytest.mark.slow
WWW = f"www.{ZONE}"
NOW = datetime.now(UTC)
ORDERS, WINDOW = "/order-plz", "/renewal-info/"

Open = Callable[..., AcmeBackend]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with acme_ca(tmp_path_factory.mktemp("ca")) as running:
        yield running


@pytest.fixture(scope="module")
def last(ca: AcmeCa) -> bytes:
    """The certificate that is renewed."""
    outcome = settled(ca.backend(), csr_intent(WWW))
    assert isinstance(outcome, Issued)
    return outcome.chain[0]


@pytest.fixture
def proxy(ca: AcmeCa, tmp_path: Path) -> Iterator[AcmeProxy]:
    with acme_proxy(ca.pebble.port, tmp_path / "proxy") as running:
        yield running


@pytest.fixture
def open_backend(ca: AcmeCa, proxy: AcmeProxy, tmp_path: Path) -> Open:
    def opened(now: datetime = NOW, **changes: Any) -> AcmeBackend:
        return ca.behind(proxy, clock=lambda: now, **{"folder": tmp_path / "account", **changes})

    return opened


def advises(proxy: AcmeProxy, *, begins: timedelta = timedelta(hours=-1), said: Meddle | None = None) -> None:
    """The CA has renewal information, and says so of the next certificate that it is asked about."""

    def directory(answer: Answer) -> Answer:
        at = proxy.directory.replace("/dir", WINDOW)
        return replace(answer, body=json.dumps({**json.loads(answer.body), "renewalInfo": at}).encode())

    window = {"start": (NOW + begins).isoformat(), "end": (NOW + begins + timedelta(days=1)).isoformat()}
    body = json.dumps({"suggestedWindow": window}).encode()
    proxy.meddle("/dir", directory)
    proxy.instead(
        WINDOW, said or (lambda _answer: Answer(body=body, headers={"Content-Type": "application/json"}))
    )


def renewal(last: bytes, *names: str) -> Intent:
    return replace(csr_intent(*(names or (WWW,))), replaces=last)


def replaced(proxy: AcmeProxy) -> list[str]:
    """What each order that the CA was asked for says that it replaces."""
    both = zip(proxy.seen, proxy.sent, strict=True)
    return [told.get("replaces", "") for path, told in both if path.startswith(ORDERS)]


def identifier(last: bytes) -> str:
    return renewal_identifier(x509.load_der_x509_certificate(last))


def test_a_renewal_inside_its_window_says_what_it_replaces(
    proxy: AcmeProxy, open_backend: Open, last: bytes
) -> None:
    advises(proxy)
    assert isinstance(settled(open_backend(), renewal(last)), Issued)
    assert replaced(proxy) == [identifier(last)]


@pytest.mark.parametrize(
    "advice",
    [
        None,
        {"begins": timedelta(minutes=1)},
        {"said": problem("malformed", "?", status=404)},
        {"said": problem("unauthorized", "?", status=403)},
        {"said": problem("rateLimited", "?", status=429, Retry_After="60")},
    ],
)
def test_nothing_is_said_before_the_window_or_without_one(
    proxy: AcmeProxy, open_backend: Open, last: bytes, advice: dict[str, Any] | None
) -> None:
    if advice is not None:
        advises(proxy, **advice)
    assert isinstance(open_backend().submit(renewal(last)), Accepted)
    assert replaced(proxy) == [""]


def test_renewal_information_that_is_none_holds_up_no_renewal(
    proxy: AcmeProxy, open_backend: Open, last: bytes
) -> None:
    advises(proxy, said=garbage)
    assert isinstance(open_backend().submit(renewal(last)), Accepted)
    advises(proxy)
    assert isinstance(open_backend().submit(csr_intent(f"new.{ZONE}")), Accepted)
    advises(proxy)
    assert isinstance(open_backend().submit(renewal(b"no certificate")), Accepted)
    assert replaced(proxy) == ["", "", ""]


@pytest.mark.parametrize(
    "said", [("alreadyReplaced", 409), ("malformed", 400), ("malformed", 404), ("unauthorized", 403)]
)
def test_what_can_not_be_replaced_is_ordered_all_the_same(
    proxy: AcmeProxy, open_backend: Open, last: bytes, said: tuple[str, int]
) -> None:
    advises(proxy)
    proxy.instead(ORDERS, problem(said[0], "that certificate", status=said[1]))
    assert isinstance(settled(open_backend(), renewal(last)), Issued)
    assert replaced(proxy) == [identifier(last), ""]


def test_a_refusal_of_something_else_is_one(proxy: AcmeProxy, open_backend: Open, last: bytes) -> None:
    advises(proxy)
    proxy.instead(ORDERS, problem("rejectedIdentifier", "no", status=403))
    with pytest.raises(BackendRefused):
        open_backend().submit(renewal(last))
    assert len(replaced(proxy)) == 1


def test_our_own_earlier_order_goes_on_where_the_ca_knows_of_one(
    ca: AcmeCa, proxy: AcmeProxy, open_backend: Open, last: bytes
) -> None:
    """Its intent was given up before anything was finalized; the CA counts the order as the replacement."""
    first, second, third = renewal(last), renewal(last), renewal(last, WWW, ZONE)
    advises(proxy)
    accepted = open_backend().submit(first)
    already = problem("alreadyReplaced", "by an order", status=409)
    # At once it is still the first one's: the second gets one of its own.
    advises(proxy)
    proxy.instead(ORDERS, already)
    assert open_backend().submit(second) != accepted
    # Later it changes hands, but not for other names.
    later = NOW + timedelta(hours=2)
    for intent, same in ((third, False), (renewal(last), True)):
        advises(proxy)
        proxy.instead(ORDERS, already)
        got = open_backend(later).submit(intent)
        assert (got == accepted) is same
        assert isinstance(settled(open_backend(later), intent), Issued)
    assert replaced(proxy) == [identifier(last), identifier(last), "", identifier(last), "", identifier(last)]


def test_an_order_that_has_given_a_certificate_is_not_taken_again(
    proxy: AcmeProxy, open_backend: Open, last: bytes
) -> None:
    advises(proxy)
    first = settled(open_backend(), renewal(last))
    assert isinstance(first, Issued)
    advises(proxy)
    proxy.instead(ORDERS, problem("alreadyReplaced", "long ago", status=409))
    second = settled(open_backend(NOW + timedelta(hours=2)), renewal(last))
    assert isinstance(second, Issued)
    assert second.chain[0] != first.chain[0]


def test_a_renewal_is_exempt_from_limits_as_long_as_it_replaces(
    proxy: AcmeProxy, open_backend: Open, last: bytes
) -> None:
    limits = {"orders": "1 per 1h", "certificates_per_names": "1 per 7d", "exempt_renewals": True}
    assert isinstance(open_backend(limits=limits).submit(csr_intent(WWW)), Accepted)
    for _ in range(2):
        advises(proxy)
        assert isinstance(open_backend(limits=limits).submit(renewal(last)), Accepted)
    advises(proxy)
    proxy.instead(ORDERS, problem("alreadyReplaced", "?", status=409))
    with pytest.raises(Unavailable, match="allows 1 certificate for exactly these names"):
        open_backend(limits=limits).submit(renewal(last))
    advises(proxy, begins=timedelta(days=1))
    with pytest.raises(Unavailable, match="allows 1 certificate for exactly these names"):
        open_backend(limits=limits).submit(renewal(last))
    advises(proxy)
    counted = {**limits, "exempt_renewals": False}
    with pytest.raises(Unavailable, match="allows 1 "):
        open_backend(limits=counted).submit(renewal(last))
