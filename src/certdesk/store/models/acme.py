"""ACME (RFC 8555): credentials, accounts, orders, authorizations, challenges, used nonces.

No status is stored: `domain.acme.orders` computes it from the facts in these rows.
"""

from typing import ClassVar

from django.db import models


class EabCredential(models.Model):
    """What an organisation's ACME clients register with (RFC 8555 7.3.4), and what it may be used for.

    The HMAC key is encrypted. A `None` or an empty list is no limit.
    """

    organisation = models.ForeignKey(
        "store.Organisation", on_delete=models.PROTECT, related_name="eab_credentials"
    )
    name = models.CharField(max_length=100)
    kid = models.CharField(max_length=64, unique=True)
    key_sealed = models.TextField()
    suffixes = models.JSONField(default=list)  # names, and all below them, that may be ordered
    profile_id = models.CharField(max_length=64, blank=True, default="")
    max_accounts = models.PositiveIntegerField(null=True)
    expires_at = models.DateTimeField(null=True)
    #: In whose name its requests are made: somebody of the organisation, where there is anybody.
    owner = models.ForeignKey("store.User", on_delete=models.PROTECT, related_name="+")
    created_by = models.ForeignKey("store.User", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    rotated_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="eab_allows_an_account",
                condition=models.Q(max_accounts__isnull=True) | models.Q(max_accounts__gte=1),
            )
        ]


class EabCredentialSeen(models.Model):
    """Who has had a credential's HMAC key in hand, and how. Rows are inserted, never changed.

    Whoever is named here could have registered clients, so decides nothing that the credential asks for.
    """

    credential = models.ForeignKey(EabCredential, on_delete=models.PROTECT, related_name="seen")
    user = models.ForeignKey("store.User", on_delete=models.PROTECT, related_name="+")
    how = models.CharField(max_length=8, choices=[(how, how) for how in ("create", "rotate", "reveal")])
    at = models.DateTimeField()


class AcmeAccount(models.Model):
    """An ACME client's account: a key, bound to an organisation by the credential it registered with."""

    credential = models.ForeignKey(EabCredential, on_delete=models.PROTECT, related_name="accounts")
    organisation = models.ForeignKey(
        "store.Organisation", on_delete=models.PROTECT, related_name="acme_accounts"
    )
    thumbprint = models.CharField(max_length=43)  # RFC 7638
    jwk = models.JSONField()
    spki_sha256 = models.CharField(max_length=64)  # what the key is known by
    contacts = models.JSONField(default=list)
    terms_agreed = models.BooleanField(default=False)  # what the client said when it registered
    binding = models.JSONField()  # the EAB object as it came, as RFC 8555 7.1.2 shows it
    created_at = models.DateTimeField()
    deactivated_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField()
    window_started_at = models.DateTimeField()  # of the hour in which `window_orders` are counted
    window_orders = models.PositiveIntegerField(default=0)
    #: What the last refusal told the client, for people who look for the reason.
    last_problem = models.TextField(blank=True, default="")
    last_problem_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(name="account_once_per_key", fields=["spki_sha256"])]


class AcmeOrder(models.Model):
    """An order. `finalized_at` is set once, by compare-and-swap: of many finalizes one wins."""

    account = models.ForeignKey(AcmeAccount, on_delete=models.PROTECT, related_name="orders", db_index=False)
    organisation = models.ForeignKey(
        "store.Organisation", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    identifiers = models.JSONField()  # names in the order's own order, wildcards with their label
    profile_id = models.CharField(max_length=64)
    #: The entitlement: set when the order is made where it exists by then, else with finalize.
    request = models.ForeignKey(
        "store.Request", on_delete=models.PROTECT, null=True, related_name="acme_orders"
    )
    replaces = models.ForeignKey(
        "store.Certificate", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    finalized_at = models.DateTimeField(null=True)
    certificate = models.ForeignKey(
        "store.Certificate", on_delete=models.PROTECT, null=True, related_name="acme_orders", db_index=False
    )
    problem = models.JSONField(null=True)  # why it is invalid: the RFC 8555 problem

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="order_ends_one_way",
                condition=models.Q(certificate__isnull=True) | models.Q(problem__isnull=True),
            ),
            models.CheckConstraint(
                name="order_certificate_needs_finalize",
                condition=models.Q(certificate__isnull=True) | models.Q(finalized_at__isnull=False),
            ),
        ]
        indexes: ClassVar = [
            models.Index(name="order_newest", fields=["account", "-id"]),
            models.Index(
                name="order_unfinished",
                fields=["account", "expires_at"],
                condition=models.Q(finalized_at__isnull=True),
            ),
            models.Index(
                name="order_replacing", fields=["replaces"], condition=models.Q(replaces__isnull=False)
            ),
            models.Index(name="order_certified", fields=["certificate"]),  # those without are looked for, too
        ]


class AcmeAuthorization(models.Model):
    """One identifier of one order, and what shows that the organisation controls it.

    `token` is what the tokens of its challenges are derived from; they are public, and need no secret.
    """

    order = models.ForeignKey(AcmeOrder, on_delete=models.CASCADE, related_name="authorizations")
    name = models.CharField(max_length=253)  # without the wildcard label
    wildcard = models.BooleanField()
    token = models.CharField(max_length=43)
    record = models.ForeignKey(
        "store.ValidationRecord", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    valid_until = models.DateTimeField(null=True)  # null: not validated
    failed_at = models.DateTimeField(null=True)
    deactivated_at = models.DateTimeField(null=True)


class AcmeChallenge(models.Model):
    """A challenge that the client has answered. Those that it has not are no rows."""

    authorization = models.ForeignKey(
        AcmeAuthorization, on_delete=models.CASCADE, related_name="challenges", db_index=False
    )
    type = models.CharField(max_length=32)
    started_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    validated_at = models.DateTimeField(null=True)
    problem = models.JSONField(null=True)  # of the last try; final when nothing is due any more

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="challenge_once", fields=["authorization", "type"])
        ]
        indexes: ClassVar = [
            models.Index(
                name="challenge_due",
                fields=["next_attempt_at"],
                condition=models.Q(next_attempt_at__isnull=False),
            )
        ]


class UsedNonce(models.Model):
    """A nonce that was spent. Nonces themselves are signed, not stored (RFC 8555 6.5)."""

    nonce = models.UUIDField(primary_key=True)  # its content, less the MAC
    expires_at = models.DateTimeField(db_index=True)


class RenewalAdvice(models.Model):
    """Certificates that an operator wants renewed earlier (RFC 9773 4.2). An empty column matches all."""

    issuer = models.CharField(max_length=512, blank=True, default="")
    profile_id = models.CharField(max_length=64, blank=True, default="")
    spki_sha256 = models.CharField(max_length=64, blank=True, default="")
    certificate = models.ForeignKey(
        "store.Certificate", on_delete=models.PROTECT, null=True, related_name="+"
    )
    issued_before = models.DateTimeField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    explanation_url = models.CharField(max_length=500, blank=True, default="")
    reason = models.CharField(max_length=500)
    by = models.CharField(max_length=200)
    at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="advice_ends_after_it_starts", condition=models.Q(ends_at__gt=models.F("starts_at"))
            )
        ]
