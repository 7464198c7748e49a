"""The page of CAs: what each said of itself when a worker asked last. No CA is asked here."""

from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.cas import UNLIMITED
from certdesk.domain.issuing.lint_shapes import SHAPES, How
from certdesk.domain.policy.in_force import USUAL_KEY_TYPES
from certdesk.domain.rules import RuleId, in_force
from certdesk.services.system import runtime
from certdesk.store.selectors.cas import CaSaid, CaSeen, cas_gone, cas_seen
from certdesk.store.selectors.findings import count_waiting
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.requests.rows import check_list

#: Workers ask every minute. What is older says that none runs, or that it can't keep up.
_STALE = timedelta(minutes=5)
#: The drawing: its own grid, a bar for each certificate.
_WIDTH, _FLOOR, _STEP, _BAR = 900, 90, 15, 11
_LINT = "backend.lint"
_LOOKS = {
    Verdict.PASS: ("ok", "Working"),
    Verdict.WARN: ("warn", "Working, with a warning"),
    Verdict.REFUSE: ("stop", "Can’t be used"),
}


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Every CA that is set up."""
    now, rt = timezone.now(), runtime.current()
    actor, names = actor_of(request), list(rt.backends)
    seen = cas_seen(actor=actor, names=names)
    context = {
        "crumbs": [("Home", "/"), ("Service", "/service/"), ("CAs", "")],
        "cas": [_shown(one, now=now) for one in seen],
        "findings": count_waiting(actor=actor),
        "gone": cas_gone(actor=actor, names=names),
        "at": times.at_second(now),
    }
    return render(request, "cas/list.html", context)


def look_of(said: CaSaid | None) -> tuple[str, str]:
    """How a CA is, as a pill's look and word."""
    if said is None:
        return "warn", "Not checked yet"
    return _LOOKS.get(worst(said.checks), ("warn", "Needs review")) if said.checks else ("ok", "Working")


def _shown(one: CaSeen, *, now: datetime) -> dict[str, Any]:
    rt, said = runtime.current(), one.said
    checks, stopped = said.checks if said else (), rt.settings.why_stopped(ca=one.name)
    found = check_list(check for check in checks if check.code != _LINT)
    limits = rt.limits.get(one.name, UNLIMITED)
    public = in_force(RuleId.PUBLIC_VALIDITY, now).value
    seconds = [took.total_seconds() for _at, took in one.took]
    asking = [kind for kind in rt.profiles.values() if one.name in rt.cas_of(kind)]
    wanted = {key for kind in asking for key in kind.key_types} or set(USUAL_KEY_TYPES)
    return {
        "seen": one,
        "title": rt.backends[one.name].title,
        "pill": ("stop", "Stopped") if stopped else look_of(said),
        "stopped": stopped,
        "stale": said is not None and now - said.at > _STALE,
        # Counted by each process: of the worker that asked, it says nothing about what people were shown.
        "linted": [SHAPES.counts[how] for how in How] if any(one.code == _LINT for one in checks) else None,
        "checks": [*found["problem_checks"], *found["passed_checks"]],
        "profiles": [(kind.title, rt.cas_of(kind).index(one.name) == 0) for kind in asking],
        "limits": [
            *([f"at most {limits.max_days} days"] if limits.max_days else []),
            *([f"public: at most {public} days now"] if limits.public else []),
        ],
        "keys": ", ".join(key for key in limits.key_types if key in wanted),
        "usual": _spoken(median(seconds)) if seconds else "",
        "slowest": _spoken(max(seconds)) if seconds else "",
        "bars": _bars(seconds),
        "width": _WIDTH,
        "floor": _FLOOR,
        "bar": _BAR,
    }


def _bars(seconds: list[float]) -> list[tuple[int, float, float]]:
    """For each certificate where its bar is, where it begins and how high it is; the slowest fills it."""
    most = max(seconds, default=0) or 1
    heights = [max(2.0, round((_FLOOR - 10) * one / most, 1)) for one in seconds]
    return [(n * _STEP, round(_FLOOR - height, 1), height) for n, height in enumerate(heights)]


def _spoken(seconds: float) -> str:
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    return f"{seconds:.1f} seconds" if seconds < 60 else times.lasted(timedelta(seconds=seconds))  # noqa: PLR2004 - a minute
