"""What waits for a person, who decides it, and what is remembered, over HTTP."""

import html
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.seed_support import (
    ACCEPTED,
    AVAILABLE,
    INTENDED,
    REJECTED,
    SEEN,
    WAITING,
    Page,
    Staff,
    body,
    make_csr,
    new_name,
    rows_of,
)

OUTSIDE = "names.outside_trusted_suffix"


def reasons(staff: Staff, number: int) -> set[str]:
    """The codes of the checks that asked for a human."""
    checks = staff.told("rick", number)["checks"]
    return {check["code"] for check in checks if check["verdict"] == "manual"}


def decision_of(page: Page) -> str:
    """What a preview foretells."""
    found = re.search(r'data-decision="(\w+)"', page.html)
    assert found, page.text
    return found[1]


def test_r29_a_rejection_needs_details_which_the_applicant_is_mailed_and_sees(
    staff: Staff, tmp_path: Path
) -> None:
    number = staff("alice").ask(make_csr(tmp_path, new_name("rejected-29.org")))
    for nothing in ("", "   "):
        page = staff("olga").reject(number, nothing)
        assert page.status == 422
        assert "Write why the request is rejected" in page.text
        assert staff("alice").request(number).status_box.startswith(WAITING)

    first, second = "The registry names somebody else.", "Ask the owner to write to us <first>."
    details = f"{first}\n{second}"
    assert staff("olga").reject(number, details).status == 200
    page = staff("alice").request(number)
    assert page.status_box.startswith(REJECTED)
    assert f"{first} {second}" in page.text
    assert f"<p>{first}<br>{html.escape(second)}</p>" in page.html, "in the officer's own lines"
    assert "bundle.zip" not in page.html
    told = staff.told("alice", number)["detail"]
    assert (first in told, second in told) == (True, True)
    mail = staff.wait_for_mail(f"Request {number}", "The registry names somebody else.")
    assert mail["To"] == "alice@example.ac.uk"
    assert REJECTED in str(mail["Subject"])
    assert f"/requests/{number}/" in body(mail)
    assert f"\n  {first}\n  {second}\n" in body(mail)


@pytest.mark.parametrize("domain", ["ac.uk.evil.org", "notac.uk"])
def test_r30_a_name_outside_the_trusted_suffixes_waits(staff: Staff, tmp_path: Path, domain: str) -> None:
    """Suffixes are compared by label, not as text."""
    name = new_name(domain)
    page = staff("alice").preview(make_csr(tmp_path, name))
    assert decision_of(page) == "manual"
    assert name in page.text.partition("because:")[2][:600], "and the page says which"
    number = staff("alice").confirm(page).number
    assert staff("alice").request(number).status_box.startswith(WAITING)
    assert OUTSIDE in reasons(staff, number)


def test_r30_names_inside_go_through(staff: Staff, tmp_path: Path) -> None:
    for names in ([new_name()], [new_name(), new_name("deep.below.example.ac.uk")]):
        assert decision_of(staff("alice").preview(make_csr(tmp_path, *names))) == "auto"
    page = staff("alice").preview(make_csr(tmp_path, new_name("dept.gov.uk")))
    assert OUTSIDE not in page.html, "gov.uk is trusted by default as well"


@pytest.mark.parametrize("place", ["cn", "san", "cn alone"])
def test_r30_one_outside_name_sends_the_whole_request_to_a_human(
    staff: Staff, tmp_path: Path, place: str
) -> None:
    inside, outside = [new_name(), new_name()], new_name("one-outside.org")
    names = {"cn": [outside, *inside], "san": [*inside, outside], "cn alone": inside}[place]
    subject = f"/CN={outside}" if place == "cn alone" else None
    page = staff("alice").preview(make_csr(tmp_path, *names, subject=subject))
    assert decision_of(page) == "manual"
    said = page.text.partition("because:")[2].partition("Names (")[0]
    assert outside in said
    assert not [name for name in inside if name in said], "only that one is to blame"
    number = staff("alice").confirm(page).number
    assert staff("alice").request(number).status_box.startswith(WAITING)
    assert rows_of(staff.server, INTENDED, number) == []
    assert outside in staff("olga").get("/queue/").text


