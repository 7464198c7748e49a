"""Requests, the decisions on them, and their history."""

from typing import ClassVar

from django.db import models

from certdesk.domain.requests import ENDED, State


class Request(models.Model):
    """What somebody asked for: an entitlement, decided once. Its id is the Request ID (R21), never reused.

    `state` is written by `certdesk.store.transitions.advance` alone.
    """

    organisation = models.ForeignKey("store.Organisation", on_delete=models.PROTECT, related_name="requests")
    requester = models.ForeignKey("store.User", on_delete=models.PROTECT, related_name="requests")
    #: The ACME account that asked, if one did; `requester` is then the owner of its credential.
    acme_account = models.ForeignKey(
        "store.AcmeAccount", on_delete=models.PROTECT, null=True, related_name="requests"
    )
    channel = models.CharField(max_length=16)
    profile_id = models.CharField(max_length=64)
    profile_version = models.PositiveIntegerField()
    csr_der = models.BinaryField()
    csr_sha256 = models.CharField(max_length=64)
    spki_sha256 = models.CharField(max_length=64)
    names = models.JSONField()
    common_names = models.CharField(max_length=253)  # the column of that name (R22): the first name
    subject = models.JSONField()  # what the CSR said, for people to read
    key = models.CharField(max_length=32)
    duration_years = models.PositiveSmallIntegerField()
    server_software = models.CharField(max_length=64)
    note = models.TextField(blank=True, default="")
    checks = models.JSONField()
    policy_digest = models.CharField(max_length=64)
    content_digest = models.CharField(max_length=64)
    idempotency_key = models.CharField(max_length=128)
    submission_digest = models.CharField(max_length=64)
    state = models.CharField(max_length=24, choices=[(s.value, s.name) for s in State])
    detail = models.TextField(blank=True, default="")  # the second line: what is happening now
    version = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True)  # when the reconcile tick looks at it; null: never
    attempts = models.PositiveIntegerField(default=0)
    search_text = models.TextField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="request_once_per_key", fields=["requester", "idempotency_key"]),
            models.CheckConstraint(
                name="request_state_known", condition=models.Q(state__in=[s.value for s in State])
            ),
            models.CheckConstraint(
                name="request_ended_is_not_due",
                condition=models.Q(next_attempt_at__isnull=True) | ~models.Q(state__in=sorted(ENDED)),
            ),
        ]
        indexes: ClassVar = [
            models.Index(name="request_newest", fields=["organisation", "-id"]),
            models.Index(name="request_by_state", fields=["organisation", "state", "-id"]),
            models.Index(name="request_by_name", fields=["organisation", "common_names", "id"]),
            models.Index(name="request_all_by_name", fields=["common_names", "id"]),
            models.Index(name="request_all_by_state", fields=["state", "-id"]),
            models.Index(
                name="request_due",
                fields=["next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
            ),
            models.Index(name="request_same_submission", fields=["requester", "submission_digest"]),
            models.Index(name="request_by_key", fields=["spki_sha256", "organisation", "id"]),
        ]


class Approval(models.Model):
    """A recorded yes or no: by a rule or by an officer, on exactly what `content_digest` pins down (W2)."""

    request = models.ForeignKey(Request, on_delete=models.PROTECT, related_name="approvals")
    verdict = models.CharField(max_length=8, choices=[("approve", "approve"), ("reject", "reject")])
    by = models.CharField(max_length=200)
    user = models.ForeignKey("store.User", on_delete=models.PROTECT, null=True, related_name="+")
    content_digest = models.CharField(max_length=64)
    policy_digest = models.CharField(max_length=64)
    waived = models.JSONField(default=list)  # codes of the manual reasons that the officer accepted
    note = models.TextField(blank=True, default="")
    at = models.DateTimeField()


class RequestEvent(models.Model):
    """One line of a request's history (R25)."""

    request = models.ForeignKey(Request, on_delete=models.PROTECT, related_name="events")
    at = models.DateTimeField()
    event = models.CharField(max_length=16)
    from_state = models.CharField(max_length=24, blank=True)
    to_state = models.CharField(max_length=24)
    actor = models.CharField(max_length=200)
    user = models.ForeignKey("store.User", on_delete=models.PROTECT, null=True, related_name="+")
    note = models.TextField(blank=True, default="")
    notified_at = models.DateTimeField(null=True)
