"""The audit log: insert-only and hash-chained."""

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
    previous_hash = models.CharField(max_length=64, unique=True)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        indexes: ClassVar = [models.Index(name="audit_by_object", fields=["object_type", "object_id", "seq"])]
