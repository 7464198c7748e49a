"""REST's edge: tokens, problems, request IDs, sizes, methods, and the rooms beside requests."""

import inspect
import time
from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.conf import settings
from django.utils import timezone

from certdesk.api import edge, problems
from certdesk.api import requests as requests_room
from certdesk.domain import errors
from certdesk.store.models import ApiToken, Request, User
from tests.integration.api_calls import Caller, Callers, body

CLASSES = [
    cls for _name, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.CertdeskError)
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_a_row_in_the_table(cls: type[errors.CertdeskError]) -> None:
    assert cls in problems.KINDS
    problem = problems.problem_of(cls("the detail"))
    ours = issubclass(cls, (errors.InvariantViolated, errors.Misconfigured)) or cls is errors.CertdeskError
    assert (problem.status == 500) == ours
    assert ("the detail" in problem.detail) != ours


def test_a_busy_ca_says_when_to_come_back() -> None:
    assert problems.problem_of(errors.Unavailable("busy")).headers["Retry-After"]
    assert problems.problem_of(errors.RateLimited("slow down", retry_after=7)).headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Bearer cdk_wrong", "Basic YWxpY2U6eA==", "Bearer \u00e9", "cdk_x"]
)
def test_without_a_valid_token_there_is_nothing(users: Callers, given: str) -> None:
    headers = {"Authorization": given.encode().decode("latin-1")} if given else {}
    reply = users.nobody.call("GET", "/requests", headers=headers)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["code"] == "authentication.required"


def test_an_ended_token_or_person_is_out(users: Callers) -> None:
    now = timezone.now()
    ApiToken.objects.filter(user__username="alice").update(expires_at=now - timedelta(seconds=1))
    ApiToken.objects.filter(user__username="bob").update(revoked_at=now)
    User.objects.filter(username="meg").update(is_active=False)
    User.objects.filter(username="olga").update(must_change_password=True)
    replies = [who.get("/requests").status for who in (users.alice, users.bob, users.meg, users.olga)]
    assert replies == [401, 401, 401, 403]


@pytest.mark.parametrize(
    "content, content_type, status",
    [
        (b"{[", "application/json", 400),
        (b"", "application/json", 415),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'{"csr": "x", "duration_years": 1, "server_software": "\\ud800"}', "application/json", 400),
        (b'{"csr": "x", "duration_years": 1, "server_software": "a\\u0000"}', "application/json", 422),
        (b'{"csr": "x", "duration_years": 1e999, "server_software": "nginx"}', "application/json", 422),
        (b"csr=x", "application/x-www-form-urlencoded", 415),
        (b"-----BEGIN", "text/plain", 415),
        (b"--x", "multipart/form-data", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 422),
    ],
)
def test_a_body_that_can_t_be_read(users: Callers, content: bytes, content_type: str, status: int) -> None:
    for path in ("/requests", "/requests/preview"):
        reply = users.alice.call("POST", path, content=content, content_type=content_type)
        assert reply.status == status, reply.content
        assert reply.headers["Content-Type"] == "application/problem+json"
    assert not Request.objects.exists()


def test_every_wrong_member_is_pointed_at(users: Callers) -> None:
    reply = users.alice.post("/requests", {"csr": 1, "duration": 1, "server_software": "nginx"})
    assert reply.status == 422
    assert {e["pointer"] for e in reply.json["errors"]} == {"#/csr", "#/duration_years", "#/duration"}
    deep = users.olga.post("/requests/1/approve", {"shown": "", "evidence": [{"domain": "a.org"}]})
    assert deep.json["errors"][0]["pointer"] == "#/evidence/0/details"


@pytest.mark.parametrize("size", [65_537, 1_000_000, 20_000_000])
def test_too_much_is_refused_at_once(users: Callers, size: int) -> None:
    started = time.process_time()
    as_json = users.alice.post("/requests", body() | {"csr": "A" * size})
    as_file = users.alice.upload("/requests", b"A" * size)
    assert (as_json.status, as_file.status) == (413, 413)
    assert time.process_time() - started < 1


