"""The list, the history and the doors, over HTTP."""

import re
from pathlib import Path

from tests.acceptance.seed_support import (
    AVAILABLE,
    REJECTED,
    STATUSES,
    WAITING,
    WITHDRAWN,
    Portal,
    Staff,
    make_csr,
    new_name,
    rows_of,
    run,
)
from tests.harness.server import DemoServer

PUBLIC = (
    *("/help/", "/dcv/", "/help/dcv/", "/help/faq/", "/help/help.pdf", "/status/", "/healthz", "/readyz"),
    *("/acme/directory", "/acme/new-nonce"),
)
CLOSED = (
    *("/", "/requests/", "/requests/new/", "/requests/1/", "/requests/1/bundle.zip", "/requests/export.csv"),
    *("/queue/", "/queue/1/", "/organisations/", "/organisations/example-university/", "/demo/mail/"),
    *("/accounts/password/change/", "/accounts/2fa/", "/accounts/sessions/", "/help/faq/edit/"),
)


def test_r20_the_list_has_all_requests_of_the_own_organisation_whoever_made_them(
    staff: Staff, tmp_path: Path
) -> None:
    made = {who: staff(who).ask(make_csr(tmp_path, new_name())) for who in ("alice", "bob", "meg")}
    for reader in ("alice", "bob", "meg"):
        page = staff(reader).get("/requests/")
        assert "List certificates" in page.text
        assert set(made.values()) <= set(staff(reader).listed()), reader
        assert all(who in page.text for who in made)
    assert {*made.values()} <= {item["id"] for item in staff.rest("bob", "GET", "/requests").json()["items"]}


def test_r20_never_another_organisation_s(staff: Staff, tmp_path: Path) -> None:
    foreign = staff("charlie").ask(make_csr(tmp_path, name := new_name("other.ac.uk")))
    ours = staff("alice").ask(make_csr(tmp_path, own := new_name()))
    for reader in ("alice", "bob", "meg"):
        assert foreign not in staff(reader).listed()
        assert staff(reader).listed(name) == []
        assert name not in staff(reader).get("/requests/export.csv").html
        assert staff(reader).request(foreign).status == 404
        assert staff.rest(reader, "GET", f"/requests/{foreign}").status_code == 404
    assert foreign in staff("charlie").listed()
    assert ours not in staff("charlie").listed()
    assert own not in staff("charlie").get("/requests/export.csv").html
    assert staff("charlie").request(ours).status == 404
    assert staff.rest("charlie", "GET", f"/requests/{ours}").status_code == 404
    for reader in ("olga", "otto", "rick"):
        assert {ours, foreign} <= set(staff(reader).listed()), "people of the RA look after all"
    assert staff("op").listed() == [], "the operator runs the service and reads no requests"


def test_r21_the_request_id_is_a_unique_searchable_number_that_is_never_reused(
    staff: Staff, server: DemoServer, tmp_path: Path
) -> None:
    alice = staff("alice")
    first = alice.ask(make_csr(tmp_path, new_name("never.org")))
    alice.post(f"/requests/{first}/withdraw/")
    assert alice.request(first).status_box.startswith(WITHDRAWN)
    later = [alice.ask(make_csr(tmp_path, new_name())) for _ in range(2)]
    assert first < later[0] < later[1], "not even after it has ended"
    assert alice.listed(str(first))[0] == first
    assert alice.request(first).text.count(f"Request {first}") >= 1
    for method in ("PUT", "PATCH", "DELETE"):
        answer = staff.rest("alice", method, f"/requests/{first}", {"id": 1})
        assert answer.status_code in {404, 405}, "nothing changes or removes it"
    assert staff.told("alice", first)["id"] == first
    (schema,) = rows_of(server, "SELECT sql FROM sqlite_master WHERE name = 'store_request'")
    assert "AUTOINCREMENT" in schema[0], "the database itself never gives a number out twice"


def test_r22_the_common_names_column_has_the_fqdn(staff: Staff, tmp_path: Path) -> None:
    with_cn, second = new_name(), new_name()
    without = [new_name(), new_name()]
    alice = staff("alice")
    first = alice.ask(make_csr(tmp_path, second, with_cn, subject=f"/CN={with_cn}"))
    other = alice.ask(make_csr(tmp_path, *without, subject="/O=Example University"))
    page = alice.get("/requests/")
    assert "Common names" in page.text
    shown = {
        int(n): cell
        for n, cell in re.findall(r'/requests/(\d+)/">\d+</a></th><td[^>]*><span>([^<]+)', page.html)
    }
    assert shown[first] == with_cn
    assert shown[other] == without[0], "without a CN, the first DNS name"
    items = staff.rest("alice", "GET", "/requests").json()["items"]
    assert {item["id"]: item["common_names"] for item in items}[other] == without[0]


