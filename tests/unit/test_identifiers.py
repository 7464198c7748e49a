"""Names: what may stand in a certificate, suffixes by label, domains and their parents."""

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.errors import RejectedIdentifier
from certdesk.domain.names.identifiers import (
    authorization_domain_names,
    is_documentation_name,
    is_under,
    parse_dns_name,
    quoted,
    registrable_domain,
    script_warning,
    to_unicode,
    under_any,
)


@pytest.mark.parametrize(
    "text, name",
    [
        ("www.example.ac.uk", "www.example.ac.uk"),
        ("WWW.Example.AC.UK", "www.example.ac.uk"),
        ("*.example.ac.uk", "*.example.ac.uk"),
        ("xn--bcher-kva.example.ac.uk", "xn--bcher-kva.example.ac.uk"),
        ("a" * 63 + ".example.ac.uk", "a" * 63 + ".example.ac.uk"),
        ("1.example.ac.uk", "1.example.ac.uk"),
        ("a-b--c.example.ac.uk", "a-b--c.example.ac.uk"),
        ("ac.uk.evil.example", "ac.uk.evil.example"),
        ("project.github.io", "project.github.io"),
        ("*.github.io", "*.github.io"),
        ("www.ck", "www.ck"),
        ("server.host", "server.host"),
    ],
)
def test_names_that_may_be_certified(text: str, name: str) -> None:
    assert parse_dns_name(text) == name


@pytest.mark.parametrize(
    "text, code",
    [
        ("", "empty"),
        (" ", "empty"),
        ("a" * 64 + ".example.ac.uk", "label_too_long"),
        ("a." * 127 + "example.ac.uk", "too_long"),
        ("www.example.ac.uk.", "trailing_dot"),
        ("www..example.ac.uk", "label"),
        ("-www.example.ac.uk", "label"),
        ("my_host.example.ac.uk", "character"),
        ("www.example.ac.uk\0", "character"),
        ("www.example.ac.uk\n", "character"),
        ("www.example.ac.uk/", "character"),
        ("bücher.example.ac.uk", "unicode"),
        ("\u212a.example.ac.uk", "unicode"),
        ("ab--cd.example.ac.uk", "idna"),
        ("xn--a.example.ac.uk", "idna"),
        ("192.0.2.1", "ip_address"),
        ("[2001:db8::1]", "ip_address"),
        ("*.ac.uk", "wildcard_public_suffix"),
        ("*.ck", "not_fqdn"),
        ("*.co.ck", "wildcard_public_suffix"),
        ("w*.example.ac.uk", "wildcard"),
        ("www.*.example.ac.uk", "wildcard"),
        ("ac.uk", "public_suffix"),
        ("co.ck", "public_suffix"),
        ("uk", "not_fqdn"),
        ("localhost", "not_fqdn"),
        ("example", "not_fqdn"),
        ("*.example", "not_fqdn"),
        ("server.local", "internal"),
        ("server.LAN", "internal"),
        ("server.corp", "internal"),
        ("server.alt", "internal"),
        ("server.home.arpa", "internal"),
        ("e164.arpa", "internal"),
        ("server.invalid", "internal"),
        ("server.thereisnosuchtld", "internal"),
        ("host.1", "internal"),
        ("1.2.0.192.in-addr.arpa", "reverse_zone"),
        ("8.b.d.0.ip6.arpa", "reverse_zone"),
        ("abc.onion", "onion"),
    ],
)
def test_names_that_may_not_be_certified(text: str, code: str) -> None:
    with pytest.raises(RejectedIdentifier) as caught:
        parse_dns_name(text)
    assert caught.value.code == f"names.{code}"
    assert caught.value.detail.isprintable()


def test_a_unicode_name_is_offered_in_its_ascii_form() -> None:
    with pytest.raises(RejectedIdentifier, match=r"\*\.xn--bcher-kva\.example\.ac\.uk$"):
        parse_dns_name("*.Bücher.example.ac.uk")


