"""What is known of a request or a certificate before anything is decided or sent: every fact, gathered once.

For preview, submission, decision and signing alike, with a CSR or (an entitlement) without. Reads; stores,
signs and sends nothing.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certdesk.backends.base import ShowsSpecimens
from certdesk.domain.csr.csr import Csr
from certdesk.domain.csr.known_keys import check_known
from certdesk.domain.csr.names import read_names
from certdesk.domain.errors import BackendRefused
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import Intent, general_name, subject_under
from certdesk.domain.issuing.lint_shapes import SHAPES
from certdesk.domain.issuing.profiles import Profile, certificate_validity
from certdesk.domain.issuing.states import State
from certdesk.domain.issuing.terms import longest
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.decide import Approved, Decision, Facts, Waiver, content_digest, decide, obstacles
from certdesk.domain.policy.in_force import Rules
from certdesk.domain.policy.limits import UNSEEN, CaaAnswer, KeyKind
from certdesk.services.issuance.health import HEALTH
from certdesk.services.system import runtime
from certdesk.store.driver import found
from certdesk.store.models import Approval, Organisation, Request
from certdesk.store.selectors.facts import described, known_facts, stopped_names
from certdesk.store.sql import FactsNow

CAP_PERIOD = timedelta(hours=24)
ACME = "acme"
_CSR_RULE = "CSR format (RFC 2986)"
_LINT_RULE = "Certificate linting (BR 4.3.1.2)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged. `csr` is None for an entitlement, whose keys come with each certificate.

    `request` is the stored one, if any; `before` the issuance that it is about. `caa` are the answers that
    `services.issuance.caa` has brought before the transaction, `certificate` what `certificate_checks`
    said there; `known` was read under the lock with something else.
    """

    organisation: Organisation
    profile: Profile
    names: tuple[DnsName, ...]
    duration_years: int
    server_software: str
    csr: Csr | None = None
    request: Request | None = None
    before: int | None = None
    channel: str = ""
    caa: tuple[CaaAnswer, ...] | None = None
    certificate: tuple[Check, ...] | None = None
    known: FactsNow | None = None

    @property
    def csr_sha256(self) -> str:
        """The CSR's digest; empty without one."""
        return "" if self.csr is None else self.csr.sha256


def subject_of(
    request: Request, organisation: Organisation, csr: Csr | None = None, *, channel: str = ""
) -> Subject:
    """A stored request as what is judged: with a CSR for one certificate under it, for the CSR's names.

    `channel` is that of the certificate where it is another than the request's own.
    """
    return Subject(
        organisation=organisation,
        profile=runtime.current().standing_profile(request.profile_id),
        names=tuple(map(DnsName, request.names)) if csr is None else csr.names,
        duration_years=request.duration_years,
        server_software=request.server_software,
        csr=csr,
        request=request,
        channel=channel or request.channel,
    )


def judged(subject: Subject, *, lint: bool = False, now: datetime) -> tuple[Facts, Decision]:
    """Everything known now, and what the rules for this organisation, profile and CA say.

    With `lint`, the certificate that would result is linted (some milliseconds); without, the list still
    says that it will be before it is signed.
    """
    rules = rules_for(subject)
    csr, request = subject.csr, subject.request
    asked_at, number = (now, None) if request is None else (request.created_at, request.pk)
    organisation, known = known_facts(
        subject.organisation,
        names=subject.names,
        key="" if csr is None else csr.key.spki_sha256,
        before=subject.before,
        known=subject.known,
        now=now,
    )
    facts = replace(
        bare_facts(subject),
        organisation=organisation,
        requests_last_day=requests_before(subject.organisation.pk, rules, at=asked_at, before=number),
        caa=subject.caa,
        stopped=()
        if subject.organisation.ra_stopped_at is None
        else stopped_names(subject.organisation.pk, subject.names),
    )
    if not subject.profile.is_for(subject.organisation.slug):
        told = "Your organisation may not ask for this kind of certificate. Choose another profile."
        closed = Check("profile.other_organisations", Verdict.REFUSE, told, seen=subject.profile.id)
        facts = replace(facts, preflight_findings=(closed,))
    if csr is not None:
        found = _certificate_checks(facts, subject, lint=lint, now=now)
        if any(check.code == "key.strength" for check in csr.findings):  # others are refused as they are
            found = (check_known(csr.key.spki_der, runtime.current().known_keys(), now=asked_at), *found)
        facts = replace(
            facts,
            key_blocked=known.is_key_blocked,
            key_uses=known.key_uses,
            preflight_findings=(*facts.preflight_findings, *found),
        )
    return facts, decide(facts, rules, now=now)


