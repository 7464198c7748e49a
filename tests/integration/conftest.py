"""What holds for every test here: quick hashes, a plain log, no manifest of files, CAs that are made."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.cache import cache
from django.test import override_settings

from certdesk.backends.embedded import create_authority
from certdesk.backends.registry import load_backends

if TYPE_CHECKING:
    from certdesk.domain.actors import Actor
    from tests.harness.acme_client import AcmeClient
    from tests.integration.acme_support import AcmeWorld, Scripts
    from tests.integration.api_calls import Callers
    from tests.integration.proving import Outside
    from tests.integration.support import World

_ROUNDS = 1000


@pytest.fixture(scope="session", autouse=True)
def quick_hashes() -> Iterator[None]:
    """The service's own hasher with a thousandth of the work. (Servers that tests start do all of it.)"""
    from certdesk.services.people.passwords import NormalisingPasswordHasher  # noqa: PLC0415 - settings come first

    assert NormalisingPasswordHasher.iterations == PBKDF2PasswordHasher.iterations > 100 * _ROUNDS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NormalisingPasswordHasher, "iterations", _ROUNDS)
        yield


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> None:
    """One line of JSON an event, as the service has it: structlog's drawing of a traceback takes a second."""
    log = structlog.processors
    structlog.configure(processors=[log.add_log_level, log.format_exc_info, log.JSONRenderer()])


@pytest.fixture(scope="session", autouse=True)
def plain_static_files() -> Iterator[None]:
    """Pages name static files without the manifest that only `collectstatic` makes."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)
    with override_settings(STORAGES={**settings.STORAGES, "staticfiles": plain}):
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cas() -> None:
    """The CAs are there before any test writes rows: they are made beside an empty database alone."""
    from certdesk.conf import apps  # noqa: PLC0415 - settings come first

    create_authority(apps.embedded_config(settings.CERTDESK), datetime.now(UTC), may_create=lambda: True)
    load_backends(apps._scripted(settings.CERTDESK, may_create=lambda: True))


@pytest.fixture
def net() -> Iterator["Outside"]:
    """A made-up outside, where proofs of control are looked for."""
    from tests.integration.proving import outside  # noqa: PLC0415 - settings come first

    with outside() as one:
        yield one


@pytest.fixture
def here(transactional_db: None, network: "Scripts") -> "AcmeWorld":
    """Example University with a manager and an ACME credential; nobody looks outside."""
    del transactional_db, network
    from tests.integration.acme_support import acme_world  # noqa: PLC0415 - settings come first

    return acme_world()


@pytest.fixture
def one(here: "AcmeWorld") -> "AcmeClient":
    """An ACME client with an account by that credential."""
    return here.registered()


@pytest.fixture
def network() -> Iterator["Scripts"]:
    """Validators that the test fills, in place of those that look outside: by method."""
    from tests.integration.acme_support import scripted_network  # noqa: PLC0415 - settings come first

    with scripted_network() as scripts:
        yield scripts


@pytest.fixture
def users(transactional_db: None) -> "Callers":
    """The people of most stories, each with a token."""
    del transactional_db
    from tests.integration.api_calls import callers  # noqa: PLC0415 - models exist once Django is set up

    return callers()


@pytest.fixture
def people() -> "World":
    """A university with two applicants, and two officers."""
    from tests.integration.support import world  # noqa: PLC0415 - settings come first

    return world()


@pytest.fixture
def w(people: "World") -> "World":
    """The same, in a letter, for tests that are about little else."""
    return people


@pytest.fixture
def meg(people: "World") -> "Actor":
    """The manager of the same university."""
    from tests.integration.support import manager  # noqa: PLC0415 - settings come first

    return manager(people)


@pytest.fixture
def nobody_is_locked_out(db: None) -> None:
    """What an earlier test tried is forgotten."""
    cache.clear()


@pytest.fixture
def as_configured(db: None) -> Iterator[None]:
    """The test begins and ends with what the configuration says, whatever settings it changes."""
    from certdesk.services.system import runtime  # noqa: PLC0415 - models exist once Django is set up

    runtime.refresh()
    yield
    runtime.refresh()
