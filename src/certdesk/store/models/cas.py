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


class Reconciliation(models.Model):
    """How far a CA was compared with us: `complete_at` is when the last whole look at its list began.

    Nobody else looks before `leased_until`. `problem` says why the last try came to no end.
    """

    backend = models.CharField(max_length=64, unique=True)
    next_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    complete_at = models.DateTimeField(null=True)
    since = models.DateTimeField(null=True)  # from when that look told of certificates
    listed = models.PositiveIntegerField(default=0)  # certificates of the last whole look
    adopted = models.PositiveIntegerField(default=0)
    left_out = models.PositiveIntegerField(default=0)  # found, and too many to be listed as findings
    tried_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True, default="")


class FindingKind(models.TextChoices):
    """What a CA and we do not agree on."""

    UNKNOWN = "unknown"  # the CA has a certificate that we do not have
    MISSING = "missing"  # we have one that the CA does not have
    REVOKED = "revoked"  # revoked at the CA, and valid here
    ATTEMPT = "attempt"  # we may have sent it, and the CA has issued nothing


class FindingState(models.TextChoices):
    """How a finding stands: OPEN → GONE, KEPT, SETTLED, or REVOKING → REVOKED or OPEN again."""

    OPEN = "open"
    REVOKING = "revoking"  # an operator wants it revoked; the CA is asked until it answers
    REVOKED = "revoked"
    KEPT = "kept"  # an operator has looked at it, and says why it may stay
    SETTLED = "settled"  # brought into line here by the CA's word
    GONE = "gone"  # no longer so


class Finding(models.Model):
    """One thing that a CA and we do not agree on. `about` tells it from others of its kind at this CA.

    It is opened once; `state` is moved by compare-and-swap alone.
    """

    backend = models.CharField(max_length=64)
    kind = models.CharField(max_length=8, choices=FindingKind.choices)
    about = models.CharField(max_length=255)
    state = models.CharField(max_length=8, choices=FindingState.choices, default=FindingState.OPEN)
    detail = models.TextField(blank=True, default="")  # what more there is to know, for people
    serial = models.CharField(max_length=40, blank=True, default="")  # hex, lower case
    issuer = models.CharField(max_length=512, blank=True, default="")
    names = models.JSONField(default=list)
    names_count = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    not_after = models.DateTimeField(null=True)
    der = models.BinaryField(null=True)
    request = models.ForeignKey(
        "store.Request", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    certificate = models.ForeignKey(
        "store.Certificate", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    issuance = models.ForeignKey(
        "store.Issuance", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    found_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    by = models.CharField(max_length=200, blank=True, default="")  # who decided
    note = models.TextField(blank=True, default="")  # and why
    reason = models.CharField(max_length=32, blank=True, default="")  # of a revocation, by RFC 5280 5.3.1
    revoked_at = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True)  # while it is being revoked

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="finding_once", fields=["backend", "kind", "about"]),
            models.CheckConstraint(
                name="finding_state_known", condition=models.Q(state__in=FindingState.values)
            ),
            models.CheckConstraint(
                name="finding_revoking_is_due",
                condition=models.Q(state=FindingState.REVOKING, next_attempt_at__isnull=False)
                | (~models.Q(state=FindingState.REVOKING) & models.Q(next_attempt_at__isnull=True)),
            ),
        ]
        indexes: ClassVar = [
            models.Index(name="finding_by_state", fields=["state", "-id"]),
            models.Index(
                name="finding_due",
                fields=["next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
            ),
            models.Index(
                name="finding_on_crl",
                fields=["backend"],
                condition=models.Q(state=FindingState.REVOKED),
            ),
        ]
