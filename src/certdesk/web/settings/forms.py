"""What an operator may change. Limits and messages are the domain's; this is only how it is asked for."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, ClassVar

from django import forms

from certdesk.domain.rules import RuleId, in_force
from certdesk.domain.settings import LOWEST_PASSWORD_LENGTH, NAMES, TERM_YEARS, ServiceSettings
from certdesk.web.forms import PortalForm

#: Below this, a password can be guessed however slowly one may try.
SAFE_PASSWORD_LENGTH = 8

TITLES: Mapping[str, str] = {
    "ra": "Name of the RA team",
    "ra_contact": "Contact of the RA team",
    "service_name": "Name of the service",
    "support_url": "Support page of the CA",
    "trusted_suffixes": "Trusted suffixes",
    "durations": "Durations on offer",
    "server_software": "Server software",
    "ownership_days": "Ownership counts for",
    "challenge_days": "A mailed code works for",
    "password_min_length": "Shortest password",
    "issuing_stopped": "Stop issuing",
    "parts_stopped": "Stop a CA or a profile",
}
UNITS = {"ownership_days": "day", "challenge_days": "day", "password_min_length": "character"}
GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("names", "Names", ("ra", "ra_contact", "service_name", "support_url")),
    ("rules", "What may be requested", ("trusted_suffixes", "durations", "server_software")),
    ("periods", "Periods and passwords", ("ownership_days", "challenge_days", "password_min_length")),
    ("stop", "Stop issuing", ("issuing_stopped", "parts_stopped")),
)


class SettingsForm(PortalForm):
    """All settings at once; `version` is what they were read from."""

    help_entries: ClassVar = {name: f"/help/operators/#{name.replace('_', '-')}" for name in NAMES}

    version = forms.IntegerField(widget=forms.HiddenInput)
    ra = forms.CharField(
        label=TITLES["ra"], help_text="Shown in the status “Rejected by …”, on pages and in mails."
    )
    ra_contact = forms.CharField(
        label=TITLES["ra_contact"],
        required=False,
        help_text="An e-mail address or a web page, at the foot of pages and mails. Leave empty for none.",
        widget=forms.TextInput(attrs={"inputmode": "email", "autocapitalize": "off", "spellcheck": "false"}),
    )
    service_name = forms.CharField(
        label=TITLES["service_name"], help_text="At the top of every page, and in every mail."
    )
    support_url = forms.CharField(
        label=TITLES["support_url"],
        required=False,
        help_text="Linked at the foot of every page. Leave this empty for no link.",
        widget=forms.TextInput(attrs={"inputmode": "url", "autocapitalize": "off", "spellcheck": "false"}),
    )
    trusted_suffixes = forms.CharField(
        label=TITLES["trusted_suffixes"],
        help_text="One on each line. A request with a name outside them waits for an officer.",
        widget=forms.Textarea(attrs={"rows": 4, "autocapitalize": "off", "spellcheck": "false"}),
    )
    durations = forms.MultipleChoiceField(
        label=TITLES["durations"],
        choices=[(str(n), "1 year" if n == 1 else f"{n} years") for n in TERM_YEARS],
        widget=forms.CheckboxSelectMultiple,
    )
    server_software = forms.CharField(
        label=TITLES["server_software"],
        required=False,
        help_text="One on each line, as the form lists them. “Other” always stays.",
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false"}),
    )
    ownership_days = forms.CharField(
        label="Days that proof of ownership counts", widget=forms.TextInput(attrs={"inputmode": "numeric"})
    )
    challenge_days = forms.CharField(
        label="Days that a mailed code works", widget=forms.TextInput(attrs={"inputmode": "numeric"})
    )
    password_min_length = forms.CharField(
        label="Characters of the shortest password", widget=forms.TextInput(attrs={"inputmode": "numeric"})
    )

    issuing_stopped = forms.CharField(
        label="Why no certificate is issued",
        required=False,
        help_text="While this has a text, everything waits that would be signed or sent to a CA. "
        "Empty: certificates are issued.",
    )
    parts_stopped = forms.CharField(
        label=TITLES["parts_stopped"],
        required=False,
        help_text="One on each line: “ca”, its name and the reason, as in “ca embedded: Moving house.”; or "
        "“profile”, its identifier and the reason. Another CA of the profile takes over where there is one.",
        widget=forms.Textarea(attrs={"rows": 2, "autocapitalize": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        most = in_force(RuleId.PRIVATE_OWNERSHIP_REUSE, now).value
        code = in_force(RuleId.RANDOM_VALUE_LIFE, now).value
        self.fields[
            "ownership_days"
        ].help_text = f"From 1 to {most}. Then ownership has to be validated again."
        self.fields["challenge_days"].help_text = f"From 1 to {code}."
        self.fields["password_min_length"].help_text = (
            f"From {LOWEST_PASSWORD_LENGTH}. Below {SAFE_PASSWORD_LENGTH}, passwords can be guessed, and "
            "common ones are accepted too."
        )
        for name in NAMES:
            self.fields[name].error_messages["required"] = "Fill this in."
        self.fields["durations"].error_messages["required"] = "Choose at least one."

    def values(self) -> dict[str, object]:
        """What was filled in, as the service takes it."""
        return {name: self.cleaned_data[name] for name in NAMES}


def initial_values(settings: ServiceSettings, *, version: int) -> dict[str, object]:
    """The settings as the form's fields show them."""
    values = asdict(settings)
    return {
        **values,
        "trusted_suffixes": "\n".join(settings.trusted_suffixes),
        "server_software": "\n".join(settings.server_software),
        "parts_stopped": "\n".join(settings.parts_stopped),
        "durations": [str(years) for years in settings.durations],
        "version": version,
    }


def told(name: str, value: object) -> str:
    """A value as people read it."""
    if isinstance(value, (list, tuple)) and value:
        return ", ".join(_counted(item, "year") if name == "durations" else str(item) for item in value)
    if name in UNITS:
        return _counted(value, UNITS[name])
    return str(value or "none")


def _counted(number: object, word: str) -> str:
    return f"{number} {word}" if str(number) == "1" else f"{number} {word}s"