def test_a_wildcard_is_refused_where_a_plain_name_is_needed() -> None:
    with pytest.raises(RejectedIdentifier) as caught:
        parse_dns_name("*.example.ac.uk", allow_wildcard=False)
    assert caught.value.code == "names.wildcard"


@pytest.mark.parametrize(
    "name, suffix, expected",
    [
        ("example.ac.uk", "ac.uk", True),
        ("a.b.example.ac.uk", "example.ac.uk", True),
        ("example.ac.uk", "example.ac.uk", True),
        ("*.example.ac.uk", "example.ac.uk", True),
        ("Example.AC.uk", "aC.UK", True),
        ("example.ac.uk", ".ac.uk", True),
        ("notexample.ac.uk", "example.ac.uk", False),
        ("evilac.uk", "ac.uk", False),
        ("ac.uk.evil.example", "ac.uk", False),
        ("uk", "ac.uk", False),
        ("example.ac.uk", "", False),
        ("example.ac.uk", ".", False),
    ],
)
def test_suffixes_are_compared_by_label(name: str, suffix: str, *, expected: bool) -> None:
    assert is_under(name, suffix) is expected
    assert under_any(name, ["example.org", suffix]) is expected
    assert not under_any(name, [])


def test_authorization_domain_names_stop_at_the_registrable_domain() -> None:
    assert authorization_domain_names("*.a.physics.example.ac.uk") == (
        "a.physics.example.ac.uk",
        "physics.example.ac.uk",
        "example.ac.uk",
    )
    assert authorization_domain_names("example.ac.uk") == ("example.ac.uk",)
    assert authorization_domain_names("x.evil.example") == ("x.evil.example", "evil.example")
    assert authorization_domain_names("a.www.ck") == ("a.www.ck", "www.ck")


def test_a_public_suffix_has_no_owner() -> None:
    assert registrable_domain("x.evil.example") == "evil.example"
    assert registrable_domain("*.Example.ac.uk") == "example.ac.uk"
    for name in ("ac.uk", "uk", "example", ""):
        with pytest.raises(RejectedIdentifier):
            registrable_domain(name)


def test_documentation_names_are_known_by_their_tld_alone() -> None:
    assert is_documentation_name("ac.uk.evil.example")
    assert not is_documentation_name("example.ac.uk")
    assert not is_documentation_name("www.example.com")


def test_names_are_shown_in_unicode_and_broken_labels_as_they_are() -> None:
    assert to_unicode("*.xn--bcher-kva.example.ac.uk") == "*.bücher.example.ac.uk"
    assert to_unicode("xn--a.example.ac.uk") == "xn--a.example.ac.uk"


@pytest.mark.parametrize("label", ["раураl", "exаmple", "αlpha", "сосо", "р-1"])
def test_labels_that_may_deceive_are_warned_about(label: str) -> None:
    assert script_warning(f"www.{idna.alabel(label).decode()}.ac.uk")


@pytest.mark.parametrize("label", ["bücher", "москва", "αβγ", "日本語カナ", "日本ab", "한국어"])
def test_labels_of_one_script_are_not_warned_about(label: str) -> None:
    assert script_warning(f"www.{idna.alabel(label).decode()}.ac.uk") is None


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_refused_with_a_short_printable_reason(text: str) -> None:
    try:
        name = parse_dns_name(text)
    except RejectedIdentifier as error:
        reason = error
    else:
        assert name == text.lower()
        assert registrable_domain(name) == authorization_domain_names(name)[-1]
        return
    assert reason.code.startswith("names.")
    assert reason.detail.isprintable()
    assert len(reason.detail) < 1200


@given(st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True), min_size=1, max_size=4))
def test_every_authorization_domain_name_is_a_parent_of_the_name(labels: list[str]) -> None:
    name = ".".join([*labels, "example.ac.uk"])
    parents = authorization_domain_names(name)
    assert parents[0] == name
    assert len(parents) == len(labels) + 1
    assert all(is_under(name, parent) for parent in parents)


def test_quoted_text_is_short_and_shows_what_does_not_print() -> None:
    assert quoted("a\0b\u202e") == "“a\\x00b\\u202e”"
    assert len(quoted("x" * 5000)) < 100
