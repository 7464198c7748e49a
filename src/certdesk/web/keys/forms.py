"""What an officer fills in to block a key."""

from typing import ClassVar

from django import forms

from certdesk.services.keys import MAX_REASON
from certdesk.web.forms import PortalForm

MAX_EVIDENCE = 64 * 1024


class BlockForm(PortalForm):
    """A key, shown by a CSR, a certificate or itself, and why it is not to be certified."""

    help_entries: ClassVar = {
        "evidence": "/help/officers/#block-key",
        "reason": "/help/officers/#block-reason",
    }

    evidence = forms.CharField(
        label="CSR, certificate or key",
        max_length=MAX_EVIDENCE,
        help_text="As PEM. A leaked private key proves most; we keep nothing of it.",
        widget=forms.Textarea(
            attrs={"rows": 6, "class": "code", "spellcheck": "false", "autocapitalize": "off"}
        ),
        error_messages={"required": "Paste the CSR, the certificate or the key."},
    )
    reason = forms.CharField(
        label="Reason",
        max_length=MAX_REASON,
        help_text="Where you found it and when, such as the address of a public repository.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Write what you saw; an auditor relies on it."},
    )
