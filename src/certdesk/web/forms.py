"""What every form of the portal shares: no colon after a label, and a help entry for each field.

Rules are not judged here: a form says what shape it wants, the services say what is right.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url

from certdesk.domain.csr.private_keys import holds_private_key
from certdesk.domain.errors import InvalidInput
from certdesk.domain.issuing.states import OrganisationId

UNPROCESSABLE = 422


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

    def offer(self, name: str, choices: Iterable[Any]) -> None:
        """Sets what a field offers, where that is known only when the form is made."""
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - the form declares it
        field.choices = list(choices)

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


class OrganisationChoice(PortalForm):
    """A form with a field `organisation`, which is there only where the reader has several to choose from."""

    def __init__(self, *args: Any, organisations: Mapping[OrganisationId, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._organisations = organisations
        if len(organisations) > 1:
            self.offer("organisation", [("", "Choose one"), *organisations.items()])
        else:
            del self.fields["organisation"]

    @property
    def organisation_id(self) -> OrganisationId:
        """The one that was chosen, or the only one."""
        chosen = self.cleaned_data.get("organisation")
        return OrganisationId(int(chosen)) if chosen else next(iter(self._organisations))


def accepts(form: forms.Form, act: Callable[[], object]) -> bool:
    """Does what a right form asks for; False for a wrong one, which then says what the service found."""
    if not form.is_valid():
        return False
    try:
        act()
    except InvalidInput as error:
        show_on(form, error)
        return False
    return True


def form_page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A page with the form `form`: 422 where that came back with something to put right."""
    return render(request, template, context, status=UNPROCESSABLE if context["form"].errors else 200)


def finish(request: HttpRequest, told: str, to: str, **named: object) -> HttpResponse:
    """Goes to the page that follows, which says what was done."""
    messages.success(request, told)
    return HttpResponseRedirect(resolve_url(to, **named))


def show_on(form: forms.Form, error: InvalidInput) -> None:
    """Puts what a service found wrong beside the fields that it names."""
    known = {name: text for name, text in error.fields.items() if name in form.fields}
    for name, text in known.items():
        form.add_error(name, text)
    if not known:
        form.add_error(None, error.detail)
