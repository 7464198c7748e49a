"""What an officer fills in: evidence of ownership for each domain, a note, or the details of a rejection."""

from typing import Any, ClassVar

from django import forms

from certdesk.services.people.organisations import WAYS, Evidence
from certdesk.web.forms import PortalForm

MAX_TEXT = 2000


class EvidenceForm(PortalForm):
    """How the officer knows that the organisation controls one domain; which one, the server says."""

    help_entries: ClassVar = {
        "how": "/help/officers/#evidence-how",
        "evidence": "/help/officers/#evidence-seen",
        "reference": "/help/officers/#evidence-reference",
    }

    how = forms.ChoiceField(
        label="How it was checked",
        choices=[("", "Choose one"), *WAYS.items()],
        error_messages={"required": "Choose how it was checked."},
    )
    evidence = forms.CharField(
        label="What you saw",
        max_length=MAX_TEXT,
        help_text="For example the registrant's name and the date in the registry.",
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": "Write what you saw; an auditor relies on it."},
    )
    reference = forms.CharField(
        label="Reference", required=False, max_length=200, help_text="A ticket or document number."
    )

    def __init__(self, *args: Any, required: bool = True, **kwargs: Any) -> None:
        """Without `required`, an empty form is as good as a complete one; a half-filled one is neither."""
        if not required:
            kwargs |= {"empty_permitted": True, "use_required_attribute": False}
        super().__init__(*args, **kwargs)
        self.required = required

    def evidence_of(self, domain: str) -> Evidence:
        """What was filled in, as evidence about a domain."""
        said = self.cleaned_data
        return Evidence(domain=domain, how=said["how"], details=said["evidence"], reference=said["reference"])

    @property
    def is_empty(self) -> bool:
        """Whether nothing was filled in."""
        return not self.has_changed()


class ApproveForm(PortalForm):
    """What goes with a yes."""

    help_entries: ClassVar = {
        "vetting": "/help/officers/#vetting",
        "message": "/help/officers/#message",
        "note": "/help/officers/#note",
    }

    vetting = forms.CharField(
        label="How the organisation was vetted",
        max_length=MAX_TEXT,
        help_text="For example the register that names it, and when you looked. Kept as evidence.",
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": "Write how the organisation was vetted; an auditor relies on it."},
    )
    message = forms.CharField(
        label="Message to the applicant",
        required=False,
        max_length=MAX_TEXT,
        help_text="The applicant reads this on the request’s page and in the e-mail.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    note = forms.CharField(
        label="Internal note",
        required=False,
        max_length=MAX_TEXT,
        help_text="Only officers and auditors read this.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def __init__(self, *args: Any, vetted: bool, **kwargs: Any) -> None:
        """An organisation that is `vetted` is not vetted again."""
        super().__init__(*args, **kwargs)
        if vetted:
            del self.fields["vetting"]


class RejectForm(PortalForm):
    """What goes with a no: the details reach the applicant."""

    help_entries: ClassVar = {"details": "/help/officers/#reject"}

    details = forms.CharField(
        label="Details for the applicant",
        max_length=MAX_TEXT,
        help_text="What was wrong, and what would make a new request pass. It is e-mailed and shown.",
        widget=forms.Textarea(attrs={"rows": 4}),
        error_messages={"required": "Write why the request is rejected; the applicant has to know."},
    )
