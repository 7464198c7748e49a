"""Domain control by e-mail, from the request that waits to the certificate, over HTTP and real mail."""

import hashlib
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.seed_support import (
    ACCEPTED,
    AVAILABLE,
    INTENDED,
    Page,
    Portal,
    Staff,
    body,
    make_csr,
    new_name,
    rows_of,
)
from tests.harness.server import DemoServer

LOCAL_PARTS = {"admin", "administrator", "webmaster", "hostmaster", "postmaster"}
WAITING_FOR = "Waiting for {} to confirm"


@pytest.fixture
def reader(server: DemoServer) -> Iterator[Portal]:
    """Whoever reads the domain's mailbox, and has no account."""
    visitor = Portal(server)
    yield visitor
    visitor.close()


def ask(staff: Staff, number: int, domain: str, mailbox: str, *, who: str = "alice", **more: Any) -> Page:
    """Send the form of the request's page."""
    return staff(who).post(f"/requests/{number}/ask/", domain=domain, mailbox=mailbox, **more)


def link_in(staff: Staff, mailbox: str) -> str:
    """The path of the newest link that was mailed to a mailbox."""
    mails = [one for one in staff.mail() if one["To"] == mailbox]
    assert mails, f"no mail to {mailbox}"
    found = re.search(r"http://\S+?(/dcv/\S+)", body(mails[-1]))
    assert found, body(mails[-1])
    return found[1]


def proofs(server: DemoServer, domain: str) -> int:
    """How many validation records there are for a domain, of whichever organisation."""
    query = (
        "SELECT count(*) FROM store_validationrecord r JOIN store_domain d ON d.id = r.domain_id"
        " WHERE d.adn = ?"
    )
    found: int = rows_of(server, query, domain)[0][0]
    return found


def waiting(staff: Staff, folder: Path, *, who: str = "alice") -> tuple[int, str, str]:
    """A request for a name whose domain nobody has proven; its number, domain and name."""
    domain = new_name("ac.uk", prefix="proven")
    name = f"www.{domain}"
    return staff(who).ask(make_csr(folder, name)), domain, name


def test_r04_r25_from_the_mailed_value_to_the_certificate(
    staff: Staff, server: DemoServer, reader: Portal, tmp_path: Path
) -> None:
    number, domain, name = waiting(staff, tmp_path)
    mailbox = f"hostmaster@{domain}"
    assert staff("alice").request(number).status_box.startswith(ACCEPTED)
    assert rows_of(server, INTENDED, number) == []

    ask(staff, number, domain, mailbox)
    box = staff("alice").request(number).status_box
    assert box.startswith(ACCEPTED)
    assert WAITING_FOR.format(mailbox) in box, "the second line says who is awaited (R25)"
    link = link_in(staff, mailbox)
    shown = reader.get(link)
    assert shown.status == 200
    for word in ("Example University", domain, "alice", name, mailbox):
        assert word in shown.text, word
    assert proofs(server, domain) == 0, "opening the link only shows a page"
    assert reader.get(link).status == 200, "as often as one likes"
    assert staff("alice").request(number).status_box == box

    done = reader.post(link)
    assert "Confirmed" in done.text
    assert proofs(server, domain) == 1
    staff("alice").wait_for(number, AVAILABLE)
    assert {event["actor"] for event in staff.events(number)} == {"alice", "Certdesk"}, "by itself"

    assert reader.post(link).status == reader.get(link).status == 404, "single use"
    assert proofs(server, domain) == 1
    (row,) = [d for d in domains(staff) if d["domain"] == domain]
    (proof,) = staff.rest("rick", "GET", f"/domains/{row['id']}/validations").json()["items"]
    evidence = str(proof["evidence"])
    for word in (mailbox, domain, "alice", "confirmed"):
        assert word in evidence, word
    assert "3.2.2.4.4" in proof["source"], "the method"
    assert proof["validated_at"], "the time"
    code = link.strip("/").rpartition("/")[2]
    assert hashlib.sha256(code.encode()).hexdigest() in evidence
    assert code.encode() not in (server.data / "certdesk.sqlite3").read_bytes(), (
        "the value itself is not kept"
    )
    assert staff("charlie").get(f"/domains/{row['id']}/").status == 404


def domains(staff: Staff) -> list[dict[str, str]]:
    """The university's domains."""
    found: list[dict[str, str]] = staff.rest(
        "rick", "GET", "/domains?organisation=example-university&limit=100"
    ).json()["items"]
    return found


