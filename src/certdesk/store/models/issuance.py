"""Issuing: the attempt, written before anything is signed or sent, and the certificate that came of it."""

from typing import ClassVar

from django.db import models


class AttemptOutcome(models.TextChoices):
    """How an attempt stands. OPEN is the only one that may still change."""

    OPEN = "open"
    ISSUED = "issued"
    REFUSED = "refused"
    RELEASED = "released"
    MISMATCH = "mismatch"


class IssuanceAttempt(models.Model):
    """The intent: everything that will be signed or sent, recorded first (DESIGN §5)."""

    request = models.ForeignKey("store.Request", on_delete=models.PROTECT, related_name="attempts_made")
    #: For an ACME order: its own CSR, under a request that may have many. Null: the request's own CSR, or a
    #: reissue's.
    order = models.ForeignKey(
        "store.AcmeOrder", on_delete=models.PROTECT, null=True, related_name="attempts_made"
    )
    backend = models.CharField(max_length=64)
    idempotency_key = models.CharField(max_length=64, unique=True)
    profile_id = models.CharField(max_length=64)
    profile_version = models.PositiveIntegerField()
    csr_der = models.BinaryField()
    spki_der = models.BinaryField()
    names = models.JSONField()
    subject = models.JSONField()
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    serial = models.CharField(max_length=40, null=True)  # noqa: DJ001 - null: the CA chooses the serial
    tbs = models.BinaryField(null=True)
    handle = models.CharField(max_length=255, blank=True, default="")  # the CA's order id (R26 to R28)
    outcome = models.CharField(max_length=10, choices=AttemptOutcome.choices, default=AttemptOutcome.OPEN)
    reason = models.TextField(blank=True, default="")
    received = models.BinaryField(
        null=True
    )  # a certificate that is not what was intended, kept to be revoked
    created_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="attempt_one_open_per_request",
                fields=["request"],
                condition=models.Q(outcome=AttemptOutcome.OPEN, order__isnull=True),
            ),
            models.UniqueConstraint(
                name="attempt_one_open_per_order",
                fields=["order"],
                condition=models.Q(outcome=AttemptOutcome.OPEN, order__isnull=False),
            ),
            models.UniqueConstraint(
                name="attempt_serial_once",
                fields=["backend", "serial"],
                condition=models.Q(serial__isnull=False),
            ),
        ]


class Reissue(models.Model):
    """Another certificate under a request, asked for by somebody of its organisation (ADR 11).

    Made with its attempt, in one transaction; `next_attempt_at` drives it on until it has ended. A request
    has at most one under way, for its attempt belongs to no order.
    """

    request = models.ForeignKey("store.Request", on_delete=models.PROTECT, related_name="reissues")
    requester = models.ForeignKey("store.User", on_delete=models.PROTECT, related_name="+")
    attempt = models.OneToOneField(IssuanceAttempt, on_delete=models.PROTECT, related_name="reissue")
    idempotency_key = models.CharField(max_length=128)
    csr_sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True)  # when the worker looks at it; null: it has ended
    problem = models.TextField(blank=True, default="")  # why it came to nothing

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="reissue_once_per_key", fields=["requester", "idempotency_key"])
        ]
        indexes: ClassVar = [
            models.Index(name="reissue_same_csr", fields=["request", "csr_sha256"]),
            models.Index(
                name="reissue_due",
                fields=["next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
            ),
        ]


class IssuerChain(models.Model):
    """The certificates above a leaf, stored once however many leaves hang below."""

    sha256 = models.CharField(max_length=64, unique=True)
    certificates = models.JSONField()  # base64 DER, issuing CA first, root last


class Certificate(models.Model):
    """A certificate as it came from the CA. Issuer and serial name it (RFC 5280 4.1.2.2)."""

    request = models.ForeignKey("store.Request", on_delete=models.PROTECT, related_name="certificates")
    attempt = models.OneToOneField(IssuanceAttempt, on_delete=models.PROTECT, related_name="certificate")
    issuer_chain = models.ForeignKey(IssuerChain, on_delete=models.PROTECT, related_name="+")
    der = models.BinaryField()
    sha256 = models.CharField(max_length=64, unique=True)
    issuer = models.CharField(max_length=512)
    serial = models.CharField(max_length=40)  # hex, lower case
    spki_sha256 = models.CharField(max_length=64, db_index=True)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revocation_reason = models.CharField(max_length=32, blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="certificate_issuer_serial_once", fields=["issuer", "serial"])
        ]
        indexes: ClassVar = [
            models.Index(name="certificate_by_serial", fields=["serial"]),  # RFC 9773 4.1
            models.Index(name="certificate_by_end", fields=["not_after", "id"]),
            models.Index(
                name="certificate_on_crl",
                fields=["not_after"],
                condition=models.Q(revoked_at__isnull=False),
            ),
        ]


