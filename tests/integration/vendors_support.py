"""The four thin clients, each with a stand-in for its CA."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from certdesk.backends.adcs import AdcsBackend
from certdesk.backends.base import Backend, Finds
from certdesk.backends.conformance import server_intent
from certdesk.backends.digicert import DigiCertBackend
from certdesk.backends.harica import HaricaBackend
from certdesk.backends.sectigo import SectigoBackend
from certdesk.domain.issuing.certificates import Absent, Intent, Outcome
from tests.harness.acme_client import make_csr
from tests.harness.served import answering
from tests.harness.vendors import adcs, digicert, harica, sectigo
from tests.harness.vendors.adcs import Adcs
from tests.harness.vendors.digicert import DigiCert
from tests.harness.vendors.harica import Harica
from tests.harness.vendors.sectigo import Sectigo
from tests.harness.vendors.stand_in import StandIn

#: Settings without files, as docs/cas.md has them; `secrets` is what the files hold.
_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "digicert": {"product": "ssl_basic", "organization_id": digicert.ORGANIZATION, "skip_approval": True},
    "sectigo": {
        "customer_uri": "example",
        "login": "certdesk",
        "organization_id": sectigo.ORGANIZATION,
        "profile_id": sectigo.PROFILE,
        "terms": [30, 199],
        "custom_fields": {"Cost centre": "4711"},
    },
    "harica": {"email": harica.EMAIL},
    "adcs": {"template": "WebServer", "username": adcs.USERNAME, "authentication": "basic"},
}
_SECRETS: Mapping[str, Mapping[str, str]] = {
    "digicert": {"api_key_file": digicert.KEY},
    "sectigo": {"password_file": sectigo.PASSWORD},
    "harica": {"password_file": harica.PASSWORD, "totp_file": harica.SEED},
    "adcs": {"password_file": adcs.PASSWORD},
}
_SERVERS: Mapping[str, Callable[[], StandIn]] = {
    "digicert": DigiCert,
    "sectigo": Sectigo,
    "harica": Harica,
    "adcs": Adcs,
}
_CLASSES: Mapping[str, Callable[..., object]] = {
    "digicert": DigiCertBackend.from_settings,
    "sectigo": SectigoBackend.from_settings,
    "harica": HaricaBackend.from_settings,
    "adcs": AdcsBackend.from_settings,
}
#: The path of the request that orders.
ORDERS: Mapping[str, str] = {
    "digicert": "order/certificate/ssl_basic",
    "sectigo": "/enroll",
    "harica": "RequestServerCertificate",
    "adcs": "certfnsh.asp",
}
KINDS = tuple(_SERVERS)
#: Those whose CA can be asked what it has of an intent.
FINDING = ("digicert", "sectigo", "harica")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A stand-in, and settings for a back end that asks it."""

    kind: str
    server: StandIn
    settings: Mapping[str, object]

    def backend(self, **changes: object) -> Backend:
        """A back end as after a restart."""
        made = _CLASSES[self.kind](name="vendor", settings={**self.settings, **changes})
        assert isinstance(made, Backend)
        return made

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(_SECRETS[self.kind].values())


@contextmanager
def vendor(kind: str, folder: Path) -> Iterator[Vendor]:
    """One, for as long as the block lasts."""
    files: dict[str, object] = {}
    for setting, secret in _SECRETS[kind].items():
        path = folder / f"{kind}-{setting}"
        path.write_text(f"{secret}\n", encoding="utf-8")
        path.chmod(0o600)
        files[setting] = path
    with answering(_SERVERS[kind]()) as server:
        settings = {**_SETTINGS[kind], **files, "address": server.address}
        yield Vendor(kind=kind, server=server, settings=settings)


def find(backend: Backend, intent: Intent) -> Outcome | Absent:
    """By a back end that can."""
    assert isinstance(backend, Finds)
    return backend.find(intent)


def intent_for(
    *names: str, age: timedelta = timedelta(minutes=3), in_csr: tuple[str, ...] | None = None
) -> Intent:
    """An intent that was claimed so long ago, with a CSR for the same names unless others are given."""
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = names or ("www.example.ac.uk",)
    intent = server_intent(now=datetime.now(UTC) - age, names=wanted, key=key.public_key())
    return replace(intent, csr_der=make_csr(*(wanted if in_csr is None else in_csr), key=key))
