"""What a password has to be: long enough, not everybody's, not the user name (R7, NIST SP 800-63B-4).

Pure. Nothing here asks for kinds of characters or for a new password on a schedule: SP 800-63B-4
forbids both, for they make passwords weaker.
"""

import unicodedata
from collections.abc import Callable

FLOOR = 3  # R7: the lowest figure that the setting may have
WITH_SECOND_FACTOR = 8  # SP 800-63B-4 3.1.1.2: enough where a second factor is asked for as well
COMMON_FROM = 8  # R7: below this minimum everybody's passwords are let through on purpose
LONGEST = 1024  # far above what anybody types, and low enough to bound the work of one check


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
    password: str, *, username: str, minimum: int, is_common: Callable[[str], bool]
) -> tuple[str, ...]:
    """What is wrong with a new password, each with what to do; empty when it may be used.

    Length is counted in code points after normalising. `is_common` is asked only where R7 wants it.
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
    return tuple(found)
