"""Editing the FAQ in the portal: list, edit with preview, order, hiding, history."""

from typing import ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certdesk.domain.actors import Actor
from certdesk.domain.errors import InvalidInput, NotAuthorized, StateConflict
from certdesk.services.system.faq import (
    MAX_QUESTION,
    FaqEntry,
    add_faq,
    change_faq,
    faq_history,
    get_faq,
    list_every_faq,
    may_edit_faq,
    move_faq,
    publish_faq,
)
from certdesk.services.system.text_input import MAX_TEXT
from certdesk.web.actor import actor_of
from certdesk.web.forms import UNPROCESSABLE, PortalForm, accepts, finish, show_on
from certdesk.web.help.contents import FAQ
from certdesk.web.help.markdown import render_answer
from certdesk.web.help.views import frame
from certdesk.web.help.words import words_of_service


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


CONFLICT = 409


@require_safe
def manage(request: HttpRequest) -> HttpResponse:
    """Every entry, hidden ones too, with what can be done to it."""
    return _list(request, actor_of(request))


def _list(request: HttpRequest, actor: Actor, *, changed: FaqEntry | None = None) -> HttpResponse:
    """The list; after a button that came too late, with the entry that was `changed` meanwhile."""
    entries = list_every_faq(actor=actor)
    context = {**frame(FAQ, last="Edit"), "entries": entries, "changed": changed}
    return render(request, "help/faq_manage.html", context, status=CONFLICT if changed else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Adds an entry."""
    actor = _editor(request)
    form = FaqForm(request.POST or None)
    if _saves(request) and accepts(
        form,
        lambda: add_faq(
            actor=actor,
            question=form.cleaned_data["question"],
            answer=form.cleaned_data["answer"],
            now=timezone.now(),
        ),
    ):
        return finish(request, "The entry is added at the end.", "help-faq-manage")
    return _form_page(request, form, heading="Add a question")


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, key: str) -> HttpResponse:
    """Changes an entry."""
    actor = _editor(request)
    entry = get_faq(actor=actor, key=key)
    initial = {"question": entry.question, "answer": entry.answer, "version": entry.version}
    form = FaqForm(request.POST or None, initial=initial)
    if _saves(request) and form.is_valid():
        try:
            change_faq(
                actor=actor,
                key=key,
                question=form.cleaned_data["question"],
                answer=form.cleaned_data["answer"],
                seen_version=form.cleaned_data["version"] or 0,
                now=timezone.now(),
            )
        except InvalidInput as error:
            show_on(form, error)
        except StateConflict:
            now_there = get_faq(actor=actor, key=key)
            form = FaqForm(initial={**form.cleaned_data, "version": now_there.version})
            return _form_page(request, form, heading="Edit a question", entry=now_there, stale=True)
        else:
            return finish(request, "The entry is saved.", "help-faq-manage")
    return _form_page(request, form, heading="Edit a question", entry=entry)


@require_POST
def act(request: HttpRequest, key: str) -> HttpResponse:
    """Moves an entry by one place, hides it or shows it."""
    actor = _editor(request)
    form = FaqActForm(request.POST)
    if not form.is_valid():
        raise InvalidInput("The button sent something that isn’t on offer. Open the list again.")
    way, version, now = form.cleaned_data["way"], form.cleaned_data["version"], timezone.now()
    try:
        if way in ("up", "down"):
            move_faq(actor=actor, key=key, up=way == "up", seen_version=version, now=now)
        else:
            publish_faq(actor=actor, key=key, published=way == "show", seen_version=version, now=now)
    except StateConflict:
        return _list(request, actor, changed=get_faq(actor=actor, key=key))
    return redirect(f"{reverse('help-faq-manage')}#{key}")


@require_safe
def history(request: HttpRequest, key: str) -> HttpResponse:
    """Every version of an entry, newest first."""
    words, found = words_of_service(), faq_history(actor=actor_of(request), key=key)
    versions = [(entry, render_answer(entry.answer, words=words).html) for entry in found]
    context = {**frame(FAQ, last="History"), "versions": versions, "key": key}
    return render(request, "help/faq_history.html", context)


def _form_page(
    request: HttpRequest, form: FaqForm, *, heading: str, entry: FaqEntry | None = None, stale: bool = False
) -> HttpResponse:
    """The form; `stale`: the entry has become another one since it was filled in, and is shown beside it."""
    previewed = request.method == "POST" and not form.errors and not stale
    words = words_of_service()
    context = {
        **frame(FAQ, last=heading),
        "heading": heading,
        "form": form,
        "entry": entry,
        "stale": stale,
        "current": render_answer(entry.answer, words=words).html if entry and stale else "",
        "preview_title": words.in_text(form.cleaned_data["question"]) if previewed else "",
        "preview": render_answer(form.cleaned_data["answer"], words=words).html if previewed else "",
    }
    status = CONFLICT if stale else UNPROCESSABLE if form.errors else 200
    return render(request, "help/faq_edit.html", context, status=status)


def _saves(request: HttpRequest) -> bool:
    """Whether the form was sent to be saved; with `preview` it only comes back with a picture of itself."""
    return request.method == "POST" and "preview" not in request.POST


def _editor(request: HttpRequest) -> Actor:
    actor = actor_of(request)
    if not may_edit_faq(actor):
        raise NotAuthorized("Only officers and operators edit the FAQ.")
    return actor
