"""The versions of what an operator has changed in the portal: insert-only, so the history is the table."""

from typing import ClassVar

from django.db import models


class SettingsVersion(models.Model):
    """All settings as of one change; `previous` makes two changes of the same version collide."""

    previous = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="next")
    values = models.JSONField()
    changed = models.JSONField()  # name → [before, after]
    by = models.CharField(max_length=200)
    user = models.ForeignKey("store.User", on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField()

    objects: ClassVar[models.Manager["SettingsVersion"]] = models.Manager()
