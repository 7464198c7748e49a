"""The one policy for portal, API and ACME: facts and rules in, an explained decision out.

Pure and total: `decide` looks at everything, lists every reason, and defaults to a human.
Nothing here reads a database or a clock.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from certdesk.domain.audit import digest
from certdesk.domain.findings import Check, Verdict, worst
from certdesk.domain.names.identifiers import DnsName, is_ip_address, quoted, registrable_domain, under_any
from certdesk.domain.policy.catalogue import explained
from certdesk.domain.policy.in_force import Handling, Rules
from certdesk.domain.policy.limits import (
    CAA_UNKNOWN,
    UNSEEN,
    CaaAnswer,
    KeyKind,
    KeyUses,
    caa_checks,
    cap_checks,
    key_limit_checks,
    key_use_checks,
    listed,
    name_limit_checks,
    stopped_checks,
)
from certdesk.domain.validation.evidence import METHODS, Validation, covering

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
    """Everything that a decision rests on. `csr_findings` are the checks of the CSR alone.

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


@dataclass(frozen=True, slots=True)
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
        return tuple(check for check in self.checks if check.verdict is Verdict.REFUSE)


def decide(facts: Facts, rules: Rules, *, now: datetime) -> Decision:
    """Every check of a request and what follows from them: refuse before manual before auto.

    Total: any facts give a decision. Facts without names refuse, and a CSR that nobody looked at is
    for a person (deny by default).
    """
    checks = explained(judge(facts, rules, now=now))
    return Decision(outcome_of(checks), checks, content_digest(facts), rules.digest)


