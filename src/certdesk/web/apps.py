"""The portal as Django sees it: what it does when somebody signs in or changes a second factor."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Connects the receivers once the models are there."""

    name = "certdesk.web"

    def ready(self) -> None:
        """Listens to Django's and allauth's signals."""
        from certdesk.web.account import receivers  # noqa: PLC0415 - models exist from here on

        receivers.connect()
