"""Set-up that every test shares: environment, database, and what a skip means.

pytest-django would load the settings before this file is read if pyproject.toml named them, and the
settings read the environment that is made here; so they are named here instead. A run of `tests/unit` alone
loads no Django at all, which keeps it fast and shows that the domain needs none.
"""

import gc
import hashlib
import itertools
import os
import shutil
from collections.abc import Generator
from pathlib import Path

import django
import hypothesis
import pytest
from django.apps import apps
from django.db import connections
from django.db.models.signals import post_migrate
from pytest_django import DjangoDbBlocker

from certdesk.domain.issuing import states as requests
from tests.harness import environment, server
from tests.harness.emptying import empty_quickly

pytest_plugins = ["tests.harness.fixtures"]

# How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_DATA = environment.prepare()
_DATABASE = _DATA / "test.sqlite3"
_LOG_LINES = 60
_NEW_BEFORE_COLLECTING = 20_000
_HERE = Path(__file__).parent
_LONGEST_FIRST = (
    "acceptance/test_browser_pages.py",
    "acceptance/test_make_run.py",
    "acceptance/",
    "integration/test_former_people.py",
    "integration/test_withdrawn_permissions.py",
    "integration/",
    "unit/",
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Load the settings; pytest-django then finds them ready and guards the database."""
    unit = _HERE / "unit"
    asked = [
        (config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args
    ]
    if all(path.is_relative_to(unit) for path in asked):
        return
    os.environ["DJANGO_SETTINGS_MODULE"] = environment.SETTINGS_MODULE
    django.setup()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where workers share the tests, those that take longest begin: else one of them ends the run alone.

    Stable, so that the rest of the order stays random.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(item.path.relative_to(_HERE).as_posix()))


def pytest_collection_finish() -> None:
    """What has been read stays: the collector need not look through all of it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_BEFORE_COLLECTING)


def _turn(path: str) -> int:
    return next(turn for turn, start in enumerate(_LONGEST_FIRST) if path.startswith(start))


def pytest_unconfigure() -> None:
    """Remove the data folder; workers of xdist end without their exit handlers."""
    shutil.rmtree(_DATA, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> None:
    """A SQLite file as in production, where locks are real; not Django's in-memory default.

    As the PostgreSQL of the tests does, it leaves the disk out: no test cuts the power, and each commit
    waits for the disk otherwise. (Servers that tests start are processes with production's settings.)
    """
    _make_no_permissions()
    if environment.uses_postgres():
        request.getfixturevalue("django_db_modify_db_settings_parallel_suffix")
        empty_quickly(connections["default"])
    else:
        told = connections["default"].settings_dict
        told["TEST"]["NAME"] = str(_DATABASE)
        assert "synchronous=FULL" in told["OPTIONS"]["init_command"], "production waits for the disk"
        told["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest) -> Path:
    """Where an earlier run has left the empty database of these migrations; they take ten seconds."""
    assert request.config.cache is not None
    digest = hashlib.sha256(django.__version__.encode())
    paths = (Path(app.path).glob("migrations/*.py") for app in apps.get_app_configs())
    for path in sorted([*itertools.chain(*paths), Path(requests.__file__)]):
        digest.update(path.read_bytes())
    return request.config.cache.mkdir("migrated") / f"{digest.hexdigest()}.sqlite3"


@pytest.fixture(scope="session")
def django_db_keepdb(migrated: Path) -> bool:
    """Whether it is there; then it is copied, and there is nothing left to migrate. Not on PostgreSQL."""
    known = not environment.uses_postgres() and migrated.exists()
    if known:
        shutil.copy(migrated, _DATABASE)
    return known


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, migrated: Path, *, django_db_keepdb: bool
) -> None:
    """Keep a new one for the next run. Workers may do so at the same moment."""
    del django_db_setup
    if not (django_db_keepdb or environment.uses_postgres()):
        unfinished = migrated.with_suffix(f".{os.getpid()}")
        with django_db_blocker.unblock(), connections["default"].cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(unfinished)])
        unfinished.replace(migrated)


def _make_no_permissions() -> None:
    """Django writes its own permissions of all models anew after each test; Certdesk has roles instead."""
    # Not before the settings are loaded:
    from django.contrib.contenttypes.management import create_contenttypes  # noqa: PLC0415 - settings come first

    assert post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    assert post_migrate.disconnect(create_contenttypes)


@pytest.fixture
def data_folder() -> Path:
    """CERTDESK_DATA of this process."""
    return _DATA


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not (environment.nothing_may_be_skipped() and report.outcome == "skipped") or hasattr(
        report, "wasxfail"
    ):
        return
    report.outcome = "failed"
    report.longrepr = f"Nothing may be skipped here (CERTDESK_NOTHING_SKIPPED=1), yet: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where nothing may be skipped; show a failed story its server's log."""
    report = yield
    _refuse_skip(report)
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, server.DemoServer):
                report.sections.append((f"log of {name}", value.log(lines=_LOG_LINES)))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole file that is skipped counts as well."""
    report = yield
    _refuse_skip(report)
    return report
