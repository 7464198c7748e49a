"""A real OpenBao, by a token and by an AppRole, against the suite that every back end must pass."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certdesk.backends.base import Backend
from certdesk.backends.conformance import (
    BackendConformance,
    BackendFactory,
    FindsConformance,
    ListsConformance,
    MakeIntent,
)
from certdesk.backends.registry import load_backends
from certdesk.domain.issuing.certificates import Intent
from tests.harness.openbao import OpenBao, openbao_server
from tests.integration.openbao_support import POLICY, intent_for, settings_for


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with openbao_server(tmp_path_factory.mktemp("bao") / "server") as server:
        server.make_pki()
        server.role("web")
        yield server


@pytest.fixture
def make_intent() -> MakeIntent:
    def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        # Long enough ago for a repeat to be no first send.
        return intent_for(names, now=datetime.now(UTC) - timedelta(minutes=3))

    return make


class TestByToken(BackendConformance, FindsConformance, ListsConformance):
    @pytest.fixture
    def backend_factory(self, bao: OpenBao, tmp_path: Path) -> BackendFactory:
        def factory() -> Backend:
            return load_backends({"vault": settings_for(bao, tmp_path)})["vault"]

        return factory


class TestByAppRole(BackendConformance, FindsConformance, ListsConformance):
    @pytest.fixture
    def backend_factory(self, bao: OpenBao, tmp_path: Path) -> BackendFactory:
        """As docs/cas.md tells to set it up: a role that may do no more than is needed."""
        if "approle/" not in bao.call("GET", "sys/auth")["data"]:
            bao.call("POST", "sys/auth/approle", type="approle")
        bao.call("PUT", "sys/policies/acl/certdesk", policy=POLICY)
        bao.call("POST", "auth/approle/role/certdesk", token_policies="certdesk", token_ttl="1h")
        role_id = bao.call("GET", "auth/approle/role/certdesk/role-id")["data"]["role_id"]
        secret_id = bao.call("POST", "auth/approle/role/certdesk/secret-id")["data"]["secret_id"]
        path = tmp_path / "secret_id"
        path.write_text(secret_id + "\n", encoding="utf-8")
        own = settings_for(bao, tmp_path)
        del own["token_file"]

        def factory() -> Backend:
            return load_backends({"vault": {**own, "role_id": role_id, "secret_id_file": path}})["vault"]

        return factory


def test_the_same_key_twice_is_two_certificates(bao: OpenBao, tmp_path: Path) -> None:
    """As when an ACME client keeps its key; the second ends with the term, as the first did."""
    backend = load_backends({"vault": settings_for(bao, tmp_path)})["vault"]
    first = intent_for(("twice.example.ac.uk",), now=datetime.now(UTC) - timedelta(minutes=3))
    second = replace(first, idempotency_key="another", not_before=first.not_before + timedelta(minutes=3))
    assert backend.submit(first) != backend.submit(second)