def test_one_file_at_a_time(users: Callers) -> None:
    boundary = b"--x\r\nContent-Disposition: form-data; name="
    two = b"".join(boundary + b'"csr"; filename="a.csr"\r\n\r\nAAAA\r\n' for _ in range(2)) + b"--x--\r\n"
    reply = users.alice.call("POST", "/requests", content=two, content_type="multipart/form-data; boundary=x")
    assert (reply.status, reply.json["code"]) == (422, "input.invalid")


@pytest.mark.parametrize(
    "given, comes_back",
    [("abc-1.2:3", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("a\u00e9", False)],
)
def test_a_request_id_comes_back_if_it_is_safe(users: Callers, given: str, comes_back: bool) -> None:  # noqa: FBT001 - a table's column
    reply = users.alice.get("/organisations", X_Request_ID=given)
    assert (reply.headers["X-Request-ID"] == given) is comes_back
    assert reply.headers["X-Request-ID"]


def test_unknown_addresses_and_methods_are_problems(users: Callers) -> None:
    for path in ("/nothing", "/requests/abc", "/requests/1/x", "/requests/" + "9" * 5000, "/", "/a%0Ab"):
        reply = users.alice.get(path)
        assert (reply.status, reply.headers["Content-Type"]) == (404, "application/problem+json"), path[:40]
    for number in ("9" * 19, "9" * 30):
        assert users.alice.get(f"/requests/{number}").status == 404
        assert users.alice.get(f"/certificates/{number}").status == 404
        assert users.alice.call("DELETE", f"/tokens/{number}").status == 404
    reply = users.alice.call("PUT", "/requests")
    assert (reply.status, reply.json["code"]) == (405, "method.not_allowed")
    assert "GET" in reply.headers["Allow"]


def test_head_has_the_headers_of_get(users: Callers) -> None:
    got, asked = users.alice.get("/organisations"), users.alice.call("HEAD", "/organisations")
    assert (asked.status, asked.content) == (200, b"")
    assert asked.headers["Content-Length"] == str(len(got.content))


def test_our_own_bug_shows_no_detail(users: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (RuntimeError, errors.InvariantViolated):
        monkeypatch.setattr(requests_room, "list_requests", Mock(side_effect=kind("the secret inside")))
        reply = users.alice.get("/requests")
        assert (reply.status, reply.json["code"]) == (500, "internal")
        assert b"secret" not in reply.content
        assert b"Traceback" not in reply.content


def test_answers_are_kept_out_of_caches(users: Callers) -> None:
    for who in (users.alice, users.nobody):
        assert "no-store" in who.get("/requests").headers["Cache-Control"]


def test_the_limit_of_a_body_leaves_room_for_the_greatest_csr() -> None:
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE > edge.MAX_BODY > 65_536 * 1.1


def test_tokens_are_made_listed_and_ended(users: Callers) -> None:
    asked = {"name": "backup", "scopes": ["request"]}
    late = users.alice.post("/tokens", {**asked, "expires_at": "2099-01-01T00:00:00Z"})
    assert (late.status, late.json["errors"][0]["pointer"]) == (422, "#/expires_at")
    made = users.alice.post("/tokens", asked)
    assert (made.status, made.json["scopes"]) == (201, ["read", "request"])
    assert made.json["expires_at"]  # its maker's end
    token, number = made.json["token"], made.json["id"]
    assert Caller(token).get("/requests").status == 200
    listed = users.alice.get("/tokens")
    assert [item["name"] for item in listed.json["items"]] == ["backup", "test"]
    assert token.encode() not in listed.content
    assert users.bob.call("DELETE", f"/tokens/{number}").status == 404
    assert users.alice.call("DELETE", f"/tokens/{number}").status == 204
    assert Caller(token).get("/requests").status == 401
    for wrong in ({"name": ""}, {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}, {"name": " "}):
        assert users.alice.post("/tokens", wrong).status == 422


def test_organisations_members_and_domains(users: Callers) -> None:
    here = "/organisations/example-university"
    assert [o["slug"] for o in users.alice.get("/organisations").json["items"]] == ["example-university"]
    assert len(users.rick.get("/organisations").json["items"]) == 2
    assert users.alice.get(here).json["legal_name"] == "Example University"
    members = users.meg.get(f"{here}/members").json["items"]
    assert {m["username"] for m in members} == {"alice", "bob", "meg"}
    (domain,) = users.bob.get("/domains").json["items"]
    assert (domain["domain"], domain["is_validated"]) == ("example.ac.uk", True)
    proofs = users.bob.get(f"/domains/{domain['id']}/validations").json["items"]
    assert proofs[0]["validated_by"] == "olga"
    assert users.charlie.get("/domains").json["items"] == []
    assert users.charlie.get("/domains?organisation=example-university").status == 404


def test_a_person_is_disabled_and_enabled(users: Callers) -> None:
    """By managers for their own people and by officers; that others may not is for `test_route_matrix.py`."""
    members, own = "/organisations/example-university/members", User.objects.get(username="alice")
    here = f"{members}/{own.pk}"
    ids = dict(User.objects.values_list("username", "id"))
    for name, status in (("charlie", 404), ("olga", 404), ("meg", 403)):
        assert users.meg.post(f"{members}/{ids[name]}/disable").status == status, name
    assert users.meg.post(f"/organisations/other-college/members/{ids['charlie']}/disable").status == 404
    assert users.alice.get("/requests").status == 200

    done = users.meg.post(f"{here}/disable")
    assert (done.status, done.json["username"]) == (200, "alice")
    assert (done.json["is_active"], done.json["account_is_active"]) == (False, False)
    assert users.alice.get("/requests").status == 401
    again = users.olga.post(f"{here}/disable")
    assert (again.status, again.json["code"]) == (409, "state_conflict")

    back = users.meg.post(f"{here}/enable")
    assert (back.status, back.json["member"]["account_is_active"]) == (200, True)
    own.refresh_from_db()
    assert own.check_password(back.json["password"])
    assert own.must_change_password
    assert users.alice.get("/requests").status == 401, "the old token has ended for good"
    assert users.meg.post(f"{here}/enable").status == 409

    assert users.olga.post(f"{here}/disable").status == 200
    refused = users.meg.post(f"{here}/enable")
    assert refused.status == 403
    assert refused.json["detail"] == "The RA disabled this account. Only the RA can enable it."
    assert users.otto.post(f"{here}/enable").status == 200


def test_looking_after_people_needs_a_token_that_may(users: Callers) -> None:
    alice = User.objects.get(username="alice")
    reading = Caller(users.meg.post("/tokens", {"name": "reads"}).json["token"])
    refused = reading.post(f"/organisations/example-university/members/{alice.pk}/disable")
    assert (refused.status, refused.json["scope"]) == (403, "manage")
    assert users.alice.get("/requests").status == 200


def test_an_officer_records_an_ownership_check(users: Callers) -> None:
    path = "/organisations/example-university/domains"
    proof = {"domain": "Example.ORG", "how": "document", "details": "Letter of 1 May.", "reference": "L-1"}
    made = users.olga.post(path, proof)
    assert (made.status, made.json["domain"], made.json["is_validated"]) == (201, "example.org", True)
    assert users.alice.post("/requests", body("www.example.org")).json["status"] == "issued"
    assert users.olga.post(path, proof | {"domain": "not a domain"}).status == 422
    assert users.olga.post("/organisations/nobody/domains", proof).status == 404


def test_certificates_are_found_by_name_and_serial(users: Callers) -> None:
    for name in ("a.example.ac.uk", "b.example.ac.uk"):
        users.alice.post("/requests", body(name))
    first = users.bob.get("/certificates?limit=1")
    following = first.headers["Link"].removeprefix("</api/v1").partition(">")[0]
    names = [c["names"] for reply in (first, users.bob.get(following)) for c in reply.json["items"]]
    assert names == [["b.example.ac.uk"], ["a.example.ac.uk"]]
    (found,) = users.bob.get("/certificates?name=A.example.ac.uk").json["items"]
    (same,) = users.bob.get(f"/certificates?serial={found['serial'].upper()}").json["items"]
    assert same == found == users.bob.get(f"/certificates/{found['id']}").json
    assert users.charlie.get("/certificates").json["items"] == []
