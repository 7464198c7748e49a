"""What a password has to be: length, not everybody's, not the user name; no composition."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certdesk.domain.passwords import FLOOR, LONGEST, minimum_length, normalised, own_words, password_problems


def common(password: str) -> bool:
    return password.lower() in {"password", "dragon", "abc", "password1234567"}


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


#: JTAG is the RA here, alice is of Example University, which has example.ac.uk.
WORDS = own_words("JTAG", "Example University", "www.example.ac.uk", "alice")
CERTAIN = ("certificates", "Certdesk", "password", "dragon", "jtag", "University", "c3rtificate", "P@ssw0rd")
AROUND = ("2026", "123456789", "20252026", "31122026", "qwertyuiop", "1qaz2wsx", "!!!", "98765432", "0" * 9)


@pytest.mark.parametrize("around", AROUND)
def test_words_that_are_tried_first_stay_so_with_years_digits_and_keys_around_them(around: str) -> None:
    for word in CERTAIN:
        for password in (word + around, f"{around}{word} {around}", f"{word}{around}ab", word * 2 + around):
            for minimum, expected in ((7, ""), (8, "tried first")):
                told = password_problems(
                    password, username="x", minimum=minimum, words=WORDS, is_common=common
                )
                assert expected in "".join(told), password
                assert bool(told) is bool(expected), password


@pytest.mark.parametrize(
    "password",
    ["certificate horse battery", "dragon password of mine", "837465928374659", "example-moon", "kp4Zt9vQ"],
)
def test_something_of_ones_own_beside_them_is_enough(password: str) -> None:
    assert password_problems(password, username="x", minimum=8, words=WORDS, is_common=common) == ()


@given(st.text(alphabet="abcdefghijkmnoprstuvwxyz", min_size=8), st.sampled_from(AROUND))
@example("aaabyhna", "2026")  # holds keys in a column
def test_what_is_tried_first_is_so_in_any_case(text: str, around: str) -> None:
    def refused(password: str) -> bool:
        return bool(password_problems(password, username="", minimum=8, words=[text], is_common=common))

    assert refused(text)
    assert refused(text.upper() + around)


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
