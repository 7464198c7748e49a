"""Who acts, and the one table of who may do what: deny by default."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from certdesk.domain.errors import MissingScope, NotAuthorized, Refused
from certdesk.domain.issuing.states import OrganisationId, UserId


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


class Side(StrEnum):
    """Who disabled something: what the RA disabled, only the RA enables."""

    NONE = ""
    ORGANISATION = "organisation"
    RA = "ra"


class Scope(StrEnum):
    """What an API token may be used for (RFC 6749 3.3), in the order in which people see them."""

    READ = "read"
    REQUEST = "request"
    REVOKE = "revoke"
    DECIDE = "decide"
    MANAGE = "manage"
    TOKENS = "tokens"


#: What only a short-lived token may do, and none of somebody who signs in with a second factor.
LIMITED_SCOPES = frozenset({Scope.DECIDE, Scope.MANAGE})


@dataclass(frozen=True, slots=True)
class Token:
    """The API token that somebody acts with. `limit` says why it may not decide or manage now, if so."""

    id: int
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    limit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A person, a token holder, an ACME account or the system itself, with everything that `can` needs.

    `label` is what the audit log and the history show; `user_id` is None for the system and for ACME
    accounts. `acme_for` is the organisation that an ACME account acts for, None for one that has ended.
    `token` is None for somebody who signed in to the portal. `organisations` are the legal names of a
    person's own, in order, to be shown.
    """

    label: str
    user_id: UserId | None = None
    ra_role: RaRole = RaRole.NONE
    memberships: dict[OrganisationId, OrgRole] = field(default_factory=dict)
    is_system: bool = False
    must_change_password: bool = False
    acme_for: OrganisationId | None = None
    token: Token | None = None
    organisations: tuple[str, ...] = field(default=(), compare=False)

    @property
    def side(self) -> Side:
        """For whom somebody acts who disables or enables something."""
        of_ra = self.is_system or self.ra_role in (RaRole.OFFICER, RaRole.OPERATOR)
        return Side.RA if of_ra else Side.ORGANISATION

    @property
    def organisation_ids(self) -> frozenset[OrganisationId]:
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
    FINDING_READ = "finding.read"
    TOKEN_READ = "token.read"  # noqa: S105 - an action, no secret
    TOKEN_MANAGE = "token.manage"  # noqa: S105 - as above


#: What a token needs for each. What is not here is nothing for tokens.
_SCOPES: dict[Action, Scope] = {
    Action.REQUEST_CREATE: Scope.REQUEST,
    Action.REQUEST_READ: Scope.READ,
    Action.REQUEST_WITHDRAW: Scope.REQUEST,
    Action.REQUEST_DECIDE: Scope.DECIDE,
    Action.REQUEST_END: Scope.MANAGE,
    Action.CERTIFICATE_REVOKE: Scope.REVOKE,
    Action.KEY_READ: Scope.READ,
    Action.KEY_BLOCK: Scope.DECIDE,
    Action.ORGANISATION_READ: Scope.READ,
    Action.ORGANISATION_CREATE: Scope.MANAGE,
    Action.ORGANISATION_VET: Scope.DECIDE,
    Action.MEMBERS_READ: Scope.READ,
    Action.MEMBERS_MANAGE: Scope.MANAGE,
    Action.DOMAIN_READ: Scope.READ,
    Action.DOMAIN_ASK: Scope.REQUEST,
    Action.DOMAIN_VALIDATE: Scope.DECIDE,
    Action.VALIDATION_END: Scope.MANAGE,
    Action.ACME_READ: Scope.READ,
    Action.ACME_MANAGE: Scope.MANAGE,
    Action.AUDIT_READ: Scope.READ,
    Action.SERVICE_OPERATE: Scope.MANAGE,
    Action.FINDING_READ: Scope.READ,
    Action.TOKEN_READ: Scope.READ,
    Action.TOKEN_MANAGE: Scope.TOKENS,
}

