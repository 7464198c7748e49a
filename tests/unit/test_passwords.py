"""What a password has to be (R7): length, not everybody's, not the user name; no composition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.passwords import (
    FLOOR,
    LONGEST,
    minimum_length,
    normalised,
    password_problems,
)


def common(password: str) -> bool:
    return password.lower() in {"password", "abc", "password1234567"}


def problems(password: str, *, minimum: int = 15, username: str = "alice") -> tuple[str, ...]:
    return password_problems(password, username=username, minimum=minimum, is_common=common)


def test_r7_at_three_abc_passes_and_ab_fails() -> None:
    assert problems("abc", minimum=3) == ()
    assert problems("ab", minimum=3) == ("This has 2 characters. Use at least 3.",)


@pytest.mark.parametrize(
    "setting,has_second_factor,expected",
    [
        (15, False, 15),
        (15, True, 8),
        (20, True, 8),
        (5, True, 5),
        (5, False, 5),
        (3, False, 3),
        (0, False, FLOOR),
        (-1, True, FLOOR),
    ],
)
def test_r7_the_minimum_is_the_setting_or_eight_beside_a_second_factor(
    setting: int, *, has_second_factor: bool, expected: int
) -> None:
    assert minimum_length(setting=setting, has_second_factor=has_second_factor) == expected


@pytest.mark.parametrize("minimum,refused", [(3, False), (7, False), (8, True), (15, True)])
def test_r7_common_passwords_are_refused_from_eight_on(minimum: int, *, refused: bool) -> None:
    found = problems("password1234567", minimum=minimum)
    assert any("Many people" in text for text in found) is refused


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        " ".join(["long"] * 26)[:128],
        "пароль из нескольких слов",
        "日本語のとても長いパスワードです",
        "aaaaaaaaaaaaaaab",
        "🐎🔋📎" * 5,
        "x" * LONGEST,
    ],
)
def test_r7_long_and_unicode_passwords_work_and_nothing_forces_composition(password: str) -> None:
    assert problems(password) == ()


def test_one_over_the_longest_is_refused() -> None:
    assert problems("x" * (LONGEST + 1)) == ("This has 1025 characters. Use at most 1024.",)


@pytest.mark.parametrize("password", ["alice", "ALICE", "ａｌｉｃｅ"])
def test_the_user_name_is_no_password_at_any_minimum(password: str) -> None:
    assert any("user name" in text for text in problems(password, minimum=3))


def test_characters_are_counted_as_people_see_them_typed() -> None:
    decomposed = "e\u0301" * 15
    assert normalised(decomposed) == "é" * 15
    assert problems(decomposed, minimum=15) == ()
    assert problems("e\u0301" * 14, minimum=15) == ("This has 14 characters. Use at least 15.",)


def test_half_a_character_is_refused_not_crashed_on() -> None:
    assert "half of a character" in problems("enough characters \ud83d")[0]


@given(st.text(max_size=200))
def test_every_text_is_answered_and_normalising_twice_is_normalising_once(text: str) -> None:
    assert isinstance(problems(text, minimum=8), tuple)
    assert normalised(normalised(text)) == normalised(text)