def bare_facts(subject: Subject) -> Facts:
    """The facts without proofs and records: enough for what an approval is about, not for a decision.

    What an ACME client's CSR says of the organisation is ignored, as every wish of a CSR: clients send
    placeholders, and the profile sets the subject.
    """
    csr = subject.csr
    said = () if csr is None or subject.channel == ACME else csr.subject_value("O")
    findings = () if csr is None else csr.findings
    if csr is None:  # the names stand in no CSR yet
        told, rule = "Each certificate has a CSR of its own, which is checked when it is sent.", _CSR_RULE
        later = Check("csr.with_each_certificate", Verdict.PASS, told, rule=rule, changed_by="applicant")
        alt_names, addresses = tuple(map(general_name, subject.names)), subject.profile.ip_addresses
        _names, found = read_names(common_names=(), alt_names=alt_names, ip_addresses=addresses)
        findings = (later, *found)
    return Facts(
        csr_findings=findings,
        names=subject.names,
        subject_organisations=said,
        organisation=described(subject.organisation),
        profile_id=subject.profile.id,
        profile_version=subject.profile.version,
        duration_years=subject.duration_years,
        server_software=subject.server_software,
        key=None if csr is None else KeyKind.of(csr.key),
        key_uses=UNSEEN,
    )


def rules_for(subject: Subject) -> Rules:
    """The rules in force; without a CSR but for those about keys and CAA, which each certificate answers."""
    kind = subject.profile
    rules = runtime.current().rules_for(organisation=subject.organisation.slug, profile=kind.id, cas=kind.cas)
    if subject.csr is not None:
        return rules
    seed = Rules()
    return replace(
        rules,
        key_types=seed.key_types,
        rsa_min_bits=seed.rsa_min_bits,
        rsa_max_bits=seed.rsa_max_bits,
        caa=seed.caa,
    )


def approved(request: Request) -> Approved | None:
    """What the newest approval of a request allows; None where nothing is approved now."""
    if request.state != State.APPROVED or request.term_ends_at is None:
        return None
    approvals = found(Approval, request_id=request.pk, verdict="approve")
    if not approvals:
        return None
    approval = approvals[-1]
    return Approved(
        content_digest=approval.content_digest,
        csr_sha256=approval.csr_sha256,
        waivers=frozenset(Waiver(**waived) for waived in approval.waived),
        ends_at=request.term_ends_at,
    )


def obstacles_under(
    request: Request,
    subject: Subject,
    decision: Decision,
    *,
    is_first: bool = False,
    is_signing: bool = True,
    now: datetime,
) -> tuple[Check, ...]:
    """What stands against a certificate under a stored request now, by its approval; empty means sign."""
    names, allowed = set(subject.names), set(request.names)
    within = names == allowed if is_first else names <= allowed
    return obstacles(
        decision,
        approved(request),
        content=content_digest(bare_facts(subject_of(request, subject.organisation))) if within else "",
        csr_sha256=subject.csr_sha256,
        is_first=is_first,
        is_signing=is_signing,
        now=now,
    )


