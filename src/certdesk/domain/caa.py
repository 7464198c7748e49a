"""Whether CAA records let this issuer certify a name (RFC 8659, 8657; BR 4.2.2.1). Pure: no look-up here.

The records come as look-ups along the climb from the name to the top-level domain. A look-up that failed
refuses: BR would let an insecure zone's failure pass, and Certdesk does not.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.evidence import Method
from certdesk.domain.issue_value import IssueValue, NotAnIssueValue, parse_issue_value

SOURCE = "RFC 8659, RFC 8657, BR 3.2.2.8"
_CRITICAL = 128

#: What is understood; a critical property of any other tag forbids (RFC 8659 4.1). `issuemail` (RFC 9495)
#: and `issuevmc` are about other certificates, the contacts about validation (BR appendix A.1).
KNOWN_TAGS = frozenset(
    {"contactemail", "contactphone", "iodef", "issue", "issuemail", "issuevmc", "issuewild"}
)

#: RFC 8657 4 labels of our methods. Those without an ACME name follow BR 4.2.2.1.2: `ca-tbr-` and the number.
METHOD_LABELS: dict[Method, frozenset[str]] = {
    Method.MANUAL_OWNERSHIP: frozenset(),
    Method.EMAIL_CONSTRUCTED: frozenset({"ca-tbr-4"}),
    Method.DNS_TXT: frozenset({"ca-tbr-7"}),
    Method.DNS_CNAME: frozenset({"ca-tbr-7"}),
    Method.HTTP_FILE: frozenset({"ca-tbr-18"}),
    Method.ACME_HTTP: frozenset({"http-01", "ca-tbr-19"}),
    Method.ACME_DNS: frozenset({"dns-01", "ca-tbr-7"}),
    Method.ACME_DNS_ACCOUNT: frozenset({"dns-account-01", "ca-tbr-21"}),
    Method.ACME_TLS_ALPN: frozenset({"tls-alpn-01", "ca-tbr-20"}),
    Method.DNS_PERSIST: frozenset({"dns-persist-01", "ca-tbr-22"}),
    Method.DNS_PERSIST_WILDCARD: frozenset({"dns-persist-01", "ca-tbr-22"}),
}


class Code(StrEnum):
    """Why CAA allows or forbids; stable."""

    NO_RECORDS = "caa.no_records"
    NOT_RESTRICTED = "caa.not_restricted"  # records, and none about this kind of name
    AUTHORISED = "caa.authorised"
    LOOKUP_FAILED = "caa.lookup_failed"
    CRITICAL_UNKNOWN = "caa.critical_unknown"
    UNREADABLE = "caa.unreadable"
    NOBODY = "caa.nobody"  # `issue ";"`, or nothing that can be read
    OTHER_ISSUER = "caa.other_issuer"
    OTHER_ACCOUNT = "caa.other_account"
    OTHER_METHOD = "caa.other_method"
    PARAMETERS = "caa.parameters"  # ours by name, with parameters that can't be satisfied
    NOT_CORROBORATED = "caa.not_corroborated"  # other perspectives see something else

    @property
    def is_answer(self) -> bool:
        """Whether the DNS has spoken. Without an answer nothing is permitted, and asking again may help."""
        return self not in (Code.LOOKUP_FAILED, Code.NOT_CORROBORATED)


#: The codes of look-ups that brought no answer.
NO_ANSWER = tuple(code.value for code in Code if not code.is_answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaaRecord:
    """One property: tag in lower case, value without the master file's escapes."""

    critical: bool
    tag: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One look-up of the climb. `records` are in presentation form; `failure` says why there is no answer."""

    name: str
    records: tuple[str, ...] = ()
    failure: str = ""
    chain: tuple[str, ...] = ()
    authenticated: bool = False
    server: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Who wants to certify what. `name` may be a wildcard; `issuers` are the names that CAA may give us.

    `account_uri` and `method` are what RFC 8657 parameters are compared with; where a parameter asks for
    something that is not known here, it is not satisfied.
    """

    name: str
    issuers: tuple[str, ...]
    account_uri: str = ""
    method: Method | None = None

    @property
    def wildcard(self) -> bool:
        return self.name.startswith("*.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What CAA says: the code, whose records decided, and what to tell a person.

    `to_add` is a record that would allow it, to be shown in the pre-flight; empty where none would help.
    """

    allowed: bool
    code: Code
    detail: str
    where: str = ""
    records: tuple[str, ...] = ()
    authenticated: bool = False
    to_add: str = field(default="")


def climb(name: str) -> tuple[str, ...]:
    """The names whose CAA records are asked for, in this order, until one has some (RFC 8659 3)."""
    labels = name.lower().removeprefix("*.").rstrip(".").split(".")
    return tuple(".".join(labels[step:]) for step in range(len(labels)))


def decide(question: Question, looked: Sequence[Looked]) -> Decision:
    """The decision from the look-ups that were made: up to the first with records, a failure, or all.

    Raises: InvariantViolated when the look-ups are not those of the climb, or we have no issuer's name.
    """
    if not question.issuers:
        raise InvariantViolated("CAA was asked about without an issuer domain name of ours")
    names = climb(question.name)
    if tuple(look.name for look in looked) != names[: len(looked)] or not looked:
        raise InvariantViolated(f"these are not the CAA look-ups for {question.name}")
    last = looked[-1]
    if last.failure:
        return _forbidden(
            question,
            last,
            Code.LOOKUP_FAILED,
            f"The CAA records of {last.name} can't be looked up ({last.failure}). Until they can, nothing is "
            "issued. Ask whoever runs that domain's name servers.",
        )
    if last.records:
        return _by_records(question, last)
    if len(looked) < len(names):
        raise InvariantViolated(f"the CAA climb for {question.name} ended early")
    return Decision(
        allowed=True,
        code=Code.NO_RECORDS,
        detail=f"No CAA records for {names[0]} nor above it: every CA may issue.",
        where="",
        authenticated=all(look.authenticated for look in looked),
    )


def _by_records(question: Question, look: Looked) -> Decision:
    parsed = [parse_record(text) for text in look.records]
    records = [record for record in parsed if record is not None]
    if len(records) < len(parsed):
        return _forbidden(
            question, look, Code.UNREADABLE, f"A CAA record of {look.name} can't be read. Correct it."
        )
    unknown = sorted({record.tag for record in records if record.critical and record.tag not in KNOWN_TAGS})
    if unknown:
        return _forbidden(
            question,
            look,
            Code.CRITICAL_UNKNOWN,
            f"A CAA record of {look.name} has the property {unknown[0]}, which is marked critical and which "
            "we do not know. Take it away, or its critical flag.",
        )
    relevant = _relevant(records, wildcard=question.wildcard)
    if relevant is None:
        return Decision(
            allowed=True,
            code=Code.NOT_RESTRICTED,
            detail=f"The CAA records of {look.name} do not restrict who may issue for {question.name}.",
            where=look.name,
            records=look.records,
            authenticated=look.authenticated,
        )
    return _by_issuers(question, look, relevant)


def _relevant(records: Iterable[CaaRecord], *, wildcard: bool) -> tuple[str, ...] | None:
    """The values that decide; None when no property restricts this kind of name.

    For a wildcard `issuewild` takes the place of `issue`, and without any `issue` counts (RFC 8659 4.3):
    `issue ";"` alone forbids wildcards too.
    """
    by_tag: dict[str, list[str]] = {"issue": [], "issuewild": []}
    for record in records:
        by_tag.get(record.tag, []).append(record.value)
    found = by_tag["issuewild"] or by_tag["issue"] if wildcard else by_tag["issue"]
    return tuple(found) or None


def _by_issuers(question: Question, look: Looked, values: tuple[str, ...]) -> Decision:
    ours = {issuer.lower().rstrip(".") for issuer in question.issuers}
    read = [value for value in map(parse_issue_value, values) if not isinstance(value, NotAnIssueValue)]
    named = [value for value in read if value.issuer]  # unreadable ones name nobody (RFC 8659 4.2)
    mine = [value for value in named if value.issuer in ours]
    if not named:
        return _forbidden(
            question, look, Code.NOBODY, f"The CAA records of {look.name} let nobody issue {_kind(question)}."
        )
    if not mine:
        others = ", ".join(sorted({value.issuer for value in named}))
        return _forbidden(
            question,
            look,
            Code.OTHER_ISSUER,
            f"The CAA records of {look.name} let only {others} issue {_kind(question)}.",
        )
    objections = [_objection(value, question) for value in mine]
    if None in objections:
        return Decision(
            allowed=True,
            code=Code.AUTHORISED,
            detail=f"The CAA records of {look.name} name us.",
            where=look.name,
            records=look.records,
            authenticated=look.authenticated,
        )
    code, why = next(objection for objection in objections if objection is not None)
    return _forbidden(question, look, code, f"The CAA records of {look.name} name us, {why}.")


def _kind(question: Question) -> str:
    return "wildcard certificates" if question.wildcard else "certificates"


def _objection(value: IssueValue, question: Question) -> tuple[Code, str] | None:
    """Why a record with our name does not authorise this; None when it does (RFC 8657 3, 4).

    A parameter given twice, or with a value that can't be one, satisfies nobody. Others are ignored.
    """
    accounts, methods = value.values("accounturi"), value.values("validationmethods")
    if len(accounts) > 1 or len(methods) > 1:
        return Code.PARAMETERS, "with the same parameter twice, which nothing can satisfy"
    if accounts and (not question.account_uri or accounts[0] != question.account_uri):
        return Code.OTHER_ACCOUNT, f"but only for the account {accounts[0]}"
    if not methods:
        return None
    allowed = methods[0].split(",")
    if not all(_METHOD_LABEL.fullmatch(label) for label in allowed):
        return Code.PARAMETERS, "with a list of validation methods that can't be read"
    labels = METHOD_LABELS[question.method] if question.method is not None else frozenset()
    if labels.isdisjoint(allowed):
        return Code.OTHER_METHOD, f"but only for domain validation by {methods[0]}"
    return None


_METHOD_LABEL = re.compile(r"[A-Za-z0-9-]+", re.ASCII)


def _forbidden(question: Question, look: Looked, code: Code, detail: str) -> Decision:
    helps = code not in (Code.LOOKUP_FAILED, Code.CRITICAL_UNKNOWN, Code.UNREADABLE)
    return Decision(
        allowed=False,
        code=code,
        detail=detail,
        where=look.name,
        records=look.records,
        authenticated=look.authenticated,
        to_add=record_to_add(look, question) if helps else "",
    )


def record_to_add(look: Looked, question: Question) -> str:
    """The master-file line that would let us issue, beside the records that are there.

    Where `issuewild` decides, it has to be one of those; `issue` otherwise. An alias has no records of its
    own: there it goes to the end of the chain.
    """
    records = [record for record in map(parse_record, look.records) if record is not None]
    wild = question.wildcard and any(record.tag == "issuewild" for record in records)
    tag = "issuewild" if wild else "issue"
    owner = look.chain[-1] if look.chain else look.name
    return f'{owner}. CAA 0 {tag} "{question.issuers[0]}"'


_PRESENTATION = re.compile(r'(\d{1,3}) ([A-Za-z0-9]+) "((?:[^"\\]|\\.)*)"', re.ASCII)
_ESCAPE = re.compile(r"\\(\d{3}|.)")
_MAX_OCTET = 255


def parse_record(text: str) -> CaaRecord | None:
    """The property of a record in presentation form (RFC 8659 4.1.1); None for what is none."""
    found = _PRESENTATION.fullmatch(text)
    if found is None or int(found.group(1)) > _MAX_OCTET:
        return None
    value = _ESCAPE.sub(_unescaped, found.group(3))
    return CaaRecord(critical=bool(int(found.group(1)) & _CRITICAL), tag=found.group(2).lower(), value=value)


def _unescaped(escape: re.Match[str]) -> str:
    escaped = escape.group(1)
    return chr(int(escaped)) if escaped.isdigit() and len(escaped) > 1 else escaped
