"""Challenges that were sent and not yet proven, and what CAA records said of the names asked for."""

from typing import ClassVar

from django.db import models


class ChallengeOutcome(models.TextChoices):
    """How a challenge stands. OPEN is the only one that may still change."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    REPLACED = "replaced"


class EmailChallenge(models.Model):
    """A confirmation asked by mail. The random value itself is never stored, only its SHA-256."""

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


class CaaCheck(models.Model):
    """What the CAA records of one name said when they were read. Rows are inserted, never changed.

    `question` is who wanted to certify: issuers, account, validation method. `evidence` has every look-up.
    """

    organisation = models.ForeignKey(
        "store.Organisation", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    request = models.ForeignKey(
        "store.Request", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    # No constraint: an order that comes to nothing is deleted after a while, and its number stays here.
    order = models.ForeignKey(
        "store.AcmeOrder", on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    name = models.CharField(max_length=253)
    allowed = models.BooleanField()
    code = models.CharField(max_length=64)
    found_at = models.CharField(max_length=253, blank=True)  # whose records decided; empty where none exist
    records = models.JSONField()
    server = models.CharField(max_length=64, blank=True)  # who answered last
    question = models.JSONField()
    evidence = models.JSONField()
    at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(
                name="caa_newest", fields=["request", "-at"], condition=models.Q(request__isnull=False)
            ),
            models.Index(name="caa_by_name", fields=["organisation", "name", "id"]),
        ]
