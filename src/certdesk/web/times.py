"""Times as people read them: with the zone, day before month; and how long something has taken."""

from datetime import date, datetime, time, timedelta

from django.utils import timezone

MINUTE, HOUR, DAY = 60, 3600, 86400


def at(moment: datetime) -> str:
    """Such as `23 Nov 2026, 14:12 GMT`."""
    local = timezone.localtime(moment)
    return f"{local.day} {local:%b %Y, %H:%M %Z}"


def at_second(moment: datetime) -> str:
    """Such as `23 Nov 2026, 14:12:05 GMT`."""
    local = timezone.localtime(moment)
    return f"{local.day} {local:%b %Y, %H:%M:%S %Z}"


def day(moment: datetime) -> str:
    """Such as `23 Nov 2026`."""
    local = timezone.localtime(moment)
    return f"{local.day} {local:%b %Y}"


def plain_day(iso_date: str) -> str:
    """An ISO date such as `15 Nov 2024`; nothing for nothing."""
    if not iso_date:
        return ""
    found = date.fromisoformat(iso_date)
    return f"{found.day} {found:%b %Y}"


def until(moment: datetime) -> str:
    """The last day of something that ends at midnight, for a form asked for it; else the very time."""
    if timezone.localtime(moment).time() == time():
        return f"the end of {day(moment - timedelta(microseconds=1))}"
    return at(moment)


def iso(moment: datetime) -> str:
    """For `<time datetime>`: RFC 3339 in UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def lasted(duration: timedelta) -> str:
    """A duration in its largest sensible unit, such as `3 hours`."""
    seconds = max(0, int(duration.total_seconds()))
    for size, word in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds >= size:
            return counted(seconds // size, word)
    return counted(seconds, "second")


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago something was used last, such as `3 hours ago`."""
    return f"{lasted(now - moment)} ago" if moment else "Never"


def days_left(until: datetime, now: datetime) -> str:
    """How long something still counts, or how long it has not."""
    return f"{lasted(until - now)} left" if until > now else f"{lasted(now - until)} ago"


def counted(number: int, word: str) -> str:
    """A number with its noun, such as `1 year` or `3 years`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
