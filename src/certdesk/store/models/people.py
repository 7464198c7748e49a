"""People and what they may sign in with: users, memberships, API tokens."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models

from certdesk.domain.actors import OrgRole, RaRole
from certdesk.store.models.organisations import Organisation


class User(AbstractUser):
    """A person. Belongs to an organisation through `Membership`, or to the RA through `ra_role` (R38)."""

    ra_role = models.CharField(
        max_length=16, blank=True, default="", choices=[(r.value, r.name) for r in RaRole]
    )
    must_change_password = models.BooleanField(default=False)

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
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="membership_once", fields=["user", "organisation"]),
            models.CheckConstraint(
                name="membership_role_known", condition=models.Q(role__in=[r.value for r in OrgRole])
            ),
        ]


class ApiToken(models.Model):
    """A bearer token for the REST API: random 256 bits, shown once, stored as its SHA-256."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
