"""Texts that people send, checked before they reach a row: no longer than it holds, nothing it can't hold."""

from certdesk.domain.errors import InvalidInput

MAX_TEXT = 4000


def storable(text: str, *, field: str, limit: int = MAX_TEXT) -> str:
    """The text without the blanks around it.

    Raises InvalidInput when it is too long, or for a NUL: PostgreSQL stores none.
    """
    text = text.strip()
    if "\0" in text:
        advice = "Take out the NUL character; copied from a binary file, perhaps?"
    elif len(text) > limit:
        advice = f"Use at most {limit} characters."
    else:
        return text
    raise InvalidInput(f"This text can't be stored. {advice}", fields={field: advice})
