"""What a password has to be: long enough, not everybody's, not the user name (NIST SP 800-63B-4).

Pure. Nothing here asks for kinds of characters or for a new password on a schedule: SP 800-63B-4
forbids both, for they make passwords weaker.
"""

import re
import string
import unicodedata
from collections.abc import Callable, Iterable

FLOOR = 3  # the lowest figure that the setting may have
WITH_SECOND_FACTOR = 8  # SP 800-63B-4 3.1.1.2: enough where a second factor is asked for as well
COMMON_FROM = 8  # below this minimum everybody's passwords are let through on purpose
OWN_LEAST = 4  # characters beside a word that is tried first; fewer are guessed along with it
LONGEST = 1024  # far above what anybody types, and low enough to bound the work of one check

#: What this service is about, longest first.
_SERVICE_WORDS = ("certificates", "certificate", "certdesk", "certs", "cert", "tls", "ssl")
_KEYS = (
    *("1234567890" * 2, "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop"),
    *("azertyuiop", "yxcvbnm", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "qazwsxedcrfvtgbyhnujmikolp"),
)
_ROWS = (*_KEYS, *(keys[::-1] for keys in _KEYS))
_RUN = 4  # keys in a row; three stand in many a word
_DIGITS = re.compile(r"(\d)\1{3,}|(?<!\d)(?:(?:19|20)\d\d)+(?!\d)|(?<!\d)\d{1,8}(?!\d)")  # 8: a date
_SWAPPED = re.compile(r"(?<=[a-z])[@$!013457](?=[a-z])")
_LETTERS = str.maketrans("@$!013457", "asioleast")
_BETWEEN = str.maketrans("", "", string.punctuation + string.whitespace)


def normalised(password: str) -> str:
    """The password as it is hashed and counted: NFKC.

    One keyboard sends “é” as a single code point and another as two; without this the same password
    would open the account from one computer and not from the other. SP 800-63B-4 3.1.1.2 names NFKC.
    """
    return unicodedata.normalize("NFKC", password)


def minimum_length(*, setting: int, has_second_factor: bool) -> int:
    """The characters that an account's password needs: the setting, or 8 at most beside a second factor."""
    least = max(setting, FLOOR)
    return min(least, WITH_SECOND_FACTOR) if has_second_factor else least


def password_problems(
    password: str, *, username: str, minimum: int, is_common: Callable[[str], bool], words: Iterable[str] = ()
) -> tuple[str, ...]:
    """What is wrong with a new password, each with what to do; empty when it may be used.

    Length is counted in code points after normalising. `is_common` and `words`, those that belong to the
    person and the service, count from a minimum of 8 on.
    """
    if any(unicodedata.category(character) == "Cs" for character in password):
        return ("This holds half of a character, which can't be stored. Type the password again.",)
    text = normalised(password)
    if len(text) > LONGEST:
        return (f"This has {len(text)} characters. Use at most {LONGEST}.",)
    found = []
    if len(text) < minimum:
        found.append(f"This has {len(text)} characters. Use at least {minimum}.")
    if username and text.casefold() == normalised(username).casefold():
        found.append("This is your user name. Choose something that nobody can look up.")
    if minimum >= COMMON_FROM and is_common(text):
        found.append("Many people use this password, so it is tried first. Choose another one.")
    elif minimum >= COMMON_FROM and _is_around_one_word(text, words=words, is_common=is_common):
        found.append(
            "This is a word that is tried first, with years, digits or keys in a row. "
            "Use several unrelated words instead."
        )
    return tuple(found)


def own_words(*texts: str) -> list[str]:
    """The words of names and addresses that are tried first here (SP 800-63B-4 3.1.1.2)."""
    return re.findall(r"[^\W_]{3,}", " ".join(normalised(text).casefold() for text in texts))


def _is_around_one_word(text: str, *, words: Iterable[str], is_common: Callable[[str], bool]) -> bool:
    """Whether next to nothing, or one common word, is left without what everybody puts around it."""
    own = sorted({*_SERVICE_WORDS, *(word.casefold() for word in words)}, key=len, reverse=True)

    def without_words(rest: str) -> str:
        for word in own:
            rest = rest.replace(word, " ")
        return rest

    folded = text.casefold()
    # A word may hold keys in a row, and keys in a row may hold a word: neither may hide the other.
    for begun in (folded, without_words(folded)):
        rest = _SWAPPED.sub(lambda found: found[0].translate(_LETTERS), _without_runs(begun))
        rest = _DIGITS.sub(" ", without_words(rest)).translate(_BETWEEN)
        ends = [(start, len(rest) - end) for start in range(OWN_LEAST) for end in range(OWN_LEAST - start)]
        once = re.sub(r"^(.+?)\1+$", r"\1", rest, flags=re.DOTALL)
        if (
            len(rest) < OWN_LEAST
            or (len(once) >= OWN_LEAST and is_common(once))
            or any(is_common(rest[a:b]) for a, b in ends)
        ):
            return True
    return False


def _without_runs(text: str) -> str:
    """The text with a blank for every run of keys or letters in a row, such as “qwerty” and “4321”."""
    kept, start = [], 0
    while start < len(text):
        end = start + _RUN
        while end <= len(text) and any(text[start:end] in row for row in _ROWS):
            end += 1
        is_run = end > start + _RUN
        kept.append(" " if is_run else text[start])
        start = end - 1 if is_run else start + 1
    return "".join(kept)
