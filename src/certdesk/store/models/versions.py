"""Tables that are only added to: the chained audit log, versions of settings and of the FAQ's entries."""

from typing import ClassVar

from django.db import models


class AuditEvent(models.Model):
    """One action by somebody. `seq` has no gaps; `hash` covers the row and the hash before it."""

    seq = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    user_id = models.BigIntegerField(null=True)
    action = models.CharField(max_length=64)
    object_type = models.CharField(max_length=32)
    object_id = models.CharField(max_length=64)
    organisation_id = models.BigIntegerField(null=True)
    data = models.JSONField()
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(name="audit_never_forks", fields=["previous_hash"])]
        indexes: ClassVar = [models.Index(name="audit_by_object", fields=["object_type", "object_id", "seq"])]


class SettingsVersion(models.Model):
    """All settings as of one change; `previous` makes two changes of the same version collide."""

    previous = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="next")
    values = models.JSONField()
    changed = models.JSONField()  # name → [before, after]
    by = models.CharField(max_length=200)
    user = models.ForeignKey("store.User", on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField()

    objects: ClassVar[models.Manager["SettingsVersion"]] = models.Manager()


class FaqVersion(models.Model):
    """One version of one entry. `key` names the entry and its anchor; `previous` makes edits collide.

    An entry that ships has no row until somebody changes it; its first row then has number 1 all the same.
    """

    key = models.SlugField(max_length=80, db_index=False)
    number = models.PositiveIntegerField()
    previous = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="next")
    question = models.CharField(max_length=200)
    answer = models.TextField()  # Markdown
    position = models.IntegerField()
    is_published = models.BooleanField()
    by = models.CharField(max_length=200)
    user = models.ForeignKey("store.User", on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="faq_version_once", fields=["key", "number"]),
            models.CheckConstraint(name="faq_number_starts_at_one", condition=models.Q(number__gte=1)),
        ]
