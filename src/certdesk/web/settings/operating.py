"""How the service is doing, for operators: its CAs, the work in the background, its version. No secrets."""

from datetime import datetime, timedelta
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from certdesk.services.system import runtime
from certdesk.services.system.operations import retry_job
from certdesk.services.validation.perspectives import shortfall
from certdesk.store.selectors.cas import newest_reports
from certdesk.store.selectors.operations import Backlog, operations
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.cas.views import look_of
from certdesk.web.forms import finish

_JOBS = {
    "notify_applicant": "Mail to an applicant",
    "alert_officers": "Mail to the officers",
    "mail_lapsing": "Mail about a domain that lapses",
    "mail_account": "Mail about an account",
    "mail_perspectives": "Mail to the operators about perspectives",
    "mail_findings": "Mail to the operators about reconciliation",
    "mail_sunset": "Mail about a validation method that ends",
    "mail_unproven": "Mail about a challenge that ends",
    "mail_vanished": "Mail about a missing persistent record",
    "mail_password_reset": "Mail to reset a password",
    "mail_challenge": "Mail that asks to confirm a domain",
    "recover_dead": "Upkeep: jobs of workers that ended",
    "clear_jobs": "Upkeep: old jobs",
    "alert_overdue": "Upkeep: requests that wait too long",
    "remind_lapsing": "Upkeep: validations that lapse",
    "warn_ahead": "Upkeep: validations that end in vain",
    "warn_operators": "Upkeep: perspectives that will be missing",
    "refresh_waiting": "Upkeep: what requests wait for",
    "clear_nonces": "Upkeep: old ACME nonces",
    "clear_orders": "Upkeep: old ACME orders",
}


@require_safe
def service(request: HttpRequest) -> HttpResponse:
    """Everything at a glance."""
    now = timezone.now()
    found = operations(actor=actor_of(request), now=now)
    rt = runtime.current()
    said = newest_reports(rt.backends)
    retrying, failed = found.jobs_retrying, found.jobs_failed
    context = {
        "crumbs": [("Home", "/"), ("Service", "")],
        "cas": [(one.title, name, *look_of(said.get(name))) for name, one in rt.backends.items()],
        "work": [
            _backlog("Issuances that are due", found.issuances, now),
            _backlog("Jobs that are due", found.jobs, now),
            (
                "Jobs to be tried again",
                retrying,
                None,
                *(("warn", "Something failed") if retrying else _NONE),
            ),
            ("Failed jobs", failed, None, *(("stop", "See below") if failed else _NONE)),
        ],
        "shortfall": shortfall(now=now),
        "stopped": rt.settings.issuing_stopped,
        "parts_stopped": rt.settings.parts_stopped,
        "failed": [(job, _JOBS.get(job.name, job.name)) for job in found.failed],
        "failed_count": found.jobs_failed,
        "at": times.at_second(now),
    }
    return render(request, "settings/service.html", context)


@require_POST
def retry(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Runs a failed job again."""
    actor, now = actor_of(request), timezone.now()
    operations(actor=actor, now=now)  # whoever may not see the jobs learns nothing of them
    retry_job(actor=actor, job_id=job_id, now=now)
    return finish(request, "The job is in the queue again.", "service")


#: What is due is taken up within half a second; a minute means that no worker runs, or it can't keep up.
_LATE = timedelta(minutes=1)
_NONE = ("ok", "None")


def _backlog(title: str, backlog: Backlog, now: datetime) -> tuple[str, int, timedelta | None, str, str]:
    age = now - backlog.oldest_at if backlog.oldest_at else None
    if age is not None and age > _LATE:
        return title, backlog.due, age, "warn", "Late: is a worker running?"
    return title, backlog.due, age, "ok", "On time"
