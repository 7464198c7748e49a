"""A policy as a file: everything wrong is told with its line, and overrides are laid over in one order."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.errors import InvalidInput
from certdesk.domain.policy.file import NO_FILE, RULE_NAMES, PolicyFile, read_policy
from certdesk.domain.policy.in_force import CaaMode, Handling, KeyType, Rules

SEED = Rules(server_software=("nginx", "Other"))
ROOT = Path(__file__).resolve().parents[2]
FULL = """
version = "2027-03"
title = "Fewer wildcards"

[default]
trusted_suffixes = ["AC.UK", ".example.org"]
durations = [2, 1]
key_types = ["P-384", "RSA"]
rsa_min_bits = 3072
rsa_max_bits = 4096
max_names = 10
wildcards = "manual"
outside_suffix = "refuse"
caa = "require"
caa_unknown = "refuse"
first_request_waits = false
daily_cap = 50
reused_key = "refuse"

[organisation.example-university]
max_names = 20
durations = [3]
wildcards = "auto"

[profile.tls-server]
max_names = 30
wildcards = "refuse"

[ca.embedded]
max_names = 5
"""


def problems(text: str) -> dict[str, str]:
    """What is wrong with a file, by place; empty when it can be used."""
    try:
        read_policy(text)
    except InvalidInput as error:
        return error.fields
    return {}


def rules_for(policy: PolicyFile, organisation: str = "", profile: str = "", ca: str = "") -> Rules:
    return policy.rules_for(policy.over(SEED), organisation=organisation, profile=profile, ca=ca)


def test_every_rule_is_read() -> None:
    policy = read_policy(FULL)
    assert policy.version == "2027-03"
    assert policy.title == "Fewer wildcards"
    assert dict(policy.default) == {
        "trusted_suffixes": ("ac.uk", "example.org"),
        "durations": (1, 2),
        "key_types": (KeyType.RSA, KeyType.P384),
        "rsa_min_bits": 3072,
        "rsa_max_bits": 4096,
        "max_names": 10,
        "wildcards": Handling.MANUAL,
        "outside_suffix": Handling.REFUSE,
        "caa": CaaMode.REQUIRE,
        "caa_unknown": Handling.REFUSE,
        "first_request_waits": False,
        "daily_cap": 50,
        "reused_key": Handling.REFUSE,
    }
    assert set(policy.default) == set(RULE_NAMES)


def test_a_file_may_set_every_rule_but_the_lists_of_the_portal_alone() -> None:
    assert {field.name for field in fields(Rules)} - set(RULE_NAMES) == {"server_software", "ra"}


def test_no_file_changes_nothing() -> None:
    assert rules_for(NO_FILE, "example-university", "tls-server", "embedded") == SEED
    assert rules_for(read_policy("version = 1")) == SEED


def test_the_ca_wins_over_the_profile_and_the_profile_over_the_organisation() -> None:
    policy = read_policy(FULL)

    def names(*place: str) -> int:
        return rules_for(policy, *place).max_names

    assert names() == 10
    assert names("other", "other", "other") == 10
    assert names("example-university") == 20
    assert names("example-university", "tls-server") == 30
    assert names("example-university", "tls-server", "embedded") == 5
    assert names("", "", "embedded") == 5
    wildcards = rules_for(policy, "example-university", "tls-server", "embedded").wildcards
    assert wildcards is Handling.REFUSE


def test_the_portal_wins_over_the_default_and_an_override_over_the_portal() -> None:
    """ADR 12: `[default]` reaches trusted suffixes and durations through the settings, not past them."""
    policy = read_policy(FULL)
    portal = Rules(trusted_suffixes=("portal.example",), durations=(1, 2, 3))
    assert policy.over(portal).trusted_suffixes == ("portal.example",)
    assert policy.over(portal).durations == (1, 2, 3)
    here = policy.rules_for(policy.over(portal), organisation="example-university", profile="", ca="")
    assert here.durations == (3,)


@pytest.mark.parametrize(
    "text, place, advice",
    [
        ("[default]\nwildcard = 'auto'", "line 3, [default] wildcard", "Do you mean wildcards?"),
        ("[defaults]\n", "line 2, defaults", "Do you mean default?"),
        ("[zebra.x]\nmax_names = 1", "line 2, zebra", "There are: version, title"),
        ("[ca.x]\nmax_names = 101", "line 3, [ca.x] max_names", "1 to 100"),
        ("[ca.x]\nmax_names = 0", "line 3, [ca.x] max_names", "1 to 100"),
        ("[ca.x]\nmax_names = true", "line 3, [ca.x] max_names", "1 to 100"),
        ("[ca.x]\nmax_names = '5'", "line 3, [ca.x] max_names", "1 to 100"),
        ("[default]\n\nwildcards = 'never'", "line 4, [default] wildcards", "auto, manual, refuse"),
        ("[default]\noutside_suffix = 'auto'", "line 3, [default] outside_suffix", "manual, refuse"),
        ("[default]\ncaa = true", "line 3, [default] caa", "off, warn, require"),
        ("[default]\nfirst_request_waits = 0", "line 3, [default] first_request_waits", "true or false"),
        ("[default]\nkey_types = []", "line 3, [default] key_types", "P-256"),
        ("[default]\nkey_types = ['Ed25519']", "line 3, [default] key_types", "P-256"),
        ("[default]\nkey_types = 'RSA'", "line 3, [default] key_types", "P-256"),
        ("[default]\nrsa_min_bits = 1024", "line 3, [default] rsa_min_bits", "2048 to 4096"),
        (
            "[default]\nrsa_max_bits = 2048\nrsa_min_bits = 3072",
            "line 4, [default] rsa_min_bits",
            "above rsa_max_bits",
        ),
        ("[default]\ndurations = [4]", "line 3, [default] durations", "1, 2 and 3"),
        ("[default]\ndurations = ['1']", "line 3, [default] durations", "[1, 2]"),
        ("[default]\ntrusted_suffixes = ['a b']", "line 3, [default] trusted_suffixes", "a b"),
        ("[default]\ndaily_cap = -1", "line 3, [default] daily_cap", "0 to"),
        ("[profile.tls-servers]\nmax_names = 1", "line 2, profile.tls-servers", "Do you mean tls-server?"),
        ("organisation = 3", "line 2, organisation", "[organisation]"),
        ("[organisation]\nx = 3", "line 3, organisation.x", "[organisation.x]"),
        ("title = 'a\\u0007'", None, None),
        ('title = "a\\u0007"', "line 2, title", "a few words"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, place: str | None, advice: str | None) -> None:
    found = problems(f"version = 1\n{text}")
    if place is None or advice is None:
        assert not found
        return
    assert list(found) == [place]
    assert advice in found[place]


def test_everything_wrong_is_told_at_once() -> None:
    found = problems("[default]\na = 1\nmax_names = 0\n[ca.x]\nb = 2")
    assert set(found) == {"version", "line 2, [default] a", "line 3, [default] max_names", "line 5, [ca.x] b"}


@pytest.mark.parametrize("text", ["[", "a = ", "version = 1\nversion = 2", "x" * 2_000_000])
def test_what_is_not_toml_is_refused(text: str) -> None:
    assert set(problems(text)) == {"file"}


@given(st.text(max_size=200) | st.sampled_from(FULL.splitlines()).map(lambda line: FULL.replace(line, "")))
def test_any_text_gives_a_policy_or_an_explanation(text: str) -> None:
    assert problems(text) or read_policy(text).version


class TestDigest:
    def test_follows_what_decides_and_nothing_else(self) -> None:
        policy = read_policy(FULL)
        reordered = FULL.replace("[2, 1]", "[1, 2, 1]").replace('["P-384", "RSA"]', '["RSA", "P-384"]')
        renamed = reordered.replace("2027-03", "other").replace("Fewer", "# Some")
        assert read_policy(renamed).digest == policy.digest
        assert read_policy("version = 2").digest == NO_FILE.digest

    @pytest.mark.parametrize("name", RULE_NAMES)
    def test_changes_with_every_rule(self, name: str) -> None:
        body, overrides = FULL.split("[organisation", 1)
        without = re.sub(rf"(?m)^{name} = .*\n", "", body) + "[organisation" + overrides
        assert without != FULL
        assert read_policy(without).digest != read_policy(FULL).digest

    def test_of_the_rules_in_force_changes_exactly_where_they_do(self) -> None:
        """An override for one organisation is no new policy for any other."""
        before = read_policy(FULL)
        after = read_policy(FULL.replace("max_names = 20", "max_names = 21"))
        changed = {
            slug: rules_for(before, slug).digest != rules_for(after, slug).digest
            for slug in ("example-university", "other", "")
        }
        assert changed == {"example-university": True, "other": False, "": False}
        hidden = rules_for(before, "example-university", ca="embedded")
        assert hidden.digest == rules_for(after, "example-university", ca="embedded").digest


def test_every_rule_is_documented() -> None:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    assert not [name for name in RULE_NAMES if f"`{name}`" not in page]


def test_the_example_in_the_documentation_can_be_used() -> None:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert read_policy(example).named("organisation") == ("example-university",)