def asked_mailboxes(staff: Staff) -> set[str]:
    """Where mail that asks for a confirmation has gone so far."""
    return {str(one["To"]) for one in staff.mail() if "/dcv/" in body(one)}


def test_r04_only_five_mailboxes_at_the_adn_which_the_server_computes(staff: Staff, tmp_path: Path) -> None:
    number, domain, name = waiting(staff, tmp_path)
    page = staff("alice").request(number)
    offered = {html.unescape(box) for box in re.findall(r'<option value="([^"]+@[^"]+)"', page.html)}
    assert offered == {f"{local}@{adn}" for local in LOCAL_PARTS for adn in (domain, name)}
    before = asked_mailboxes(staff)
    for forged in (
        *(f"root@{domain}", "admin@ac.uk", "admin@evil.org", "alice@example.ac.uk", "admin@example.ac.uk"),
        *(f"admin@evil.org,admin@{domain}", f"admin@{domain}@evil.org", ""),
    ):
        page = ask(staff, number, domain, forged, adn="evil.org", to="admin@evil.org")
        assert page.status in {409, 422}, forged
    assert ask(staff, number, "evil.org", "admin@evil.org").status in {409, 422}
    assert asked_mailboxes(staff) == before, "no mail went anywhere"
    mailbox = f"postmaster@{domain}"
    ask(staff, number, domain, mailbox, adn="evil.org")
    (mail,) = [one for one in staff.mail() if domain in str(one["To"])]
    assert mail["To"] == mailbox
    assert mail["Cc"] is mail["Bcc"] is None
    assert ask(staff, number, domain, mailbox, who="charlie").status == 404
    assert ask(staff, number, domain, mailbox, who="rick").status in {403, 404}


def test_r04_only_the_mailed_value_validates(
    staff: Staff, server: DemoServer, reader: Portal, tmp_path: Path
) -> None:
    number, domain, _name = waiting(staff, tmp_path)
    mailbox = f"webmaster@{domain}"
    ask(staff, number, domain, mailbox)
    right = link_in(staff, mailbox)
    code = right.strip("/").rpartition("/")[2]
    reader.get("/dcv/")
    for wrong in (("A" if code[0] != "A" else "B") + code[1:], code[:-4], "A" * 52, "x", str(number)):
        assert reader.post(f"/dcv/{wrong}/").status == 404, wrong
    typed = " ".join(re.findall("....", code)).lower()
    assert reader.post("/dcv/", code=typed).path == right, "typed in by hand: shown, not confirmed"
    assert proofs(server, domain) == 0

    ask(staff, number, domain, mailbox)
    newer = link_in(staff, mailbox)
    assert newer != right
    assert reader.post(right).status == 404, "a newer mail replaces it"
    assert reader.post(newer).status == 200
    staff("alice").wait_for(number, AVAILABLE)


def test_r04_a_confirmation_counts_for_the_organisation_that_asked(
    staff: Staff, server: DemoServer, reader: Portal, tmp_path: Path
) -> None:
    foreign, domain, name = waiting(staff, tmp_path, who="charlie")
    ours = staff("alice").ask(make_csr(tmp_path, name))
    mailbox = f"admin@{domain}"
    ask(staff, ours, domain, mailbox)
    assert reader.get("/dcv/").status == 200
    reader.post(link_in(staff, mailbox))
    staff("alice").wait_for(ours, AVAILABLE)
    assert not staff("charlie").request(foreign).status_box.startswith(AVAILABLE)
    assert "is validated" not in staff("charlie").preview(make_csr(tmp_path, name)).text
    assert rows_of(server, INTENDED, foreign) == []


def test_r04_a_cancelled_value_is_dead(
    staff: Staff, server: DemoServer, reader: Portal, tmp_path: Path
) -> None:
    number, domain, _name = waiting(staff, tmp_path)
    mailbox = f"administrator@{domain}"
    page = ask(staff, number, domain, mailbox)
    link = link_in(staff, mailbox)
    cancel = re.search(r'action="(/domains/confirmations/\d+/cancel/)"', page.html)
    assert cancel
    assert staff("charlie").post(cancel[1]).status == 404
    staff("meg").post(cancel[1], request=number)
    assert reader.get(link).status == 404
    assert proofs(server, domain) == 0
