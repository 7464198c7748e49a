"""Issuing: a CSR on its way, the intent recorded before anything leaves, the certificate it becomes."""

from typing import ClassVar

from django.db import models

from certdesk.domain.issuing.states import DONE, Work


class Issuance(models.Model):
    """One CSR on its way to one certificate, under a request.

    The intent (everything that will be signed or sent, from `backend` to `tbs`) is recorded with the claim,
    before anything leaves. `state` is written by `certdesk.store.transitions` alone; `next_attempt_at` says
    when the worker looks at it.
    """

    request = models.ForeignKey(
        "store.Request", on_delete=models.PROTECT, related_name="issuances", db_index=False
    )
    organisation = models.ForeignKey(
        "store.Organisation", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    channel = models.CharField(max_length=16)
    asked_by = models.CharField(max_length=200)
    user = models.ForeignKey(
        "store.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    # One for an order; a unique index over all rows would look to SQLite as if a single one had no order.
    order = models.ForeignKey(
        "store.AcmeOrder", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    idempotency_key = models.CharField(max_length=128)
    csr_der = models.BinaryField()
    csr_sha256 = models.CharField(max_length=64)
    spki_der = models.BinaryField()
    spki_sha256 = models.CharField(max_length=64)
    key = models.CharField(max_length=32)  # in words, such as RSA 2048
    csr_subject = models.JSONField()  # what the CSR said, for people to read
    profile_id = models.CharField(max_length=64)
    names = models.JSONField()

    backend = models.CharField(max_length=64, blank=True, default="")
    profile_version = models.PositiveIntegerField(null=True)
    intent_key = models.CharField(max_length=64, null=True)  # noqa: DJ001 - null: no intent yet
    subject = models.JSONField(default=list)  # of the certificate: set by us, never copied from the CSR
    not_before = models.DateTimeField(null=True)
    not_after = models.DateTimeField(null=True)
    serial = models.CharField(max_length=40, null=True)  # noqa: DJ001 - null: the CA chooses the serial
    tbs = models.BinaryField(null=True)

    state = models.CharField(max_length=10, choices=[(w.value, w.name) for w in Work])
    version = models.PositiveIntegerField(default=0)
    handle = models.CharField(max_length=255, blank=True, default="")  # the CA's own number for it
    detail = models.TextField(blank=True, default="")  # why it ended without a certificate
    received = models.BinaryField(null=True)  # what came and could not be read as a certificate
    tries = models.PositiveIntegerField(default=0)  # in a row in which the CA could not be reached
    created_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True)  # null: nothing is due
    linted_at = models.DateTimeField(null=True)  # in full, once more after it was issued

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="issuance_state_known", condition=models.Q(state__in=[w.value for w in Work])
            ),
            models.CheckConstraint(
                name="issuance_done_is_not_due",
                condition=models.Q(next_attempt_at__isnull=True) | ~models.Q(state__in=sorted(DONE)),
            ),
            models.CheckConstraint(
                name="issuance_claimed_has_an_intent",
                condition=models.Q(intent_key__isnull=False)
                | models.Q(state__in=[Work.WAITING, Work.CANCELLED, Work.REFUSED]),
            ),
            models.UniqueConstraint(name="issuance_once_per_intent", fields=["intent_key"]),
            models.UniqueConstraint(
                name="issuance_one_open_per_request",  # an ACME client's orders go side by side
                fields=["request"],
                condition=models.Q(
                    state__in=[Work.WAITING, Work.CLAIMED, Work.SUBMITTED], order__isnull=True
                ),
            ),
            models.UniqueConstraint(
                name="issuance_once_per_order",
                fields=["order"],
                condition=models.Q(order__isnull=False),
            ),
            models.UniqueConstraint(
                name="issuance_once_per_key",
                fields=["user", "idempotency_key"],
                condition=models.Q(user__isnull=False),
            ),
            models.UniqueConstraint(
                name="issuance_serial_once",
                fields=["backend", "serial"],
                condition=models.Q(serial__isnull=False),
            ),
        ]
        indexes: ClassVar = [
            models.Index(name="issuance_newest", fields=["request", "-id"]),
            models.Index(name="issuance_by_key", fields=["spki_sha256", "organisation", "id"]),
            models.Index(
                name="issuance_open", fields=["claimed_at"], condition=models.Q(ended_at__isnull=True)
            ),
            models.Index(
                name="issuance_due",
                fields=["next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
            ),
            models.Index(
                name="issuance_to_be_linted",
                fields=["id"],
                condition=models.Q(state=Work.ISSUED, tbs__isnull=False, linted_at__isnull=True),
            ),
            models.Index(
                name="issuance_idle",  # waits for an approval or a validation
                fields=["organisation"],
                condition=models.Q(state=Work.WAITING, next_attempt_at__isnull=True),
            ),
        ]


class IssuerChain(models.Model):
    """The certificates above a leaf, stored once however many leaves hang below."""

    sha256 = models.CharField(max_length=64, unique=True)
    certificates = models.JSONField()  # base64 DER, issuing CA first, root last


class Certificate(models.Model):
    """A certificate as it came from the CA. Issuer and serial name it (RFC 5280 4.1.2.2)."""

    request = models.ForeignKey("store.Request", on_delete=models.PROTECT, related_name="certificates")
    organisation = models.ForeignKey(
        "store.Organisation", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    issuance = models.OneToOneField(Issuance, on_delete=models.PROTECT, related_name="certificate")
    #: Not what was asked for, or no longer allowed when it came: never handed out, and revoked at the CA.
    withheld = models.BooleanField(default=False)
    issuer_chain = models.ForeignKey(IssuerChain, on_delete=models.PROTECT, related_name="+", db_index=False)
    der = models.BinaryField()
    sha256 = models.CharField(max_length=64)
    issuer = models.CharField(max_length=512)
    serial = models.CharField(max_length=40)  # hex, lower case
    spki_sha256 = models.CharField(max_length=64)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revocation_reason = models.CharField(max_length=32, blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="certificate_issuer_serial_once", fields=["issuer", "serial"]),
            models.UniqueConstraint(name="certificate_once", fields=["sha256"]),
        ]
        indexes: ClassVar = [
            models.Index(name="certificate_newest", fields=["organisation", "-id"]),
            models.Index(name="certificate_by_serial", fields=["serial", "organisation"]),  # RFC 9773 4.1
            models.Index(name="certificate_by_key", fields=["spki_sha256"]),
            models.Index(name="certificate_by_end", fields=["not_after", "id"]),
            models.Index(
                name="certificate_on_crl", fields=["not_after"], condition=models.Q(revoked_at__isnull=False)
            ),
        ]


class Renewal(models.Model):
    """What is to follow a certificate that ends before its request's term (not one of an ACME client's).

    `due_at` is when it is to be renewed, as far as is known; `next_attempt_at` when the worker looks at it:
    to ask the CA for its word, to renew, or to try again. Null: nothing more follows. With `move_to` it is
    renewed as soon as that CA is the one to be asked, without waiting for `due_at`.
    """

    certificate = models.OneToOneField(Certificate, on_delete=models.PROTECT, related_name="renewal")
    due_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True, default="")  # what stands in the way now, for people
    needs_csr = models.BooleanField(default=False)  # nothing but a new CSR helps
    told = models.PositiveSmallIntegerField(default=0)  # how often people were told that it is not renewed
    move_to = models.CharField(
        max_length=64, blank=True, default=""
    )  # name of the CA to move to; empty: none

    class Meta:
        indexes: ClassVar = [
            models.Index(
                name="renewal_due",
                fields=["next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
            )
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
    user = models.ForeignKey(
        "store.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
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


class PublishedCrl(models.Model):
    """The CRL that a CA of ours has published last, the same from every process until the next.

    `number` grows by compare-and-swap (RFC 5280 5.2.3). The row outlives every start: it says which CA the
    back end's name stands for.
    """

    backend = models.CharField(max_length=64, unique=True)
    issuer_sha256 = models.CharField(max_length=64, unique=True)  # of the issuing certificate
    number = models.BigIntegerField()
    der = models.BinaryField()
    revocations = models.PositiveBigIntegerField()  # how many were done when it was made
    this_update = models.DateTimeField()
    made_at = models.DateTimeField()


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
