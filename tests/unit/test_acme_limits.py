"""What an ACME CA allows in a time: counted as it counts, kept for all processes, and said in plain words."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certdesk.backends.acme.config import read_config
from certdesk.backends.acme.journal import Journal
from certdesk.backends.acme.limits import Kind, Limit, Limits, moment, read_limits
from certdesk.domain.errors import Misconfigured

NOW = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
WWW = ("www.example.ac.uk",)
HOUR = 3600.0
DAY = 24 * HOUR


def limits(**section: object) -> Limits:
    found = read_limits(where="limits", section=section)
    assert found is not None
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def spent(
    journal: Journal, key: str, told: Limits, *names: str, hours: float = 0, **how: bool
) -> tuple[str, float] | None:
    """Which limit stands against an order, and for how many hours; None when it was spent."""
    asked = told.for_order(names or WWW, **{"renews": False, "replaces": False, **how})
    now = NOW + timedelta(hours=hours)
    held = journal.spend(key, asked, now=now)
    return None if held is None else (held[0].kind, round((held[1] - now.timestamp()) / 3600, 2))


def test_a_bucket_gives_its_tokens_back_one_by_one() -> None:
    limit = Limit(count=5, period=7 * DAY)
    assert (limit.used([], now=0), limit.next_at([]) < 0) == (0, True)
    five = [0.0] * 5
    assert limit.used(five, now=0) == 5
    assert limit.next_at(five) == pytest.approx(33.6 * HOUR, abs=1)
    assert limit.used(five, now=33.6 * HOUR) == 4
    six = [*five, 33.6 * HOUR]
    assert limit.next_at(six) == pytest.approx(2 * 33.6 * HOUR, abs=1)
    assert limit.used(six, now=14 * DAY) == 0
    slow = [n * 40 * HOUR for n in range(100)]  # more seldom than they come back
    assert (limit.used(slow, now=slow[-1]), limit.next_at(slow) < slow[-1]) == (1, True)


def test_letsencrypts_limits_are_those_that_it_documents() -> None:
    found = limits(preset="letsencrypt")
    assert {kind: (one.count, one.period) for kind, one in found.of.items()} == {
        "orders": (300, 3 * HOUR),
        "certificates_per_domain": (50, 7 * DAY),
        "certificates_per_names": (5, 7 * DAY),
        "failures_per_name": (5, HOUR),
    }
    assert found.exempt_renewals


def test_a_preset_is_changed_one_by_one() -> None:
    found = limits(preset="letsencrypt", certificates_per_domain="500 per 7d", exempt_renewals=False)
    assert found.of[Kind.DOMAIN].count == 500
    assert found.of[Kind.NAMES].count == 5
    assert not found.exempt_renewals
    assert list(limits(orders="10 per 1h").of) == [Kind.ORDERS]
    assert read_limits(where="limits", section=None) is None


@pytest.mark.parametrize(
    "section, told",
    [
        ({"preset": "sectigo"}, "no preset “sectigo”; there is letsencrypt"),
        ({"orders": "many"}, "limits: orders must be a limit such as"),
        ({"orders": "0 per 1h"}, "must be a limit"),
        ({"orders": 300}, "set orders to a text"),
        ({"per_day": "1 per 1d"}, "unknown settings per_day"),
        ({"exempt_renewals": "yes"}, "true or false"),
    ],
)
def test_limits_that_are_none(section: dict[str, object], told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        read_limits(where="limits", section=section)


def test_a_preset_may_stand_alone_in_the_file_of_cas(tmp_path: Path) -> None:
    settings = {"directory_url": "https://ca.example/dir", "folder": str(tmp_path)}
    config = read_config(name="le", settings={**settings, "limits": "letsencrypt"})
    assert config.limits == limits(preset="letsencrypt")
    assert read_config(name="le", settings=settings).limits is None
    with pytest.raises(Misconfigured, match="Back end le, limits: there is no preset"):
        read_config(name="le", settings={**settings, "limits": "none"})


def subjects(kind: Kind, *names: str) -> Iterator[str]:
    for bucket in limits(preset="letsencrypt").for_order(names, renews=False, replaces=False):
        if bucket.kind is kind:
            yield bucket.subject


def test_what_an_order_is_counted_under() -> None:
    names = ("*.a.example.ac.uk", "b.example.ac.uk", "example.org", "192.0.2.1", "2001:db8::1", "intranet")
    assert set(subjects(Kind.DOMAIN, *names)) == {
        *("example.ac.uk", "example.org", "192.0.2.1", "2001:db8::/64", "intranet"),
    }
    assert list(subjects(Kind.NAMES, "b.example", "a.example")) == ["a.example b.example"]
    assert set(subjects(Kind.FAILURES, "*.a.example", "a.example", "b.example")) == {"a.example", "b.example"}
    assert list(subjects(Kind.ORDERS, *names)) == [""]


def test_the_sixth_certificate_for_the_same_names_waits(journal: Journal) -> None:
    told = limits(preset="letsencrypt")
    for number in range(5):
        assert spent(journal, f"key {number}", told, "a.example.org", "b.example.org") is None
    assert spent(journal, "key 5", told, "b.example.org", "a.example.org") == (Kind.NAMES, 33.6)
    assert spent(journal, "key 5", told, "a.example.org") is None
    assert spent(journal, "key 6", told, "b.example.org", "a.example.org", hours=34) is None
    assert spent(journal, "key 7", told, "b.example.org", "a.example.org", hours=34) == (Kind.NAMES, 33.2)


def test_an_order_that_one_limit_forbids_spends_nothing_of_the_others(journal: Journal) -> None:
    told = limits(orders="3 per 1h", certificates_per_domain="1 per 1d")
    assert spent(journal, "key 0", told, "a.example.org") is None
    for number in range(9):
        assert spent(journal, f"more {number}", told, "b.example.net", "c.example.org") == (Kind.DOMAIN, 24)
    assert spent(journal, "key 1", told, "b.example.net") is None


def test_the_same_intent_spends_once_and_gives_back_what_comes_to_nothing(journal: Journal) -> None:
    told = limits(orders="2 per 1h", certificates_per_names="1 per 7d")
    for _ in range(3):
        assert spent(journal, "key", told) is None
    assert spent(journal, "other", told) == (Kind.NAMES, 168)
    journal.give_back("key")  # the order was made, and no certificate came of it
    assert spent(journal, "other", told) is None
    assert spent(journal, "third", told, "a.example.org") == (Kind.ORDERS, 0.5)
    journal.give_back("other", order=True)  # it was not even made
    assert spent(journal, "third", told, "a.example.org") is None


def test_an_order_that_ends_without_a_certificate_gives_back(journal: Journal) -> None:
    told = limits(certificates_per_names="1 per 7d")
    for key, issued, waits in (("one", False, None), ("two", True, (Kind.NAMES, 168.0))):
        assert spent(journal, key, told) is None
        journal.own(key=key, url=f"https://ca/{key}", names=WWW, now=NOW)
        journal.end(key, issued=issued)
        journal.end(key, issued=issued)
        assert spent(journal, "next", told) == waits
        journal.give_back("next", order=True)


def test_an_order_that_changes_hands_is_spent_once(journal: Journal) -> None:
    told = limits(certificates_per_names="2 per 7d")
    for key, hours in (("first", 0), ("second", 2)):
        assert spent(journal, key, told, hours=hours) is None
        assert journal.own(key=key, url="https://ca/1", names=WWW, now=NOW + timedelta(hours=hours))
    assert spent(journal, "third", told, hours=2) is None
    assert spent(journal, "fourth", told, hours=2) is not None


def test_failures_are_counted_once_and_hold_back_the_name(journal: Journal) -> None:
    told = limits(failures_per_name="2 per 1h")
    for address in ("authz/1", "authz/1", "authz/2"):
        assert spent(journal, "key", told) is None
        journal.note_failure(WWW[0], at=address, now=NOW)
    assert spent(journal, "key", told) == (Kind.FAILURES, 0.5)
    assert spent(journal, "key", told, "*.www.example.ac.uk") == (Kind.FAILURES, 0.5)
    assert spent(journal, "key", told, "example.ac.uk") is None
    assert spent(journal, "key", told, hours=0.6) is None


def test_renewals_are_exempt_where_the_ca_exempts_them(journal: Journal) -> None:
    told = limits(
        orders="1 per 1h",
        certificates_per_names="1 per 7d",
        failures_per_name="1 per 1h",
        exempt_renewals=True,
    )
    assert spent(journal, "first", told) is None
    journal.note_failure(WWW[0], at="authz/1", now=NOW)
    assert spent(journal, "second", told, replaces=True) is None
    assert spent(journal, "third", told, renews=True) == (Kind.NAMES, 168)
    assert spent(journal, "third", told, renews=True, hours=169) is None
    counted = limits(orders="1 per 1h", exempt_renewals=False)
    assert spent(journal, "third", counted, replaces=True, renews=True) == (Kind.ORDERS, 1)


def test_what_is_used_most(journal: Journal) -> None:
    told = limits(preset="letsencrypt")
    limit = told.of[Kind.DOMAIN]
    assert journal.fullest(Kind.DOMAIN, limit, now=NOW) is None
    for number, name in enumerate(("a.example.org", "b.example.org", "c.example.net")):
        spent(journal, f"key {number}", told, name)
    assert journal.fullest(Kind.DOMAIN, limit, now=NOW)[:2] == ("example.org", 2)  # type: ignore[index]  # there is one
    for number in range(50):
        spent(journal, f"more {number}", told, f"a{number}.example.net")
    subject, used, next_at = journal.fullest(Kind.DOMAIN, limit, now=NOW) or ("", 0, 0)
    assert (subject, used) == ("example.net", 50)
    assert next_at - NOW.timestamp() == pytest.approx(201.6 * 60, abs=1)


def test_processes_share_what_was_spent(journal: Journal, tmp_path: Path) -> None:
    told = limits(certificates_per_names="1 per 7d")
    assert spent(journal, "key", told) is None
    assert spent(Journal(tmp_path), "other", told) == (Kind.NAMES, 168)


def test_it_is_said_in_plain_words() -> None:
    limit = Limit(count=5, period=7 * DAY)
    assert limit.words(Kind.NAMES, subject="a b") == "5 certificates for exactly these names in 7 days"
    assert limit.words(Kind.DOMAIN, subject="a.uk") == "5 certificates for names under a.uk in 7 days"
    assert Limit(count=300, period=3 * HOUR).words(Kind.ORDERS) == "300 orders in 3 hours"
    assert Limit(count=5, period=HOUR).words(Kind.FAILURES) == "5 failed validations of each name in 1 hour"
    assert moment(NOW.timestamp() + 1) == "27 November 2026, 18:01 UTC"


def test_a_pause_is_for_some_names_or_for_all(journal: Journal, tmp_path: Path) -> None:
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    journal.pause(WWW, until=late)
    assert Journal(tmp_path).paused_until(WWW, now=NOW) == (late, True)
    assert journal.paused_until(("example.org",), now=NOW) is None
    journal.pause((), until=soon)
    assert journal.paused_until(("example.org",), now=NOW) == (soon, False)
    assert journal.paused_until(WWW, now=NOW) == (late, True)
    assert journal.paused_until(("example.org",), now=soon) is None
