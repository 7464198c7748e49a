"""Texts that people send, checked before they reach a row: no longer than it holds, nothing it can't hold."""

from certdesk.domain.csr.private_keys import quotes_private_key
from certdesk.domain.errors import InvalidInput

MAX_TEXT = 4000


def storable(text: str, *, field: str, limit: int = MAX_TEXT) -> str:
    """The text without the blanks around it.

    Raises InvalidInput when it is too long, for a NUL, which PostgreSQL does not store, and for a private
    key, which nobody should.
    """
    text = text.strip()
    if "\0" in text:
        advice = "Take out the NUL character; copied from a binary file, perhaps?"
    elif len(text) > limit:
        advice = f"Use at most {limit} characters."
    elif quotes_private_key(text):
        advice = "It holds a private key: take it out, stop using that key, and make a new one."
    else:
        return text
    raise InvalidInput(f"This text can't be stored. {advice}", {field: advice})
