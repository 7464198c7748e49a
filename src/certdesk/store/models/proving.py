"""Ways to prove control without a mailbox: what is to be published, what is watched, every failed look.

Also what public CAs say of a domain: theirs is what counts for them, ours only a gate before it (BR 1.3.2).
"""

from typing import ClassVar

from django.db import models

from certdesk.domain.validation.evidence import Method
from certdesk.store.models.validation import ChallengeOutcome

_METHODS: list[tuple[str, str]] = [(m.value, m.name) for m in Method]


class MethodChallenge(models.Model):
    """A random value that has to be found at a domain. Derived from `nonce` when shown; only its SHA-256 is
    stored. It is bound to the domain, the ADN and the method, and used once.
    """

    domain = models.ForeignKey("store.Domain", on_delete=models.PROTECT, related_name="method_challenges")
    adn = models.CharField(max_length=253)
    method = models.CharField(max_length=32, choices=_METHODS)
    nonce = models.CharField(max_length=64)
    digest = models.CharField(max_length=64, unique=True)
    issuer = models.CharField(max_length=253)  # our name at that time, to which a CNAME leads
    asked_by = models.ForeignKey("store.User", on_delete=models.PROTECT, related_name="+")
    outcome = models.CharField(max_length=10, choices=ChallengeOutcome.choices, default=ChallengeOutcome.OPEN)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    looks = models.PositiveIntegerField(default=0)
    looked_at = models.DateTimeField(null=True)
    next_look_at = models.DateTimeField(null=True)  # null: nobody looks by itself any more

    class Meta:
        indexes: ClassVar = [
            models.Index(
                name="method_challenge_due",
                fields=["next_look_at"],
                condition=models.Q(outcome=ChallengeOutcome.OPEN, next_look_at__isnull=False),
            )
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="method_challenge_one_open",
                fields=["domain", "method"],
                condition=models.Q(outcome=ChallengeOutcome.OPEN),
            ),
            models.CheckConstraint(
                name="method_challenge_ends_after_it_starts",
                condition=models.Q(expires_at__gt=models.F("created_at")),
            ),
        ]


class PersistentRecord(models.Model):
    """A `_validation-persist` record that somebody said would be there, and whether it is.

    `seen_at` is when it was last found, `missing_since` when it was first found missing since.
    """

    domain = models.OneToOneField("store.Domain", on_delete=models.PROTECT, related_name="persistent")
    adn = models.CharField(max_length=253)
    wildcard = models.BooleanField()
    asked_by = models.ForeignKey("store.User", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True)
    looks = models.PositiveIntegerField(default=0)  # since it was last found, or since the beginning
    looked_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)
    missing_since = models.DateTimeField(null=True)
    next_look_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                name="persistent_record_due",
                fields=["next_look_at"],
                condition=models.Q(next_look_at__isnull=False),
            )
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="persistent_record_stopped_is_not_due",
                condition=models.Q(stopped_at__isnull=True) | models.Q(next_look_at__isnull=True),
            )
        ]


class ValidationAttempt(models.Model):
    """A look that found no proof: what was asked, of whom, what came back. Rows are never changed."""

    domain = models.ForeignKey("store.Domain", on_delete=models.PROTECT, related_name="attempts")
    challenge = models.ForeignKey(
        MethodChallenge, on_delete=models.PROTECT, null=True, related_name="attempts"
    )
    adn = models.CharField(max_length=253)
    method = models.CharField(max_length=32, choices=_METHODS)
    code = models.CharField(max_length=64)
    detail = models.TextField()
    evidence = models.JSONField()
    by = models.ForeignKey("store.User", on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(name="validation_attempt_newest", fields=["domain", "-id"])]


class CaValidation(models.Model):
    """What a public CA says of its own validation of a domain, as last heard: the newest row of a CA counts.

    `valid_until` is null where the CA says that the domain is not validated there. Rows are never changed.
    """

    domain = models.ForeignKey("store.Domain", on_delete=models.PROTECT, related_name="ca_validations")
    ca = models.CharField(max_length=64)
    valid_until = models.DateTimeField(null=True)
    detail = models.CharField(max_length=200, blank=True, default="")
    heard_from = models.CharField(max_length=200)  # the CA's own answer, or the officer who looked there
    heard_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(name="ca_validation_newest", fields=["domain", "ca", "-id"])]
