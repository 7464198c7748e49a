"""The one policy for portal, API and ACME: facts and rules in, an explained decision out.

Pure and total: `decide` looks at everything, lists every reason, and defaults to a human (DESIGN §4).
Nothing here reads a database or a clock.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from certdesk.domain.audit import digest
from certdesk.domain.check_catalogue import explained
from certdesk.domain.evidence import METHODS, Validation, covering
from certdesk.domain.findings import Check, Verdict, worst
from certdesk.domain.identifiers import DnsName, is_ip_address, quoted, registrable_domain, under_any
from certdesk.domain.policy_limits import (
    CAA_UNKNOWN,
    UNSEEN,
    CaaAnswer,
    KeyKind,
    KeyUses,
    caa_checks,
    cap_checks,
    key_limit_checks,
    key_use_checks,
    name_limit_checks,
    stopped_checks,
)
from certdesk.domain.policy_rules import Handling, Rules

MAX_NAMES_QUOTED = 5
#: What the check of an organisation's first request saw; replay reads it again.
FIRST_REQUEST = "first request"


class Outcome(StrEnum):
    """What policy says about a request."""

    AUTO = "auto"
    MANUAL = "manual"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationFacts:
    """What policy knows of the organisation that asks."""

    id: int
    legal_name: str
    vetted: bool
    active: bool
    country: str = ""
    locality: str = ""
    has_approved_request: bool
    validations: tuple[Validation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a decision rests on. `csr_findings` are the checks of the CSR alone (S1 to S11).

    `preflight_findings` come from outside the policy: lists of known keys, lint of what would be signed.
    What is None is not known, and never counts as good news.
    """

    csr_findings: tuple[Check, ...]
    names: tuple[DnsName, ...]
    subject_organisations: tuple[str, ...]
    organisation: OrganisationFacts
    profile_id: str
    profile_version: int
    duration_years: int
    server_software: str
    key_blocked: bool = False
    key: KeyKind | None = None  # None for an entitlement: its keys come with each certificate
    key_uses: KeyUses = UNSEEN
    preflight_findings: tuple[Check, ...] = ()
    caa: tuple[CaaAnswer, ...] | None = None
    requests_last_day: int | None = None  # without this one
    stopped: tuple[tuple[DnsName, int], ...] = ()  # with the request that the RA has stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome, every check behind it in a stable order, and the digests that pin both down."""

    outcome: Outcome
    checks: tuple[Check, ...]
    content_digest: str
    policy_digest: str

    @property
    def manual_reasons(self) -> tuple[Check, ...]:
        """Why a human is wanted: all reasons, not just the first."""
        return tuple(check for check in self.checks if check.verdict is Verdict.MANUAL)

    @property
    def pending(self) -> tuple[Check, ...]:
        """What has to happen before anything is signed, without an officer."""
        return tuple(check for check in self.checks if check.verdict is Verdict.PENDING)

    @property
    def refusals(self) -> tuple[Check, ...]:
        """Why the request can't be accepted as it is."""
        return tuple(check for check in self.checks if check.verdict is Verdict.REFUSE)


def decide(facts: Facts, rules: Rules, *, now: datetime) -> Decision:
    """Every check of a request and what follows from them: refuse before manual before auto.

    Total: any facts give a decision. Facts without names refuse, and a CSR that nobody looked at is
    for a person (deny by default).
    """
    checks = explained(judge(facts, rules, now=now))
    return Decision(
        outcome=outcome_of(checks),
        checks=checks,
        content_digest=content_digest(facts),
        policy_digest=rules.digest,
    )


def judge(facts: Facts, rules: Rules, *, now: datetime) -> tuple[Check, ...]:
    """Every check, in the order in which they are made: `decide` without what only a record needs."""
    return (
        *facts.csr_findings,
        *_gaps(facts),
        *_key_checks(facts),
        *key_limit_checks(facts.key, rules),
        *key_use_checks(facts.key_uses, rules),
        *_form_checks(facts, rules),
        _subject_check(facts),
        *_organisation_checks(facts.organisation, rules),
        *cap_checks(facts.requests_last_day, rules),
        *name_limit_checks(facts.names, rules),
        *stopped_checks(facts.stopped),
        *_suffix_checks(facts, rules, now=now),
        *_validation_checks(facts, rules, now=now),
        *caa_checks(facts.names, facts.caa, rules, now=now),
        *facts.preflight_findings,
    )


