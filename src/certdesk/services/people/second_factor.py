"""Second factors: who needs one, who has one, and how their secrets are stored."""

from allauth.mfa.models import Authenticator
from django.conf import settings

from certdesk.domain.actors import Actor, RaRole
from certdesk.domain.errors import NotAuthorized
from certdesk.services.system import sealing

#: Recovery codes stand in for a lost factor; alone they are none.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
#: They decide for others or run the service. Auditors change nothing.
BOUND_ROLES = frozenset({RaRole.OFFICER, RaRole.OPERATOR})
_PURPOSE = b"certdesk second factor secrets v1"


def is_required(ra_role: RaRole) -> bool:
    """Whether a person of this role has to have a second factor here."""
    return bool(settings.CERTDESK.second_factor_required) and ra_role in BOUND_ROLES


def is_enrolled(*, user_id: int) -> bool:
    """Whether the person has an authenticator app or a passkey."""
    return bool(Authenticator.objects.filter(user_id=user_id, type__in=FACTORS).exists())


def is_bound(*, user_id: int, ra_role: RaRole) -> bool:
    """Whether the person signs in with a second factor, by choice or because the RA's people have to."""
    asked = bool(settings.CERTDESK.second_factor_required) and ra_role is not RaRole.NONE
    return asked or is_enrolled(user_id=user_id)


def is_missing(*, user_id: int, ra_role: RaRole) -> bool:
    """Whether the person still has to add a second factor before anything else."""
    return is_required(ra_role) and not is_enrolled(user_id=user_id)


def is_last(*, user_id: int, passkey_id: int | None) -> bool:
    """Whether taking one away would leave none: this passkey, or the app when `passkey_id` is None."""
    left = Authenticator.objects.filter(user_id=user_id, type__in=FACTORS)
    taken = {"pk": passkey_id} if passkey_id is not None else {"type": Authenticator.Type.TOTP}
    return not left.exclude(**taken).exists()


def refuse_without(actor: Actor) -> None:
    """Raises NotAuthorized for a person who still has to add a second factor."""
    if actor.user_id is not None and is_missing(user_id=actor.user_id, ra_role=actor.ra_role):
        told = "Your role needs a second factor. Sign in to the portal and add one first."
        raise NotAuthorized(told, code="second_factor.required")


def sealed(text: str) -> str:
    return sealing.sealed(text, purpose=_PURPOSE)


def opened(stored: str) -> str:
    """A stored secret in clear. Raises InvariantViolated if no key opens it."""
    return sealing.opened(stored, purpose=_PURPOSE)
