"""What the use cases work with and the composition root provides: back ends, rules, addresses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from certdesk.backends.base import Backend
from certdesk.domain.errors import InvariantViolated, Misconfigured
from certdesk.domain.policy import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Set once at start-up. `ownership_days` is how long a manual ownership validation counts (R34)."""

    backends: Mapping[str, Backend]
    default_backend: str
    rules: Rules
    base_url: str
    service_name: str
    mail_from: str
    ownership_days: int
    support_url: str = ""

    def backend(self, name: str) -> Backend:
        """The back end of that name. Raises Misconfigured when it is no longer set up."""
        try:
            return self.backends[name]
        except KeyError:
            raise Misconfigured(f"The CA “{name}” is not set up.") from None


class _Holder:
    make: Callable[[], Runtime] | None = None
    made: Runtime | None = None


def configure(make: Callable[[], Runtime]) -> None:
    """Says how the runtime is made; it is made when first needed, and once."""
    _Holder.make, _Holder.made = make, None


def current() -> Runtime:
    """The runtime. Raises InvariantViolated if nothing configured one."""
    if _Holder.made is None:
        if _Holder.make is None:
            raise InvariantViolated("no runtime was configured")
        _Holder.made = _Holder.make()
    return _Holder.made
