"""The embedded CA that tests share which leave it as they find it."""

from datetime import UTC, datetime

import pytest

from certdesk.backends.embedded import EmbeddedConfig, create_authority

#: Before any test is read: at the same moment of its last year the CA has ended.
_MADE = datetime.now(UTC)


@pytest.fixture(scope="session")
def shared_config(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedConfig:
    folder = tmp_path_factory.mktemp("embedded")
    config = EmbeddedConfig(
        directory=folder / "ca", root_directory=folder / "root", passphrase=b"secret words"
    )
    create_authority(config, _MADE, may_create=lambda: True)
    return config
