"""Settings that an operator changes: every field's limits, and a parser that refuses what it can't use."""

from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.errors import InvalidInput
from certdesk.domain.settings import (
    LOWEST_PASSWORD_LENGTH,
    MAX_ITEMS,
    MAX_TEXT,
    NAMES,
    OTHER,
    TERM_YEARS,
    ServiceSettings,
    changed,
    contact_link,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SEED = ServiceSettings()


def problems(**values: object) -> dict[str, str]:
    """What is said about each field; empty when all can be used."""
    try:
        changed(SEED, values, now=NOW)
    except InvalidInput as error:
        return error.fields
    return {}


@pytest.mark.parametrize(
    "name, good",
    [
        ("ra", "J"),
        ("ra", "x" * MAX_TEXT),
        ("service_name", "Zertifikate für alle"),
        ("ra_contact", ""),
        ("ra_contact", "jtag+help@ra.example.ac.uk"),
        ("ra_contact", "https://tickets.example.org/new?queue=ra"),
        ("support_url", ""),
        ("support_url", "https://support.example.org/tls?from=portal#top"),
        ("trusted_suffixes", "ac.uk"),
        ("trusted_suffixes", ["xn--p1ai", "uk"]),
        ("durations", ["1"]),
        ("durations", [3, 1, 2]),
        ("server_software", ""),
        ("ownership_days", "1"),
        ("ownership_days", "398"),
        ("challenge_days", "30"),
        ("password_min_length", str(LOWEST_PASSWORD_LENGTH)),
        ("password_min_length", "64"),
    ],
)
def test_what_is_within_the_limits_is_taken(name: str, good: object) -> None:
    assert problems(**{name: good}) == {}


@pytest.mark.parametrize(
    "name, bad",
    [
        ("ra", ""),
        ("ra", "   "),
        ("ra", "x" * (MAX_TEXT + 1)),
        ("ra", "JT\x00AG"),
        ("ra", "A\u202eB"),
        ("ra_contact", "jtag"),
        ("ra_contact", "jtag@localhost"),
        ("ra_contact", "a@b.example, c@d.example"),
        ("ra_contact", "jtag@example.org?cc=x@evil.example"),
        ("ra_contact", "javascript:alert(1)"),
        ("ra_contact", "javascript://x"),
        ("ra_contact", "mailto://x"),
        ("ra_contact", "jtag@example.org\nBcc: x@evil.example"),
        ("ra_contact", "a" * 250 + "@example.org"),
        ("support_url", "javascript:alert(1)"),
        ("support_url", "//example.org"),
        ("support_url", "https://"),
        ("support_url", "https://["),
        ("support_url", "https://example.org/\x00"),
        ("support_url", "https://example.org/a b"),
        ("support_url", "https://example.org/" + "a" * 500),
        ("trusted_suffixes", ""),
        ("trusted_suffixes", "ac..uk"),
        ("trusted_suffixes", "*.ac.uk"),
        ("trusted_suffixes", "ac uk"),
        ("trusted_suffixes", "-ac.uk"),
        ("trusted_suffixes", "a." * 130 + "uk"),
        ("trusted_suffixes", ["uk"] * (MAX_ITEMS + 1)),
        ("durations", []),
        ("durations", ["0"]),
        ("durations", ["1", "4"]),
        ("durations", ["one"]),
        ("durations", 3),
        ("server_software", "x" * (MAX_TEXT + 1)),
        ("ownership_days", "0"),
        ("ownership_days", "399"),
        ("ownership_days", "a year"),
        ("ownership_days", "1.5"),
        ("challenge_days", "0"),
        ("challenge_days", "31"),
        ("password_min_length", "2"),
        ("password_min_length", "65"),
        ("password_min_length", "9" * 5000),
        ("colour", "red"),
    ],
)
def test_what_is_outside_is_refused_beside_its_field(name: str, bad: object) -> None:
    found = problems(**{name: bad})
    assert list(found) == [name]
    assert found[name].endswith(".")


def test_all_problems_come_at_once_and_nothing_is_taken() -> None:
    assert set(problems(ra="", challenge_days="31", service_name="Fine")) == {"ra", "challenge_days"}


def test_other_stays_and_repetitions_go() -> None:
    after = changed(SEED, {"server_software": "nginx\n\n nginx \nIIS\n"}, now=NOW)
    assert after.server_software == ("nginx", "IIS", OTHER)
    placed = changed(SEED, {"server_software": [OTHER, "nginx"]}, now=NOW)
    assert placed.server_software == (OTHER, "nginx")


def test_suffixes_are_compared_in_lower_case_without_dots_around() -> None:
    after = changed(SEED, {"trusted_suffixes": " .AC.uk \r\nac.uk\r\nnhs.uk."}, now=NOW)
    assert after.trusted_suffixes == ("ac.uk", "nhs.uk")


ANYTHING = st.one_of(
    st.text(),
    st.integers(),
    st.none(),
    st.booleans(),
    st.floats(),
    st.lists(st.text(), max_size=5),
    st.lists(st.integers(), max_size=5),
    st.from_regex(r"https?://[a-z.\[\]:/ @]*", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}", fullmatch=True),
)


@given(values=st.dictionaries(st.sampled_from([*NAMES, "unknown"]), ANYTHING))
def test_whatever_comes_is_refused_by_field_or_within_the_limits(values: dict[str, object]) -> None:
    if found := problems(**values):
        assert set(found) <= set(values)
        return
    after = changed(SEED, values, now=NOW)
    assert 1 <= len(after.ra) <= MAX_TEXT
    assert "\n" not in after.ra + after.service_name + after.support_url
    assert after.support_url == "" or after.support_url.startswith(("http://", "https://"))
    assert (
        contact_link(after.ra_contact).startswith(("http://", "https://", "mailto:")) or not after.ra_contact
    )
    assert after.trusted_suffixes
    assert set(after.durations) <= set(TERM_YEARS)
    assert after.durations
    assert OTHER in after.server_software
    assert 1 <= after.ownership_days <= 398
    assert 1 <= after.challenge_days <= 30
    assert after.password_min_length >= LOWEST_PASSWORD_LENGTH
    # What is stored and read again is the same.
    assert changed(SEED, asdict(after), now=NOW) == after
