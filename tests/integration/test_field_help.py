"""Every field of every form has a help entry of its own, and the entry is there."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from django import forms
from django.urls import get_resolver

from certdesk.web.forms import PortalForm
from certdesk.web.help import contents
from certdesk.web.help.documents import document
from certdesk.web.help.faq import FaqActForm
from certdesk.web.help.words import words_of_service

pytestmark = pytest.mark.django_db

TEMPLATES = Path(contents.__file__).parents[1] / "templates"
INCLUDE = re.compile(r'{%\s*include\s+"parts/field\.html"(.*?)%}')
BY_HAND = re.compile(r'<(?:input|select|textarea)[^>]*\bid="(id_\w+)"[^>]*>')
ENTRY = re.compile(r"/help/([a-z-]+)/#([a-z0-9-]+)")
#: Buttons send it; no person fills it in.
NEVER_SHOWN = (FaqActForm,)


def subclasses(parent: type[forms.BaseForm]) -> Iterator[type[forms.BaseForm]]:
    """All classes below one, once the portal's addresses have imported every form."""
    assert get_resolver().url_patterns
    for child in parent.__subclasses__():
        yield child
        yield from subclasses(child)


FORMS = sorted(set(subclasses(PortalForm)), key=lambda form: form.__qualname__)


def entries() -> set[str]:
    """The address of every help entry that there is."""
    words = words_of_service()
    return {
        f"/help/{slug}/#{section.anchor}"
        for slug in contents.SLUGS
        for section in document(slug, words=words).sections
    }


def fields_of_forms() -> Iterator[tuple[str, str, str]]:
    """(Form, field, entry) of the portal's forms; hidden fields are none."""
    for form in FORMS:
        assert issubclass(form, PortalForm)
        for name, field in form.base_fields.items():
            if not field.widget.is_hidden:
                yield form.__name__, name, form.help_entries.get(name, "")


def fields_of_templates() -> Iterator[tuple[str, str, str]]:
    """(Template, field, entry) where the template names the entry: allauth's forms.

    Its own element is left out: it is what a page of allauth's without a template of ours would use.
    """
    for path in sorted(set(TEMPLATES.rglob("*.html")) - set(TEMPLATES.rglob("elements/fields.html"))):
        for arguments in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if found := re.search(r'help="([^"]*)"', arguments):
                field = re.search(r"field=(?:\w+\.)*(\w+)", arguments)
                assert field, f"{path.name}: {arguments}"
                yield path.name, field[1], found[1]


def test_every_form_of_the_portal_is_a_portal_form() -> None:
    strangers = [
        form.__qualname__
        for form in set(subclasses(forms.Form))
        if form.__module__.startswith("certdesk.web.")
        and not issubclass(form, PortalForm)
        and form not in NEVER_SHOWN
        and not any(parent.__module__.startswith("allauth.") for parent in form.__mro__)  # templates know
    ]
    assert not strangers


def test_every_field_of_every_form_has_an_entry_that_is_there() -> None:
    known, found = entries(), [*fields_of_forms(), *fields_of_templates()]
    assert len(found) > 50
    assert not [(where, name, entry) for where, name, entry in found if entry not in known]


def test_an_entry_is_about_one_field() -> None:
    """The same field in several forms may share one; two fields never do, in no form and in no two."""
    about: dict[str, set[str]] = defaultdict(set)
    for _where, name, entry in [*fields_of_forms(), *fields_of_templates()]:
        about[entry].add(name)
    assert not {entry: names for entry, names in about.items() if len(names) > 1}


def test_account_pages_name_the_entry_of_every_field() -> None:
    """Their forms are allauth's and know none."""
    for folder in ("account", "mfa"):
        for path in sorted((TEMPLATES / folder).rglob("*.html")):
            for arguments in INCLUDE.findall(path.read_text(encoding="utf-8")):
                if "field=form." in arguments:
                    assert ENTRY.search(arguments), f"{path.name}: {arguments}"


def test_fields_written_by_hand_stand_beside_a_link_to_their_entry() -> None:
    known = entries()
    for path in sorted(TEMPLATES.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        for field in BY_HAND.findall(text):
            label = text.rindex(f'<label for="{field}"', 0, text.index(f'id="{field}"'))
            link = ENTRY.search(text, label, text.index(f'id="{field}"'))
            assert link, f"{path.name}: {field}"
            assert link[0] in known, f"{path.name}: {link[0]}"
