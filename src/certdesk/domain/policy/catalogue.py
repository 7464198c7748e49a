"""Every check that a person may meet: what it means, its verdicts, its rule, and who can change it.

Data, and `explained`, which every list of checks goes through on its way to a person. `docs/checks.md` is
written from it (`scripts/checks.py`). Making checks does not belong here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import lru_cache, partial
from types import MappingProxyType

from certdesk.domain.findings import Check, Verdict, from_record, gravest_first


class Origin(StrEnum):
    """Where a check is made, as the heading of its part of the catalogue."""

    CSR = "The CSR alone"
    POLICY = "Policy: who asks for what"
    PREFLIGHT = "Before anything is signed"
    SIGNING = "Judged again at signing"


@dataclass(frozen=True, slots=True)
class CheckInfo:
    """One code. `rule_from` is when the rule began to hold, None for a standing one or one of our own."""

    code: str
    origin: Origin
    meaning: str
    verdicts: tuple[Verdict, ...]
    rule: str
    changed_by: str = "applicant"
    rule_from: date | None = None


_PASS, _NOT_CHECKED, _WARN, _PENDING, _MANUAL, _REFUSE = Verdict
_OFFICER, _OPERATOR, _DNS = "RA officer", "operator", "DNS of the domain"

#: Ballot SC-073: known weak and compromised keys are rejected, with these attacks by name.
_WEAK_KEYS = date(2024, 11, 15)
#: BR 6.1.5: RSA below 2048 bits ended with 2013.
_RSA_2048 = date(2014, 1, 1)
#: BR 7.1.3: no SHA-1 from 2016 on.
_NO_SHA_1 = date(2016, 1, 1)
#: BR 7.1.4.2.1 as it was then: no internal names from November 2015 on.
_NO_INTERNAL = date(2015, 11, 1)
#: Ballot SC-048: hyphens in third and fourth place are for A-labels only.
_A_LABELS = date(2021, 10, 1)
#: Ballot 187: CAA is checked.
_CAA = date(2017, 9, 8)
#: BR 4.3.1.2.
_LINT = date(2025, 3, 15)


def _info(
    origin: Origin, code: str, rule: str, *verdicts: Verdict, by: str = "applicant", since: date | None = None
) -> Callable[[str], CheckInfo]:
    """An entry of the catalogue, once it is said what it means."""
    return lambda meaning: CheckInfo(code, origin, meaning, verdicts, rule, by, since)


_csr, _policy, _preflight, _signing = (partial(_info, origin) for origin in Origin)
_NAME, _KEY = "Host names (BR 7.1.4.2)", "Key quality (BR 6.1.1.3)"
_CAA_RULE = "CAA records (RFC 8659, BR 3.2.2.8)"

_ALL = (
    _csr("csr.with_each_certificate", "CSR format (RFC 2986)", _PASS)(
        "Each certificate of an ACME client is made for a CSR of its own, which is checked when it is sent."
    ),
    _csr("csr.readable", "CSR format (RFC 2986)", _PASS)("The upload is exactly one certificate request."),
    _csr("csr.signature_algorithm", "CSR signature (BR 6.1.1.3)", _PASS, _REFUSE, since=_NO_SHA_1)(
        "The CSR is signed with SHA-256, SHA-384 or SHA-512."
    ),
    _csr("csr.signature", "CSR signature (BR 6.1.1.3)", _PASS, _REFUSE)(
        "The CSR's signature proves that the sender holds the private key."
    ),
    _csr("csr.extensions", "Contents from the profile", _PASS)(
        "What the CSR asks for beyond names; the contents come from the profile, nothing is copied."
    ),
    _csr("csr.challenge_password", "Challenge password (RFC 2985 5.4.1)", _WARN)(
        "The CSR holds a challenge password, which nobody needs: the CSR is kept encrypted."
    ),
    _csr("key.strength", "Key quality (BR 6.1.1.3, BR 6.1.5)", _PASS, since=_WEAK_KEYS)(
        "The key is of a kind and size that may be certified, and no known weakness was found."
    ),
    _csr("key.type", _KEY, _REFUSE)("The key is not of a kind that may be certified: RSA, EC or ML-DSA."),
    _csr("key.size", "Key size (BR 6.1.5)", _REFUSE, since=_RSA_2048)(
        "The RSA key is too short, too long or odd."
    ),
    _csr("key.exponent", "Key parameters (BR 6.1.6)", _REFUSE)("The RSA key's exponent is not 65537."),
    _csr("key.curve", "Named curves (RFC 5480 2.1.1, BR 6.1.5)", _REFUSE)(
        "The EC key is not on P-256, P-384 or P-521, or does not name its curve."
    ),
    _csr("key.invalid", "Key parameters (BR 6.1.6)", _REFUSE)(
        "The key's numbers or parameters are wrong, or its point is not on the curve."
    ),
    _csr("key.encoding", "Key encoding (RFC 5480 2.2, BR 7.1.3.1)", _REFUSE)(
        "The key is not spelled as certificates spell it: its EC point is compressed, say."
    ),
    _csr("key.weak.small_factor", _KEY, _REFUSE, since=_WEAK_KEYS)(
        "The RSA modulus has a small prime factor."
    ),
    _csr("key.weak.fermat", _KEY, _REFUSE, since=_WEAK_KEYS)(
        "The RSA key's primes are close together (Fermat's method factors it)."
    ),
    _csr("key.weak.roca", _KEY, _REFUSE, since=_WEAK_KEYS)("The RSA key has the ROCA flaw (CVE-2017-15361)."),
    _csr("key.weak.one_prime", _KEY, _REFUSE)("The RSA modulus is a prime or a power of one number."),
    _csr("key.weak.rsapoly", _KEY, _REFUSE)("The RSA modulus has a pattern that factors it."),
    _csr("key.weak.sharedprimes", _KEY, _REFUSE)("The RSA key shares a prime with known keys."),
    _csr("subject.control", "Printable subject (BR 7.1.4.2)", _REFUSE)(
        "A field of the subject has characters that do not print."
    ),
    _csr("names.valid", _NAME, _PASS)("The names that are valid host names."),
    _csr("names.none", "At least one host name (BR 7.1.2.7.12)", _REFUSE)("There is no host name."),
    _csr("names.too_many", "At most 100 names", _REFUSE)("There are more than 100 names."),
    _csr("names.duplicate", "One entry for each name", _WARN)("A name is listed more than once."),
    _csr("names.san_type", "DNS names only (BR 7.1.2.7.12)", _REFUSE)(
        "The CSR asks for something else than DNS names."
    ),
    _csr("names.cn_not_a_name", "Common name (BR 7.1.4.3)", _REFUSE)("The common name is not a host name."),
    _csr("names.mixed_script", "Look-alike names (UTS 39)", _WARN)(
        "A name may be made to look like another."
    ),
    _csr("names.documentation", "Example names (RFC 2606)", _WARN)("A name is reserved for examples."),
    _csr("names.empty", _NAME, _REFUSE)("A name is empty."),
    _csr("names.too_long", _NAME, _REFUSE)("A name has more than 253 characters."),
    _csr("names.trailing_dot", _NAME, _REFUSE)("A name ends with a dot."),
    _csr("names.unicode", _NAME, _REFUSE)("A name is not in its ASCII form."),
    _csr("names.ip_address", _NAME, _REFUSE)("A name is an IP address."),
    _csr("names.wildcard", _NAME, _REFUSE)("A name has * elsewhere than as its whole first label."),
    _csr("names.character", _NAME, _REFUSE)("A name has a character that no host name has."),
    _csr("names.label", _NAME, _REFUSE)("A part of a name is empty, or begins or ends with a hyphen."),
    _csr("names.label_too_long", _NAME, _REFUSE)("A part of a name has more than 63 characters."),
    _csr("names.idna", _NAME, _REFUSE, since=_A_LABELS)(
        "A part of a name looks like an international one and is none (IDNA 2008)."
    ),
    _csr("names.not_fqdn", _NAME, _REFUSE, since=_NO_INTERNAL)("A name is local, without a domain."),
    _csr("names.internal", _NAME, _REFUSE, since=_NO_INTERNAL)("A name is internal or reserved."),
    _csr("names.reverse_zone", _NAME, _REFUSE)("A name is for reverse look-ups."),
    _csr("names.onion", _NAME, _REFUSE)("A name is a Tor .onion name."),
    _csr("names.public_suffix", _NAME, _REFUSE)("A name is a public suffix, which has many owners."),
    _csr("names.wildcard_public_suffix", _NAME, _REFUSE)("A wildcard stands right under a public suffix."),
    _policy("csr.not_checked", "Checks of the CSR", _MANUAL, by=_OFFICER)(
        "Nothing is known of the CSR's own checks."
    ),
    _policy("key.blocked", "Blocked keys (BR 6.1.1.3)", _REFUSE)(
        "The key is on this service's own list of compromised keys, for everybody or for the organisation."
    ),
    _policy("key.used_elsewhere", "Keys used again", _WARN, _MANUAL, _REFUSE)(
        "Another organisation has used this key; the policy's `reused_key` says what follows."
    ),
    _policy("key.reused", "Keys used again", _WARN)(
        "An earlier request of the organisation has the same key."
    ),
    _policy("key.not_allowed", "Key types", _REFUSE)(
        "The policy's `key_types`, `rsa_min_bits` and `rsa_max_bits` leave this key out."
    ),
    _policy("key.kind_unknown", "Key types", _MANUAL)(
        "The kind of key is not known while the policy limits it."
    ),
    _policy("request.duration", "Durations on offer", _PASS, _REFUSE)("The term is on offer (`durations`)."),
    _policy("request.server_software", "Server software on the list", _REFUSE)(
        "The server software is not on the list."
    ),
    _policy("subject.organisation", "Legal name in the subject", _PASS, _REFUSE)(
        "The CSR's organisation (O) is the registered legal name, or left out."
    ),
    _policy("organisation.disabled", "Disabled organisations", _REFUSE, by=_OFFICER)(
        "The organisation may not request at present."
    ),
    _policy("organisation.not_vetted", "Vetting (BR 3.2.2.1)", _MANUAL, by=_OFFICER)(
        "The organisation has not been vetted."
    ),
    _policy("organisation.first_request", "First request", _PASS, _MANUAL, by=_OFFICER)(
        "The organisation's first request waits (`first_request_waits`)."
    ),
    _policy("organisation.daily_cap", "Daily limit", _PASS, _MANUAL, by=_OFFICER)(
        "Requests of the organisation in 24 hours, against the policy's `daily_cap`."
    ),
    _policy("names.limit", "Number of names", _REFUSE)("There are more names than the policy's `max_names`."),
    _policy("names.wildcard_policy", "Wildcards", _MANUAL, _REFUSE, by="RA officer or applicant")(
        "There are wildcards, and the policy's `wildcards` does not let them through."
    ),
    _policy("names.entitlement_ended", "Ended requests", _MANUAL, by=_OFFICER)(
        "The RA has stopped an earlier request for the name: an officer decides about the next one."
    ),
    _policy("names.trusted_suffix", "Trusted suffixes", _PASS, by=_OPERATOR)(
        "Every name is under a trusted suffix."
    ),
    _policy(
        "names.outside_trusted_suffix",
        "Trusted suffixes",
        _PASS,
        _MANUAL,
        _REFUSE,
        by="RA officer or operator",
    )("A name is outside the trusted suffixes; `outside_suffix` says what follows, unless it is validated."),
    _policy("domain.validated", "Domain validation (the method's own clause)", _PASS, by=_OFFICER)(
        "A current validation of the organisation reaches the names."
    ),
    _policy(
        "domain.not_validated",
        "Domain validation (BR 3.2.2.4)",
        _PENDING,
        _MANUAL,
        by="RA officer or applicant",
    )("Nothing proves yet that the organisation controls the domain."),
    _policy("caa.permits", _CAA_RULE, _PASS, since=_CAA)("CAA records permit the CA for every name."),
    _policy("caa.forbids", _CAA_RULE, _WARN, _REFUSE, by=_DNS, since=_CAA)(
        "A CAA record leaves the CA out, and which one would let it in; the policy's `caa` says what follows."
    ),
    _policy("caa.unknown", _CAA_RULE, _WARN, _MANUAL, _REFUSE, by=_DNS, since=_CAA)(
        "No CAA answer, or too old a one; `caa_unknown` says what follows. No officer waives it: "
        "signing waits for the DNS."
    ),
    _preflight("key.known", _KEY, _PASS, _NOT_CHECKED, by=_OPERATOR, since=_WEAK_KEYS)(
        "The key is not on the list of known compromised keys, with the list's age; not checked "
        "where no list is loaded."
    ),
    _preflight("key.known_compromised", _KEY, _REFUSE, since=_WEAK_KEYS)(
        "The key is on the list of known compromised or weak keys (Debian's among them)."
    ),
    _preflight(
        "certificate.lint", "Certificate linting (BR 4.3.1.2)", _PASS, _REFUSE, by=_OFFICER, since=_LINT
    )(
        "The certificate that would result, signed with a throw-away key, is linted; "
        "one check for each rule that it would break."
    ),
    _preflight("profile.other_organisations", "Profiles", _REFUSE, by=_OPERATOR)(
        "The profile is for some organisations alone, and this is none of them."
    ),
    _preflight("certificate.ca_limits", "The CA’s own limits", _REFUSE, by=_OPERATOR)(
        "The CA could not make this certificate, for instance because it ends before."
    ),
    _signing("acme.account", "ACME accounts (RFC 8555 7.3)", _REFUSE, by="organisation manager")(
        "The ACME account, its key or its credential may not have these names now."
    ),
    _signing("approval.missing", "Approval", _REFUSE, by=_OFFICER)("No one has approved the request."),
    _signing("approval.content_changed", "Approval", _REFUSE, by=_OFFICER)(
        "What would be signed is not what was approved."
    ),
    _signing("certificate.other_ca", "Approval", _REFUSE, by=_OFFICER)(
        "The CA that it was recorded for can no longer be used for it."
    ),
    _signing("certificate.beyond_term", "Approval", _REFUSE)(
        "The next certificate of a CA that decides itself how long one lasts would end after the term."
    ),
    _signing("certificate.on_its_way", "Approval", _PENDING)(
        "A renewal that the CA, or the DNS about CAA records, has owed an answer for a day."
    ),
    _signing("certificate.outcome_unknown", "Approval", _REFUSE, by=_OFFICER)(
        "The CA has not said what became of an earlier renewal, so that asking again might make two."
    ),
    _signing("key.too_old", "Keys used again", _REFUSE)(
        "The profile's `same_key_days` are over: a renewal needs a new CSR."
    ),
    _signing("key.of_a_former_member", "Keys used again", _REFUSE)(
        "Who sent the CSR may no longer act for the organisation, and may have the key."
    ),
    _signing("approval.term_ended", "Approval", _REFUSE, by=_OFFICER)("The request's term has ended."),
)

CATALOGUE: Mapping[str, CheckInfo] = MappingProxyType({info.code: info for info in _ALL})


def explained(checks: Iterable[Check]) -> tuple[Check, ...]:
    """The list as everybody is shown it: the gravest first, each with what the catalogue says of its code.

    A check's own rule, date or person come before the catalogue's.
    """
    return gravest_first(_explained(check) for check in checks)


def stored(records: Iterable[Mapping[str, str]]) -> tuple[Check, ...]:
    """The list of a stored request, as everybody is shown it."""
    return gravest_first(_stored(tuple(record.items())) for record in records)


@lru_cache(maxsize=5000)
def _stored(record: tuple[tuple[str, str], ...]) -> Check:
    """Most checks of most requests say the same, and a request is looked at more than once."""
    return _explained(from_record(dict(record)))


def _explained(check: Check) -> Check:
    info = CATALOGUE.get(check.code)
    if info is None:
        return check
    return replace(
        check,
        rule=check.rule or info.rule,
        changed_by=check.changed_by or info.changed_by,
        rule_from=check.rule_from or (info.rule_from.isoformat() if info.rule_from else ""),
    )
