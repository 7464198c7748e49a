"""Finds the configured back ends by their entry points, or stands in for one. Knows no CA by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Protocol, cast

from certdesk.backends.base import Backend
from certdesk.domain.errors import Misconfigured, Unavailable
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import Intent, Outcome

GROUP = "certdesk.ca_backends"


class BackendFactory(Protocol):
    """What an entry point of the group names: usually the back end's class."""

    def from_settings(self, *, name: str, settings: Mapping[str, object]) -> Backend:
        """The back end under this name. Raises Misconfigured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableBackend:
    """Stands in for a CA that can't be used as it is set up: the others serve, and this one says why not."""

    name: str
    reason: str
    inline = False

    @property
    def title(self) -> str:
        """Its name: a title may be just what could not be read."""
        return self.name

    def submit(self, intent: Intent) -> Outcome:  # noqa: ARG002 - the protocol's signature
        """Nothing reaches the CA. Raises Unavailable, as do `poll` and `revoke`: it may be mended."""
        raise self._unavailable()

    def poll(self, intent: Intent, handle: str) -> Outcome:  # noqa: ARG002 - as above
        """See `submit`."""
        raise self._unavailable()

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:  # noqa: ARG002 - as above
        """See `submit`."""
        raise self._unavailable()

    def check(self) -> tuple[Check, ...]:
        return (Check("backend.unusable", Verdict.REFUSE, self.reason),)

    def chain(self) -> tuple[bytes, ...]:
        """Not known."""
        return ()

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"The CA “{self.name}” can't be used: {self.reason}")


def load_backends(configs: Mapping[str, Mapping[str, object]]) -> Mapping[str, Backend]:
    """The back ends by name. A configuration's `kind` is its entry point; without one the name is.

    One that can't be loaded is stood in for. Raises: Misconfigured when none can be; start-up stops with it.
    """
    loaded: dict[str, Backend] = {}
    problem = Misconfigured("No CA is set up.")
    for name, settings in configs.items():
        try:
            loaded[name] = _load(name, settings)
        except Misconfigured as error:
            problem, loaded[name] = error, UnusableBackend(name=name, reason=error.detail)
    if all(isinstance(one, UnusableBackend) for one in loaded.values()):
        raise problem
    return MappingProxyType(loaded)


def _load(name: str, settings: Mapping[str, object]) -> Backend:
    kind = settings.get("kind", name)
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not isinstance(kind, str) or kind not in found:
        known = ", ".join(sorted(found)) or "none"
        raise Misconfigured(f"Back end {name}: there is no kind “{kind}”. Installed kinds: {known}.")
    own = {key: value for key, value in settings.items() if key != "kind"}
    entry = found[kind]
    try:
        factory = entry.load()
    except (ImportError, AttributeError) as error:
        advice = "Install what it needs, or take it out of the configuration."
        raise Misconfigured(f"Back end {name}: {entry.value} can't be loaded ({error}). {advice}") from error
    if not hasattr(factory, "from_settings"):
        raise Misconfigured(f"Back end {name}: {entry.value} is not a back end.")
    backend = cast("BackendFactory", factory).from_settings(name=name, settings=own)
    if not isinstance(backend, Backend):
        raise Misconfigured(f"Back end {name}: the kind “{kind}” does not offer what a back end must.")
    return backend
