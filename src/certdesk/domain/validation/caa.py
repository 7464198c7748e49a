"""Whether CAA records let this issuer certify a name (RFC 8659, 8657; BR 4.2.2.1). Pure: no look-up here.

The records come as look-ups along the climb from the name to the top-level domain. A look-up that failed
refuses: BR would let an insecure zone's failure pass, and Certdesk does not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import dns.exception
import dns.rdata
from dns.rdtypes.ANY.CAA import CAA

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.validation.evidence import Method
from certdesk.domain.validation.issue_value import IssueValue, parse_issue_value

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
class LookUp:
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


def decide(question: Question, looked: Sequence[LookUp]) -> Decision:
    """The decision from the look-ups that were made: up to the first with records, a failure, or all.

    Raises: InvariantViolated when the look-ups are not those of the climb, or we have no issuer's name.
    """
    if not question.issuers:
        raise InvariantViolated("CAA was asked about without an issuer domain name of ours")
    names = climb(question.name)
    if tuple(look.name for look in looked) != names[: len(looked)] or not looked:
        raise InvariantViolated(f"these are not the CAA look-ups for {question.name}")
    last = looked[-1]
    if not last.failure and not last.records:
        if len(looked) < len(names):
            raise InvariantViolated(f"the CAA climb for {question.name} ended early")
        return Decision(
            allowed=True,
            code=Code.NO_RECORDS,
            detail=f"No CAA records for {names[0]} nor above it: every CA may issue.",
            authenticated=all(look.authenticated for look in looked),
        )
    code, detail = _verdict(question, last)
    helps = code not in (Code.LOOKUP_FAILED, Code.CRITICAL_UNKNOWN, Code.UNREADABLE)
    allowed = code in (Code.NOT_RESTRICTED, Code.AUTHORISED)
    return Decision(
        allowed=allowed,
        code=code,
        detail=detail,
        where=last.name,
        records=last.records,
        authenticated=last.authenticated,
        to_add=record_to_add(last, question) if helps and not allowed else "",
    )


def _verdict(question: Question, look: LookUp) -> tuple[Code, str]:
    """What the look-up that ended the climb says, and in words."""
    # 1. The records can be read, and none of them is a riddle that must be solved.
    whose = f"The CAA records of {look.name}"
    if look.failure:
        return Code.LOOKUP_FAILED, (
            f"{whose} can't be looked up ({look.failure}). Until they can, nothing is "
            "issued. Ask the people who run that domain's name servers."
        )
    records = [record for text in look.records if (record := parse_record(text)) is not None]
    if len(records) < len(look.records):
        return Code.UNREADABLE, f"A CAA record of {look.name} can't be read. Correct it."
    unknown = sorted({tag for critical, tag, _value in records if critical and tag not in KNOWN_TAGS})
    if unknown:
        return Code.CRITICAL_UNKNOWN, (
            f"A CAA record of {look.name} has the property {unknown[0]}, which is marked critical and which "
            "we do not know. Take it away, or its critical flag."
        )

    # 2. Those about this kind of name. For a wildcard `issuewild` takes the place of `issue`, and without any
    #    `issue` counts (RFC 8659 4.3): `issue ";"` alone forbids wildcards too.
    values = [value for _critical, tag, value in records if question.wildcard and tag == "issuewild"]
    values = values or [value for _critical, tag, value in records if tag == "issue"]
    if not values:
        return Code.NOT_RESTRICTED, f"{whose} do not restrict who may issue for {question.name}."

    # 3. Whom they name; what can't be read names nobody (RFC 8659 4.2).
    kind = "wildcard certificates" if question.wildcard else "certificates"
    read = [value for value in map(parse_issue_value, values) if isinstance(value, IssueValue)]
    named = {value.issuer for value in read} - {""}
    mine = named & {issuer.lower().rstrip(".") for issuer in question.issuers}
    if not named:
        return Code.NOBODY, f"{whose} let nobody issue {kind}."
    if not mine:
        return Code.OTHER_ISSUER, f"{whose} let only {', '.join(sorted(named))} issue {kind}."

    # 4. Whether one that names us does so for this account and method (RFC 8657).
    objections = [_objection(value, question) for value in read if value.issuer in mine]
    if None in objections:
        return Code.AUTHORISED, f"{whose} name us."
    code, why = next(objection for objection in objections if objection is not None)
    return code, f"{whose} name us, {why}."


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


def record_to_add(look: LookUp, question: Question) -> str:
    """The master-file line that would let us issue, beside the records that are there.

    Where `issuewild` decides, it has to be one of those; `issue` otherwise. An alias has no records of its
    own: there it goes to the end of the chain.
    """
    records = [record for text in look.records if (record := parse_record(text)) is not None]
    wild = question.wildcard and any(tag == "issuewild" for _critical, tag, _value in records)
    owner = look.chain[-1] if look.chain else look.name
    return f'{owner}. CAA 0 {"issuewild" if wild else "issue"} "{question.issuers[0]}"'


def parse_record(text: str) -> tuple[bool, str, str] | None:
    """Whether a record is critical, its tag in lower case, its value; None for what is no CAA record."""
    try:
        record = dns.rdata.from_text("IN", "CAA", text)
    except dns.exception.DNSException:
        return None
    assert isinstance(record, CAA)  # noqa: S101 - as asked for
    return bool(record.flags & _CRITICAL), record.tag.decode().lower(), record.value.decode("latin-1")
