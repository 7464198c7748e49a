"""What holds for every test here: hashing a password is slow on purpose, and in tests to no purpose."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher

_ROUNDS = 1000


@pytest.fixture(scope="session", autouse=True)
def quick_hashes() -> Iterator[None]:
    """The service's own hasher with a thousandth of the work. (Servers that tests start do all of it.)"""
    from certdesk.services.passwords import NormalisingPasswordHasher  # noqa: PLC0415 - settings come first

    assert NormalisingPasswordHasher.iterations == PBKDF2PasswordHasher.iterations > 100 * _ROUNDS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NormalisingPasswordHasher, "iterations", _ROUNDS)
        yield
