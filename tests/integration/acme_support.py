"""ACME stories without a server: requests handed to the ACME room, and a network that the test writes."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from urllib.parse import unquote

from certdesk.acme.application import application
from certdesk.dcv.base import Challenge, Network, NotValidated, Outcome, Problem, Record, Validated
from certdesk.dcv.conformance import faulty
from certdesk.dcv.resolver import Status
from certdesk.domain.acme.credentials import Limits
from certdesk.domain.actors import Actor, OrgRole
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.issuing.states import Status as RequestStatus
from certdesk.domain.validation.evidence import Method
from certdesk.services.acme.credentials import CredentialKey, create_credential
from certdesk.services.system import runtime
from tests.harness.acme_client import AcmeClient, Reply
from tests.integration.support import NOW, World, actor, configured, manager, state_of, world


def in_room(method: str, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
    """Hand a request to the ACME room, as the server would; one without `Content-Length` is chunked."""
    path, _mark, query = url.removeprefix(runtime.current().base_url).partition("?")
    started: list[tuple[str, list[tuple[str, str]]]] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote(path, encoding="latin-1"),
        "QUERY_STRING": query,
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        "CONTENT_LENGTH": headers.get("Content-Length", str(len(body))),
        "wsgi.input": io.BytesIO(body),
    }
    content = application(environ, lambda status, pairs: started.append((status, pairs)))  # type: ignore[arg-type]  # nothing is written past it
    (status, pairs) = started[0]
    return Reply(status=int(status.partition(" ")[0]), headers=dict(pairs), body=b"".join(content))


def client(**fields: object) -> AcmeClient:
    """A client that has no account yet."""
    return AcmeClient(
        send=in_room,
        directory=f"{runtime.current().base_url}/acme/directory",
        **fields,  # type: ignore[arg-type]  # fields of all types
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeWorld:
    """The usual world, the university's manager, and a credential of hers."""

    world: World
    meg: Actor
    credential: CredentialKey

    def registered(self) -> AcmeClient:
        """A client with an account."""
        return registered(self.credential)


def registered(eab: CredentialKey, **fields: object) -> AcmeClient:
    """A client with an account by this credential."""
    made = client(**fields)
    reply = made.register(eab.kid, eab.hmac_key)
    assert reply.status == 201, reply.body
    return made


def client_of(home: OrganisationId) -> AcmeClient:
    """A client of another organisation, by a credential of its manager's."""
    return registered(credential(actor(f"manager{home}", organisation=home, role=OrgRole.MANAGER), home))


def acme_world(limits: Limits | None = None) -> AcmeWorld:
    """Example University with `example.ac.uk` validated, and a credential without limits."""
    here = world()
    meg = manager(here)
    return AcmeWorld(world=here, meg=meg, credential=credential(meg, here.university, limits))


def credential(by: Actor, of: OrganisationId, limits: Limits | None = None) -> CredentialKey:
    """A credential of an organisation."""
    return create_credential(
        actor=by, organisation_id=of, name="web servers", limits=limits or Limits(), now=NOW
    )


def waiting(one: AcmeClient, *names: str, says: str = "Waiting for manual approval", **more: object) -> int:
    """Order what a human decides; the number of the request that waits for it."""
    reply = one.order(*names, **more)
    assert reply.refusal == (403, "rejectedIdentifier"), reply.body
    number = int(reply.json["request"])
    assert f"/requests/{number}/" in reply.json["detail"]
    assert says in reply.json["detail"]
    assert state_of(number) is RequestStatus.WAITING_FOR_APPROVAL
    return number


@dataclass(slots=True)
class ScriptedValidator:
    """A validator that finds what the test has put there: `proofs` holds key authorizations.

    `faults` are used up first: an exception is raised, a problem is the outcome. `takes` lets time pass.
    """

    method: Method
    proofs: set[str] = field(default_factory=set)
    faults: list[Exception | Problem] = field(default_factory=list)
    seen: list[Challenge] = field(default_factory=list)
    takes: Callable[[], None] = lambda: None
    methods: ClassVar[frozenset[Method]] = frozenset()

    def validate(
        self,
        challenge: Challenge,
        *,
        network: Network,  # noqa: ARG002 - the protocol's signature
        now: datetime,
    ) -> Outcome:
        """Answer as the script says."""
        self.seen.append(challenge)
        self.takes()
        record = Record(
            method=self.method, adn=challenge.adn, asked="the script", answered="what it says", at=now
        )
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if fault is None and challenge.expected in self.proofs:
            return Validated(record=record)
        problem = fault or Problem(code="dcv.scripted", detail="The proof is not there.")
        return NotValidated(problem=problem, record=record)


#: Those of a test, by method.
Scripts = dict[Method, ScriptedValidator]


@contextmanager
def scripted_network() -> Iterator[Scripts]:
    """Work with validators that the test fills: one for each of http-01, dns-01 and tls-alpn-01."""
    methods = (Method.ACME_HTTP, Method.ACME_DNS, Method.ACME_TLS_ALPN)
    found = {method: ScriptedValidator(method=method) for method in methods}
    with configured(network=faulty(Status.SERVFAIL), validators=found):
        yield found


def tampered(message: Mapping[str, object], **changes: object) -> bytes:
    """A message with other members."""
    return json.dumps(
        {name: value for name, value in {**message, **changes}.items() if value is not None}
    ).encode()
