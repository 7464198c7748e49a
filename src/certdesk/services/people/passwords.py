"""Passwords with Django: which rules hold for whom, and how a password is hashed.

The rules themselves are in `certdesk.domain.passwords`; settings name the two classes here.
"""

from functools import cache
from urllib.parse import urlsplit

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError

from certdesk.domain.passwords import minimum_length, normalised, own_words, password_problems
from certdesk.services.people.second_factor import is_enrolled
from certdesk.services.system import runtime
from certdesk.store.models import Domain, Organisation, User


class NormalisingPasswordHasher(PBKDF2PasswordHasher):
    """Django's PBKDF2 over the normalised password, so that every keyboard makes the same hash.

    Django hashes and checks through `encode` alone. For ASCII nothing differs from its own hasher.
    """

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        return super().encode(normalised(password), salt, iterations)


class PasswordRules:
    """The rules as one of Django's validators. Reads the setting each time: an operator may change it."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        """Raises ValidationError with everything that is wrong."""
        # What is tried first against this person here: names of them, their work and the service.
        rt = runtime.current()
        texts = [rt.settings.ra, rt.settings.service_name, urlsplit(rt.base_url).hostname or ""]
        if isinstance(user, User):
            texts += [user.username, user.get_full_name(), user.email]
            ours = Organisation.objects.filter(memberships__user=user.pk)
            for names in ours.values_list("legal_name", "slug"):
                texts += names
            texts += Domain.objects.filter(organisation__in=ours).values_list("adn", flat=True)
        found = password_problems(
            password,
            username=user.get_username() if user is not None else "",
            minimum=minimum_for(user),
            is_common=_is_common,
            words=own_words(*texts),
        )
        if found:
            raise ValidationError([ValidationError(text, code="password_refused") for text in found])

    def get_help_text(self) -> str:
        return f"At least {minimum_for(None)} characters. Several unrelated words work well."


def minimum_for(user: AbstractBaseUser | None) -> int:
    """How many characters the person's password needs; without a person, one with no second factor."""
    enrolled = user is not None and user.pk is not None and is_enrolled(user_id=user.pk)
    return minimum_length(setting=runtime.current().settings.password_min_length, has_second_factor=enrolled)


_common = cache(CommonPasswordValidator)  # which reads a list of 20,000


def _is_common(password: str) -> bool:
    try:
        _common().validate(password)
    except ValidationError:
        return True
    return False
