"""What CAs say of themselves."""

from typing import ClassVar

from django.db import models


class CaReport(models.Model):
    """What a CA's own checks said when a worker asked, and how long that took. Kept for a day."""

    backend = models.CharField(max_length=64)
    at = models.DateTimeField()
    took_ms = models.PositiveIntegerField()
    checks = models.JSONField()  # of `domain.findings.as_record`

    class Meta:
        indexes: ClassVar = [models.Index(name="ca_report_newest", fields=["backend", "-id"])]
