"""What officers and managers fill in about organisations and people."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms

from certdesk.domain.actors import OrgRole
from certdesk.web.forms import PortalForm
from certdesk.web.queue.forms import EvidenceForm

MAX_TEXT = 4000

ROLES = (
    ("", "Choose one"),
    (OrgRole.APPLICANT.value, "Applicant: requests certificates"),
    (OrgRole.MANAGER.value, "Manager: also adds and disables people"),
)


class OrganisationForm(PortalForm):
    """A new organisation."""

    help_entries: ClassVar = {
        "legal_name": "/help/people/#legal-name",
        "slug": "/help/people/#short-name",
        "country": "/help/people/#country",
        "locality": "/help/people/#place",
    }

    legal_name = forms.CharField(
        label="Legal name",
        max_length=64,
        help_text="As registered. A CSR's organisation (O) has to be written exactly like this.",
        error_messages={"required": "Write the organisation's registered legal name."},
    )
    slug = forms.SlugField(
        label="Short name",
        max_length=63,
        help_text="Lower-case letters, digits and hyphens; it is part of addresses and never changes.",
        error_messages={"required": "Write a short name, such as “example”."},
    )
    country = forms.RegexField(
        label="Country code",
        regex=r"^[A-Za-z]{2}$",
        initial="GB",
        help_text="Two letters, such as GB.",
        error_messages={
            "required": "Write the country's code.",
            "invalid": "A country code has two letters, such as GB.",
        },
    )
    locality = forms.CharField(label="Town or city", required=False, max_length=128)


class PersonForm(PortalForm):
    """A person to add to an organisation."""

    help_entries: ClassVar = {
        "username": "/help/people/#username",
        "name": "/help/people/#name",
        "email": "/help/people/#email",
        "role": "/help/people/#role",
    }

    username = forms.CharField(
        label="Username",
        max_length=150,
        help_text="Letters, digits, full stops, hyphens and underscores.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
        error_messages={"required": "Write a username."},
    )
    name = forms.CharField(
        label="Name", max_length=150, error_messages={"required": "Write the person's name."}
    )
    email = forms.EmailField(
        label="E-mail address",
        error_messages={
            "required": "Write the person's e-mail address.",
            "invalid": "This is not an e-mail address.",
        },
    )
    role = forms.ChoiceField(
        label="Role", choices=ROLES, error_messages={"required": "Choose what the person may do."}
    )


class VetForm(PortalForm):
    """How the RA checked who an organisation is."""

    id_format = "id_vet_%s"
    help_entries: ClassVar = {"evidence": "/help/people/#vetting"}

    evidence = forms.CharField(
        label="How it was checked",
        max_length=MAX_TEXT,
        help_text="For example the register that names it, and when you looked.",
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": "Write how the organisation was checked; an auditor relies on it."},
    )


class RenameForm(PortalForm):
    """What an organisation is called now, and how the RA knows."""

    id_format = "id_rename_%s"
    help_entries: ClassVar = {
        "legal_name": "/help/people/#legal-name",
        "country": "/help/people/#country",
        "locality": "/help/people/#place",
        "evidence": "/help/people/#rename",
    }

    legal_name = forms.CharField(
        label="Legal name",
        max_length=64,
        error_messages={"required": "Write the organisation's registered legal name."},
    )
    country = forms.CharField(
        label="Country code",
        max_length=2,
        help_text="Two letters, such as GB.",
        error_messages={"required": "Write the country's code."},
    )
    locality = forms.CharField(label="Town or city", required=False, max_length=128)
    evidence = forms.CharField(
        label="How it was checked",
        max_length=MAX_TEXT,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": "Write how it was checked; an auditor relies on it."},
    )


class ActiveForm(PortalForm):
    """Why an organisation is disabled, or enabled again."""

    id_format = "id_active_%s"
    help_entries: ClassVar = {"reason": "/help/people/#disable-organisation"}

    reason = forms.CharField(
        label="Reason",
        max_length=MAX_TEXT,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": "Write why; an auditor relies on it."},
    )


class ExistingForm(PortalForm):
    """Somebody who has an account, for a further organisation."""

    id_format = "id_existing_%s"
    help_entries: ClassVar = {"existing": "/help/people/#existing", "role": "/help/people/#role"}

    existing = forms.CharField(
        label="Username",
        max_length=150,
        help_text="Exactly as the person signs in.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
        error_messages={"required": "Write the username."},
    )
    role = forms.ChoiceField(
        label="Role here", choices=ROLES, error_messages={"required": "Choose what the person may do."}
    )


class HandOverForm(PortalForm):
    """Who leaves, and who manages the organisation from now on."""

    id_format = "id_handover_%s"
    help_entries: ClassVar = {"leaver": "/help/people/#leaver", "successor": "/help/people/#successor"}

    leaver = forms.TypedChoiceField(
        label="Who leaves", coerce=int, error_messages={"required": "Choose who leaves."}
    )
    successor = forms.TypedChoiceField(
        label="Who takes over",
        coerce=int,
        help_text="Becomes a manager, if not one already.",
        error_messages={"required": "Choose who takes over."},
    )

    def __init__(self, *args: Any, people: Sequence[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("leaver", "successor"):
            self.offer(name, [("", "Choose one"), *people])


class DomainForm(EvidenceForm):
    """An ownership check of a domain, outside any request."""

    id_format = "id_domain_%s"
    field_order = ("domain", "how", "evidence", "reference")
    help_entries: ClassVar = {**EvidenceForm.help_entries, "domain": "/help/officers/#evidence-domain"}

    domain = forms.CharField(
        label="Domain",
        max_length=253,
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false"}),
        error_messages={"required": "Write the domain, such as example.ac.uk."},
    )
