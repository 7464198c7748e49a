"""What an applicant fills in: the CSR by file or paste, the term, the server software.

Only shape is judged here; what a CSR says is judged by the services. A pasted path gets a helpful
answer.
"""

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.core.files.uploadedfile import UploadedFile

from certdesk.web.forms import OrganisationChoice, PortalForm
from certdesk.web.times import counted

MAX_CSR = 64 * 1024
BASE64_LINE = 64
MAX_NOTE = 2000

_PATH = re.compile(
    r"""^\s*["']?(?:[A-Za-z]:[\\/]|\\\\|~?/|\.{1,2}[\\/]|file:)[^\n]*$"""
    r"""|^[^\n]*\.(?:csr|pem|req|p10|der|txt)["']?\s*$""",
    re.IGNORECASE,
)
PATH_ANSWER = (
    "This looks like the name of a file. A browser can't open files on your computer by their name: "
    "choose the file instead, or paste the text that is in it."
)


NOTHING = "Choose your CSR file, or paste the text that is in it."
#: Django does not even take up a file beyond its own limit; the size of what came tells why it is missing.
MAX_BODY = 4 * MAX_CSR
TOO_LARGE = "The file is far larger than a CSR, which has 64 KB at most. Choose the CSR file."


def looks_like_path(text: str) -> bool:
    """Whether somebody pasted where the CSR lies instead of the CSR."""
    text = text.strip()
    # A bare base64 body may begin with a slash, but is far longer than a line and has no dot.
    return bool(_PATH.match(text)) and ("." in text or "\\" in text or len(text) < BASE64_LINE)


class CsrForm(PortalForm):
    """A CSR by file or paste. `upload` is its bytes once the form is valid; `received` how much came."""

    help_entries: ClassVar = {"csr": "/help/requesting/#csr-file", "csr_text": "/help/requesting/#csr-paste"}

    csr = forms.FileField(
        label="CSR file",
        required=False,
        help_text="A .csr, .pem, .req or .p10 file of at most 64 KB, text or binary.",
        widget=forms.FileInput(attrs={"accept": ".csr,.pem,.req,.p10,.der,.txt,application/pkcs10"}),
    )
    csr_text = forms.CharField(
        label="CSR text",
        required=False,
        strip=False,
        max_length=MAX_CSR,
        error_messages={"max_length": "The text is longer than 64 KB; a CSR is far shorter. Paste the CSR."},
        widget=forms.Textarea(
            attrs={
                "rows": 9,
                "class": "code",
                "spellcheck": "false",
                "autocomplete": "off",
                "autocapitalize": "off",
                "placeholder": "-----BEGIN CERTIFICATE REQUEST-----",
                "data-path-answer": "path-answer",
            }
        ),
    )

    def __init__(self, *args: Any, received: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = received

    @property
    def upload(self) -> bytes:
        """What was uploaded or pasted, as bytes."""
        value: bytes = self.cleaned_data["upload"]
        return value

    def forget_paste(self) -> None:
        """Empties the text field of the page shown next: what was pasted into it is a private key."""
        self.data = {name: value for name, value in self.data.items() if name != "csr_text"}

    def clean(self) -> dict[str, Any]:
        """Exactly one of file and text, and not the name of a file."""
        cleaned = self.cleaned_data
        if "csr" in self.errors or "csr_text" in self.errors:
            return cleaned
        file, text = cleaned.get("csr"), cleaned.get("csr_text", "")
        if file and text.strip():
            self.add_error(
                "csr_text", "Send the file or the text, not both: we can’t tell which one you mean."
            )
        elif file:
            cleaned["upload"] = self._read(file)
        elif not text.strip():
            self.add_error("csr", TOO_LARGE if self._received > MAX_BODY else NOTHING)
        elif looks_like_path(text):
            self.add_error("csr_text", PATH_ANSWER)
        else:
            cleaned["upload"] = text.encode("utf-8", "surrogatepass")
        return cleaned

    def _read(self, file: UploadedFile[bytes]) -> bytes:
        """The file's bytes; one byte too many is enough to know that the rest need not be read."""
        content: bytes = file.read(MAX_CSR + 1)
        return content


class NewRequestForm(OrganisationChoice, CsrForm):
    """The one form of a new request."""

    help_entries: ClassVar = {
        **CsrForm.help_entries,
        "duration_years": "/help/requesting/#duration",
        "server_software": "/help/requesting/#server-software",
        "organisation": "/help/requesting/#organisation",
        "note": "/help/requesting/#note",
    }

    duration_years = forms.TypedChoiceField(
        label="Duration",
        coerce=int,
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose how many years the request runs.",
            "invalid_choice": "Choose one of the durations on offer.",
        },
    )
    server_software = forms.ChoiceField(
        label="Server software",
        help_text="What the certificate is for. It decides the file format and the instructions.",
        error_messages={
            "required": "Choose your server software; “Other” is in the list.",
            "invalid_choice": "Choose the server software from the list; “Other” is in it.",
        },
    )
    organisation = forms.TypedChoiceField(
        label="Organisation",
        coerce=int,
        help_text="The request belongs to this organisation.",
        error_messages={
            "required": "Choose the organisation that the request is for.",
            "invalid_choice": "Choose one of your organisations.",
        },
    )
    note = forms.CharField(
        label="Note",
        required=False,
        max_length=MAX_NOTE,
        help_text="For the officer who decides, such as why you need a name outside your domains.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(self, *args: Any, durations: Iterable[int], software: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer("duration_years", [(n, counted(n, "year")) for n in durations])
        self.offer("server_software", [("", "Choose one"), *((name, name) for name in software)])


class EndForm(PortalForm):
    """Why a request is ended."""

    help_entries: ClassVar = {"reason": "/help/requests/#end"}

    reason = forms.CharField(
        label="Reason",
        max_length=2000,
        help_text="The requester reads this on the request’s page and in an e-mail.",
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": "Write why the request ends; the requester has to know."},
    )
