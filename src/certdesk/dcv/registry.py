"""Finds the validators: the ones that ship, and others by their entry points. Decides nothing.

E-mail is not among them: there a person answers, and the service keeps the challenge.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from certdesk.dcv.base import Validator
from certdesk.dcv.dns import AcmeDnsAccountValidator, AcmeDnsValidator, CnameTokenValidator, TxtTokenValidator
from certdesk.dcv.http import AcmeHttpValidator, HttpFileValidator
from certdesk.dcv.persist.validator import PersistValidator
from certdesk.dcv.tls_alpn import TlsAlpnValidator
from certdesk.domain.errors import Misconfigured
from certdesk.domain.validation.evidence import Method

#: Each names a Validator, or a callable without arguments that makes one.
GROUP = "certdesk.dcv_methods"

BUILT_IN: tuple[Validator, ...] = (
    AcmeDnsAccountValidator(),
    AcmeDnsValidator(),
    AcmeHttpValidator(),
    CnameTokenValidator(),
    HttpFileValidator(),
    PersistValidator(),
    TlsAlpnValidator(),
    TxtTokenValidator(),
)


def load_validators(installed: Iterable[EntryPoint] | None = None) -> Mapping[Method, Validator]:
    """Every method that can be checked by machine, with its validator.

    Raises: Misconfigured when one can't be loaded or two would do the same method; start-up stops with it.
    """
    found: dict[Method, Validator] = {}
    others = entry_points(group=GROUP) if installed is None else installed
    for validator in (*BUILT_IN, *map(_load, others)):
        for method in validator.methods:
            if method in found:
                told = f"Two validators want to check {method}: take one of them out of what is installed."
                raise Misconfigured(told)
            found[method] = validator
    return MappingProxyType(found)


def _load(entry: EntryPoint) -> Validator:
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as error:
        told = f"Validation method {entry.name}: {entry.value} can't be loaded ({error})."
        raise Misconfigured(told) from error
    validator = loaded() if isinstance(loaded, type) else loaded
    methods = getattr(validator, "methods", None)
    known = isinstance(methods, frozenset) and all(isinstance(method, Method) for method in methods)
    if not methods or not known or not callable(getattr(validator, "validate", None)):
        raise Misconfigured(f"Validation method {entry.name}: {entry.value} is not a validator.")
    return validator  # type: ignore[no-any-return]  # just looked at
