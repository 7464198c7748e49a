"""Another certificate under a request, over REST: what it answers, and what it tells about when."""

from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile

from certdesk.domain.certificates import Accepted
from certdesk.store.models import Certificate, Request
from tests.integration.api_calls import ROOT, Caller, Callers, Reply, body
from tests.integration.support import ScriptedCa, backend, csr, signed

NAME = "www.example.ac.uk"


def _asked(who: Caller) -> Any:  # noqa: ANN401 - JSON
    reply = who.post("/requests", body(NAME))
    assert reply.status == 201, reply.content
    assert reply.json["status"] == "issued"
    return reply.json


def _again(who: Caller, number: object, upload: bytes | None = None, **headers: str) -> Reply:
    sent = (upload or csr(NAME)).decode()
    return who.post(f"/requests/{number}/certificates", {"csr": sent}, **headers)


def test_a_new_certificate_under_the_same_request(users: Callers) -> None:
    first = _asked(users.alice)
    reply = _again(users.bob, first["id"])
    assert reply.status == 201, reply.content
    made = reply.json["certificate"]
    assert reply.json["request"] == made["request"] == first["id"]
    assert reply.headers["Location"] == f"{ROOT}/certificates/{made['id']}"
    assert made["not_after"] == first["certificates"][0]["not_after"]
    shown = users.alice.get(f"/requests/{first['id']}").json
    assert shown["certificates"][0]["id"] == made["id"]
    assert len(shown["certificates"]) == 2
    assert shown["entitled_until"] >= made["not_after"]
    assert [shown["events"][-1][name] for name in ("event", "from_status", "to_status")] == [
        "issue",
        "issued",
        "issued",
    ]
    assert users.alice.get(f"/certificates/{made['id']}/file").status == 200


def test_a_file_does_as_well(users: Callers) -> None:
    number = _asked(users.alice)["id"]
    response = users.alice.client.post(
        f"{ROOT}/requests/{number}/certificates",
        data={"csr": SimpleUploadedFile("my.csr", csr(NAME))},
        headers={"Authorization": f"Bearer {users.alice.token}"},
    )
    assert response.status_code == 201


def test_sent_twice_it_is_one(users: Callers) -> None:
    number, upload = _asked(users.alice)["id"], csr(NAME)
    replies = [_again(users.alice, number, upload, Idempotency_Key="k") for _ in range(2)]
    assert [reply.status for reply in replies] == [201, 201]
    assert replies[0].json == replies[1].json
    assert "Idempotent-Replayed" not in replies[0].headers
    assert replies[1].headers["Idempotent-Replayed"] == "true"
    assert Certificate.objects.count() == 2
    assert _again(users.alice, number, Idempotency_Key="k").json["code"] == "idempotency_mismatch"


def test_a_ca_that_takes_its_time(users: Callers) -> None:
    number, upload = _asked(users.alice)["id"], csr(NAME)
    with backend(ScriptedCa(answers=[Accepted(handle="17")], polls=[signed])):
        reply = _again(users.alice, number, upload, Idempotency_Key="k")
        assert (reply.status, reply.json["certificate"]) == (202, None)
        assert _again(users.alice, number).json["code"] == "state_conflict"


def test_what_it_refuses(users: Callers) -> None:
    number = _asked(users.alice)["id"]
    assert _again(users.charlie, number).status == 404
    assert _again(users.charlie, 99_999).json["detail"] == _again(users.charlie, number).json["detail"]
    other = _again(users.alice, number, csr("mail.example.ac.uk"))
    assert (other.status, other.json["code"]) == (422, "input.invalid")
    assert users.alice.post(f"/requests/{number}/certificates", {"csr": "nonsense"}).status == 422
    extra = {"csr": csr(NAME).decode(), "names": [NAME]}
    assert users.alice.post(f"/requests/{number}/certificates", extra).status == 422
    Request.objects.filter(id=number).update(state="withdrawn")
    ended = _again(users.alice, number)
    assert (ended.status, ended.json["code"]) == (409, "request.not_entitled")
    assert users.alice.get(f"/requests/{number}").json["entitled_until"] is None
