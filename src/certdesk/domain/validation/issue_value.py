"""The `issue-value` of RFC 8659 4.2, which CAA records and persistent validation records share.

Strict: what the grammar does not know is no value. What a value permits is decided by its users.
"""

import re
from dataclasses import dataclass

_WSP = r"[ \t]*"
_LABEL = r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*"  # also a parameter's tag
_ISSUER = rf"{_LABEL}(?:\.{_LABEL})*"
_VALUE_CHARACTERS = r"[\x21-\x3A\x3C-\x7E]*"
_PARAMETER = re.compile(rf"{_WSP}({_LABEL}){_WSP}={_WSP}({_VALUE_CHARACTERS}){_WSP}", re.ASCII)
_HEAD = re.compile(rf"{_WSP}({_ISSUER})?{_WSP}", re.ASCII)

#: Longer ones are nobody's honest record, and a limit keeps the reading cheap.
MAX_LENGTH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueValue:
    """An issuer's domain name in lower case (empty: nobody's) and its parameters in their order.

    The parameters' tags are in lower case: a limit that somebody wrote as `PersistUntil` still limits.
    """

    issuer: str
    parameters: tuple[tuple[str, str], ...] = ()

    def values(self, tag: str) -> tuple[str, ...]:
        """All values of a parameter; more than one is an error of most records."""
        return tuple(value for name, value in self.parameters if name == tag.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnIssueValue:
    """The text does not follow the grammar; `why` says where."""

    why: str


def parse_issue_value(text: str) -> IssueValue | NotAnIssueValue:
    """The issuer and the parameters of a CAA `issue` or a persistent validation record's value."""
    if len(text) > MAX_LENGTH:
        return NotAnIssueValue(why=f"it has more than {MAX_LENGTH} characters")
    head, semicolon, rest = text.partition(";")
    found = _HEAD.fullmatch(head)
    if found is None:
        return NotAnIssueValue(why="it does not begin with an issuer's domain name")
    issuer = (found.group(1) or "").lower()
    if not semicolon or not rest.strip(" \t"):
        return IssueValue(issuer=issuer)
    parameters = []
    for part in rest.split(";"):
        parameter = _PARAMETER.fullmatch(part)
        if parameter is None:
            return NotAnIssueValue(why="a parameter is not of the form tag=value")
        parameters.append((parameter.group(1).lower(), parameter.group(2)))
    return IssueValue(issuer=issuer, parameters=tuple(parameters))
