"""Forms about a request that has changed since their page was made: what changed, and what was typed."""

from collections.abc import Mapping

from django.http import HttpRequest

from certdesk.domain.errors import InvalidInput, StateConflict
from certdesk.store.selectors.requests import RequestDetail
from certdesk.web.requests import rows

CONFLICT = 409


def seen_version(request: HttpRequest) -> int:
    """The request's version on the page that was decided on. Raises InvalidInput for a form without it."""
    text = request.POST.get("version", "")
    if not (text.isascii() and text.isdecimal()):
        raise InvalidInput("The form is incomplete. Open the request again.")
    return int(text)


def stale_context(
    request: HttpRequest,
    detail: RequestDetail,
    conflict: StateConflict,
    *,
    ra: str,
    typed: Mapping[str, str],
    differences: str = "",
) -> dict[str, object]:
    """The context of `requests/stale.html`.

    The form says how many lines the history had on its page, so that the rest is new; without that, the
    newest is shown. `differences` are further ones, and `typed` what was written, by its label.
    """
    history, seen = rows.history(detail, ra=ra), request.POST.get("lines", "")
    new = len(history) - int(seen) if seen.isascii() and seen.isdecimal() else 1
    return {
        "stale": conflict.detail,
        "stale_events": history[: max(new, 0)],
        "stale_differences": differences,
        "typed": [(label, text) for label, text in typed.items() if text.strip()],
    }