#: About nobody but oneself.
_OWN = frozenset({Action.TOKEN_READ, Action.TOKEN_MANAGE})

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
            Action.FINDING_READ,
        }
    ),
    RaRole.OPERATOR: frozenset({Action.SERVICE_OPERATE, Action.FINDING_READ}),
}

_BY_APPLICANT = frozenset(
    {
        Action.REQUEST_CREATE,
        Action.REQUEST_READ,
        Action.REQUEST_WITHDRAW,
        Action.CERTIFICATE_REVOKE,
        Action.ORGANISATION_READ,
        Action.DOMAIN_READ,
        Action.DOMAIN_ASK,
    }
)
_BY_ORG_ROLE: dict[OrgRole, frozenset[Action]] = {
    OrgRole.APPLICANT: _BY_APPLICANT,
    OrgRole.MANAGER: _BY_APPLICANT
    | {
        Action.REQUEST_END,
        Action.VALIDATION_END,
        Action.MEMBERS_READ,
        Action.MEMBERS_MANAGE,
        Action.ACME_READ,
        Action.ACME_MANAGE,
    },
}

#: An account may look after itself, order, and revoke what its organisation holds.
_BY_ACME_ACCOUNT = frozenset({Action.ACME_ACCOUNT, Action.ACME_ORDER, Action.CERTIFICATE_REVOKE})


def can(actor: Actor, action: Action, *, organisation_id: OrganisationId | None = None) -> bool:
    """Whether the actor may do this, for this organisation where the action concerns one.

    A person with a password still to change may do nothing. Deny by default. Raises MissingScope where the
    person may and the token may not: False would let an edge say that it is the person's role.
    """
    if actor.must_change_password:
        return False
    if actor.is_system:
        return True
    if organisation_id is not None and actor.acme_for == organisation_id:
        return action in _BY_ACME_ACCOUNT
    by_ra = action in _BY_RA_ROLE[actor.ra_role]
    role = actor.memberships.get(organisation_id) if organisation_id is not None else None
    is_own = action in _OWN and actor.user_id is not None
    if not (by_ra or is_own or (role is not None and action in _BY_ORG_ROLE[role])):
        return False
    if actor.token is not None:
        needed = _scope_of(action, by_ra=by_ra)
        if needed not in actor.token.scopes:
            told = f"This token lacks the scope “{needed}”. Use one that has it."
            raise MissingScope(told, scope=needed)
        if needed in LIMITED_SCOPES and actor.token.limit:
            told = f"The scope “{needed}” is off for this token. {actor.token.limit}"
            raise MissingScope(told, scope=needed)
    return True


def require(
    actor: Actor,
    action: Action,
    told: str,
    *,
    organisation_id: OrganisationId | None = None,
    refuse: type[Refused] = NotAuthorized,
) -> None:
    """Passes who may do this; refuses others with these words. Raises MissingScope as `can` does."""
    if not can(actor, action, organisation_id=organisation_id):
        raise refuse(told)


def may_enable(actor: Actor, disabled_by: Side) -> bool:
    """Whether somebody who governs a thing may enable it: what the RA disabled is the RA's to enable."""
    return actor.side is Side.RA or disabled_by is Side.ORGANISATION


def scopes_of(actor: Actor) -> frozenset[Scope]:
    """The scopes that are of any use to the person; every token may read."""
    by_ra = _BY_RA_ROLE[actor.ra_role]
    actions = by_ra | _OWN.union(*(_BY_ORG_ROLE[role] for role in actor.memberships.values()))
    return frozenset({Scope.READ, *(_scope_of(action, by_ra=action in by_ra) for action in actions)})


def _scope_of(action: Action, *, by_ra: bool) -> Scope:
    # What the RA revokes or ends is somebody else's, and so a decision.
    ends = action in (Action.CERTIFICATE_REVOKE, Action.REQUEST_END, Action.VALIDATION_END)
    return Scope.DECIDE if by_ra and ends else _SCOPES[action]
