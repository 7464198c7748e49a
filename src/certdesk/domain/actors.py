"""Who acts, and the one table of who may do what: deny by default (A1)."""

from dataclasses import dataclass, field
from enum import StrEnum

from certdesk.domain.requests import OrganisationId, UserId


class RaRole(StrEnum):
    """What a person may do for the RA, across all organisations."""

    NONE = ""
    OFFICER = "officer"
    AUDITOR = "auditor"
    OPERATOR = "operator"


class OrgRole(StrEnum):
    """What a person may do within one organisation."""

    APPLICANT = "applicant"
    MANAGER = "manager"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A person, a token holder, an ACME account or the system itself, with everything that `can` needs.

    `label` is what the audit log and the history show; `user_id` is None for the system and for ACME
    accounts. `acme_for` is the organisation that an ACME account acts for, None for one that has ended.
    """

    label: str
    user_id: UserId | None = None
    ra_role: RaRole = RaRole.NONE
    memberships: dict[OrganisationId, OrgRole] = field(default_factory=dict)
    is_system: bool = False
    must_change_password: bool = False
    acme_for: OrganisationId | None = None

    @property
    def organisation_ids(self) -> frozenset[OrganisationId]:
        """The organisations that the person belongs to."""
        return frozenset(self.memberships)

    @property
    def sees_everything(self) -> bool:
        """RA officers and auditors read across organisations."""
        return self.is_system or self.ra_role in (RaRole.OFFICER, RaRole.AUDITOR)


SYSTEM = Actor(label="Certdesk", is_system=True)


class Action(StrEnum):
    """Everything that somebody may or may not do."""

    REQUEST_CREATE = "request.create"
    REQUEST_READ = "request.read"
    REQUEST_WITHDRAW = "request.withdraw"
    REQUEST_DECIDE = "request.decide"
    REQUEST_END = "request.end"
    CERTIFICATE_REVOKE = "certificate.revoke"
    KEY_READ = "key.read"
    KEY_BLOCK = "key.block"
    ORGANISATION_READ = "organisation.read"
    ORGANISATION_CREATE = "organisation.create"
    ORGANISATION_VET = "organisation.vet"
    MEMBERS_READ = "members.read"
    MEMBERS_MANAGE = "members.manage"
    DOMAIN_READ = "domain.read"
    DOMAIN_ASK = "domain.ask"
    DOMAIN_VALIDATE = "domain.validate"
    VALIDATION_END = "validation.end"
    ACME_READ = "acme.read"
    ACME_MANAGE = "acme.manage"
    ACME_ACCOUNT = "acme.account"
    ACME_ORDER = "acme.order"
    AUDIT_READ = "audit.read"
    SERVICE_OPERATE = "service.operate"


_BY_RA_ROLE: dict[RaRole, frozenset[Action]] = {
    RaRole.NONE: frozenset(),
    RaRole.OFFICER: frozenset(
        {
            Action.REQUEST_READ,
            Action.REQUEST_DECIDE,
            Action.REQUEST_END,
            Action.CERTIFICATE_REVOKE,
            Action.KEY_READ,
            Action.KEY_BLOCK,
            Action.ORGANISATION_READ,
            Action.ORGANISATION_CREATE,
            Action.ORGANISATION_VET,
            Action.MEMBERS_READ,
            Action.MEMBERS_MANAGE,
            Action.DOMAIN_READ,
            Action.DOMAIN_ASK,
            Action.DOMAIN_VALIDATE,
            Action.VALIDATION_END,
            Action.ACME_READ,
            Action.ACME_MANAGE,
        }
    ),
    RaRole.AUDITOR: frozenset(
        {
            Action.REQUEST_READ,
            Action.ORGANISATION_READ,
            Action.MEMBERS_READ,
            Action.DOMAIN_READ,
            Action.ACME_READ,
            Action.KEY_READ,
            Action.AUDIT_READ,
        }
    ),
    RaRole.OPERATOR: frozenset({Action.SERVICE_OPERATE}),
}

_BY_ORG_ROLE: dict[OrgRole, frozenset[Action]] = {
    OrgRole.APPLICANT: frozenset(
        {
            Action.REQUEST_CREATE,
            Action.REQUEST_READ,
            Action.REQUEST_WITHDRAW,
            Action.CERTIFICATE_REVOKE,
            Action.ORGANISATION_READ,
            Action.DOMAIN_READ,
            Action.DOMAIN_ASK,
        }
    ),
    OrgRole.MANAGER: frozenset(
        {
            Action.REQUEST_CREATE,
            Action.REQUEST_READ,
            Action.REQUEST_WITHDRAW,
            Action.REQUEST_END,
            Action.CERTIFICATE_REVOKE,
            Action.ORGANISATION_READ,
            Action.DOMAIN_READ,
            Action.DOMAIN_ASK,
            Action.VALIDATION_END,
            Action.MEMBERS_READ,
            Action.MEMBERS_MANAGE,
            Action.ACME_READ,
            Action.ACME_MANAGE,
        }
    ),
}

#: An account may look after itself, order, and revoke what its organisation holds.
_BY_ACME_ACCOUNT = frozenset({Action.ACME_ACCOUNT, Action.ACME_ORDER, Action.CERTIFICATE_REVOKE})


def can(actor: Actor, action: Action, *, organisation_id: OrganisationId | None = None) -> bool:
    """Whether the actor may do this, for this organisation where the action concerns one.

    A person with a password still to change may do nothing (R8). Deny by default.
    """
    if actor.must_change_password:
        return False
    if actor.is_system:
        return True
    if action in _BY_RA_ROLE[actor.ra_role]:
        return True
    if organisation_id is None:
        return False
    if actor.acme_for == organisation_id:
        return action in _BY_ACME_ACCOUNT
    role = actor.memberships.get(organisation_id)
    return role is not None and action in _BY_ORG_ROLE[role]
