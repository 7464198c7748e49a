"""Requests over REST, from preview to download, and who may do what to them."""

import base64
import io
import re
import zipfile
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import F

from certdesk.api.request_schemas import DecisionOut
from certdesk.domain.issuing.certificates import Accepted
from certdesk.services.requests.asking import withdraw_request
from certdesk.services.requests.decisions import Shown
from certdesk.store.models import Approval, Certificate, Domain, Organisation, Request, ValidationRecord
from tests.integration import support
from tests.integration.api_calls import ROOT, Caller, Callers, Reply, body
from tests.integration.support import ScriptedCa, backend, csr, signed

NAME = "www.example.ac.uk"
OUTSIDE = "shop.example.org"
EVIDENCE = {"domain": "example.org", "how": "registry", "details": "RDAP names the university."}


@pytest.fixture
def number(users: Callers) -> int:
    """A request of alice's that waits for an officer."""
    return int(users.alice.post("/requests", body(OUTSIDE)).json["id"])


def shown(users: Callers, number: int) -> str:
    """What an officer is shown, as it goes back with an approval."""
    told: str = users.olga.get(f"/requests/{number}/decision").json["shown"]
    return told


def test_a_preview_shows_every_check_and_stores_nothing(users: Callers) -> None:
    reply = users.alice.post("/requests/preview", body("mail.example.ac.uk", "www.example.ac.uk"))
    assert reply.status == 200
    told = reply.json
    assert (told["decision"], told["id"], told["status"]) == ("auto", None, None)
    assert told["names"] == ["mail.example.ac.uk", "www.example.ac.uk"]
    assert told["subject"] == [{"name": "CN", "value": "mail.example.ac.uk"}]
    verdicts = {check["code"]: check["verdict"] for check in told["checks"]}
    assert verdicts.pop("key.known") == "not_checked"  # no list is loaded
    assert set(verdicts.values()) == {"pass"}
    assert told["term"]["not_before"].endswith("Z")
    assert not Request.objects.exists()


def test_a_preview_foresees_a_human_and_a_refusal(users: Callers) -> None:
    manual = users.alice.post("/requests/preview", body(OUTSIDE)).json
    refused = users.alice.post("/requests/preview", body("mail.localhost")).json
    assert (manual["decision"], refused["decision"]) == ("manual", "refuse")
    assert "names.outside_trusted_suffix" in {c["code"] for c in manual["checks"] if c["verdict"] == "manual"}
    assert [c for c in refused["checks"] if c["verdict"] == "refuse"]


def test_a_request_is_issued_at_once_and_downloads_in_every_form(users: Callers) -> None:
    created = users.alice.post("/requests", body("mail.example.ac.uk"))
    assert created.status == 201
    told = created.json
    assert created.headers["Location"] == f"/api/v1/requests/{told['id']}"
    assert (told["status"], told["status_text"]) == ("issued", "Certificate available for download")
    assert (told["requester"], told["events"][0]["event"]) == ("alice", "create")
    here = f"/requests/{told['id']}"

    asked = x509.load_pem_x509_csr(users.alice.get(f"{here}/csr").content)
    leaf = x509.load_pem_x509_certificate(users.alice.get(f"{here}/certificate").content)
    der, full, p7b = (
        users.alice.get(f"{here}/certificate?format={form}") for form in ("der", "fullchain", "p7b")
    )
    assert leaf.public_key() == asked.public_key()
    assert x509.load_der_x509_certificate(der.content) == leaf
    chain = x509.load_pem_x509_certificates(full.content)
    assert (chain[0], len(chain)) == (leaf, 2)
    assert len(pkcs7.load_der_pkcs7_certificates(p7b.content)) == 3
    leaf.verify_directly_issued_by(chain[1])
    assert re.fullmatch(
        r'attachment; filename="mail_example_ac_uk-\d{4}-\d\d-\d\d\.der"', der.headers["Content-Disposition"]
    )

    bundle = users.alice.get(f"{here}/bundle.zip")
    assert bundle.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        texts = {name: archive.read(name) for name in archive.namelist()}
    assert sum(b"BEGIN CERTIFICATE" in text for text in texts.values()) == 3
    assert not any(b"PRIVATE KEY" in text for text in texts.values())


def test_a_csr_may_come_as_a_file(users: Callers) -> None:
    der = x509.load_pem_x509_csr(support.csr("der.example.ac.uk")).public_bytes(Encoding.DER)
    reply = users.alice.upload("/requests", der, note="by form")
    assert reply.status == 201
    assert (reply.json["names"], reply.json["note"]) == (["der.example.ac.uk"], "by form")


