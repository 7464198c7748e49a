"""Finds the configured back ends by their entry points. Knows no CA by name."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Protocol, cast

from certdesk.backends.base import Backend
from certdesk.domain.errors import Misconfigured

GROUP = "certdesk.ca_backends"


class BackendFactory(Protocol):
    """What an entry point of the group names: usually the back end's class."""

    def from_settings(self, *, name: str, settings: Mapping[str, object]) -> Backend:
        """The back end under this name. Raises Misconfigured."""


def load_backends(configs: Mapping[str, Mapping[str, object]]) -> Mapping[str, Backend]:
    """The back ends by name. A configuration's `kind` is its entry point; without one the name is.

    Raises: Misconfigured as soon as one can't be loaded; start-up stops with it.
    """
    return MappingProxyType({name: _load(name, settings) for name, settings in configs.items()})


def _load(name: str, settings: Mapping[str, object]) -> Backend:
    kind = settings.get("kind", name)
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not isinstance(kind, str) or kind not in found:
        known = ", ".join(sorted(found)) or "none"
        raise Misconfigured(f"Back end {name}: there is no kind “{kind}”. Installed kinds: {known}.")
    own = {key: value for key, value in settings.items() if key != "kind"}
    backend = _factory(name, found[kind]).from_settings(name=name, settings=own)
    if not isinstance(backend, Backend):
        raise Misconfigured(f"Back end {name}: the kind “{kind}” does not offer what a back end must.")
    return backend


def _factory(name: str, entry: EntryPoint) -> BackendFactory:
    try:
        factory = entry.load()
    except (ImportError, AttributeError) as error:
        advice = "Install what it needs, or take it out of the configuration."
        raise Misconfigured(f"Back end {name}: {entry.value} can't be loaded ({error}). {advice}") from error
    if not hasattr(factory, "from_settings"):
        raise Misconfigured(f"Back end {name}: {entry.value} is not a back end.")
    return cast("BackendFactory", factory)
