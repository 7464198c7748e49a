"""Back ends come from their entry points, or the start stops."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from certdesk.backends.base import Backend
from certdesk.backends.conformance import server_intent
from certdesk.backends.embedded import EmbeddedConfig
from certdesk.backends.registry import load_backends
from certdesk.domain.errors import Misconfigured, Unavailable
from certdesk.domain.findings import Verdict

NOW = datetime.now(UTC)


Settings = dict[str, object]


@pytest.fixture
def settings(shared_config: EmbeddedConfig) -> Settings:
    return {
        "directory": str(shared_config.directory),
        "root_directory": str(shared_config.root_directory),
        "passphrase": "secret words",
    }


def test_the_registry_loads_by_name_or_kind(settings: Settings) -> None:
    backends = load_backends(
        {"embedded": settings, "campus": {**settings, "kind": "embedded", "name": "Campus"}}
    )
    assert [backend.name for backend in backends.values()] == ["embedded", "campus"]
    assert backends["campus"].title == "Campus"


@pytest.mark.parametrize(
    "change",
    [
        lambda settings: {**settings, "kind": "no-such-ca"},
        lambda settings: {**settings, "kind": 7},
        lambda settings: {**settings, "colour": "blue"},
        lambda settings: {**settings, "passphrase": ""},
        lambda settings: {**settings, "passphrase": "guess"},
        lambda settings: {**settings, "directory": ""},
        lambda settings: {**settings, "directory": "/nonexistent"},
        lambda settings: {**settings, "name": 3},
        lambda _: {},
    ],
)
def test_one_that_cannot_load_stops_the_start_unless_there_is_another(
    settings: Settings, change: Callable[[Settings], Settings]
) -> None:
    with pytest.raises(Misconfigured) as stopped:
        load_backends({"embedded": change(settings)})
    stand_in = load_backends({"embedded": change(settings), "campus": {**settings, "kind": "embedded"}})[
        "embedded"
    ]
    assert isinstance(stand_in, Backend)
    assert [(c.verdict, c.message) for c in stand_in.check()] == [(Verdict.REFUSE, stopped.value.detail)]
    for ask in (
        lambda: stand_in.submit(server_intent(now=NOW)),
        lambda: stand_in.poll(server_intent(now=NOW), "7"),
        lambda: stand_in.revoke(certificate_der=b"", reason="superseded"),
    ):
        with pytest.raises(Unavailable, match="embedded"):
            ask()