def test_r25_one_status_at_a_time_in_the_seed_s_words(staff: Staff, tmp_path: Path) -> None:
    alice, olga = staff("alice"), staff("olga")
    expected = {
        alice.ask(make_csr(tmp_path, new_name())): AVAILABLE,
        alice.ask(make_csr(tmp_path, new_name("waits.org"))): WAITING,
        (rejected := alice.ask(make_csr(tmp_path, new_name("rejected.org")))): REJECTED,
        (withdrawn := alice.ask(make_csr(tmp_path, new_name("withdrawn.org")))): WITHDRAWN,
    }
    olga.reject(rejected, "Not yours.")
    alice.post(f"/requests/{withdrawn}/withdraw/")
    for number, status in expected.items():
        box = alice.request(number).status_box
        assert [one for one in STATUSES if one in box] == [status], box
        assert staff.told("alice", number)["status_text"] == status
        assert alice.get("/requests/", q=str(number)).text.count(status) >= 1
    form = alice.get("/requests/").html
    assert {*STATUSES} == set(re.findall(r"<option value=\"\w+\"[^>]*>([^<]+)</option>", form)) & {*STATUSES}


def test_r25_a_second_line_says_what_is_happening_now(staff: Staff, tmp_path: Path) -> None:
    number = staff("alice").ask(make_csr(tmp_path, new_name("second-line.org")))
    box = staff("alice").request(number).status_box
    assert box.startswith(WAITING)
    assert "JTAG is reviewing this request" in box.removeprefix(WAITING)


def test_r25_every_change_is_in_the_history_with_time_actor_and_reason(staff: Staff, tmp_path: Path) -> None:
    number = staff("alice").ask(make_csr(tmp_path, name := new_name("history.org")))
    staff("otto").approve(number, message="Seen in the registry.")
    page = staff("alice").wait_for(number, AVAILABLE)
    events = staff.events(number)
    assert [event["event"] for event in events] == ["create", "approve", "claim", "ca_accept", "issue"]
    assert [event["actor"] for event in events[:2]] == ["alice", "otto"]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert name in events[0]["note"], "why it waited"
    assert "Seen in the registry." in events[1]["note"]
    history = page.text.partition("History")[2]
    for words in ("Request confirmed", "Approved", "otto", "Certificate issued", "Seen in the registry."):
        assert words in history
    assert history.count("<time") == 0
    assert page.html.count("<time datetime=") >= len(events)
    assert staff("rick").request(number).status == 200


def test_r38_everything_needs_a_sign_in_except_what_is_for_the_public(
    staff: Staff, server: DemoServer, tmp_path: Path
) -> None:
    visitor = Portal(server)
    for address in PUBLIC:
        answer = visitor.get(address)
        assert (answer.path, answer.status) in {(address, 200), (address, 204)}, address
    for address in CLOSED:
        assert visitor.get(address).path == "/accounts/login/", address
    for address in ("/requests/preview/", "/requests/confirm/", "/queue/1/approve/"):
        answer = visitor.post(address)
        assert answer.path == "/accounts/login/" or answer.status == 403, address
    for address in ("/api/v1/requests", "/api/v1/organisations", "/api/v1/certificates"):
        assert visitor.get(address).status == 401, address

    number = staff("alice").ask(make_csr(tmp_path, new_name()))
    (url,) = rows_of(server, "SELECT der FROM store_certificate WHERE request_id = ?", number)
    (tmp_path / "leaf.der").write_bytes(url[0])
    told = run("openssl", "x509", "-inform", "DER", "-in", str(tmp_path / "leaf.der"), "-noout", "-text")
    found = re.findall(r"URI:(\S+\.(?:crl|cer))", told)
    assert len(found) == 2, "CRL and issuer"
    for address in found:
        answer = visitor.get("/" + address.split("/", 3)[3])
        assert answer.status == 200, "for relying parties, who have no account"
    visitor.close()


def test_r38_every_person_belongs_to_an_organisation_or_to_the_ra(staff: Staff, server: DemoServer) -> None:
    people = rows_of(
        server,
        "SELECT username, ra_role, (SELECT count(*) FROM store_membership m WHERE m.user_id = u.id)"
        " FROM store_user u",
    )
    assert {username for username, _role, _count in people} >= set(server.demo.passwords)
    for username, role, memberships in people:
        assert role or memberships, username
    for who in ("alice", "bob", "meg", "charlie", "olga", "otto", "rick", "op"):
        page = staff(who).get("/")
        belongs = server.demo.organisations[who] or "JTAG"
        assert belongs in page.text, who
        if who == "charlie":
            assert "Example University" not in page.text
