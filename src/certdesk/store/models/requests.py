"""Requests, the decisions on them, and their history."""

from typing import ClassVar

from django.db import models

from certdesk.domain.issuing.states import State, Status


class Request(models.Model):
    """What somebody asked for and what was decided about it, once. Its id is the Request ID, never reused.

    It holds no CSR: each certificate under it has an `Issuance` of its own. `state`, and the `status` that
    follows from it, are written by `certdesk.store.transitions` alone.
    """

    organisation = models.ForeignKey(
        "store.Organisation", on_delete=models.PROTECT, related_name="requests", db_index=False
    )
    requester = models.ForeignKey(
        "store.User", on_delete=models.PROTECT, related_name="requests", db_index=False
    )
    #: The ACME account that asked, if one did; `requester` is then the owner of its credential.
    acme_account = models.ForeignKey(
        "store.AcmeAccount", on_delete=models.PROTECT, null=True, related_name="requests", db_index=False
    )
    channel = models.CharField(max_length=16)
    profile_id = models.CharField(max_length=64)
    profile_version = models.PositiveIntegerField()
    names = models.JSONField()
    common_names = models.CharField(max_length=253)  # the first name: the list's column of that name
    duration_years = models.PositiveSmallIntegerField()
    #: The term, counted from the approval; null until there is one.
    term_starts_at = models.DateTimeField(null=True)
    term_ends_at = models.DateTimeField(null=True)
    server_software = models.CharField(max_length=64)
    note = models.TextField(blank=True, default="")
    checks = models.JSONField()
    policy_digest = models.CharField(max_length=64)
    content_digest = models.CharField(max_length=64)
    idempotency_key = models.CharField(max_length=128)
    submission_digest = models.CharField(max_length=64)
    state = models.CharField(max_length=24, choices=[(s.value, s.name) for s in State])
    status = models.CharField(max_length=24, choices=[(s.value, s.name) for s in Status])
    detail = models.TextField(blank=True, default="")  # the second line: what is happening now
    #: It waits for a validation that nobody has been asked for: its people have to choose a mailbox.
    action_needed = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    search_text = models.TextField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="request_once_per_key", fields=["requester", "idempotency_key"]),
            models.CheckConstraint(
                name="request_state_known", condition=models.Q(state__in=[s.value for s in State])
            ),
            models.CheckConstraint(
                name="request_status_known", condition=models.Q(status__in=[s.value for s in Status])
            ),
            models.CheckConstraint(
                name="request_approved_has_a_term",
                condition=models.Q(term_ends_at__isnull=False) | ~models.Q(state=State.APPROVED),
            ),
        ]
        indexes: ClassVar = [
            models.Index(name="request_newest", fields=["organisation", "-id"]),
            models.Index(name="request_by_status", fields=["organisation", "status", "-id"]),
            models.Index(name="request_by_name", fields=["organisation", "common_names", "id"]),
            models.Index(name="request_all_by_name", fields=["common_names", "id"]),
            models.Index(name="request_all_by_status", fields=["status", "-id"]),
            models.Index(
                name="request_action_needed",
                fields=["organisation", "-id"],
                condition=models.Q(action_needed=True),
            ),
            models.Index(
                name="request_ended", fields=["organisation", "-id"], condition=models.Q(state=State.ENDED)
            ),
            # Entitlements without a certificate, which the next order of their names looks through.
            models.Index(
                name="request_fresh",
                fields=["organisation", "profile_id", "-id"],
                condition=models.Q(channel="acme", state=State.APPROVED) & ~models.Q(status=Status.ISSUED),
            ),
            models.Index(name="request_same_submission", fields=["requester", "submission_digest"]),
        ]


class StoppedName(models.Model):
    """A name of a request that the RA has stopped: the next request for it waits for an officer.

    An officer's approval of one with that name deletes the row.
    """

    organisation = models.ForeignKey("store.Organisation", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=253)
    request = models.ForeignKey(Request, on_delete=models.PROTECT, related_name="+")  # stopped last

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="stopped_name_once", fields=["organisation", "name"])
        ]


class Approval(models.Model):
    """A recorded yes or no, by policy or by an officer, on exactly what `content_digest` pins down."""

    request = models.ForeignKey(Request, on_delete=models.PROTECT, related_name="approvals")
    verdict = models.CharField(max_length=8, choices=[("approve", "approve"), ("reject", "reject")])
    by = models.CharField(max_length=200)
    user = models.ForeignKey(
        "store.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    content_digest = models.CharField(max_length=64)
    policy_digest = models.CharField(max_length=64)
    csr_sha256 = models.CharField(max_length=64, blank=True, default="")  # of the CSR that came with it
    waived = models.JSONField(
        default=list
    )  # `domain.policy.decide.Waiver`s: the reasons that the officer accepted
    note = models.TextField(blank=True, default="")  # for officers and auditors
    message = models.TextField(blank=True, default="")  # for the applicant
    at = models.DateTimeField()


class RequestEvent(models.Model):
    """One line of a request's history; of one of its issuances where `issuance` says so."""

    request = models.ForeignKey(Request, on_delete=models.PROTECT, related_name="events")
    issuance = models.ForeignKey(
        "store.Issuance", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    at = models.DateTimeField()
    event = models.CharField(max_length=16)
    from_status = models.CharField(max_length=24, blank=True)
    to_status = models.CharField(max_length=24)
    actor = models.CharField(max_length=200)
    user = models.ForeignKey(
        "store.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    note = models.TextField(blank=True, default="")
    notified_at = models.DateTimeField(null=True)
