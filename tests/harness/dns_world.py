"""The zones that tests of DNS look-ups share: signed, forged, plain, lame and silent ones (`nameserver.py`).

Everything that has to be found is written here, so that one pair of servers does for the whole run.
"""

from certdesk.dcv.dns import account_label, txt_digest
from tests.harness.nameserver import NameServers, Zone, many_txt

TOKEN = "k3J9sYw0Vd7nQm2xTz5bLp8cRf1hGa4uEo6iNvKjXsY"
KEY_AUTHORIZATION = f"evaGxfADs6pSRb2LAv9IZ.{TOKEN}"
ACCOUNT = "https://certs.example.net/acme/acct/1"
ISSUER = "certs.example.net"
CNAME_TARGET = "q3rjwz5ydwbpkqv7mhu2xtn6ce.dcv.example.net"

_PROOFS = f"""
_certdesk-challenge IN TXT "v=spf1 -all"
_certdesk-challenge IN TXT "{TOKEN}"
_certdesk-challenge.split IN TXT "{TOKEN[:20]}" "{TOKEN[20:]}"
_certdesk-challenge.alias IN CNAME {CNAME_TARGET}.
_certdesk-challenge.delegated IN CNAME token.plain.ac.uk.
_acme-challenge IN TXT "{txt_digest(KEY_AUTHORIZATION)}"
{account_label(ACCOUNT)}._acme-challenge IN TXT "{txt_digest(KEY_AUTHORIZATION)}"
_validation-persist IN TXT "ca1.example; accounturi=https://ca1.example/acct/1"
_validation-persist IN TXT "{ISSUER}; accounturi={ACCOUNT}; " "policy=wildcard"
_validation-contactemail IN TXT "dns@example.ac.uk"
"""

_CAA = """
@ IN CAA 0 issue "certs.example.net"
@ IN CAA 0 contactemail "security@example.ac.uk"
nobody IN CAA 0 issue ";"
critical IN CAA 128 future "x"
critical IN CAA 0 issue "certs.example.net"
wild IN CAA 0 issue "certs.example.net"
wild IN CAA 0 issuewild ";"
account IN CAA 0 issue "certs.example.net; accounturi=https://certs.example.net/acme/acct/1"
alias IN CNAME target.plain.ac.uk.
bare-alias IN CNAME nothing.plain.ac.uk.
"""

_WEB = "www IN A 127.0.0.1\nprivate IN A 10.1.2.3\n"

_PLAIN = f"""
token IN TXT "{TOKEN}"
target IN CAA 0 issue "other.example"
words IN TXT "first" "second"
a IN CNAME b
b IN CNAME a
far IN CNAME www.example.ac.uk.
into-forged IN CNAME www.forged.ac.uk.
{many_txt("big", records=20)}
{"".join(f"l{n} IN CNAME l{n + 1}" + chr(10) for n in range(12))}
_certdesk-challenge.big IN CNAME big
"""

ZONES = (
    Zone(name="uk", lines='ac IN TXT "academic"\n'),
    Zone(name="example.ac.uk", lines=_PROOFS + _CAA + _WEB, signed=True),
    Zone(
        name="forged.ac.uk",
        signed=True,
        lines='_certdesk-challenge IN TXT "the owner\'s"\nwww IN A 127.0.0.1\n@ IN CAA 0 issue ";"\n',
        forged=f'_certdesk-challenge IN TXT "{TOKEN}"\n@ IN CAA 0 issue "certs.example.net"\n',
    ),
    Zone(name="plain.ac.uk", lines=_PLAIN),
)

SILENT, LAME = "silent.example", "lame.example"


def dns_world() -> NameServers:
    """Both servers, not started yet."""
    return NameServers(zones=ZONES, lame=(LAME,), slow=(SILENT,))
