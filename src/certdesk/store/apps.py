"""The app's registration with Django."""

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate

from certdesk.store.driver import keep_statements
from certdesk.store.search import ensure_search_index


class StoreConfig(AppConfig):
    """Certdesk's tables."""

    name = "certdesk.store"
    label = "store"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Looks after the search index whenever the tables were migrated, and after new connections."""
        connection_created.connect(keep_statements, dispatch_uid="certdesk.statements")
        post_migrate.connect(ensure_search_index, sender=self, dispatch_uid="certdesk.search")
