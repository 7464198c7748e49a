"""The app's registration with Django."""

from django.apps import AppConfig


class StoreConfig(AppConfig):
    """Certdesk's tables."""

    name = "certdesk.store"
    label = "store"
    default_auto_field = "django.db.models.BigAutoField"
