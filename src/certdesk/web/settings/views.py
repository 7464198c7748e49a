"""The operator's settings: look, change, put back to the default, history."""

from dataclasses import asdict
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from certdesk.domain.actors import Action, Actor, can, require
from certdesk.domain.errors import InvalidInput, StateConflict
from certdesk.domain.settings import NAMES, ServiceSettings, changed
from certdesk.services.system import runtime
from certdesk.services.system.settings import change_settings, default_settings, reset_setting
from certdesk.store.selectors.settings import SettingsChange, latest_settings, settings_history
from certdesk.web.actor import actor_of
from certdesk.web.forms import show_on
from certdesk.web.settings.forms import (
    GROUPS,
    SAFE_PASSWORD_LENGTH,
    TITLES,
    SettingsForm,
    initial_values,
    told,
)

CONFLICT, UNPROCESSABLE = 409, 422


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: HttpRequest) -> HttpResponse:
    """Shows the settings to operators and auditors; an operator changes them."""
    actor, now = actor_of(request), timezone.now()
    history = settings_history(actor=actor)
    if request.method != "POST":
        return _render(request, actor, history, now=now)
    require(actor, Action.SERVICE_OPERATE, "Only an operator changes settings.")
    form = SettingsForm(request.POST, now=now)
    if form.is_valid():
        try:
            change_settings(
                actor=actor, values=form.values(), seen_version=form.cleaned_data["version"], now=now
            )
        except InvalidInput as error:
            show_on(form, error)
        except StateConflict:
            return _stale(request, actor, form, now=now)
        else:
            messages.success(request, "The settings are in force; other processes follow within a second.")
            return redirect("settings")
    return _render(request, actor, history, now=now, form=form)


@require_POST
def reset(request: HttpRequest) -> HttpResponse:
    """Puts one setting back to its default."""
    actor = actor_of(request)
    settings_history(actor=actor)  # whoever may not see the settings learns nothing of them
    name, seen = request.POST.get("name", ""), request.POST.get("version", "")
    require(actor, Action.SERVICE_OPERATE, "Only an operator changes settings.")
    if name not in NAMES or not (seen.isascii() and seen.isdigit()):
        raise StateConflict("This page is out of date. Open the settings again.")
    try:
        after = reset_setting(actor=actor, name=name, seen_version=int(seen), now=timezone.now())
    except StateConflict:
        return _render(
            request,
            actor,
            settings_history(actor=actor),
            now=timezone.now(),
            since=int(seen),
            status=CONFLICT,
        )
    messages.success(request, f"{TITLES[name]} is back to its default: {told(name, asdict(after)[name])}.")
    return redirect("settings")


def _stale(request: HttpRequest, actor: Actor, form: SettingsForm, *, now: datetime) -> HttpResponse:
    """The form after somebody else's change: it keeps what this reader changed, and follows the rest."""
    seen, history = form.cleaned_data["version"], settings_history(actor=actor)
    version, values = latest_settings()
    current = runtime.settings_from(values, now=now)
    before: dict[str, object] = {}
    for row in history:  # the newest first
        if row.version > seen:
            before |= {name: old for name, (old, _new) in row.changed.items()}
    try:
        typed = asdict(changed(current, form.values(), now=now))
    except InvalidInput as error:
        show_on(form, error)
    else:
        left = [name for name, old in before.items() if told(name, typed[name]) == told(name, old)]
        merged = typed | {name: getattr(current, name) for name in left}
        form = SettingsForm(initial=initial_values(ServiceSettings(**merged), version=version), now=now)
    return _render(request, actor, history, now=now, form=form, since=seen, status=CONFLICT)


def _render(
    request: HttpRequest,
    actor: Actor,
    history: list[SettingsChange],
    *,
    now: datetime,
    form: SettingsForm | None = None,
    since: int | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page; after a form that was filled in on version `since`, with what has changed."""
    version, values = latest_settings()
    current, default = runtime.settings_from(values, now=now), default_settings(now=now)
    form = form or SettingsForm(initial=initial_values(current, version=version), now=now)
    fields = {name: _field(name, form, current, default) for name in NAMES}
    context = {
        "crumbs": [("Home", "/"), ("Settings", "")],
        "form": form,
        "groups": [(key, title, [fields[name] for name in names]) for key, title, names in GROUPS],
        "may_change": can(actor, Action.SERVICE_OPERATE),
        "version": version,
        "weak": current.password_min_length < SAFE_PASSWORD_LENGTH,
        "weak_length": told("password_min_length", current.password_min_length),
        "safe_length": SAFE_PASSWORD_LENGTH,
        "history": [_change(row) for row in history],
        "stale": [] if since is None else [_change(row) for row in history if row.version > since],
    }
    return render(request, "settings/settings.html", context, status=UNPROCESSABLE if form.errors else status)


def _field(
    name: str, form: SettingsForm, current: ServiceSettings, default: ServiceSettings
) -> dict[str, object]:
    """A setting on the page: its form field, the value in force, and the default."""
    value, usual = getattr(current, name), getattr(default, name)
    return {
        "name": name,
        "title": TITLES[name],
        "field": form[name],
        "in_force": told(name, value),
        "default": told(name, usual),
        "is_default": value == usual,
    }


def _change(row: SettingsChange) -> tuple[SettingsChange, list[tuple[str, str, str]]]:
    """A change, and what was changed: title, before, after."""
    return row, [
        (TITLES.get(n, n), told(n, before), told(n, after)) for n, (before, after) in row.changed.items()
    ]
