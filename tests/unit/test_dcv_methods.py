"""Each MUST of a validation method's own text, broken once. Sources stand beside the cases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from certdesk.dcv.base import Challenge, NotValidated, Outcome, Problem, Validated
from certdesk.dcv.conformance import (
    ACCOUNT,
    ADN,
    ISSUER,
    NOW,
    ScriptedFetcher,
    ScriptedResolver,
    network,
    txt,
)
from certdesk.dcv.dns import LABEL, AcmeDnsAccountValidator, TxtTokenValidator, account_label, txt_digest
from certdesk.dcv.fetch import Fetched, NotFetched
from certdesk.dcv.http import AcmeHttpValidator, HttpFileValidator, acme_url, file_url
from certdesk.dcv.persist.record import hashed_account_uri, record_value
from certdesk.dcv.persist.validator import PersistValidator
from certdesk.dcv.resolver import Answer, Status
from certdesk.dcv.tls_alpn import TlsAlpnValidator, identifier_value
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.validation.evidence import Method
from tests.harness.acme_certificates import acme_certificate

VALUE = "k3J9sYw0Vd7nQm2xTz5bLp8cRf1hGa4uEo6iNvKjXsY"
TOKEN = "evaGxfADs6pSRb2LAv9IZ"
KEY_AUTHORIZATION = f"{TOKEN}.{VALUE}"


def _problem(outcome: Outcome) -> Problem:
    assert isinstance(outcome, NotValidated), outcome
    return outcome.problem


# --- DNS


def test_rfc8555_8_4_the_digest_of_the_example() -> None:
    # The digest is base64url without padding: 43 characters, whatever the key authorization.
    assert len(txt_digest(KEY_AUTHORIZATION)) == 43
    assert "=" not in txt_digest(KEY_AUTHORIZATION)


def test_the_accounts_label_is_the_drafts_own_example() -> None:
    # draft-ietf-acme-dns-account-label, the example of the challenge's record.
    assert account_label("https://example.com/acme/acct/ExampleAccount") == "_ujmmovf2vn55tgye"


def test_dns_account_needs_an_account() -> None:
    challenge = Challenge(method=Method.ACME_DNS_ACCOUNT, adn=ADN, expected=KEY_AUTHORIZATION)
    with pytest.raises(InvariantViolated):
        AcmeDnsAccountValidator().validate(challenge, network=network(), now=NOW)


@pytest.mark.parametrize(
    "where", [ADN, f"_certdesk.{ADN}", f"{LABEL}.example.ac.uk", f"{LABEL}.{ADN}.example.org"]
)
def test_v5_the_token_counts_at_its_label_only(where: str) -> None:
    resolver = ScriptedResolver(answers={(where, "TXT"): txt(VALUE)})
    challenge = Challenge(method=Method.DNS_TXT, adn=ADN, expected=VALUE)
    outcome = TxtTokenValidator().validate(challenge, network=network(resolver=resolver), now=NOW)
    assert _problem(outcome).code == "dcv.dns.no_record"
    assert resolver.asked == [(f"{LABEL}.{ADN}", "TXT")]


def test_three_names_are_three_look_ups_with_three_outcomes() -> None:
    names = ("a.example.ac.uk", "b.example.ac.uk", "c.example.ac.uk")
    resolver = ScriptedResolver(
        answers={
            (f"{LABEL}.{names[0]}", "TXT"): txt(VALUE),
            (f"{LABEL}.{names[1]}", "TXT"): txt("other"),
            (f"{LABEL}.{names[2]}", "TXT"): Answer(status=Status.SERVFAIL),
        }
    )
    outcomes = [
        TxtTokenValidator().validate(
            Challenge(method=Method.DNS_TXT, adn=name, expected=VALUE),
            network=network(resolver=resolver),
            now=NOW,
        )
        for name in names
    ]
    assert isinstance(outcomes[0], Validated)
    assert [_problem(one).code for one in outcomes[1:]] == ["dcv.dns.other_value", "dcv.dns.servfail"]
    assert [one.record.adn for one in outcomes] == list(names)


# --- HTTP

FILE = Challenge(method=Method.HTTP_FILE, adn=ADN, expected=VALUE, token="certdesk-1")
ACME = Challenge(method=Method.ACME_HTTP, adn=ADN, expected=KEY_AUTHORIZATION, token=TOKEN)


def _fetched(body: str, *, status: int = 200, truncated: bool = False) -> Fetched:
    return Fetched(status=status, body=body.encode(), truncated=truncated, address="192.0.2.80")


def _acme_http(page: Fetched | NotFetched) -> Outcome:
    fetcher = ScriptedFetcher(pages={acme_url(ADN, TOKEN): page})
    return AcmeHttpValidator().validate(ACME, network=network(fetcher=fetcher), now=NOW)


@pytest.mark.parametrize("status", [100, 199, 300, 304, 301, 400, 403, 404, 500, 503])
def test_br_18_19_only_a_2xx_counts_even_with_the_right_content(status: int) -> None:
    assert _problem(_acme_http(_fetched(KEY_AUTHORIZATION, status=status))).code == "dcv.http.status"


@pytest.mark.parametrize("status", [200, 201, 206, 299])
def test_br_18_19_every_2xx_counts(status: int) -> None:
    assert isinstance(_acme_http(_fetched(KEY_AUTHORIZATION, status=status)), Validated)


@pytest.mark.parametrize(
    "body",
    [
        "",
        TOKEN,
        f" {KEY_AUTHORIZATION}",
        f"\ufeff{KEY_AUTHORIZATION}",
        f"<p>{KEY_AUTHORIZATION}</p>",
        KEY_AUTHORIZATION.upper(),
        f"{KEY_AUTHORIZATION}\x00",
        f"{KEY_AUTHORIZATION}\n{KEY_AUTHORIZATION}",
        f"/.well-known/acme-challenge/{TOKEN} was not found",
    ],
)
def test_v4_the_content_is_the_value_and_nothing_else(body: str) -> None:
    problem = _problem(_acme_http(_fetched(body)))
    assert problem.code == "dcv.http.other_content"
    assert KEY_AUTHORIZATION not in problem.detail


def test_v4_a_file_that_goes_on_after_the_limit_is_none() -> None:
    assert _problem(_acme_http(_fetched(KEY_AUTHORIZATION, truncated=True))).code == "dcv.http.too_long"


def test_rfc8555_8_3_white_space_at_the_end_does_not_matter() -> None:
    assert isinstance(_acme_http(_fetched(f"{KEY_AUTHORIZATION} \t\r\n\n")), Validated)


def test_br_18_the_random_value_stands_in_no_request() -> None:
    for token in (VALUE, f"a{VALUE}", VALUE[:8]):
        with pytest.raises(InvariantViolated):
            HttpFileValidator().validate(replace(FILE, token=token), network=network(), now=NOW)


@pytest.mark.parametrize("token", ["", "../secret", "a/b", "a b", "a?b", "ü", "a" * 129])
def test_a_token_that_is_no_files_name_is_our_own_bug(token: str) -> None:
    for challenge, validator in ((FILE, HttpFileValidator()), (ACME, AcmeHttpValidator())):
        with pytest.raises(InvariantViolated):
            validator.validate(replace(challenge, token=token), network=network(), now=NOW)


def test_br_18_a_closed_port_80_is_no_obstacle_for_a_file() -> None:
    fetcher = ScriptedFetcher(pages={file_url(ADN, "certdesk-1", scheme="https"): _fetched(VALUE)})
    outcome = HttpFileValidator().validate(FILE, network=network(fetcher=fetcher), now=NOW)
    assert isinstance(outcome, Validated)
    assert str(outcome.record.asked).startswith("GET https://")


def test_rfc8555_8_3_http_01_begins_on_port_80_or_not_at_all() -> None:
    fetcher = ScriptedFetcher()
    outcome = AcmeHttpValidator().validate(ACME, network=network(fetcher=fetcher), now=NOW)
    assert _problem(outcome).acme_type == "connection"
    assert fetcher.asked == [f"http://{ADN}/.well-known/acme-challenge/{TOKEN}"]


def test_a_private_address_is_told_to_the_evidence_and_to_nobody_else() -> None:
    refused = NotFetched(
        code="fetch.private_address", detail="Not on the public Internet.", address="10.1.2.3"
    )
    outcome = _acme_http(refused)
    assert _problem(outcome).code == "dcv.fetch.private_address"
    assert "10.1.2.3" not in _problem(outcome).detail
    assert outcome.record.details["address"] == "10.1.2.3"


# --- TLS-ALPN (RFC 8737 3)

ALPN = Challenge(method=Method.ACME_TLS_ALPN, adn=ADN, expected=KEY_AUTHORIZATION)


def _alpn(shown: bytes | NotFetched) -> Outcome:
    fetcher = ScriptedFetcher(certificates={ADN: shown})
    return TlsAlpnValidator().validate(ALPN, network=network(fetcher=fetcher), now=NOW)


def _shown(**wrong: Any) -> bytes:
    """The right certificate, but for this."""
    return acme_certificate(**{"names": (ADN,), "key_authorization": KEY_AUTHORIZATION, **wrong})


@pytest.mark.parametrize(
    "names",
    [
        (ADN, "example.ac.uk"),
        ("example.ac.uk",),
        ("*.example.ac.uk",),
        (ADN, ADN),
        (x509.UniformResourceIdentifier(f"https://{ADN}"),),
        (ADN, x509.RFC822Name("a@example.ac.uk")),
    ],
)
def test_the_certificate_has_this_one_name(names: tuple[str | x509.GeneralName, ...]) -> None:
    assert _problem(_alpn(_shown(names=names))).code == "dcv.tls_alpn.names"


def test_the_names_case_does_not_matter() -> None:
    assert isinstance(_alpn(_shown(names=(ADN.upper(),))), Validated)


@pytest.mark.parametrize(
    "shown,code",
    [
        (_shown(key_authorization=None), "extension"),
        (_shown(names=()), "extension"),
        (_shown(critical=False), "critical"),
        (_shown(key_authorization=KEY_AUTHORIZATION[:-1]), "digest"),
        (_shown(value=identifier_value(KEY_AUTHORIZATION)[2:]), "digest"),
        (_shown(value=identifier_value(KEY_AUTHORIZATION) + b"\0"), "digest"),
        (b"no certificate", "certificate"),
        (b"", "certificate"),
    ],
)
def test_the_extension_is_critical_and_exactly_the_digest(shown: bytes, code: str) -> None:
    assert _problem(_alpn(shown)).code == f"dcv.tls_alpn.{code}"


def test_a_damaged_certificate_is_refused_or_still_the_proof() -> None:
    """Whatever a server shows, nothing is raised: each octet of a right certificate is changed once."""
    right = _shown()
    for place in range(len(right)):
        damaged = right[:place] + bytes([right[place] ^ 0x55]) + right[place + 1 :]
        assert isinstance(_alpn(damaged), (Validated, NotValidated))
    assert isinstance(_alpn(right + right), NotValidated)


def test_another_protocol_than_acme_tls_is_none() -> None:
    problem = _problem(_alpn(NotFetched(code="fetch.alpn", detail="Not that protocol.")))
    assert (problem.code, problem.acme_type) == ("dcv.fetch.alpn", "tls")


# --- persistent records (draft-ietf-acme-dns-persist-01, BR 3.2.2.4.22)

HOST, ZONE = "server.dept.example.ac.uk", "example.ac.uk"
PERSIST = Challenge(
    method=Method.DNS_PERSIST,
    adn=HOST,
    expected="",
    account_uri=ACCOUNT,
    issuers=("second.example.net", ISSUER),
)
RIGHT = f"{ISSUER}; accounturi={ACCOUNT}"


def _persist(
    *values: str, at: str = HOST, more: dict[str, Answer] | None = None, **challenge: Any
) -> Outcome:
    told = {at: txt(*values), **(more or {})}
    answers = {(f"_validation-persist.{name}", "TXT"): answer for name, answer in told.items()}
    return PersistValidator().validate(
        replace(PERSIST, **challenge), network=network(resolver=ScriptedResolver(answers=answers)), now=NOW
    )


@pytest.mark.parametrize(
    "value",
    [
        RIGHT,
        f"{ISSUER.upper()}; accounturi={ACCOUNT}",
        f"  {ISSUER}\t;accounturi = {ACCOUNT}",
        f"{ISSUER};accounturi={ACCOUNT};future=x;another-one=",
        f"{ISSUER}; accounturi={ACCOUNT}; policy=specific-subdomains-only",
        f"{ISSUER}; accounturi={ACCOUNT}; policy=",
        f"{ISSUER}; persistUntil=1795599600; accounturi={ACCOUNT}",
        f"{ISSUER}; accounturi={ACCOUNT}; persistUntil=999999999999999999",
        f"second.example.net; accounturi={ACCOUNT}",
    ],
)
def test_records_that_grant_the_name_alone(value: str) -> None:
    outcome = _persist("v=spf1 -all", value)
    assert isinstance(outcome, Validated), outcome
    assert (outcome.record.method, outcome.record.adn) == (Method.DNS_PERSIST, HOST)


@pytest.mark.parametrize(
    "value,code,acme_type",
    [
        # 4.1.1: issue-value syntax
        (f"{ISSUER} accounturi={ACCOUNT}", "not_a_record", "malformed"),
        (f"{ISSUER}; accounturi={ACCOUNT};", "not_a_record", "malformed"),
        (f"{ISSUER}.; accounturi={ACCOUNT}", "not_a_record", "malformed"),
        (f"{ISSUER}; accounturi={ACCOUNT}; x=a b", "not_a_record", "malformed"),
        # 4.1.2: one of our names
        (f"ca.example.net; accounturi={ACCOUNT}", "other_issuer", "unauthorized"),
        (f"; accounturi={ACCOUNT}", "other_issuer", "unauthorized"),
        (f"x.{ISSUER}; accounturi={ACCOUNT}", "other_issuer", "unauthorized"),
        # 4.1.3: an account, and ours, compared as it is written
        (ISSUER, "malformed", "malformed"),
        (f"{ISSUER}; accounturi=", "malformed", "malformed"),
        (f"{ISSUER}; accounturi={ACCOUNT}0", "other_account", "unauthorized"),
        (f"{ISSUER}; accounturi={ACCOUNT.upper()}", "other_account", "unauthorized"),
        (f"{ISSUER}; accounturi={ACCOUNT}/", "other_account", "unauthorized"),
        (f"{ISSUER}; account-uri={ACCOUNT}", "malformed", "malformed"),
        # 9.3.1: parameters given twice
        (f"{RIGHT}; accounturi={ACCOUNT}", "malformed", "malformed"),
        (f"{RIGHT}; policy=wildcard; policy=wildcard", "malformed", "malformed"),
        (f"{RIGHT}; persistUntil=4000000000; PersistUntil=4000000000", "malformed", "malformed"),
        # 4.1.5: an integer in base 10, not past
        *(
            (f"{RIGHT}; persistUntil={bad}", "malformed", "malformed")
            for bad in ("", "x", "-1", "+1", "1.5", "0x7f")
        ),
        (f"{RIGHT}; persistUntil=1e12", "malformed", "malformed"),
        (f"{RIGHT}; persistUntil={'9' * 40}", "malformed", "malformed"),
        (f"{RIGHT}; persistUntil=0", "expired", "unauthorized"),
        (f"{RIGHT}; persistUntil={int(NOW.timestamp()) - 1}", "expired", "unauthorized"),
        (f"{RIGHT}; PERSISTUNTIL={int(NOW.timestamp()) - 1}", "expired", "unauthorized"),
    ],
)
def test_records_that_grant_nothing(value: str, code: str, acme_type: str) -> None:
    problem = _problem(_persist(value))
    assert (problem.code, problem.acme_type) == (f"dcv.persist.{code}", acme_type)


def test_br_22_a_record_counts_up_to_its_last_second() -> None:
    until = int(NOW.timestamp())
    outcome = _persist(f"{RIGHT}; persistUntil={until}")
    assert isinstance(outcome, Validated)
    assert outcome.record.details["persist_until"] == datetime.fromtimestamp(until, tz=UTC).isoformat()


def test_draft_4_3_the_records_of_other_issuers_do_not_matter() -> None:
    outcome = _persist(
        "ca1.example; accounturi=x; persistUntil=broken", "%%%", f"{RIGHT}; persistUntil=0", RIGHT
    )
    assert isinstance(outcome, Validated)


@pytest.mark.parametrize("policy", ["wildcard", "WILDCARD", "WildCard"])
def test_draft_5_1_the_policy_widens_whatever_its_case(policy: str) -> None:
    outcome = _persist(f"{RIGHT}; policy={policy}", wildcard=True)
    assert isinstance(outcome, Validated)
    assert outcome.record.method is Method.DNS_PERSIST_WILDCARD


def test_draft_5_1_no_wildcard_without_the_policy() -> None:
    problem = _problem(_persist(RIGHT, f"{RIGHT}; policy=all", wildcard=True))
    assert problem.code == "dcv.persist.policy"


@pytest.mark.parametrize("at", ["dept.example.ac.uk", ZONE])
def test_draft_6_1_a_parents_record_with_the_policy_covers_the_name(at: str) -> None:
    outcome = _persist(f"{RIGHT}; policy=wildcard", at=at)
    assert isinstance(outcome, Validated)
    assert (outcome.record.method, outcome.record.adn) == (Method.DNS_PERSIST_WILDCARD, at)


@pytest.mark.parametrize("at", ["dept.example.ac.uk", ZONE])
def test_draft_6_2_a_parents_record_without_the_policy_covers_nothing_below(at: str) -> None:
    assert _problem(_persist(RIGHT, at=at)).code == "dcv.persist.policy"


@pytest.mark.parametrize("at", ["ac.uk", "uk", "example.org", f"x.{HOST}", f"evil{ZONE}"])
def test_no_record_elsewhere_covers_the_name(at: str) -> None:
    assert _problem(_persist(f"{RIGHT}; policy=wildcard", at=at)).code == "dcv.persist.no_record"


def test_a_narrow_own_record_suffices_and_the_parents_are_not_asked() -> None:
    outcome = _persist(RIGHT, more={ZONE: Answer(status=Status.SERVFAIL)})
    assert isinstance(outcome, Validated)


def test_a_fault_on_the_way_up_refuses() -> None:
    outcome = _persist(
        f"{RIGHT}; policy=wildcard", at=ZONE, more={"dept.example.ac.uk": Answer(status=Status.BOGUS)}
    )
    assert _problem(outcome).code == "dcv.dns.bogus"


def test_of_several_grants_the_widest_and_longest_is_taken() -> None:
    end = int((NOW + timedelta(days=1)).timestamp())
    outcome = _persist(RIGHT, f"{RIGHT}; policy=wildcard; persistUntil={end}", f"{RIGHT}; policy=wildcard")
    assert isinstance(outcome, Validated)
    assert outcome.record.method is Method.DNS_PERSIST_WILDCARD
    assert outcome.record.details["persist_until"] is None


@pytest.mark.parametrize(
    "challenge",
    [
        replace(PERSIST, account_uri=""),
        replace(PERSIST, issuers=()),
        replace(PERSIST, issuers=tuple(f"ca{n}.example.net" for n in range(11))),
    ],
)
def test_without_account_or_issuers_it_is_our_own_bug(challenge: Challenge) -> None:
    with pytest.raises(InvariantViolated):
        PersistValidator().validate(challenge, network=network(), now=NOW)


def test_the_record_that_we_tell_people_to_add_is_one_that_we_accept() -> None:
    until = NOW + timedelta(days=90)
    value = record_value(issuer=ISSUER, account_uri=ACCOUNT, wildcard=True)
    assert isinstance(_persist(value, at=ZONE, wildcard=True), Validated)
    outcome = _persist(f"{value}; persistUntil={int(until.timestamp())}", at=ZONE, wildcard=True)
    assert isinstance(outcome, Validated)
    assert outcome.record.details["persist_until"] == until.isoformat()


# --- hashed account URIs (draft-ietf-acme-dns-persist-02, 4.1 and 10.2)

PREFIX, ACCT = "https://ca.example/account-hash/", "https://ca.example/acct/123"
PRESENT, FORMER = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "A" * 43


def _hashed(
    domain: str = ZONE, *, thumbprint: str = PRESENT, prefix: str = PREFIX, account: str = ACCT
) -> str:
    return hashed_account_uri(prefix=prefix, domain=domain, thumbprint=thumbprint, account_uri=account)


def _persist_hashed(uri: str, *, prefix: str = PREFIX, policy: str = "") -> Outcome:
    ours: dict[str, Any] = {"account_uri": ACCT, "thumbprints": (PRESENT, FORMER), "hash_prefix": prefix}
    record = f"{ISSUER}; accounturi={uri}{policy}"
    return _persist(record, at=ZONE, adn=HOST if policy else ZONE, **ours)


def test_the_drafts_own_examples_of_hashed_uris() -> None:
    assert _hashed("example.com") == f"{PREFIX}sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw"
    assert _hashed("*") == f"{PREFIX}sha-256/NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug"


@pytest.mark.parametrize(
    "uri",
    [
        _hashed(),
        _hashed("*"),  # for many domains
        _hashed(thumbprint=FORMER),  # published before the key was changed
        _hashed("*", thumbprint=FORMER),
    ],
)
def test_a_hashed_uri_with_a_key_of_the_account_counts(uri: str) -> None:
    outcome = _persist_hashed(uri)
    assert isinstance(outcome, Validated)
    assert outcome.record.details["account_uri"] == uri


def test_what_is_hashed_is_the_domain_where_the_record_stands() -> None:
    """Not the one that is asked for below it (4.1.3)."""
    assert isinstance(_persist_hashed(_hashed(ZONE), policy="; policy=wildcard"), Validated)
    problem = _problem(_persist_hashed(_hashed(HOST), policy="; policy=wildcard"))
    assert problem.code == "dcv.persist.other_account"


@pytest.mark.parametrize(
    "uri",
    [
        _hashed("other.ac.uk"),  # copied from another domain
        _hashed(thumbprint="B" * 43),  # a key that the account never had
        _hashed(account=f"{ACCT}4"),
        _hashed(prefix="https://other.example/account-hash/"),
        _hashed().replace("sha-256", "sha-384"),
        _hashed().replace("sha-256", "SHA-256"),  # compared as it is written
        _hashed().upper(),
        f"{_hashed()}=",  # padded
        _hashed()[:-1],
        PREFIX,
        f"{PREFIX}sha-256/",
    ],
)
def test_any_other_hashed_uri_is_another_account(uri: str) -> None:
    problem = _problem(_persist_hashed(uri))
    assert (problem.code, problem.acme_type) == ("dcv.persist.other_account", "unauthorized")


def test_without_a_prefix_nothing_hashed_counts() -> None:
    assert _problem(_persist_hashed(_hashed(prefix=""), prefix="")).code == "dcv.persist.other_account"