def test_r31_r32_the_queue_has_evidence_fields_and_approval_goes_on_with_the_same_request(
    staff: Staff, tmp_path: Path
) -> None:
    name, domain = new_name("evidence.org"), "evidence.org"
    number = staff("alice").ask(make_csr(tmp_path, name))
    for officer in ("olga", "otto"):
        queue = staff(officer).get("/queue/")
        assert f'href="/queue/{number}/"' in queue.html
        assert "Example University" in queue.text

    form = staff("olga").get(f"/queue/{number}/")
    for field in ("how", "evidence", "reference"):
        assert f'name="{domain}-{field}"' in form.html
    assert f"Ownership of {domain}" in form.text
    for incomplete in ({"evidence": ""}, {"how": ""}, {"how": "guess"}):
        page = staff("olga").approve(number, **incomplete)
        assert page.status == 422, incomplete
        assert incomplete != {"how": ""} or "Choose how it was checked" in page.text
        assert staff("alice").request(number).status_box.startswith(WAITING)

    approved = staff("olga").approve(number, message="Fine.")
    assert approved.number == number, "the same Request ID"
    page = staff("alice").wait_for(number, AVAILABLE)
    assert "Approved by olga" in page.text
    domains = staff.rest("rick", "GET", "/domains?organisation=example-university").json()["items"]
    (row,) = [item for item in domains if item["domain"] == domain]
    (proof,) = staff.rest("rick", "GET", f"/domains/{row['id']}/validations").json()["items"]
    assert SEEN in str(proof["evidence"])
    assert "RT-7" in str(proof["evidence"])
    assert proof["validated_by"] == "olga"
    assert proof["validated_at"]
    assert [e["to_status"] for e in staff.events(number)][:2] == ["waiting_for_approval", "accepted"]


def test_r33_a_validation_is_remembered_per_organisation_and_domain(staff: Staff, tmp_path: Path) -> None:
    first = staff("alice").ask(make_csr(tmp_path, new_name("remembered.org")))
    staff("otto").approve(first)
    staff("alice").wait_for(first, AVAILABLE)

    page = staff("bob").preview(make_csr(tmp_path, later := new_name("remembered.org")))
    assert decision_of(page) == "auto"
    number = staff("bob").confirm(page).number
    assert staff("bob").request(number).status_box.startswith((ACCEPTED, AVAILABLE))
    staff("bob").wait_for(number, AVAILABLE)
    assert [e["event"] for e in staff.events(number)][:2] == ["create", "claim"], "nobody was asked"
    assert decision_of(staff("bob").preview(make_csr(tmp_path, new_name("another.org")))) == "manual"

    foreign = staff("charlie").preview(make_csr(tmp_path, new_name("remembered.org")))
    assert decision_of(foreign) == "manual", "another organisation's are not"
    assert "Example University" not in foreign.text
    number = staff("charlie").confirm(foreign).number
    assert OUTSIDE in reasons(staff, number)
    assert later not in foreign.text


def test_r35_the_first_request_of_an_organisation_always_waits(staff: Staff, tmp_path: Path) -> None:
    """Even under ac.uk; a rejected one does not count, and firsts at the same time all wait."""
    slug = f"college-{new_name('x').partition('.')[0]}"
    legal = slug.replace("-", " ").title()
    olga, domain = staff("olga"), f"{slug}.ac.uk"
    olga.post("/organisations/new/", legal_name=legal, slug=slug, country="GB", locality="Exampleton")
    olga.post(f"/organisations/{slug}/vet/", evidence="The register of colleges.")
    own: dict[str, Any] = {"domain": domain, "how": "registry", "evidence": SEEN, "reference": ""}
    assert olga.post(f"/organisations/{slug}/domains/", **own).status == 200
    people = [f"{slug}-{n}" for n in range(3)]
    portals = [staff.joined(olga, slug, person) for person in people]

    seen = [portal.preview(make_csr(tmp_path, new_name(domain))) for portal in portals]
    assert {decision_of(page) for page in seen} == {"manual"}
    assert all("first request" in page.text for page in seen)
    with ThreadPoolExecutor(max_workers=3) as pool:
        numbers = [page.number for page in pool.map(lambda p, s: p.confirm(s), portals, seen)]
    for number in numbers:
        assert staff("rick").request(number).status_box.startswith(WAITING), "simultaneous firsts all wait"
        assert reasons(staff, number) == {"organisation.first_request"}, "and nothing else is amiss"

    olga.reject(numbers[0], "Not now.")
    again = portals[0].preview(make_csr(tmp_path, new_name(domain)))
    assert decision_of(again) == "manual", "none approved yet"
    staff("otto").approve(numbers[1])
    portals[1].wait_for(numbers[1], AVAILABLE)
    assert staff("rick").request(numbers[2]).status_box.startswith(WAITING)
    assert decision_of(portals[2].preview(make_csr(tmp_path, new_name(domain)))) == "auto"
    for portal in portals:
        portal.close()