def judge(facts: Facts, rules: Rules, *, now: datetime) -> tuple[Check, ...]:
    """Every check, in the order in which they are made: `decide` without what only a record needs."""
    return (
        *facts.csr_findings,
        *_gaps(facts),
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
        return (Check("approval.missing", Verdict.REFUSE, "Nobody has approved this request."),)
    if content != approved.content_digest or (is_first and csr_sha256 != approved.csr_sha256):
        told = "What would be signed is not what was approved."
        return (Check("approval.content_changed", Verdict.REFUSE, told),)
    if approved.ends_at <= now:
        told = f"The term ended on {approved.ends_at:%-d %B %Y}. Make a new request."
        return (Check("approval.term_ended", Verdict.REFUSE, told),)
    standing = tuple(
        check
        for check in decision.manual_reasons
        if (check.code in NEVER_WAIVED and (is_signing or check.code != NOT_VALIDATED))
        or (
            check.code not in NEVER_WAIVED and waiver_of(check, csr_sha256=csr_sha256) not in approved.waivers
        )
    )
    return decision.refusals + standing + (decision.pending if is_signing else ())


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
    """What no CSR of ours lacks: its own findings, at least one name, and a key that nobody has blocked."""
    if not facts.csr_findings:
        told = "Nothing is known of the CSR's own checks. An officer has to review it."
        yield Check("csr.not_checked", Verdict.MANUAL, told)
    if not facts.names and not any(check.code == "names.none" for check in facts.csr_findings):
        told = "There is no name to certify. Make a CSR with at least one DNS name."
        yield Check("names.none", Verdict.REFUSE, told)
    if facts.key_blocked:
        told = "This key is blocked as compromised. Make a new key and CSR."
        yield Check("key.blocked", Verdict.REFUSE, told)


def _form_checks(facts: Facts, rules: Rules) -> Iterator[Check]:
    years, seen = facts.duration_years, str(facts.duration_years)
    term = f"{years} year" if years == 1 else f"{years} years"
    if years in rules.durations:
        yield Check("request.duration", Verdict.PASS, f"The term is {term}.", seen=seen)
    else:
        on_offer = ", ".join(map(str, rules.durations))
        told = f"A term of {term} is not on offer. Choose one of: {on_offer}."
        yield Check("request.duration", Verdict.REFUSE, told, seen=seen)
    if facts.server_software not in rules.server_software:
        told = "Choose the server software from the list; Other is always there."
        yield Check("request.server_software", Verdict.REFUSE, told, seen=facts.server_software)


def _subject_check(facts: Facts) -> Check:
    legal, verdict = facts.organisation.legal_name, Verdict.PASS
    said = facts.subject_organisations
    found = "is the registered legal name" if said else "is not in the CSR"
    told = f"The organisation (O) {found}; the certificate will carry “{legal}”."
    if wrong := [o for o in said if _folded(o) != _folded(legal)]:
        said, verdict = tuple(wrong), Verdict.REFUSE
        told = (
            f"The CSR's organisation (O) is {quoted(wrong[0])}; the registered legal name is “{legal}”. "
            f"Make the CSR again with O={legal}, or leave O out."
        )
    return Check("subject.organisation", verdict, told, seen=quoted("; ".join(said)))


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _organisation_checks(organisation: OrganisationFacts, rules: Rules) -> Iterator[Check]:
    if not organisation.active:
        told = "This organisation may not request certificates at present. Ask the RA team why."
        yield Check("organisation.disabled", Verdict.REFUSE, told)
    if not organisation.vetted:
        told = f"{organisation.legal_name} is not vetted yet. An officer vets it with this request."
        yield Check("organisation.not_vetted", Verdict.MANUAL, told)
    first, waits = not organisation.has_approved_request, rules.first_request_waits
    told = "The organisation has had a request approved before."
    if first:
        what = (
            "; the first one always waits for an officer"
            if waits
            else ", which waits for nobody under this policy"
        )
        told = f"This is the organisation's first request{what}."
    verdict = Verdict.MANUAL if first and waits else Verdict.PASS
    yield Check("organisation.first_request", verdict, told, seen=FIRST_REQUEST if first else "")


def _suffix_checks(facts: Facts, rules: Rules, *, now: datetime) -> Iterator[Check]:
    outside = [name for name in facts.names if not under_any(name, rules.trusted_suffixes)]
    suffixes = ", ".join(rules.trusted_suffixes)
    if facts.names and not outside:
        yield Check("names.trusted_suffix", Verdict.PASS, f"Every name is under {suffixes}.")
    for domain, names in _by_domain(outside).items():
        what = "IP address" if is_ip_address(domain) else "domain"
        if rules.outside_suffix is Handling.REFUSE:
            verdict, follows = Verdict.REFUSE, "and names outside are not accepted here"
        elif all(covering(name, facts.organisation.validations, now=now) for name in names):
            verdict, follows = (
                Verdict.PASS,
                f"but ownership of the {what} was validated for this organisation",
            )
        else:
            verdict, follows = Verdict.MANUAL, f"so an officer checks who owns the {what}"
        yield Check(
            "names.outside_trusted_suffix",
            verdict,
            f"{listed(names)}: outside {suffixes}, {follows}.",
            seen=domain,
            changed_by="operator" if verdict is Verdict.REFUSE else "RA officer",
            names=tuple(names),
        )


def _validation_checks(facts: Facts, rules: Rules, *, now: datetime) -> Iterator[Check]:
    """What proves control of the names, and what nothing proves yet.

    Under a trusted suffix the domain's own mailboxes can prove control (BR 3.2.2.4.4); elsewhere an officer
    looks. At an IP address its server proves control (RFC 8738); an officer has looked at it first, since it
    is outside every trusted suffix.
    """
    proven: dict[Validation, list[DnsName]] = {}
    missing: list[DnsName] = []
    for name in facts.names:
        validation = covering(name, facts.organisation.validations, now=now)
        if validation is None:
            missing.append(name)
        else:
            proven.setdefault(validation, []).append(name)
    for validation, reached in proven.items():
        method = METHODS[validation.method]
        until = f"{validation.expires_at:%-d %B %Y} ({method.title})"
        told = f"{listed(reached)}: {validation.adn} is validated until {until}."
        rule = f"Domain validation ({method.source})"
        yield Check("domain.validated", Verdict.PASS, told, seen=validation.adn, rule=rule)
    for domain, names in _by_domain(missing).items():
        pending, rule = under_any(domain, rules.trusted_suffixes), "BR 3.2.2.4"
        what, how = domain, "an officer validates the domain"
        if is_ip_address(domain):
            pending, rule, what = True, "RFC 8738, BR 3.2.2.5", "the IP address"
            how = "its own server does so, by ACME (http-01 or tls-alpn-01) or by a file"
        elif pending:
            rule, how = "BR 3.2.2.4.4", "someone there confirms by e-mail"
        yield Check(
            NOT_VALIDATED,
            Verdict.PENDING if pending else Verdict.MANUAL,
            f"{listed(names)}: nothing proves yet that this organisation controls {what}; {how}.",
            seen=domain,
            rule=f"Domain validation ({rule})",
            changed_by="applicant" if pending else "RA officer",
            names=tuple(names),
        )


def _by_domain(names: Iterable[DnsName]) -> dict[str, list[DnsName]]:
    grouped: dict[str, list[DnsName]] = {}
    for name in names:
        grouped.setdefault(registrable_domain(name), []).append(name)
    return grouped
