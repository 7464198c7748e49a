"""The section `dcv` of an ACME CA: which driver, and how its work is looked at."""

from collections.abc import Mapping

from certdesk.backends.acme.dcv.acme_dns import AcmeDns
from certdesk.backends.acme.dcv.base import Dcv, Driver
from certdesk.backends.acme.dcv.hook import Hook
from certdesk.backends.acme.dcv.lookup import Address, Lookup, address
from certdesk.backends.acme.dcv.rfc2136 import Rfc2136
from certdesk.backends.acme.reading import Settings
from certdesk.domain.errors import Misconfigured

_LOOKUP = ("driver", "resolvers", "servers", "port", "timeout")
_OWN = {
    "rfc2136": ("server", "key_name", "key_file", "key_algorithm", "zone", "ttl"),
    "acme-dns": ("url", "accounts_file", "ca_file"),
    "hook": ("program", "program_timeout"),
}


def read_dcv(*, where: str, settings: Mapping[str, object]) -> Dcv:
    """The driver and the look at its work. Raises Misconfigured for a setting that doesn't fit."""
    kind = settings.get("driver")
    if not isinstance(kind, str) or kind not in _OWN:
        raise Misconfigured(f"{where}: set driver to one of {', '.join(_OWN)}.")
    given = Settings(where, settings, known=(*_LOOKUP, *_OWN[kind]))
    lookup = Lookup(
        resolvers=_addresses(given, "resolvers"),
        servers=_addresses(given, "servers"),
        port=int(given.number("port", default=53)),
        seconds=given.number("timeout", default=3),
    )
    return Dcv(driver=_driver(kind, given, lookup), lookup=lookup)


def _driver(kind: str, given: Settings, lookup: Lookup) -> Driver:
    if kind == "rfc2136":
        return Rfc2136(
            server=_address(given, "server", given.text("server")),
            key_name=given.text("key_name"),
            key_file=given.existing_path("key_file"),
            key_algorithm=given.text("key_algorithm", default="hmac-sha256"),
            zone=given.text("zone", default=""),
            ttl=int(given.number("ttl", default=60)),
            lookup=lookup,
        )
    if kind == "acme-dns":
        return AcmeDns(
            url=given.text("url"),
            accounts_file=given.existing_path("accounts_file"),
            ca_file=given.path("ca_file"),
        )
    program = given.texts("program")
    if not program:
        raise Misconfigured(f"{given.where}: set program to a list: the program, and arguments if any.")
    return Hook(program=program, seconds=given.number("program_timeout", default=60))


def _addresses(given: Settings, key: str) -> tuple[Address, ...]:
    return tuple(_address(given, key, text) for text in given.texts(key))


def _address(given: Settings, key: str, text: str) -> Address:
    try:
        return address(text)
    except ValueError as error:
        told = f"{given.where}: {key} must hold addresses such as 192.0.2.53 or 192.0.2.53:5353 ({error})."
        raise Misconfigured(told) from error
