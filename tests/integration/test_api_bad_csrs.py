"""Every bad CSR over REST: a clear 4xx in under a second, nothing stored, and nothing secret in the log."""

import json
import time
from contextlib import suppress
from pathlib import Path

import pytest
from django.apps import apps

from certdesk.store.models import ApiToken, AuditEvent, BlockedKey
from tests.integration.api_calls import Callers, Reply

VECTORS = Path(__file__).parent.parent / "vectors"
BAD: list[dict[str, str]] = json.loads((VECTORS / "bad.json").read_text(encoding="utf-8"))
#: A pasted private key is forgotten, its public half blocked, and that is on record.
MAY_GROW = frozenset({BlockedKey, AuditEvent})


def _counts() -> dict[str, int]:
    tables = (model for model in apps.get_app_config("store").get_models() if model not in MAY_GROW)
    return {model.__name__: model._default_manager.count() for model in tables}


def _clear(reply: Reply) -> None:
    assert reply.headers["Content-Type"] == "application/problem+json"
    detail = reply.json["detail"]
    assert 20 <= len(detail) <= 1500
    assert "Traceback" not in detail
    assert "Error" not in detail.split()


PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_bad_csrs(users: Callers, part: int, capfd: pytest.CaptureFixture[str]) -> None:
    """In parts, so that several processes share the work and a failure still names its vector."""
    before, blocked = _counts(), BlockedKey.objects.count()
    for vector in BAD[part::PARTS]:
        upload = (VECTORS / "bad" / vector["file"]).read_bytes()
        said = f"{vector['file']}: "
        started = time.process_time()
        foreseen = users.alice.upload("/requests/preview", upload)
        halfway = time.process_time()
        created = users.alice.upload("/requests", upload)
        assert max(halfway - started, time.process_time() - halfway) < 1, said
        if vector["stage"] == "unreadable":
            assert 400 <= foreseen.status < 500, said
            assert foreseen.json["code"] == vector["code"], said
            _clear(foreseen)
            assert foreseen.json["detail"].isprintable(), said
        else:
            assert foreseen.status == 200, said
            assert foreseen.json["decision"] == "refuse", said
            refused = {c["code"] for c in foreseen.json["checks"] if c["verdict"] == "refuse"}
            assert vector["code"] in refused, said
        assert 400 <= created.status < 500, said
        _clear(created)
        with suppress(UnicodeDecodeError):  # as JSON as well, where it is text at all
            asked = {"csr": upload.decode(), "duration_years": 1, "server_software": "nginx"}
            assert 400 <= users.alice.post("/requests", asked).status < 500, said
        if vector["code"] != "csr.private_key":
            assert BlockedKey.objects.count() == blocked, said
        blocked = BlockedKey.objects.count()
    assert _counts() == before
    logged = "".join(capfd.readouterr())
    assert "PRIVATE KEY" not in logged
    assert "cdk_" not in logged
    assert users.alice.token not in logged


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 60
    assert {vector["stage"] for vector in BAD} == {"unreadable", "refuse"}


def test_a_pasted_private_key_is_blocked_and_nowhere_else(users: Callers) -> None:
    upload = (VECTORS / "bad" / "private-key-pkcs8-ec.pem").read_bytes()
    reply = users.alice.upload("/requests/preview", upload)
    assert (reply.status, reply.json["code"]) == (422, "csr.private_key")
    assert BlockedKey.objects.count() == 1
    secret = upload.split(b"\n")[1]
    assert secret not in reply.content
    kept = " ".join(str(row) for row in AuditEvent.objects.values_list("data", "object_id"))
    assert secret.decode() not in kept
    assert ApiToken.objects.filter(digest=users.alice.token).count() == 0