def test_the_same_key_makes_the_same_request_and_no_other(users: Callers) -> None:
    asked = body("one.example.ac.uk")
    first = users.alice.post("/requests", asked, Idempotency_Key="k-1")
    again = users.alice.post("/requests", asked, Idempotency_Key="k-1")
    other = users.alice.post("/requests", body("two.example.ac.uk"), Idempotency_Key="k-1")
    bobs = users.bob.post("/requests", body("three.example.ac.uk"), Idempotency_Key="k-1")
    assert (first.status, again.status) == (201, 201)
    assert first.json["id"] == again.json["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    assert bobs.status == 201
    assert Request.objects.count() == 2


def test_a_bad_idempotency_key_is_refused(users: Callers) -> None:
    assert users.alice.post("/requests", body(), Idempotency_Key="x" * 129).status == 400
    assert not Request.objects.exists()


def test_a_refused_request_answers_with_every_check(users: Callers) -> None:
    reply = users.alice.post("/requests", body("mail.localhost", duration_years=7))
    assert reply.status == 422
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["code"] == "policy.refused"
    refused = {check["code"] for check in reply.json["checks"] if check["verdict"] == "refuse"}
    assert "request.duration" in refused
    assert len(refused) > 1
    assert not Request.objects.exists()


def test_names_have_to_be_those_of_the_csr(users: Callers) -> None:
    same = users.alice.post("/requests", body("a.example.ac.uk", names=["A.example.ac.uk"]))
    more = users.alice.post("/requests", body("b.example.ac.uk", names=["b.example.ac.uk", OUTSIDE]))
    shown = users.alice.post("/requests/preview", body("b.example.ac.uk", names=[]))
    assert same.status == 201
    assert (more.status, shown.status) == (422, 422)
    assert more.json["errors"][0]["pointer"] == "#/names"
    assert Request.objects.count() == 1


def test_an_officer_approves_with_evidence(users: Callers, number: int) -> None:
    here = f"/requests/{number}"
    early = users.alice.get(f"{here}/bundle.zip")
    assert (early.status, early.json["code"]) == (409, "certificate.not_available")
    assert early.json["request_status"] == "waiting_for_approval"
    assert early.headers["Retry-After"]

    unseen = users.olga.post(f"{here}/approve", {"evidence": [EVIDENCE]})
    assert (unseen.status, unseen.json["errors"][0]["pointer"]) == (422, "#/shown")
    for told in (b"{}", b'{"reasons": [], "version": Infinity}', b"[" * 20_000):
        sent = {"evidence": [EVIDENCE], "shown": base64.urlsafe_b64encode(told).decode()}
        damaged = users.olga.post(f"{here}/approve", sent)
        assert (damaged.status, damaged.json["errors"][0]["pointer"]) == (422, "#/shown")
    decision = users.olga.get(f"{here}/decision").json
    assert set(decision) == set(DecisionOut.model_fields)
    assert decision["domains"] == [{"domain": "example.org", "names": [OUTSIDE], "required": True}]
    bare = users.olga.post(f"{here}/approve", {"shown": decision["shown"]})
    assert (bare.status, bare.json["errors"][0]["pointer"]) == (422, "#/evidence")
    done = users.olga.post(f"{here}/approve", {"evidence": [EVIDENCE], "shown": decision["shown"]})
    assert (done.status, done.json["status"]) == (200, "issued")
    assert users.alice.get(f"{here}/bundle.zip").status == 200
    # Remembered: the next name there needs nobody.
    assert users.alice.post("/requests", body("api.example.org")).json["status"] == "issued"
    late = users.otto.post(f"{here}/reject", {"details": "no"})
    assert (late.status, late.json["code"]) == (409, "state_conflict")
    again = users.olga.get(f"{here}/decision")
    assert (again.status, again.json["code"]) == (409, "state_conflict")


def test_an_internal_note_is_not_the_message_to_the_applicant(users: Callers, number: int) -> None:
    told = {"note": "Deed on file.", "message": "Welcome back."}
    asked = {"evidence": [EVIDENCE], "shown": shown(users, number), **told}
    answer = users.olga.post(f"/requests/{number}/approve", asked).json
    assert {name: answer["approvals"][-1][name] for name in ("by", *told)} == {"by": "olga", **told}
    for who in (users.olga, users.rick):
        assert who.get(f"/requests/{number}").json["approvals"][-1]["note"] == "Deed on file."
    for who in (users.alice, users.bob, users.meg):
        reply = who.get(f"/requests/{number}")
        assert reply.json["approvals"][-1]["message"] == "Welcome back."
        assert b"Deed on file" not in reply.content
    assert ValidationRecord.objects.get(domain__adn="example.org").evidence["details"] == EVIDENCE["details"]


@pytest.mark.parametrize("word", ["details", "note", "reason"])
def test_a_rejection_reaches_the_applicant(users: Callers, number: int, word: str) -> None:
    assert users.olga.post(f"/requests/{number}/reject", {}).status == 422
    reply = users.olga.post(f"/requests/{number}/reject", {word: "Not yours."})
    assert (reply.status, reply.json["status"]) == (200, "rejected_by_ra")
    shown = users.alice.get(f"/requests/{number}").json
    assert (shown["status_text"], shown["detail"]) == ("Rejected by JTAG", "Not yours.")
    gone = users.alice.get(f"/requests/{number}/certificate")
    assert (gone.status, "Retry-After" in gone.headers) == (409, False)


@pytest.mark.parametrize("verb", ["approve", "reject", "withdraw"])
def test_a_stale_version_changes_nothing(users: Callers, number: int, verb: str) -> None:
    who = users.alice if verb == "withdraw" else users.olga
    here, told = f"/requests/{number}/{verb}", shown(users, number)
    bodies: dict[str, dict[str, object]] = {
        "approve": {"evidence": [EVIDENCE], "shown": told},
        "reject": {"details": "because"},
        "withdraw": {},
    }
    asked = bodies[verb]
    stale: dict[str, object] = {"version": 99}
    if verb == "approve":
        stale = {"shown": replace(Shown.read(told), version=99).token()}
    tag = users.olga.get(f"/requests/{number}").headers["ETag"]
    assert [who.post(here, asked, If_Match=other).status for other in ('"99"', f"W/{tag}")] == [412, 412]
    assert who.post(here, asked | stale).status == 409
    assert not Approval.objects.exclude(by="policy").exists()
    assert not Domain.objects.filter(adn="example.org").exists()
    assert who.post(here, asked, If_Match=tag).status == 200


def test_a_withdrawal_s_if_match_holds_until_it_is_written(
    users: Callers, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = users.alice.get(f"/requests/{number}").headers["ETag"]

    def overtaken(**asked: Any) -> None:
        Request.objects.filter(id=number).update(version=F("version") + 1)
        withdraw_request(**asked)

    monkeypatch.setattr("certdesk.api.requests.withdraw_request", overtaken)
    assert users.alice.post(f"/requests/{number}/withdraw", {}, If_Match=tag).status == 409
    assert users.alice.get(f"/requests/{number}").json["status"] == "waiting_for_approval"


def test_an_approval_is_of_what_was_shown_and_says_what_has_changed(users: Callers, number: int) -> None:
    asked = {"evidence": [EVIDENCE], "shown": shown(users, number)}
    Organisation.objects.filter(slug="example-university").update(legal_name="Example Technical University")
    changed = users.olga.post(f"/requests/{number}/approve", asked)
    assert (changed.status, changed.json["code"]) == (409, "state_conflict")
    assert "the organisation's data" in changed.json["detail"]
    assert not Approval.objects.exclude(by="policy").exists()
    assert not Domain.objects.filter(adn="example.org").exists()
    asked["shown"] = shown(users, number)
    assert users.olga.post(f"/requests/{number}/approve", asked).json["status"] == "issued"


def test_an_etag_saves_the_body(users: Callers, number: int) -> None:
    tag = users.alice.get(f"/requests/{number}").headers["ETag"]
    same = users.alice.get(f"/requests/{number}", If_None_Match=tag)
    assert (same.status, same.content) == (304, b"")
    users.alice.post(f"/requests/{number}/withdraw")
    assert users.alice.get(f"/requests/{number}", If_None_Match=tag).status == 200


def test_a_request_is_withdrawn_once(users: Callers, number: int) -> None:
    assert users.meg.post(f"/requests/{number}/withdraw", {}).json["status"] == "withdrawn"
    assert users.alice.post(f"/requests/{number}/withdraw").status == 409


def test_ra_staff_ask_for_nothing(users: Callers) -> None:
    plain = users.olga.post("/requests", body())
    named = users.olga.post("/requests", body(organisation="example-university"))
    assert (plain.status, named.status) == (403, 403)
    assert "organisation" in plain.json["detail"]


def test_a_person_of_two_organisations_says_which(users: Callers) -> None:
    second = support.organisation("Second College")
    support.actor("alice", organisation=second)
    plain = users.alice.post("/requests", body())
    assert plain.status == 422
    assert "second-college" in plain.json["errors"][0]["detail"]
    named = users.alice.post("/requests", body(organisation="second-college"))
    assert named.json["organisation"] == "Second College"
    assert users.alice.post("/requests", body(organisation="other-college")).status == 404


def test_the_list_pages_by_link_and_stays_in_the_organisation(users: Callers) -> None:
    numbers = [users.alice.post("/requests", body()).json["id"] for _ in range(5)]
    users.charlie.post("/requests", body("x.other.ac.uk"))
    replies = [users.bob.get("/requests?limit=2&sort=oldest")]
    while link := replies[-1].headers.get("Link"):
        assert link.endswith('>; rel="next"')
        replies.append(users.bob.get(link.removeprefix("</api/v1").partition(">")[0]))
    assert [item["id"] for reply in replies for item in reply.json["items"]] == numbers
    assert len(replies) == 3
    assert replies[-1].json["next_cursor"] is None
    assert [i["organisation"] for i in users.charlie.get("/requests").json["items"]] == ["Other College"]
    assert len(users.rick.get("/requests").json["items"]) == 6


def test_the_list_filters(users: Callers, number: int) -> None:
    other = users.alice.post("/requests", body("found.example.ac.uk")).json["id"]
    for query, found in (("q=found", other), ("status=waiting_for_approval", number)):
        assert [item["id"] for item in users.alice.get(f"/requests?{query}").json["items"]] == [found]
    assert number in [item["id"] for item in users.alice.get(f"/requests?q={number}").json["items"]]
    assert users.rick.get("/requests?organisation=other-college").json["items"] == []
    assert users.alice.get("/requests?organisation=other-college").status == 404


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "sort=up", "status=lost", "cursor=abc", "q=%00", "cursor=%20"],
)
def test_a_bad_parameter_is_named(users: Callers, query: str) -> None:
    reply = users.alice.get(f"/requests?{query}")
    assert reply.status == 422
    assert reply.json["errors"][0]["parameter"] == query.partition("=")[0]


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


