"""Organisations, their domains, and the proofs that they control them."""

from typing import ClassVar

from django.db import models

from certdesk.domain.validation.evidence import Method


class Organisation(models.Model):
    """An organisation whose staff ask for certificates. `vetted_at` is when the RA checked that it exists."""

    slug = models.SlugField(max_length=63, unique=True)
    legal_name = models.CharField(max_length=64)  # X.520 ub-organization-name
    country = models.CharField(max_length=2, default="GB")
    locality = models.CharField(max_length=128, blank=True, default="")
    vetted_at = models.DateTimeField(null=True)
    first_approved_at = models.DateTimeField(null=True)  # set once, under the row's lock
    ra_stopped_at = models.DateTimeField(null=True)  # when the RA last stopped a request; null: never
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.legal_name


class Domain(models.Model):
    """An authorisation domain name of one organisation. Two organisations may hold one domain."""

    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="domains", db_index=False
    )
    adn = models.CharField(max_length=253)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="domain_once_per_organisation", fields=["organisation", "adn"])
        ]


class ValidationRecord(models.Model):
    """Evidence that an organisation controls a domain. Rows are inserted and never deleted.

    Once, somebody may end a row: `expires_at` comes forward to that moment, with who and why beside it.
    """

    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="validations", db_index=False)
    method = models.CharField(max_length=32, choices=[(m.value, m.name) for m in Method])
    source = models.CharField(max_length=64)  # BR section or seed row
    evidence = models.JSONField()  # what was asked, of whom, what came back
    validated_by = models.ForeignKey(
        "store.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    request = models.ForeignKey(
        "store.Request", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    validated_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    ended_by = models.ForeignKey(
        "store.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    end_reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        indexes: ClassVar = [models.Index(name="validation_fresh", fields=["domain", "-expires_at"])]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="validation_ends_after_it_starts",
                condition=models.Q(expires_at__gt=models.F("validated_at")) | ~models.Q(end_reason=""),
            ),
            models.CheckConstraint(
                name="validation_ended_by_somebody_for_a_reason",
                condition=models.Q(ended_by__isnull=True, end_reason="")
                | (models.Q(ended_by__isnull=False) & ~models.Q(end_reason="")),
            ),
        ]
