"""CAA as a decision table (RFC 8659, RFC 8657, BR 4.2.2.1): question and records, then what must come of it.

`records` maps a name of the climb to its records in presentation form, or to a failure such as "servfail";
names that are not in it have none. The question's defaults are below.
"""

from dataclasses import dataclass, field
from typing import Any

from certdesk.domain.validation.caa import Code
from certdesk.domain.validation.evidence import Method

ISSUER = "ca.example.net"
ACCOUNT = "https://ca.example.net/acct/1"


Records = dict[str, tuple[str, ...] | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    title: str
    rule: str
    records: Records
    code: Code
    name: str = "www.example.ac.uk"
    account_uri: str = ""
    method: Method | None = None
    where: str = ""
    to_add: str = ""
    issuers: tuple[str, ...] = field(default=(ISSUER,))

    @property
    def allowed(self) -> bool:
        return self.code in (Code.NO_RECORDS, Code.NOT_RESTRICTED, Code.AUTHORISED)


_HOST, _ZONE = "www.example.ac.uk", "example.ac.uk"
_OURS = '0 issue "ca.example.net"'
_ADD_ISSUE = f'{_ZONE}. CAA 0 issue "{ISSUER}"'
_ADD_WILD = f'{_ZONE}. CAA 0 issuewild "{ISSUER}"'


def _row(title: str, rule: str, code: Code, records: Records, **more: Any) -> Row:
    return Row(title=title, rule=rule, records=records, code=code, **more)


def _zone(title: str, rule: str, code: Code, *records: str, **more: Any) -> Row:
    """All records are at the zone's own name, and it is they that decide."""
    return _row(title, rule, code, {_ZONE: records}, where=_ZONE, **more)


TABLE: tuple[Row, ...] = (
    # --- the climb (RFC 8659 3)
    _row("nothing anywhere", "RFC 8659 3", Code.NO_RECORDS, {}),
    _row("own record", "RFC 8659 3", Code.AUTHORISED, {_HOST: (_OURS,)}, where=_HOST),
    _zone("the parent's record", "RFC 8659 3", Code.AUTHORISED, _OURS),
    _row(
        "the top-level domain's record",
        "RFC 8659 3",
        Code.OTHER_ISSUER,
        {"uk": ('0 issue "other.example"',)},
        where="uk",
        to_add=f'uk. CAA 0 issue "{ISSUER}"',
    ),
    _row(
        "the nearest set decides, permission above it is not seen",
        "RFC 8659 3",
        Code.OTHER_ISSUER,
        {_HOST: ('0 issue "other.example"',), _ZONE: (_OURS,)},
        where=_HOST,
        to_add=f'{_HOST}. CAA 0 issue "{ISSUER}"',
    ),
    _row(
        "the nearest set decides, a prohibition above it is not seen",
        "RFC 8659 3",
        Code.AUTHORISED,
        {_HOST: (_OURS,), _ZONE: ('0 issue ";"',)},
        where=_HOST,
    ),
    _row(
        "a nearest set without issue ends the climb all the same",
        "RFC 8659 3",
        Code.NOT_RESTRICTED,
        {_HOST: ('0 iodef "mailto:security@example.ac.uk"',), _ZONE: ('0 issue ";"',)},
        where=_HOST,
    ),
    _zone(
        "a wildcard climbs from the name without its label",
        "RFC 8659 3",
        Code.AUTHORISED,
        _OURS,
        name="*.example.ac.uk",
    ),
    # --- faults refuse, wherever they are
    *(
        _row(f"{fault} at the name", "BR 4.2.2.1", Code.LOOKUP_FAILED, {_HOST: fault}, where=_HOST)
        for fault in ("servfail", "bogus", "timeout", "refused", "malformed", "cname_loop")
    ),
    _row("SERVFAIL at the parent", "BR 4.2.2.1", Code.LOOKUP_FAILED, {_ZONE: "servfail"}, where=_ZONE),
    _row(
        "SERVFAIL above a set that decides is never asked for",
        "RFC 8659 3",
        Code.AUTHORISED,
        {_HOST: (_OURS,), _ZONE: "servfail"},
        where=_HOST,
    ),
    # --- issue (RFC 8659 4.2)
    _zone("nobody", "RFC 8659 4.2", Code.NOBODY, '0 issue ";"', to_add=_ADD_ISSUE),
    _zone("nobody, written as nothing", "RFC 8659 4.2", Code.NOBODY, '0 issue ""', to_add=_ADD_ISSUE),
    _zone("somebody else", "RFC 8659 4.2", Code.OTHER_ISSUER, '0 issue "other.example"', to_add=_ADD_ISSUE),
    _zone("one of several", "RFC 8659 4.2", Code.AUTHORISED, '0 issue "other.example"', _OURS),
    _zone("nobody, and us: permissions add up", "RFC 8659 4.2", Code.AUTHORISED, '0 issue ";"', _OURS),
    _zone("our name in capitals", "RFC 8659 4.2", Code.AUTHORISED, '0 issue "CA.Example.NET"'),
    _zone(
        "the tag in capitals", "RFC 8659 4.1", Code.OTHER_ISSUER, '0 ISSUE "other.example"', to_add=_ADD_ISSUE
    ),
    _zone(
        "a second name of ours",
        "BR 4.2.2.1",
        Code.AUTHORISED,
        '0 issue "second.example.net"',
        issuers=(ISSUER, "second.example.net"),
    ),
    _zone(
        "a name that ends like ours",
        "RFC 8659 4.2",
        Code.OTHER_ISSUER,
        '0 issue "evil-ca.example.net"',
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "a name below ours",
        "RFC 8659 4.2",
        Code.OTHER_ISSUER,
        '0 issue "x.ca.example.net"',
        to_add=_ADD_ISSUE,
    ),
    *(
        _zone(
            f"what does not follow the grammar names nobody: {value}",
            "RFC 8659 4.2",
            Code.NOBODY,
            f'0 issue "{value}"',
            to_add=_ADD_ISSUE,
        )
        for value in (
            "ca.example.net.",
            "ca.example.net policy=ev",
            "ca.example.net; accounturi",
            "ca.example.net; a=b; ",
            "ca.example.net;; a=b",
            "ca_example.net",
            "-ca.example.net",
            "ca..example.net",
            "https://ca.example.net",
            "%%%%%",
            "ca.example.net\\195\\164",
        )
    ),
    _zone(
        "white space where the grammar has it",
        "RFC 8659 4.2",
        Code.AUTHORISED,
        '0 issue "  ca.example.net  ;  policy = ev  ;  a-b=c  "',
    ),
    _zone("an empty list of parameters", "RFC 8659 4.2", Code.AUTHORISED, '0 issue "ca.example.net;"'),
    _zone(
        "parameters that nobody knows", "RFC 8659 4.2", Code.AUTHORISED, '0 issue "ca.example.net; policy=ev"'
    ),
    _zone(
        "issue of somebody else that can't be read, beside ours",
        "RFC 8659 4.2",
        Code.AUTHORISED,
        '0 issue "%%%%"',
        _OURS,
    ),
    # --- issuewild (RFC 8659 4.3)
    _zone(
        'issue ";" alone forbids wildcards too',
        "RFC 8659 4.3",
        Code.NOBODY,
        '0 issue ";"',
        name="*.example.ac.uk",
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "issue of somebody else forbids wildcards too",
        "RFC 8659 4.3",
        Code.OTHER_ISSUER,
        '0 issue "other.example"',
        name="*.example.ac.uk",
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "issuewild takes the place of issue: allowed by it",
        "RFC 8659 4.3",
        Code.AUTHORISED,
        '0 issue ";"',
        '0 issuewild "ca.example.net"',
        name="*.example.ac.uk",
    ),
    _zone(
        "issuewild takes the place of issue: forbidden by it",
        "RFC 8659 4.3",
        Code.NOBODY,
        _OURS,
        '0 issuewild ";"',
        name="*.example.ac.uk",
        to_add=_ADD_WILD,
    ),
    _zone(
        "issuewild of somebody else, issue ours",
        "RFC 8659 4.3",
        Code.OTHER_ISSUER,
        _OURS,
        '0 issuewild "other.example"',
        name="*.example.ac.uk",
        to_add=_ADD_WILD,
    ),
    _zone(
        "an issuewild that can't be read still takes the place of issue",
        "RFC 8659 4.3",
        Code.NOBODY,
        _OURS,
        '0 issuewild "%%%"',
        name="*.example.ac.uk",
        to_add=_ADD_WILD,
    ),
    _zone("issuewild says nothing about plain names", "RFC 8659 4.3", Code.NOT_RESTRICTED, '0 issuewild ";"'),
    _zone(
        "issuewild for us does not allow plain names",
        "RFC 8659 4.3",
        Code.NOBODY,
        '0 issue ";"',
        '0 issuewild "ca.example.net"',
        to_add=_ADD_ISSUE,
    ),
    # --- other properties and the critical flag (RFC 8659 4.1, 4.5)
    _zone("only iodef", "RFC 8659 4.4", Code.NOT_RESTRICTED, '0 iodef "mailto:security@example.ac.uk"'),
    _zone("unknown, not critical", "RFC 8659 4.1", Code.AUTHORISED, '0 future "x"', _OURS),
    _zone(
        "unknown and critical, beside our permission",
        "RFC 8659 4.1",
        Code.CRITICAL_UNKNOWN,
        '128 future "x"',
        _OURS,
    ),
    _zone("unknown and critical, alone", "RFC 8659 4.1", Code.CRITICAL_UNKNOWN, '128 tbs "Unknown"'),
    _zone(
        "unknown and critical, for a wildcard",
        "RFC 8659 4.1",
        Code.CRITICAL_UNKNOWN,
        '255 future "x"',
        '0 issuewild "ca.example.net"',
        name="*.example.ac.uk",
    ),
    _zone(
        "other bits of the flags are none of our business",
        "RFC 8659 4.1",
        Code.AUTHORISED,
        '1 future "x"',
        _OURS,
    ),
    _zone(
        "known and critical",
        "RFC 8659 4.1",
        Code.AUTHORISED,
        '128 issue "ca.example.net"',
        '128 iodef "mailto:a@example.ac.uk"',
    ),
    _zone("issuemail is about other certificates", "RFC 9495 3", Code.NOT_RESTRICTED, '128 issuemail ";"'),
    _zone("a record that is none", "RFC 8659 4.1", Code.UNREADABLE, "nonsense", _OURS),
    _zone(
        "escapes of the master file", "RFC 8659 4.1.1", Code.AUTHORISED, '0 issue "\\099\\097.example.net"'
    ),
    # --- accounts (RFC 8657 3)
    _zone(
        "our account",
        "RFC 8657 3",
        Code.AUTHORISED,
        f'0 issue "ca.example.net; accounturi={ACCOUNT}"',
        account_uri=ACCOUNT,
    ),
    _zone(
        "another account",
        "RFC 8657 3",
        Code.OTHER_ACCOUNT,
        f'0 issue "ca.example.net; accounturi={ACCOUNT}2"',
        account_uri=ACCOUNT,
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "an account, and we have none",
        "RFC 8657 3",
        Code.OTHER_ACCOUNT,
        f'0 issue "ca.example.net; accounturi={ACCOUNT}"',
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "accounts are compared as they are written",
        "RFC 8657 3",
        Code.OTHER_ACCOUNT,
        '0 issue "ca.example.net; accounturi=https://CA.example.net/acct/1"',
        account_uri=ACCOUNT,
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "two accounts in one record satisfy nobody",
        "RFC 8657 3",
        Code.PARAMETERS,
        f'0 issue "ca.example.net; accounturi={ACCOUNT}; accounturi={ACCOUNT}"',
        account_uri=ACCOUNT,
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "two accounts in two records",
        "RFC 8657 3",
        Code.AUTHORISED,
        '0 issue "ca.example.net; accounturi=https://ca.example.net/acct/9"',
        f'0 issue "ca.example.net; accounturi={ACCOUNT}"',
        account_uri=ACCOUNT,
    ),
    _zone(
        "an empty account",
        "RFC 8657 3",
        Code.OTHER_ACCOUNT,
        '0 issue "ca.example.net; accounturi="',
        account_uri=ACCOUNT,
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "another account of somebody else does not matter",
        "RFC 8657 3",
        Code.AUTHORISED,
        '0 issue "other.example; accounturi=x"',
        _OURS,
        account_uri=ACCOUNT,
    ),
    # --- methods (RFC 8657 4)
    _zone(
        "our method",
        "RFC 8657 4",
        Code.AUTHORISED,
        '0 issue "ca.example.net; validationmethods=http-01,dns-01"',
        method=Method.ACME_DNS,
    ),
    _zone(
        "our method by its number",
        "BR 4.2.2.1.2",
        Code.AUTHORISED,
        '0 issue "ca.example.net; validationmethods=ca-tbr-7"',
        method=Method.DNS_TXT,
    ),
    _zone(
        "either name of one method",
        "BR 4.2.2.1.2",
        Code.AUTHORISED,
        '0 issue "ca.example.net; validationmethods=ca-tbr-19"',
        method=Method.ACME_HTTP,
    ),
    _zone(
        "another method",
        "RFC 8657 4",
        Code.OTHER_METHOD,
        '0 issue "ca.example.net; validationmethods=dns-01"',
        method=Method.ACME_HTTP,
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "a method, and ours is not known yet",
        "RFC 8657 4",
        Code.OTHER_METHOD,
        '0 issue "ca.example.net; validationmethods=dns-01"',
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "a check by hand has no label",
        "RFC 8657 4",
        Code.OTHER_METHOD,
        '0 issue "ca.example.net; validationmethods=http-01,dns-01,tls-alpn-01"',
        method=Method.MANUAL_OWNERSHIP,
        to_add=_ADD_ISSUE,
    ),
    *(
        _zone(
            f"a list of methods that is none: {methods!r}",
            "RFC 8657 4",
            Code.PARAMETERS,
            f'0 issue "ca.example.net; validationmethods={methods}"',
            method=Method.ACME_DNS,
            to_add=_ADD_ISSUE,
        )
        for methods in ("", "dns-01,", ",dns-01", "dns_01,dns-01")
    ),
    _zone(
        "methods given twice satisfy nobody",
        "RFC 8657 4",
        Code.PARAMETERS,
        '0 issue "ca.example.net; validationmethods=dns-01; validationmethods=dns-01"',
        method=Method.ACME_DNS,
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "account and method, both ours",
        "RFC 8657 5.2",
        Code.AUTHORISED,
        f'0 issue "ca.example.net; accounturi={ACCOUNT}; validationmethods=dns-01"',
        account_uri=ACCOUNT,
        method=Method.ACME_DNS,
    ),
    _zone(
        "account ours in one record, method ours in the other",
        "RFC 8657 3, 4",
        Code.OTHER_METHOD,
        f'0 issue "ca.example.net; accounturi={ACCOUNT}; validationmethods=http-01"',
        '0 issue "ca.example.net; accounturi=https://ca.example.net/acct/9; validationmethods=dns-01"',
        account_uri=ACCOUNT,
        method=Method.ACME_DNS,
        to_add=_ADD_ISSUE,
    ),
    _zone(
        "parameters of issuewild count for wildcards",
        "RFC 8657 3",
        Code.OTHER_ACCOUNT,
        _OURS,
        '0 issuewild "ca.example.net; accounturi=https://ca.example.net/acct/9"',
        name="*.example.ac.uk",
        account_uri=ACCOUNT,
        to_add=_ADD_WILD,
    ),
)