def test_another_csr_may_come_as_a_file_as_well(users: Callers) -> None:
    number = _asked(users.alice)["id"]
    response = users.alice.client.post(
        f"{ROOT}/requests/{number}/certificates",
        data={"csr": SimpleUploadedFile("my.csr", csr(NAME))},
        headers={"Authorization": f"Bearer {users.alice.token}"},
    )
    assert response.status_code == 201


def test_another_that_is_sent_twice_is_one(users: Callers) -> None:
    number, upload = _asked(users.alice)["id"], csr(NAME)
    replies = [_again(users.alice, number, upload, Idempotency_Key="k") for _ in range(2)]
    assert [reply.status for reply in replies] == [201, 201]
    assert replies[0].json == replies[1].json
    assert "Idempotent-Replayed" not in replies[0].headers
    assert replies[1].headers["Idempotent-Replayed"] == "true"
    assert Certificate.objects.count() == 2
    assert _again(users.alice, number, Idempotency_Key="k").json["code"] == "idempotency_mismatch"


def test_another_at_a_ca_that_takes_its_time(users: Callers) -> None:
    number, upload = _asked(users.alice)["id"], csr(NAME)
    with backend(ScriptedCa(answers=[Accepted(handle="17")], polls=[signed])):
        reply = _again(users.alice, number, upload, Idempotency_Key="k")
        assert (reply.status, reply.json["certificate"]) == (202, None)
        assert _again(users.alice, number).json["code"] == "state_conflict"


def test_what_is_refused_as_another(users: Callers) -> None:
    number = _asked(users.alice)["id"]
    other = _again(users.alice, number, csr("mail.example.ac.uk"))
    assert (other.status, other.json["code"]) == (422, "input.invalid")
    assert users.alice.post(f"/requests/{number}/certificates", {"csr": "nonsense"}).status == 422
    extra = {"csr": csr(NAME).decode(), "names": [NAME]}
    assert users.alice.post(f"/requests/{number}/certificates", extra).status == 422
    Request.objects.filter(id=number).update(state="withdrawn")
    ended = _again(users.alice, number)
    assert (ended.status, ended.json["code"]) == (409, "request.not_entitled")
    assert users.alice.get(f"/requests/{number}").json["entitled_until"] is None
