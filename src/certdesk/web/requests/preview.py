"""A preview as its page shows it: what the CSR says, what will happen, and every check."""

from certdesk.domain.csr.csr import Csr
from certdesk.domain.csr.keys import describe_key
from certdesk.domain.findings import Verdict
from certdesk.domain.policy.decide import Outcome
from certdesk.services.requests.asking import Preview
from certdesk.web.requests.certificate import LAST_SECOND
from certdesk.web.requests.rows import check_list, subject


def csr_facts(csr: Csr) -> dict[str, object]:
    """What a CSR says, for `parts/csr_facts.html`."""
    bad = any(c.verdict is Verdict.REFUSE and c.code.startswith("csr.signature") for c in csr.findings)
    return {
        "names": csr.names,
        "common_name": csr.common_names[0].lower() if csr.common_names else "",
        "subject": subject((a.name, a.value) for a in csr.subject),
        "key": describe_key(csr.key),
        "sha256": csr.sha256,
        "signature": f"{csr.signature_algorithm}, {'not accepted' if bad else 'verified'}",
        "key_sha256": csr.key.spki_sha256,
    }


def preview_context(preview: Preview, *, token: str, note: str) -> dict[str, object]:
    """Everything that the preview's page needs."""
    decision, days = preview.decision, 0
    if preview.not_before and preview.not_after:
        days = (preview.not_after - preview.not_before + LAST_SECOND).days
    reasons = {
        Outcome.AUTO: decision.pending,
        Outcome.MANUAL: decision.manual_reasons,
        Outcome.REFUSE: decision.refusals,
    }
    return {
        "preview": preview,
        "facts": csr_facts(preview.csr),
        "outcome": decision.outcome.value,
        "reasons": [check.message for check in reasons[decision.outcome]],
        **check_list(decision.checks),
        "days": days,
        "note": note,
        "token": token,
    }
