"""What is looked at beside the policy before anything is sent: known and used keys, lint, caps.

Gathers the facts that `decide` rests on, in one place for preview, submission
and signing. Reads; stores, signs and sends nothing (R16).
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certdesk.backends.base import Backend, ShowsSpecimens
from certdesk.domain.certificates import Intent
from certdesk.domain.csr import Csr
from certdesk.domain.errors import BackendRefused
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.known_keys import check_known
from certdesk.domain.lint import Finding, blocking, lint_certificate
from certdesk.domain.policy import Decision, Facts, decide
from certdesk.domain.policy_limits import CaaAnswer
from certdesk.domain.policy_rules import Rules
from certdesk.domain.profiles import Profile
from certdesk.services import runtime
from certdesk.services.intents import intent_for
from certdesk.store.models import Organisation, Request
from certdesk.store.selectors.facts import Asked, gather_facts, unproven_facts
from certdesk.store.selectors.keys import key_uses

CAP_PERIOD = timedelta(hours=24)
_LINT_RULE = "BR 4.3.1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged: a CSR of an organisation under a profile; `request` where it is stored already.

    `caa` are the answers that `services.caa` has brought before the transaction; None where nobody asked.
    `certificate` is what `certificate_checks` has said before it; None where nobody asked.
    """

    csr: Csr
    organisation: Organisation
    profile: Profile
    request: Request | None = None
    caa: tuple[CaaAnswer, ...] | None = None
    certificate: tuple[Check, ...] | None = None


def judged(subject: Subject, *, asked: Asked, lint: bool = False, now: datetime) -> tuple[Facts, Decision]:
    """Everything known of a request now, and what the rules for its organisation, profile and CA say.

    With `lint`, the certificate that would result is linted (some milliseconds); without, the list still
    says that it will be before it is signed.
    """
    rules = runtime.current().rules_for(organisation=subject.organisation.slug, profile=subject.profile.id)
    facts = gather_facts(
        csr=subject.csr, organisation=subject.organisation, profile=subject.profile, asked=asked, now=now
    )
    facts = _completed(facts, subject, rules, lint=lint, now=now)
    return facts, decide(facts, rules, now=now)


def certificate_checks(subject: Subject, *, asked: Asked, now: datetime) -> tuple[Check, ...]:
    """What lint and the CA's own limits say of the certificate that would result.

    Takes some milliseconds, and so belongs before a transaction, not into it.
    """
    facts = unproven_facts(
        csr=subject.csr, organisation=subject.organisation, profile=subject.profile, asked=asked
    )
    return _certificate_checks(facts, subject, lint=True, now=now)


def _completed(facts: Facts, subject: Subject, rules: Rules, *, lint: bool, now: datetime) -> Facts:
    request = subject.request
    asked_at, before = (now, None) if request is None else (request.created_at, request.pk)
    own = subject.organisation.pk
    return replace(
        facts,
        key_uses=key_uses(spki_sha256=subject.csr.key.spki_sha256, organisation_id=own, before=before),
        requests_last_day=requests_before(own, rules, at=asked_at, before=before),
        caa=subject.caa,
        preflight_findings=(
            *_known_key(subject.csr, now=asked_at),
            *_certificate_checks(facts, subject, lint=lint, now=now),
        ),
    )


def requests_before(organisation_id: int, rules: Rules, *, at: datetime, before: int | None) -> int | None:
    """How many others the organisation had made in the 24 hours before; not counted where no cap asks.

    More than the cap is not counted either, so that an organisation's millionth request costs no more.
    """
    if not rules.daily_cap:
        return None
    others = Request.objects.filter(organisation_id=organisation_id)
    if before is not None:
        others = others.filter(id__lt=before)
    newest = others.order_by("-id").values_list("created_at", flat=True)[: rules.daily_cap]
    return sum(at - CAP_PERIOD < made <= at for made in newest)


def _known_key(csr: Csr, *, now: datetime) -> tuple[Check, ...]:
    """Looked up for keys that are sound in themselves; the others are refused as they are."""
    sound = any(check.code == "key.strength" for check in csr.findings)
    return (check_known(csr.key.spki_der, runtime.current().known_keys(), now=now),) if sound else ()


def _certificate_checks(facts: Facts, subject: Subject, *, lint: bool, now: datetime) -> tuple[Check, ...]:
    if subject.certificate is not None:
        return subject.certificate
    rt = runtime.current()
    backend = rt.backend(rt.default_backend)
    if not isinstance(backend, ShowsSpecimens):
        return ()
    refused = any(check.verdict is Verdict.REFUSE for check in subject.csr.findings)
    offered = facts.duration_years in subject.profile.term_years
    if not lint or refused or not facts.names or not offered:
        return (_clean(),)
    try:
        found = lint_certificate(backend.specimen(_would_be(facts, subject, backend, now=now)))
    except BackendRefused as error:
        return (
            Check(
                code="certificate.ca_limits",
                verdict=Verdict.REFUSE,
                message=error.detail,
                rule="R27",
                changed_by="operator",
            ),
        )
    # What does not block is about our profile and the same for everybody: nothing an applicant could change.
    return tuple(_lint_check(finding) for finding in blocking(found)) or (_clean(),)


def _would_be(facts: Facts, subject: Subject, backend: Backend, *, now: datetime) -> Intent:
    """The intent that a request for this would lead to, made by what makes it then."""
    return intent_for(
        backend,
        profile_id=subject.profile.id,
        csr_der=subject.csr.der,
        names=tuple(facts.names),
        duration_years=facts.duration_years,
        server_software=facts.server_software,
        organisation=subject.organisation,
        now=now,
    )


def _lint_check(finding: Finding) -> Check:
    return Check(
        code="certificate.lint",
        verdict=Verdict.REFUSE,
        message=f"The certificate would break a rule and could not be signed: "
        f"{finding.message or finding.code}. An RA officer can look at the organisation's data.",
        seen=finding.code,
        rule=_LINT_RULE,
        changed_by="RA officer",
    )


def _clean() -> Check:
    """True of every certificate: nothing is signed that does not lint clean (BR 4.3.1.2)."""
    return Check(
        code="certificate.lint",
        verdict=Verdict.PASS,
        message="The certificate is linted with a throw-away key, and signed only if it breaks no rule.",
        rule=_LINT_RULE,
        changed_by="RA officer",
    )
