"""The portal as Django sees it: what it does when somebody signs in or changes a second factor."""

import logging

from django.apps import AppConfig

from certdesk.web.dcv.quiet import WithoutCodes


class WebConfig(AppConfig):
    """Connects the receivers once the models are there."""

    name = "certdesk.web"

    def ready(self) -> None:
        """Listens to Django's and allauth's signals."""
        from certdesk.web.account import receivers  # noqa: PLC0415 - models exist from here on

        receivers.connect()
        logging.getLogger("django.request").addFilter(WithoutCodes())
        logging.getLogger("django.security.csrf").addFilter(WithoutCodes())
