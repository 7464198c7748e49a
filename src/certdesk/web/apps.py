"""The portal as Django sees it: what it does when somebody signs in, and what it keeps out of the logs."""

import logging
from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest

from certdesk.web.dcv.quiet import WithoutCodes


class WebConfig(AppConfig):
    """Connects the portal to Django's signals and loggers."""

    name = "certdesk.web"

    def ready(self) -> None:
        """Notes when a session begins."""
        user_logged_in.connect(_signed_in, dispatch_uid="certdesk.signed_in")
        logging.getLogger("django.request").addFilter(WithoutCodes())
        logging.getLogger("django.security.csrf").addFilter(WithoutCodes())


def _signed_in(request: HttpRequest | None = None, **_rest: Any) -> None:
    from certdesk.web.account.middleware import start_session  # noqa: PLC0415 - models exist from here on

    if request is not None:
        start_session(request)
