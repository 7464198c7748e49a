"""What every form of the portal shares: no colon after a label, and a help entry for each field.

Rules are not judged here: a form says what shape it wants, the services say what is right.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar

from django import forms

from certdesk.domain.errors import InvalidInput
from certdesk.domain.private_keys import holds_private_key


class HelpedField(forms.BoundField):
    """A bound field that knows where its help is."""

    @property
    def help_entry(self) -> str:
        """The address of the field's own help entry."""
        form = self.form
        return form.help_entries[self.name] if isinstance(form, PortalForm) else ""


class PortalForm(forms.Form):
    """The base of the portal's forms.

    `help_entries` names the help entry of each field that people see, and `id_format` keeps apart the
    fields of forms that stand on one page.
    """

    bound_field_class = HelpedField
    help_entries: ClassVar[Mapping[str, str]] = {}
    id_format: ClassVar[str] = "id_%s"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        kwargs.setdefault("auto_id", self.id_format)
        super().__init__(*args, **kwargs)

    def full_clean(self) -> None:
        """Cleans as Django does, and then forgets what holds a private key: no page shows it again."""
        super().full_clean()
        told = [
            name
            for name, value in self.data.items()
            if isinstance(value, str) and holds_private_key(value.encode("utf-8", "surrogatepass"))
        ]
        if told:
            left: Any = copy(self.data)  # a QueryDict's copy can be changed
            left.update(dict.fromkeys(told, ""))
            self.data = left


def show_on(form: forms.Form, error: InvalidInput) -> None:
    """Puts what a service found wrong beside the fields that it names."""
    known = {name: text for name, text in error.fields.items() if name in form.fields}
    for name, text in known.items():
        form.add_error(name, text)
    if not known:
        form.add_error(None, error.detail)
