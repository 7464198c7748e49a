"""Challenges that were sent and not yet proven: who was asked, for what, until when."""

from typing import ClassVar

from django.db import models


class ChallengeOutcome(models.TextChoices):
    """How a challenge stands. OPEN is the only one that may still change."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    REPLACED = "replaced"


class EmailChallenge(models.Model):
    """A confirmation asked by mail (R4). The random value itself is never stored, only its SHA-256 (V1)."""

    domain = models.ForeignKey("store.Domain", on_delete=models.PROTECT, related_name="challenges")
    adn = models.CharField(max_length=253)
    mailbox = models.CharField(max_length=320)
    digest = models.CharField(max_length=64, unique=True)
    asked_by = models.ForeignKey("store.User", on_delete=models.PROTECT, related_name="+")
    outcome = models.CharField(max_length=10, choices=ChallengeOutcome.choices, default=ChallengeOutcome.OPEN)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="challenge_one_open_per_mailbox",
                fields=["domain", "mailbox"],
                condition=models.Q(outcome=ChallengeOutcome.OPEN),
            ),
            models.CheckConstraint(
                name="challenge_ends_after_it_starts",
                condition=models.Q(expires_at__gt=models.F("created_at")),
            ),
        ]
