"""CAA as a decision table (RFC 8659, RFC 8657, BR 4.2.2.1): question and records, then what must come of it.

`records` maps a name of the climb to its records in presentation form, or to a failure such as "servfail";
names that are not in it have none. The question's defaults are below.
"""

from dataclasses import dataclass, field

from certdesk.domain.caa import Code
from certdesk.domain.evidence import Method

ISSUER = "ca.example.net"
ACCOUNT = "https://ca.example.net/acct/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    title: str
    rule: str
    records: dict[str, tuple[str, ...] | str]
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


def _zone(*records: str) -> dict[str, tuple[str, ...] | str]:
    return {_ZONE: records}


TABLE: tuple[Row, ...] = (
    # --- the climb (RFC 8659 3)
    Row(title="nothing anywhere", rule="RFC 8659 3", records={}, code=Code.NO_RECORDS),
    Row(title="own record", rule="RFC 8659 3", records={_HOST: (_OURS,)}, code=Code.AUTHORISED, where=_HOST),
    Row(
        title="the parent's record",
        rule="RFC 8659 3",
        records=_zone(_OURS),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="the top-level domain's record",
        rule="RFC 8659 3",
        records={"uk": ('0 issue "other.example"',)},
        code=Code.OTHER_ISSUER,
        where="uk",
        to_add=f'uk. CAA 0 issue "{ISSUER}"',
    ),
    Row(
        title="the nearest set decides, permission above it is not seen",
        rule="RFC 8659 3",
        records={_HOST: ('0 issue "other.example"',), _ZONE: (_OURS,)},
        code=Code.OTHER_ISSUER,
        where=_HOST,
        to_add=f'{_HOST}. CAA 0 issue "{ISSUER}"',
    ),
    Row(
        title="the nearest set decides, a prohibition above it is not seen",
        rule="RFC 8659 3",
        records={_HOST: (_OURS,), _ZONE: ('0 issue ";"',)},
        code=Code.AUTHORISED,
        where=_HOST,
    ),
    Row(
        title="a nearest set without issue ends the climb all the same",
        rule="RFC 8659 3",
        records={_HOST: ('0 iodef "mailto:security@example.ac.uk"',), _ZONE: ('0 issue ";"',)},
        code=Code.NOT_RESTRICTED,
        where=_HOST,
    ),
    Row(
        title="a wildcard climbs from the name without its label",
        rule="RFC 8659 3",
        name="*.example.ac.uk",
        records=_zone(_OURS),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    # --- faults refuse, wherever they are
    *(
        Row(
            title=f"{fault} at the name",
            rule="BR 4.2.2.1",
            records={_HOST: fault},
            code=Code.LOOKUP_FAILED,
            where=_HOST,
        )
        for fault in ("servfail", "bogus", "timeout", "refused", "malformed", "cname_loop")
    ),
    Row(
        title="SERVFAIL at the parent",
        rule="BR 4.2.2.1",
        records={_ZONE: "servfail"},
        code=Code.LOOKUP_FAILED,
        where=_ZONE,
    ),
    Row(
        title="SERVFAIL above a set that decides is never asked for",
        rule="RFC 8659 3",
        records={_HOST: (_OURS,), _ZONE: "servfail"},
        code=Code.AUTHORISED,
        where=_HOST,
    ),
    # --- issue (RFC 8659 4.2)
    Row(
        title="nobody",
        rule="RFC 8659 4.2",
        records=_zone('0 issue ";"'),
        code=Code.NOBODY,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="nobody, written as nothing",
        rule="RFC 8659 4.2",
        records=_zone('0 issue ""'),
        code=Code.NOBODY,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="somebody else",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "other.example"'),
        code=Code.OTHER_ISSUER,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="one of several",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "other.example"', _OURS),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="nobody, and us: permissions add up",
        rule="RFC 8659 4.2",
        records=_zone('0 issue ";"', _OURS),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="our name in capitals",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "CA.Example.NET"'),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="the tag in capitals",
        rule="RFC 8659 4.1",
        records=_zone('0 ISSUE "other.example"'),
        code=Code.OTHER_ISSUER,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="a second name of ours",
        rule="BR 4.2.2.1",
        records=_zone('0 issue "second.example.net"'),
        issuers=(ISSUER, "second.example.net"),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="a name that ends like ours",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "evil-ca.example.net"'),
        code=Code.OTHER_ISSUER,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="a name below ours",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "x.ca.example.net"'),
        code=Code.OTHER_ISSUER,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    *(
        Row(
            title=f"what does not follow the grammar names nobody: {value}",
            rule="RFC 8659 4.2",
            records=_zone(f'0 issue "{value}"'),
            code=Code.NOBODY,
            where=_ZONE,
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
    Row(
        title="white space where the grammar has it",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "  ca.example.net  ;  policy = ev  ;  a-b=c  "'),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="an empty list of parameters",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "ca.example.net;"'),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="parameters that nobody knows",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "ca.example.net; policy=ev"'),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="issue of somebody else that can't be read, beside ours",
        rule="RFC 8659 4.2",
        records=_zone('0 issue "%%%%"', _OURS),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    # --- issuewild (RFC 8659 4.3)
    Row(
        title='issue ";" alone forbids wildcards too',
        rule="RFC 8659 4.3",
        name="*.example.ac.uk",
        records=_zone('0 issue ";"'),
        code=Code.NOBODY,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="issue of somebody else forbids wildcards too",
        rule="RFC 8659 4.3",
        name="*.example.ac.uk",
        records=_zone('0 issue "other.example"'),
        code=Code.OTHER_ISSUER,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="issuewild takes the place of issue: allowed by it",
        rule="RFC 8659 4.3",
        name="*.example.ac.uk",
        records=_zone('0 issue ";"', '0 issuewild "ca.example.net"'),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="issuewild takes the place of issue: forbidden by it",
        rule="RFC 8659 4.3",
        name="*.example.ac.uk",
        records=_zone(_OURS, '0 issuewild ";"'),
        code=Code.NOBODY,
        where=_ZONE,
        to_add=_ADD_WILD,
    ),
    Row(
        title="issuewild of somebody else, issue ours",
        rule="RFC 8659 4.3",
        name="*.example.ac.uk",
        records=_zone(_OURS, '0 issuewild "other.example"'),
        code=Code.OTHER_ISSUER,
        where=_ZONE,
        to_add=_ADD_WILD,
    ),
    Row(
        title="an issuewild that can't be read still takes the place of issue",
        rule="RFC 8659 4.3",
        name="*.example.ac.uk",
        records=_zone(_OURS, '0 issuewild "%%%"'),
        code=Code.NOBODY,
        where=_ZONE,
        to_add=_ADD_WILD,
    ),
    Row(
        title="issuewild says nothing about plain names",
        rule="RFC 8659 4.3",
        records=_zone('0 issuewild ";"'),
        code=Code.NOT_RESTRICTED,
        where=_ZONE,
    ),
    Row(
        title="issuewild for us does not allow plain names",
        rule="RFC 8659 4.3",
        records=_zone('0 issue ";"', '0 issuewild "ca.example.net"'),
        code=Code.NOBODY,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    # --- other properties and the critical flag (RFC 8659 4.1, 4.5)
    Row(
        title="only iodef",
        rule="RFC 8659 4.4",
        records=_zone('0 iodef "mailto:security@example.ac.uk"'),
        code=Code.NOT_RESTRICTED,
        where=_ZONE,
    ),
    Row(
        title="unknown, not critical",
        rule="RFC 8659 4.1",
        records=_zone('0 future "x"', _OURS),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="unknown and critical, beside our permission",
        rule="RFC 8659 4.1",
        records=_zone('128 future "x"', _OURS),
        code=Code.CRITICAL_UNKNOWN,
        where=_ZONE,
    ),
    Row(
        title="unknown and critical, alone",
        rule="RFC 8659 4.1",
        records=_zone('128 tbs "Unknown"'),
        code=Code.CRITICAL_UNKNOWN,
        where=_ZONE,
    ),
    Row(
        title="unknown and critical, for a wildcard",
        rule="RFC 8659 4.1",
        name="*.example.ac.uk",
        records=_zone('255 future "x"', '0 issuewild "ca.example.net"'),
        code=Code.CRITICAL_UNKNOWN,
        where=_ZONE,
    ),
    Row(
        title="other bits of the flags are none of our business",
        rule="RFC 8659 4.1",
        records=_zone('1 future "x"', _OURS),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="known and critical",
        rule="RFC 8659 4.1",
        records=_zone('128 issue "ca.example.net"', '128 iodef "mailto:a@example.ac.uk"'),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="issuemail is about other certificates",
        rule="RFC 9495 3",
        records=_zone('128 issuemail ";"'),
        code=Code.NOT_RESTRICTED,
        where=_ZONE,
    ),
    Row(
        title="a record that is none",
        rule="RFC 8659 4.1",
        records=_zone("nonsense", _OURS),
        code=Code.UNREADABLE,
        where=_ZONE,
    ),
    Row(
        title="escapes of the master file",
        rule="RFC 8659 4.1.1",
        records=_zone('0 issue "\\099\\097.example.net"'),
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    # --- accounts (RFC 8657 3)
    Row(
        title="our account",
        rule="RFC 8657 3",
        records=_zone(f'0 issue "ca.example.net; accounturi={ACCOUNT}"'),
        account_uri=ACCOUNT,
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="another account",
        rule="RFC 8657 3",
        records=_zone(f'0 issue "ca.example.net; accounturi={ACCOUNT}2"'),
        account_uri=ACCOUNT,
        code=Code.OTHER_ACCOUNT,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="an account, and we have none",
        rule="RFC 8657 3",
        records=_zone(f'0 issue "ca.example.net; accounturi={ACCOUNT}"'),
        code=Code.OTHER_ACCOUNT,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="accounts are compared as they are written",
        rule="RFC 8657 3",
        records=_zone('0 issue "ca.example.net; accounturi=https://CA.example.net/acct/1"'),
        account_uri=ACCOUNT,
        code=Code.OTHER_ACCOUNT,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="two accounts in one record satisfy nobody",
        rule="RFC 8657 3",
        records=_zone(f'0 issue "ca.example.net; accounturi={ACCOUNT}; accounturi={ACCOUNT}"'),
        account_uri=ACCOUNT,
        code=Code.PARAMETERS,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="two accounts in two records",
        rule="RFC 8657 3",
        records=_zone(
            '0 issue "ca.example.net; accounturi=https://ca.example.net/acct/9"',
            f'0 issue "ca.example.net; accounturi={ACCOUNT}"',
        ),
        account_uri=ACCOUNT,
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="an empty account",
        rule="RFC 8657 3",
        records=_zone('0 issue "ca.example.net; accounturi="'),
        account_uri=ACCOUNT,
        code=Code.OTHER_ACCOUNT,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="another account of somebody else does not matter",
        rule="RFC 8657 3",
        records=_zone('0 issue "other.example; accounturi=x"', _OURS),
        account_uri=ACCOUNT,
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    # --- methods (RFC 8657 4)
    Row(
        title="our method",
        rule="RFC 8657 4",
        records=_zone('0 issue "ca.example.net; validationmethods=http-01,dns-01"'),
        method=Method.ACME_DNS,
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="our method by its number",
        rule="BR 4.2.2.1.2",
        records=_zone('0 issue "ca.example.net; validationmethods=ca-tbr-7"'),
        method=Method.DNS_TXT,
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="either name of one method",
        rule="BR 4.2.2.1.2",
        records=_zone('0 issue "ca.example.net; validationmethods=ca-tbr-19"'),
        method=Method.ACME_HTTP,
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="another method",
        rule="RFC 8657 4",
        records=_zone('0 issue "ca.example.net; validationmethods=dns-01"'),
        method=Method.ACME_HTTP,
        code=Code.OTHER_METHOD,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="a method, and ours is not known yet",
        rule="RFC 8657 4",
        records=_zone('0 issue "ca.example.net; validationmethods=dns-01"'),
        code=Code.OTHER_METHOD,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="a check by hand has no label",
        rule="RFC 8657 4",
        records=_zone('0 issue "ca.example.net; validationmethods=http-01,dns-01,tls-alpn-01"'),
        method=Method.MANUAL_OWNERSHIP,
        code=Code.OTHER_METHOD,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    *(
        Row(
            title=f"a list of methods that is none: {methods!r}",
            rule="RFC 8657 4",
            records=_zone(f'0 issue "ca.example.net; validationmethods={methods}"'),
            method=Method.ACME_DNS,
            code=Code.PARAMETERS,
            where=_ZONE,
            to_add=_ADD_ISSUE,
        )
        for methods in ("", "dns-01,", ",dns-01", "dns_01,dns-01")
    ),
    Row(
        title="methods given twice satisfy nobody",
        rule="RFC 8657 4",
        records=_zone('0 issue "ca.example.net; validationmethods=dns-01; validationmethods=dns-01"'),
        method=Method.ACME_DNS,
        code=Code.PARAMETERS,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="account and method, both ours",
        rule="RFC 8657 5.2",
        records=_zone(f'0 issue "ca.example.net; accounturi={ACCOUNT}; validationmethods=dns-01"'),
        account_uri=ACCOUNT,
        method=Method.ACME_DNS,
        code=Code.AUTHORISED,
        where=_ZONE,
    ),
    Row(
        title="account ours in one record, method ours in the other",
        rule="RFC 8657 3, 4",
        records=_zone(
            f'0 issue "ca.example.net; accounturi={ACCOUNT}; validationmethods=http-01"',
            '0 issue "ca.example.net; accounturi=https://ca.example.net/acct/9; validationmethods=dns-01"',
        ),
        account_uri=ACCOUNT,
        method=Method.ACME_DNS,
        code=Code.OTHER_METHOD,
        where=_ZONE,
        to_add=_ADD_ISSUE,
    ),
    Row(
        title="parameters of issuewild count for wildcards",
        rule="RFC 8657 3",
        name="*.example.ac.uk",
        records=_zone(_OURS, '0 issuewild "ca.example.net; accounturi=https://ca.example.net/acct/9"'),
        account_uri=ACCOUNT,
        code=Code.OTHER_ACCOUNT,
        where=_ZONE,
        to_add=_ADD_WILD,
    ),
)
