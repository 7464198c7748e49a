"""What managers fill in about credentials, and operators about renewals."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar

from django import forms
from django.utils import timezone

from certdesk.domain.acme.credentials import MAX_ACCOUNTS, MAX_NAME, Limits
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.acme.renewal import MAX_REASON, Matching
from certdesk.services.system import runtime
from certdesk.store.selectors.acme import CredentialRow
from certdesk.web.forms import OrganisationChoice, PortalForm

MAX_SUFFIXES_TEXT = 20_000
_MOMENT = "%Y-%m-%dT%H:%M"


def _profiles() -> list[tuple[str, str]]:
    return [("", "Any"), *((one.id, one.title) for one in runtime.current().profiles.values())]


class CredentialForm(OrganisationChoice):
    """A credential's name and limits. Whatever is left empty limits nothing."""

    help_entries: ClassVar[Mapping[str, str]] = {
        "organisation": "/help/acme/#organisation",
        "name": "/help/acme/#name",
        "suffixes": "/help/acme/#names",
        "profile": "/help/acme/#profile",
        "max_accounts": "/help/acme/#accounts",
        "expires_at": "/help/acme/#until",
    }

    name = forms.CharField(
        label="Name",
        max_length=MAX_NAME,
        help_text="What uses it, such as “web servers” or “cluster 2”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Give the credential a name."},
    )
    suffixes = forms.CharField(
        label="Names it may ask for",
        required=False,
        max_length=MAX_SUFFIXES_TEXT,
        help_text="One to a line; each counts with everything below it. Leave this empty for all names.",
        widget=forms.Textarea(
            attrs={"rows": 4, "class": "mono", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    profile = forms.ChoiceField(
        label="Profile",
        required=False,
        choices=_profiles,
        help_text="Which kind of certificate it may ask for.",
    )
    max_accounts = forms.IntegerField(
        label="Number of accounts",
        required=False,
        min_value=1,
        max_value=MAX_ACCOUNTS,
        help_text="How many clients may register with it. Leave this empty for any number.",
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value"),
            f"Write a whole number from 1 to {MAX_ACCOUNTS}, or leave it empty.",
        ),
    )
    expires_at = forms.DateField(
        label="Until",
        required=False,
        help_text="The last day on which it works. Leave this empty if it should work until it is revoked.",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": "Write the day as year-month-day, such as 2027-03-31."},
    )
    organisation = forms.TypedChoiceField(
        label="Organisation", coerce=int, error_messages={"required": "Choose the organisation."}
    )

    def __init__(
        self,
        *args: Any,
        organisations: Mapping[OrganisationId, str] | None = None,
        before: CredentialRow | None = None,
        **kwargs: Any,
    ) -> None:
        if before is not None:
            limits = before.limits
            kwargs.setdefault(
                "initial",
                {
                    "name": before.name,
                    "suffixes": "\n".join(limits.suffixes),
                    "profile": limits.profile_id,
                    "max_accounts": limits.max_accounts,
                    "expires_at": _last_day(limits.expires_at) if limits.expires_at else None,
                },
            )
        super().__init__(*args, organisations=organisations or {}, **kwargs)
        self._before = before

    @property
    def limits(self) -> Limits:
        """The limits as they were filled in."""
        said = self.cleaned_data
        return Limits(
            suffixes=tuple(said["suffixes"].replace(",", " ").split()),
            profile_id=said["profile"],
            max_accounts=said["max_accounts"],
            expires_at=self._until(said["expires_at"]),
        )

    def _until(self, day: date | None) -> datetime | None:
        """The end of the day; a time that REST set stays as it is while the day does."""
        if day is None:
            return None
        before = self._before.limits.expires_at if self._before else None
        if before is not None and day == _last_day(before):
            return before
        midnight = datetime.combine(day + timedelta(days=1), time())
        return timezone.make_aware(midnight)


class RenewalForm(PortalForm):
    """Which certificates are to be renewed, from when until when, and why."""

    help_entries: ClassVar[Mapping[str, str]] = {
        "issuer": "/help/operators/#renewals-issuer",
        "profile": "/help/operators/#renewals-profile",
        "spki_sha256": "/help/operators/#renewals-key",
        "starts_at": "/help/operators/#renewals-from",
        "ends_at": "/help/operators/#renewals-until",
        "reason": "/help/operators/#renewals-why",
        "explanation_url": "/help/operators/#renewals-page",
    }

    issuer = forms.ChoiceField(label="Issuer", required=False)
    profile = forms.ChoiceField(label="Profile", required=False)
    spki_sha256 = forms.RegexField(
        label="SHA-256 of the public key",
        regex=r"^[0-9A-Fa-f:]{64,95}$",
        required=False,
        help_text="In hexadecimal, as a request's preview shows it. Leave this empty for any key.",
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
        error_messages={"invalid": "Write 64 hexadecimal digits, with or without colons."},
    )
    starts_at = forms.DateTimeField(
        label="From",
        input_formats=[_MOMENT],
        help_text="The first clients renew then.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_MOMENT),
        error_messages={"required": "Say from when.", "invalid": "Write it as 2027-03-31T14:00."},
    )
    ends_at = forms.DateTimeField(
        label="Until",
        input_formats=[_MOMENT],
        help_text="The last clients renew then. All are spread evenly.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_MOMENT),
        error_messages={"required": "Say until when.", "invalid": "Write it as 2027-03-31T14:00."},
    )
    reason = forms.CharField(
        label="Reason",
        max_length=MAX_REASON,
        help_text="For the audit log.",
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": "Say why; people who look after the certificates may ask."},
    )
    explanation_url = forms.CharField(
        label="Page that explains it",
        required=False,
        max_length=500,
        help_text="Shown by clients, such as https://status.example.ac.uk/2027-03.",
        widget=forms.URLInput(),
    )

    def __init__(self, *args: Any, issuers: Iterable[str], profiles: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, values in (("issuer", issuers), ("profile", profiles)):
            self.offer(name, [("", "Any"), *((value, value) for value in values)])

    @property
    def matching(self) -> Matching:
        """The certificates that are meant."""
        said = self.cleaned_data
        return Matching(said["issuer"], said["profile"], said["spki_sha256"].replace(":", "").lower())


def _last_day(expires_at: datetime) -> date:
    """The last day on which it works, in part at least."""
    return timezone.localdate(expires_at - timedelta(microseconds=1))