class CertificateName(models.Model):
    """A name in a certificate, for looking certificates up by name."""

    certificate = models.ForeignKey(Certificate, on_delete=models.PROTECT, related_name="names")
    name = models.CharField(max_length=253)

    class Meta:
        indexes: ClassVar = [models.Index(name="certificate_by_name", fields=["name"])]


class RevocationOutcome(models.TextChoices):
    """How a revocation stands. OPEN is the only one that may still change."""

    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"


class Revocation(models.Model):
    """The intent to revoke a certificate, recorded before the CA is asked.

    While it is open, the tick asks the CA; `next_attempt_at` says when. The certificate itself is revoked
    once `revoked_at` is set there.
    """

    certificate = models.ForeignKey(Certificate, on_delete=models.PROTECT, related_name="revocations")
    reason = models.CharField(max_length=32)  # a name of RFC 5280 5.3.1
    note = models.TextField(blank=True, default="")
    actor = models.CharField(max_length=200)
    user = models.ForeignKey("store.User", on_delete=models.PROTECT, null=True, related_name="+")
    outcome = models.CharField(
        max_length=8, choices=RevocationOutcome.choices, default=RevocationOutcome.OPEN
    )
    detail = models.TextField(blank=True, default="")  # what the CA said, when it said no or nothing
    requested_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    ended_at = models.DateTimeField(null=True)
    notified_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="revocation_one_open_per_certificate",
                fields=["certificate"],
                condition=models.Q(outcome=RevocationOutcome.OPEN),
            ),
            models.CheckConstraint(
                name="revocation_open_is_due",
                condition=models.Q(outcome=RevocationOutcome.OPEN, next_attempt_at__isnull=False)
                | (~models.Q(outcome=RevocationOutcome.OPEN) & models.Q(next_attempt_at__isnull=True)),
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                name="revocation_due",
                fields=["next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
            )
        ]


class KeyProof(models.TextChoices):
    """How a block came about. A claim binds nobody but the organisation that makes it, about its own key."""

    POSSESSION = "possession"  # whoever sent it, or signed with it, had the private key
    OFFICER = "officer"  # an officer has seen evidence
    CLAIM = "claim"


class BlockedKey(models.Model):
    """A public key that is not certified, and why. A block is ended, never deleted."""

    spki_sha256 = models.CharField(max_length=64)
    #: The only one that the block is for. Null: everybody.
    organisation = models.ForeignKey(
        "store.Organisation", on_delete=models.PROTECT, null=True, related_name="+"
    )
    reason = models.CharField(max_length=200)
    proof = models.CharField(max_length=10, choices=KeyProof.choices)
    by = models.CharField(max_length=200)
    at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, blank=True, default="")
    ended_reason = models.TextField(blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="blocked_key_once_for_all",
                fields=["spki_sha256"],
                condition=models.Q(ended_at__isnull=True, organisation__isnull=True),
            ),
            models.UniqueConstraint(
                name="blocked_key_once_for_one",
                fields=["spki_sha256", "organisation"],
                condition=models.Q(ended_at__isnull=True, organisation__isnull=False),
            ),
            models.CheckConstraint(
                name="blocked_key_claim_is_for_one",
                condition=~models.Q(proof="claim") | models.Q(organisation__isnull=False),
            ),
        ]
        indexes: ClassVar = [models.Index(name="blocked_key_by_key", fields=["spki_sha256"])]