def content_digest(facts: Facts) -> str:
    """SHA-256 of what an approval is about: names, organisation, profile and term. Keys come and go."""
    return digest(
        {
            "names": list(facts.names),
            "organisation": facts.organisation.id,
            "legal_name": facts.organisation.legal_name,
            "place": [facts.organisation.country, facts.organisation.locality],
            "profile": [facts.profile_id, facts.profile_version],
            "duration_years": facts.duration_years,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A reason that an officer has accepted: with what was seen, and for one CSR where it is about a CSR."""

    code: str
    seen: str
    csr_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """What an approval allows: exactly this content, in spite of these reasons, until the term ends.

    `csr_sha256` is of the CSR that was approved with it, for the first certificate; empty for none.
    """

    content_digest: str
    csr_sha256: str
    waivers: frozenset[Waiver]
    ends_at: datetime


#: Reasons that lie in one CSR or its key, and say nothing about the next one.
ABOUT_A_CSR = ("csr.", "key.", "subject.", "certificate.")


def waiver_of(check: Check, *, csr_sha256: str) -> Waiver:
    """What accepting this reason waives."""
    own = csr_sha256 if check.code.startswith(ABOUT_A_CSR) else ""
    return Waiver(code=check.code, seen=check.seen, csr_sha256=own)


def obstacles(
    decision: Decision,
    approved: Approved | None,
    *,
    content: str,
    csr_sha256: str,
    is_first: bool = False,
    is_signing: bool = True,
    now: datetime,
) -> tuple[Check, ...]:
    """What stands against a certificate under an approval now; empty means sign.

    `content` is the digest of the request as it is now, `decision` is about the certificate's own names and
    CSR; with `is_first` that is the CSR which came with the request. A missing validation or CAA answer is
    never waived. Without `is_signing` a name that is not validated is no obstacle yet: an ACME challenge can
    prove it.
    """
    if approved is None:
        return (_approval("approval.missing", "Nobody has approved this request."),)
    if content != approved.content_digest or (is_first and csr_sha256 != approved.csr_sha256):
        return (_approval("approval.content_changed", "What would be signed is not what was approved."),)
    if approved.ends_at <= now:
        ended = f"The term ended on {approved.ends_at:%-d %B %Y}. Make a new request."
        return (_approval("approval.term_ended", ended),)
    standing = tuple(
        check
        for check in decision.manual_reasons
        if (check.code in NEVER_WAIVED and (is_signing or check.code != NOT_VALIDATED))
        or (
            check.code not in NEVER_WAIVED and waiver_of(check, csr_sha256=csr_sha256) not in approved.waivers
        )
    )
    return decision.refusals + standing + (decision.pending if is_signing else ())


def _approval(code: str, message: str) -> Check:
    return Check(
        code=code,
        verdict=Verdict.REFUSE,
        message=message,
        rule="Approval",
        changed_by="RA officer",
    )


NOT_VALIDATED = "domain.not_validated"
#: What an officer's approval does not replace, so that it is looked at again whenever something is signed.
NEVER_WAIVED = frozenset({NOT_VALIDATED, CAA_UNKNOWN})


def domains_to_validate(decision_facts: Facts, *, now: datetime) -> dict[str, tuple[DnsName, ...]]:
    """Registrable domain → the names below it that no current validation reaches, in the CSR's order."""
    missing = [
        name
        for name in decision_facts.names
        if covering(name, decision_facts.organisation.validations, now=now) is None
    ]
    return {domain: tuple(names) for domain, names in _by_domain(missing).items()}


def outcome_of(checks: Sequence[Check]) -> Outcome:
    """What follows from all checks: the gravest verdict counts."""
    match worst(checks):
        case Verdict.PASS | Verdict.NOT_CHECKED | Verdict.WARN | Verdict.PENDING:
            return Outcome.AUTO
        case Verdict.REFUSE:
            return Outcome.REFUSE
        case _:
            return Outcome.MANUAL


def _gaps(facts: Facts) -> Iterator[Check]:
    """What no CSR of ours lacks: its own findings, and at least one name."""
    if not facts.csr_findings:
        yield Check(
            code="csr.not_checked",
            verdict=Verdict.MANUAL,
            message="Nothing is known of the CSR's own checks; an officer looks at it.",
            rule="S1 to S11",
            changed_by="RA officer",
        )
    if not facts.names and not any(check.code == "names.none" for check in facts.csr_findings):
        yield Check(
            code="names.none",
            verdict=Verdict.REFUSE,
            message="There is no name to certify. Make a CSR with at least one DNS name.",
            rule="S5",
            changed_by="applicant",
        )


def _key_checks(facts: Facts) -> Iterator[Check]:
    if facts.key_blocked:
        yield Check(
            code="key.blocked",
            verdict=Verdict.REFUSE,
            message="This key is blocked as compromised. Make a new key and CSR.",
            rule="S4, O3, BR 6.1.1.3",
            changed_by="applicant",
        )


def _form_checks(facts: Facts, rules: Rules) -> Iterator[Check]:
    on_offer = ", ".join(str(years) for years in rules.durations)
    known = facts.duration_years in rules.durations
    yield Check(
        code="request.duration",
        verdict=Verdict.PASS if known else Verdict.REFUSE,
        message=f"The term is {_years(facts.duration_years)}."
        if known
        else f"A term of {_years(facts.duration_years)} is not on offer. Choose one of: {on_offer}.",
        seen=str(facts.duration_years),
        rule="R13",
        changed_by="applicant",
    )
    if facts.server_software not in rules.server_software:
        yield Check(
            code="request.server_software",
            verdict=Verdict.REFUSE,
            message="Choose the server software from the list; Other is always there.",
            seen=facts.server_software,
            rule="R14",
            changed_by="applicant",
        )


def _years(count: int) -> str:
    return f"{count} year" if count == 1 else f"{count} years"


def _subject_check(facts: Facts) -> Check:
    legal = facts.organisation.legal_name
    wrong = [o for o in facts.subject_organisations if _folded(o) != _folded(legal)]
    if wrong:
        return Check(
            code="subject.organisation",
            verdict=Verdict.REFUSE,
            message=f"The CSR's organisation (O) is “{quoted(wrong[0])}”; "
            f"the registered legal name is “{legal}”. Make the CSR again with O={legal}, or leave O out.",
            seen=quoted("; ".join(wrong)),
            rule="Legal name against O",
            changed_by="applicant",
        )
    found = "is the registered legal name" if facts.subject_organisations else "is not in the CSR"
    return Check(
        code="subject.organisation",
        verdict=Verdict.PASS,
        message=f"The organisation (O) {found}; the certificate will carry “{legal}”.",
        seen=quoted("; ".join(facts.subject_organisations)),
        rule="Legal name against O",
        changed_by="applicant",
    )


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _organisation_checks(organisation: OrganisationFacts, rules: Rules) -> Iterator[Check]:
    if not organisation.active:
        yield Check(
            code="organisation.disabled",
            verdict=Verdict.REFUSE,
            message="This organisation may not request certificates at present. Ask the RA team why.",
            rule="R38",
            changed_by="RA officer",
        )
    if not organisation.vetted:
        yield Check(
            code="organisation.not_vetted",
            verdict=Verdict.MANUAL,
            message=f"{organisation.legal_name} has not been vetted yet; an officer does so now.",
            rule="BR 3.2.2.1",
            changed_by="RA officer",
        )
    first = not organisation.has_approved_request
    told = "The organisation has had a request approved before."
    if first:
        told = "This is the organisation's first request"
        told += (
            "; the first one always waits for an officer."
            if rules.first_request_waits
            else ", which waits for nobody under this policy."
        )
    yield Check(
        code="organisation.first_request",
        verdict=Verdict.MANUAL if first and rules.first_request_waits else Verdict.PASS,
        message=told,
        seen=FIRST_REQUEST if first else "",
        rule="R35",
        changed_by="RA officer",
    )


def _suffix_checks(facts: Facts, rules: Rules, *, now: datetime) -> Iterator[Check]:
    outside = [name for name in facts.names if not under_any(name, rules.trusted_suffixes)]
    suffixes = ", ".join(rules.trusted_suffixes)
    if facts.names and not outside:
        yield Check(
            code="names.trusted_suffix",
            verdict=Verdict.PASS,
            message=f"Every name is under {suffixes}.",
            rule="R30",
            changed_by="operator",
        )
    if rules.outside_suffix is Handling.REFUSE:
        yield from _outside_refused(outside, suffixes)
        return
    for domain, names in _by_domain(outside).items():
        owned = all(covering(n, facts.organisation.validations, now=now) for n in names)
        yield Check(
            code="names.outside_trusted_suffix",
            verdict=Verdict.PASS if owned else Verdict.MANUAL,
            message=f"{_quoted(names)}: outside {suffixes}, "
            + (
                f"but ownership of the {_what(domain)} was validated for this organisation."
                if owned
                else f"so an officer checks who owns the {_what(domain)}."
            ),
            seen=domain,
            rule="R30, R33",
            changed_by="RA officer",
            names=tuple(names),
        )


def _outside_refused(outside: Sequence[DnsName], suffixes: str) -> Iterator[Check]:
    for domain, names in _by_domain(outside).items():
        yield Check(
            code="names.outside_trusted_suffix",
            verdict=Verdict.REFUSE,
            message=f"{_quoted(names)}: outside {suffixes}, and names outside are not accepted here.",
            seen=domain,
            rule="R30",
            changed_by="operator",
            names=tuple(names),
        )


def _validation_checks(facts: Facts, rules: Rules, *, now: datetime) -> Iterator[Check]:
    validations = facts.organisation.validations
    proven: dict[Validation, list[DnsName]] = {}
    missing: list[DnsName] = []
    for name in facts.names:
        validation = covering(name, validations, now=now)
        if validation is None:
            missing.append(name)
        else:
            proven.setdefault(validation, []).append(name)
    for validation, reached in proven.items():
        yield Check(
            code="domain.validated",
            verdict=Verdict.PASS,
            message=f"{_quoted(reached)}: {validation.adn} is validated "
            f"until {validation.expires_at:%-d %B %Y} ({METHODS[validation.method].title}).",
            seen=validation.adn,
            rule=METHODS[validation.method].source,
            changed_by="RA officer",
        )
    for domain, names in _by_domain(missing).items():
        yield _not_validated(domain, names, trusted=under_any(domain, rules.trusted_suffixes))


def _not_validated(domain: str, names: Sequence[DnsName], *, trusted: bool) -> Check:
    """Under a trusted suffix the domain's own mailboxes can prove control (R4); elsewhere an officer does.

    At an IP address its server proves control (RFC 8738); an officer has looked at it first, since it is
    outside every trusted suffix.
    """
    if is_ip_address(domain):
        return Check(
            code=NOT_VALIDATED,
            verdict=Verdict.PENDING,
            message=f"{domain}: nothing proves yet that this organisation controls the IP address; its own "
            "server does so, by ACME (http-01 or tls-alpn-01) or by a file.",
            seen=domain,
            rule="RFC 8738, BR 3.2.2.5",
            changed_by="applicant",
            names=tuple(names),
        )
    how = "somebody there confirms by e-mail" if trusted else "an officer validates the domain"
    return Check(
        code=NOT_VALIDATED,
        verdict=Verdict.PENDING if trusted else Verdict.MANUAL,
        message=f"{_quoted(names)}: nothing proves yet that this organisation controls {domain}; {how}.",
        seen=domain,
        rule="R4, BR 3.2.2.4.4" if trusted else "R31, BR 3.2.2.4",
        changed_by="applicant" if trusted else "RA officer",
        names=tuple(names),
    )


def _what(domain: str) -> str:
    return "IP address" if is_ip_address(domain) else "domain"


def _by_domain(names: Iterable[DnsName]) -> dict[str, list[DnsName]]:
    grouped: dict[str, list[DnsName]] = {}
    for name in names:
        grouped.setdefault(registrable_domain(name), []).append(name)
    return grouped


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES_QUOTED])
    more = len(names) - MAX_NAMES_QUOTED
    return f"{shown} and {more} more" if more > 0 else shown
