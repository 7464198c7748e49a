"""People and what they may sign in with: users, memberships, API tokens."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models

from certdesk.domain.actors import OrgRole, RaRole, Side
from certdesk.store.models.organisations import Organisation


def disabled_by() -> models.CharField[str, str]:
    """Who disabled a row: only a manager's doing is undone by a manager, so blank counts as the RA's."""
    choices = [(side.value, side.name) for side in Side]
    return models.CharField(max_length=16, blank=True, default="", choices=choices)


class User(AbstractUser):
    """A person. Belongs to an organisation through `Membership`, or to the RA through `ra_role`."""

    ra_role = models.CharField(
        max_length=16, blank=True, default="", choices=[(r.value, r.name) for r in RaRole]
    )
    must_change_password = models.BooleanField(default=False)
    disabled_by = disabled_by()
    disabled_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="user_ra_role_known", condition=models.Q(ra_role__in=[r.value for r in RaRole])
            )
        ]


class Membership(models.Model):
    """What a person may do within one organisation. A disabled one stays as a record."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="memberships")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=16, choices=[(r.value, r.name) for r in OrgRole])
    is_active = models.BooleanField(default=True)
    disabled_by = disabled_by()
    disabled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="membership_once", fields=["user", "organisation"]),
            models.CheckConstraint(
                name="membership_role_known", condition=models.Q(role__in=[r.value for r in OrgRole])
            ),
        ]


class ApiToken(models.Model):
    """A bearer token for the REST API: random 256 bits, shown once, stored as its SHA-256.

    `scopes` are words with a blank between them (RFC 6749 3.3). `made_by` is the token that made it, if one
    did, and with which it ends; `revoked_by` the username of the person who ended it.
    """

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.CharField(max_length=100)
    made_by = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="made")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=150, blank=True, default="")
