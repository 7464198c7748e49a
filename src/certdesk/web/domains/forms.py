"""What people fill in about domains."""

from datetime import UTC, datetime, time
from typing import ClassVar

from django import forms

from certdesk.services.ended_validations import MAX_REASON
from certdesk.web.forms import OrganisationChoice, PortalForm


class AddDomainForm(OrganisationChoice):
    """A domain to list for an organisation of the reader's."""

    help_entries: ClassVar = {"domain": "/help/dcv/#add", "organisation": "/help/dcv/#organisation"}

    domain = forms.CharField(
        label="Domain",
        max_length=253,
        help_text="Such as example.ac.uk. Validating it also covers every name below it.",
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false", "autocomplete": "off"}),
        error_messages={"required": "Write the domain, such as example.ac.uk."},
    )
    organisation = forms.TypedChoiceField(
        label="Organisation", coerce=int, error_messages={"required": "Choose the organisation."}
    )


class EndForm(PortalForm):
    """Why a validation ends."""

    help_entries: ClassVar = {"reason": "/help/domains/#end-reason"}

    reason = forms.CharField(
        label="Reason",
        max_length=MAX_REASON,
        help_text="Everyone who can see the domain can read this.",
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": "Write why the validation ends."},
    )


class CaStateForm(PortalForm):
    """What a public CA's own portal says of a domain."""

    help_entries: ClassVar = {"ca": "/help/domains/#ca-name", "valid_until": "/help/domains/#ca-until"}

    ca = forms.CharField(label="CA", max_length=64, error_messages={"required": "Write the name of the CA."})
    valid_until = forms.DateField(
        label="Validated there until",
        required=False,
        help_text="Leave this empty if the CA says that the domain is not validated.",
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    def moment(self) -> datetime | None:
        """The end of that day, UTC; None where the field was left empty."""
        day = self.cleaned_data["valid_until"]
        return datetime.combine(day, time(23, 59, 59), tzinfo=UTC) if day else None
