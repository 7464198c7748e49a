"""What officers and operators fill in about an entry of the FAQ."""

from typing import ClassVar

from django import forms

from certdesk.services.help import MAX_QUESTION
from certdesk.services.texts import MAX_TEXT
from certdesk.web.forms import PortalForm


class FaqForm(PortalForm):
    """Question and answer. `version` is what the form was filled from, so that no edit undoes another."""

    help_entries: ClassVar = {
        "question": "/help/officers/#faq-question",
        "answer": "/help/officers/#faq-answer",
    }

    question = forms.CharField(
        label="Question",
        max_length=MAX_QUESTION,
        help_text="One line, as an applicant would ask it.",
        error_messages={"required": "Write the question."},
    )
    answer = forms.CharField(
        label="Answer",
        max_length=MAX_TEXT,
        help_text="In Markdown: **bold**, lists with -, links as [text](address).",
        widget=forms.Textarea(attrs={"rows": 12, "class": "code"}),
        error_messages={"required": "Write the answer."},
    )
    version = forms.IntegerField(min_value=0, widget=forms.HiddenInput, required=False)


class FaqActForm(forms.Form):
    """A button in the list: which version of the entry was seen, and which way it goes."""

    version = forms.IntegerField(min_value=0)
    way = forms.ChoiceField(choices=[(way, way) for way in ("up", "down", "show", "hide")])
