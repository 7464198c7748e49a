"""Editing the FAQ in the portal: list, edit with preview, order, hiding, history (R2)."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certdesk.domain.actors import Actor
from certdesk.domain.errors import InvalidInput, NotAuthorized
from certdesk.services.help import (
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
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.forms import show_on
from certdesk.web.help.contents import FAQ
from certdesk.web.help.forms import FaqActForm, FaqForm
from certdesk.web.help.markdown import render_answer
from certdesk.web.help.views import frame
from certdesk.web.help.words import words_of_service

UNPROCESSABLE = 422


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """An entry in the editor's list."""

    entry: FaqEntry
    changed: str
    first: bool
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version in an entry's history."""

    entry: FaqEntry
    title: str
    at: str
    html: SafeString


@require_safe
def manage(request: HttpRequest) -> HttpResponse:
    """Every entry, hidden ones too, with what can be done to it."""
    entries = list_every_faq(actor=actor_of(request))
    rows = [
        EntryRow(entry=entry, changed=_changed(entry), first=entry is entries[0], last=entry is entries[-1])
        for entry in entries
    ]
    return render(request, "help/faq_manage.html", {**frame(FAQ, last="Edit"), "rows": rows})


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Adds an entry."""
    actor = _editor(request)
    form = FaqForm(request.POST or None)
    if _saves(request) and form.is_valid():
        try:
            add_faq(
                actor=actor,
                question=form.cleaned_data["question"],
                answer=form.cleaned_data["answer"],
                now=timezone.now(),
            )
        except InvalidInput as error:
            show_on(form, error)
        else:
            messages.success(request, "The entry is added at the end.")
            return redirect("help-faq-manage")
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
        else:
            messages.success(request, "The entry is saved.")
            return redirect("help-faq-manage")
    return _form_page(request, form, heading="Edit a question", entry=entry)


@require_POST
def act(request: HttpRequest, key: str) -> HttpResponse:
    """Moves an entry by one place, hides it or shows it."""
    actor = _editor(request)
    form = FaqActForm(request.POST)
    if not form.is_valid():
        raise InvalidInput("The button sent something that isn’t on offer. Open the list again.")
    way, version, now = form.cleaned_data["way"], form.cleaned_data["version"], timezone.now()
    if way in ("up", "down"):
        move_faq(actor=actor, key=key, up=way == "up", seen_version=version, now=now)
    else:
        publish_faq(actor=actor, key=key, published=way == "show", seen_version=version, now=now)
    return redirect(f"{reverse('help-faq-manage')}#{key}")


@require_safe
def history(request: HttpRequest, key: str) -> HttpResponse:
    """Every version of an entry, newest first."""
    words = words_of_service()
    versions = [
        VersionRow(
            entry=entry,
            title=f"Version {entry.version}" if entry.version else "As it came with Certdesk",
            at=times.at(entry.at) if entry.at else "",
            html=render_answer(entry.answer, words=words).html,
        )
        for entry in faq_history(actor=actor_of(request), key=key)
    ]
    context = {**frame(FAQ, last="History"), "versions": versions, "key": key}
    return render(request, "help/faq_history.html", context)


def _form_page(
    request: HttpRequest, form: FaqForm, *, heading: str, entry: FaqEntry | None = None
) -> HttpResponse:
    previewed = request.method == "POST" and not form.errors
    words = words_of_service()
    context = {
        **frame(FAQ, last=heading),
        "heading": heading,
        "form": form,
        "key": entry.key if entry else "",
        "preview_title": words.in_text(form.cleaned_data["question"]) if previewed else "",
        "preview": render_answer(form.cleaned_data["answer"], words=words).html if previewed else "",
    }
    return render(request, "help/faq_edit.html", context, status=UNPROCESSABLE if form.errors else 200)


def _saves(request: HttpRequest) -> bool:
    """Whether the form was sent to be saved; with `preview` it only comes back with a picture of itself."""
    return request.method == "POST" and "preview" not in request.POST


def _changed(entry: FaqEntry) -> str:
    return f"{entry.by}, {times.day(entry.at)}" if entry.at else "As it came with Certdesk"


def _editor(request: HttpRequest) -> Actor:
    actor = actor_of(request)
    if not may_edit_faq(actor):
        raise NotAuthorized("Only officers and operators edit the FAQ.")
    return actor
