"""A preview as its page shows it: what the CSR says, what will happen, and every check (R15)."""

from dataclasses import dataclass

from certdesk.domain.csr import Csr
from certdesk.domain.findings import Verdict
from certdesk.domain.keys import describe_key
from certdesk.domain.policy import Outcome
from certdesk.services.requests import Preview
from certdesk.web import times
from certdesk.web.requests.certificate import LAST_SECOND
from certdesk.web.requests.rows import CsrFacts, check_list, fingerprint, names, subject

_CONFIRM_HINT = {
    Outcome.AUTO: "Exactly what you see is sent to the CA, once.",
    Outcome.MANUAL: "Exactly what you see is sent. While it waits, you can withdraw it.",
    Outcome.REFUSE: "",
}
_PENDING_HINT = "Exactly what you see is sent to the CA, once somebody has confirmed the domain."


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView:
    """The box at the top of the preview."""

    value: str
    look: str
    title: str
    text: str
    reasons: tuple[str, ...]


def csr_facts(csr: Csr) -> CsrFacts:
    """What a CSR says, for people."""
    bad = any(c.verdict is Verdict.REFUSE and c.code.startswith("csr.signature") for c in csr.findings)
    return CsrFacts(
        names=names(csr.names, common_name=csr.common_names[0] if csr.common_names else ""),
        subject=subject((a.name, a.value) for a in csr.subject),
        key=describe_key(csr.key),
        fingerprint=fingerprint(csr.sha256),
        signature=f"{csr.signature_algorithm}, {'not accepted' if bad else 'verified'}",
        key_fingerprint=fingerprint(csr.key.spki_sha256),
    )


def decision_view(preview: Preview, *, ra: str) -> DecisionView:
    """What will happen, in a heading and a line."""
    decision = preview.decision
    match decision.outcome:
        case Outcome.AUTO if decision.pending:
            return DecisionView(
                value="auto",
                look="busy",
                title="This request will go through once its domain is confirmed",
                text="After confirming, choose a mailbox of the domain that we ask. It waits for that:",
                reasons=tuple(c.message for c in decision.pending),
            )
        case Outcome.AUTO:
            return DecisionView(
                value="auto",
                look="ok",
                title="This request will go through by itself",
                text="No check stands in the way. Once you confirm, it goes to the CA at once.",
                reasons=(),
            )
        case Outcome.MANUAL:
            return DecisionView(
                value="manual",
                look="wait",
                title="A person will look at this request",
                text=f"You can confirm it; {ra} then decides before it goes to the CA, because:",
                reasons=tuple(c.message for c in decision.manual_reasons),
            )
        case Outcome.REFUSE:
            return DecisionView(
                value="refuse",
                look="stop",
                title="This request can’t be accepted",
                text="Put this right, then upload the CSR again:",
                reasons=tuple(c.message for c in decision.refusals),
            )


def preview_context(preview: Preview, *, ra: str, token: str, note: str) -> dict[str, object]:
    """Everything that the preview's page needs."""
    term = validity = ""
    if preview.not_before and preview.not_after:
        days = (preview.not_after - preview.not_before + LAST_SECOND).days
        term = times.span(preview.not_before, preview.not_after)
        validity = f"{days} days: one certificate for the whole term"
    return {
        "facts": csr_facts(preview.csr),
        "decision": decision_view(preview, ra=ra),
        **check_list(preview.decision.checks).context(),
        "organisation": preview.organisation,
        "duration": times.counted(preview.duration_years, "year"),
        "server_software": preview.server_software,
        "note": note,
        "term": term,
        "validity": validity,
        "token": token,
        "confirm_hint": _PENDING_HINT
        if preview.decision.pending and preview.decision.outcome is Outcome.AUTO
        else _CONFIRM_HINT[preview.decision.outcome],
    }
