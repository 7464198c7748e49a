"""Passwords with Django: which rules hold for whom, and how a password is hashed.

The rules themselves are in `certdesk.domain.passwords`; settings name the two classes here.
"""

from functools import cache

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError

from certdesk.domain.passwords import minimum_length, normalised, password_problems
from certdesk.services import runtime
from certdesk.services.second_factor import is_enrolled


class NormalisingPasswordHasher(PBKDF2PasswordHasher):
    """Django's PBKDF2 over the normalised password, so that every keyboard makes the same hash.

    Django hashes and checks through `encode` alone. For ASCII nothing differs from its own hasher.
    """

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """The hash that is stored."""
        return super().encode(normalised(password), salt, iterations)


class PasswordRules:
    """R7 as one of Django's password validators. Reads the setting each time: an operator may change it."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        """Raises ValidationError with everything that is wrong."""
        found = password_problems(
            password,
            username=user.get_username() if user is not None else "",
            minimum=minimum_for(user),
            is_common=_is_common,
        )
        if found:
            raise ValidationError([ValidationError(text, code="password_refused") for text in found])

    def get_help_text(self) -> str:
        """What to know before choosing one."""
        return f"At least {minimum_for(None)} characters. Several unrelated words work well."


def minimum_for(user: AbstractBaseUser | None) -> int:
    """How many characters the person's password needs; without a person, one with no second factor."""
    enrolled = user is not None and user.pk is not None and is_enrolled(user_id=user.pk)
    return minimum_length(setting=configured_minimum(), has_second_factor=enrolled)


def configured_minimum() -> int:
    """The setting of R7 as it is now."""
    return runtime.current().password_min_length


@cache
def _common() -> CommonPasswordValidator:
    return CommonPasswordValidator()


def _is_common(password: str) -> bool:
    try:
        _common().validate(password)
    except ValidationError:
        return True
    return False