def intent_of(subject: Subject, *, now: datetime) -> Intent:
    """What a CA would be asked for from this moment on; the preview lints the same (BR 4.3.1.2).

    The CA is the first of the profile's that its limits allow to be asked and, if the profile fails over,
    that has answered lately. Where none may last for the whole term it is the first that takes the key, for
    a certificate of its days; where none takes the key, just the first, with which `prepared` refuses it.
    """
    if subject.csr is None:
        raise ValueError("an intent is for a CSR")
    rt, organisation, csr = runtime.current(), subject.organisation, subject.csr
    cas = rt.cas_of(subject.profile)
    acme = timedelta(days=rt.acme.certificate_days) if subject.channel == ACME else None

    def asked_of(name: str, *, by_ca: bool) -> Intent:
        # A CA that says itself how long a certificate runs may fill the term, and takes no shorter wish.
        chooses = getattr(rt.backends.get(name), "chooses_validity", False)
        begins, ends = certificate_validity(
            subject.profile,
            duration_years=subject.duration_years,
            term_ends_at=None if subject.request is None else subject.request.term_ends_at,
            lifetime=None if chooses else acme,
            longest=longest(subject.profile, rt.limits_of(name), at=now, by_ca=by_ca),
            now=now,
        )
        return Intent(
            idempotency_key=secrets.token_hex(16),
            backend=name,
            profile=subject.profile,
            csr_der=csr.der,
            spki_der=csr.key.spki_der,
            names=tuple(subject.names),
            subject=subject_under(
                subject.profile,
                names=tuple(subject.names),
                organisation=organisation.legal_name,
                country=organisation.country,
                locality=organisation.locality,
            ),
            not_before=begins,
            not_after=ends,
            server_software=subject.server_software,
        )

    fitting = [one for name in cas if not rt.objection(one := asked_of(name, by_ca=False))]
    if not fitting:
        capped = [asked_of(name, by_ca=True) for name in cas]
        fitting = [one for one in capped if not rt.objection(one)] or capped[:1]
    # One that an operator has stopped is passed over; where all are, what is issued waits for the first.
    fitting = [one for one in fitting if not rt.settings.why_stopped(ca=one.backend)] or fitting
    if subject.profile.fail_over:
        up = [one for one in fitting if not HEALTH.is_down(one.backend, now=now)]
        return (up or fitting)[0]
    return fitting[0]


def certificate_checks(subject: Subject, *, now: datetime) -> tuple[Check, ...]:
    """What lint and the CA's own limits say of the certificate that would result.

    Takes some milliseconds, and so belongs before a transaction, not into it.
    """
    return _certificate_checks(bare_facts(subject), subject, lint=True, now=now)


def requests_before(organisation_id: int, rules: Rules, *, at: datetime, before: int | None) -> int | None:
    """How many others the organisation had made since 24 hours before; not counted where no cap asks.

    Those that were asked for later and judged sooner are among them: DNS had kept this one waiting. More than
    the cap is not counted, so that an organisation's millionth request costs no more.
    """
    if not rules.daily_cap:
        return None
    others = Request.objects.filter(organisation_id=organisation_id)
    if before is not None:
        others = others.filter(id__lt=before)
    newest = others.order_by("-id").values_list("created_at", flat=True)[: rules.daily_cap]
    return sum(at - CAP_PERIOD < made for made in newest)


def _certificate_checks(facts: Facts, subject: Subject, *, lint: bool, now: datetime) -> tuple[Check, ...]:
    if subject.certificate is not None:
        return subject.certificate
    rt = runtime.current()
    refused = any(check.verdict is Verdict.REFUSE for check in facts.csr_findings)
    offered = facts.duration_years in subject.profile.term_years
    can_be_made = subject.csr is not None and facts.names and offered and not refused
    intent = intent_of(subject, now=now) if can_be_made else None
    if intent is not None and (objection := rt.objection(intent)):
        return (_beyond_ca(objection),)
    backend = rt.backend(rt.cas_of(subject.profile)[0] if intent is None else intent.backend)
    if not isinstance(backend, ShowsSpecimens):
        return ()
    if intent is None or not lint:
        return (_clean(),)
    try:
        found = SHAPES.objections(backend.specimen(intent))
    except BackendRefused as error:
        return (_beyond_ca(error.detail),)
    # What does not block is about our profile and the same for everybody: nothing an applicant could change.
    return tuple(
        Check(
            "certificate.lint",
            Verdict.REFUSE,
            f"The certificate would break a rule and could not be signed: "
            f"{finding.message or finding.code}. An RA officer can look at the organisation's data.",
            seen=finding.code,
            rule=_LINT_RULE,
            changed_by="RA officer",
        )
        for finding in found
    ) or (_clean(),)


def _beyond_ca(why: str) -> Check:
    rule = "The CA’s own limits"
    return Check("certificate.ca_limits", Verdict.REFUSE, why, rule=rule, changed_by="operator")


def _clean() -> Check:
    """True of every certificate: nothing is signed that does not lint clean (BR 4.3.1.2)."""
    told = "The certificate is linted with a throw-away key, and signed only if it breaks no rule."
    return Check("certificate.lint", Verdict.PASS, told, rule=_LINT_RULE, changed_by="RA officer")
