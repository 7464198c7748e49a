"""Asking in the portal: the form's own answers, preview without a trace, confirmation of what was shown."""

import csv
import io
import re
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from certdesk.domain.actors import RaRole
from certdesk.domain.issuing.states import Status
from certdesk.store.models import AuditEvent, Request, RequestEvent
from certdesk.store.transitions import NOTIFIED
from certdesk.web.requests.forms import looks_like_path
from tests.integration.api_calls import with_token
from tests.integration.support import (
    World,
    actor,
    copies,
    csr,
    listed_numbers,
    manager,
    notify,
    signed_in,
    state_of,
    submit,
)
from tests.integration.test_stale_forms import RDAP

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(people: World) -> Client:
    return signed_in("alice")


def preview(client: Client, upload: bytes, *, pasted: bool = False, **choices: str) -> HttpResponse:
    fields: dict[str, object] = {"duration_years": "1", "server_software": "nginx", **choices}
    if pasted:
        fields["csr_text"] = upload.decode()
    else:
        fields["csr"] = SimpleUploadedFile("www.csr", upload)
    return cast("HttpResponse", client.post(reverse("requests-preview"), fields))


def shown_to(officer: Client, number: int) -> str:
    """What an officer is shown, as the page's form carries it."""
    page = officer.get(reverse("queue-decide", args=[number])).content.decode()
    found = re.search(r'name="shown" value="([^"]+)"', page)
    assert found, "there is nothing to approve"
    return found[1]


def token_in(answer: HttpResponse) -> str:
    found = re.search(r'name="preview" value="([^"]+)"', answer.content.decode())
    assert found, "the page offers no confirmation"
    return found[1]


def confirm(client: Client, token: str) -> HttpResponse:
    return cast("HttpResponse", client.post(reverse("requests-confirm"), {"preview": token}))


def rows() -> tuple[int, int, int]:
    return Request.objects.count(), RequestEvent.objects.count(), AuditEvent.objects.count()


@pytest.mark.parametrize("pasted", [False, True])
def test_a_preview_shows_everything_and_leaves_no_trace(alice: Client, *, pasted: bool) -> None:
    before = rows()
    answer = preview(alice, csr("www.example.ac.uk", "xn--bcher-kva.example.ac.uk"), pasted=pasted)
    text = answer.content.decode()
    assert answer.status_code == 200
    for shown in (
        "www.example.ac.uk",
        "bücher.example.ac.uk",
        "EC P-256",
        "Common name (CN)",
        "Confirm request",
    ):
        assert shown in text
    assert 'data-decision="auto"' in text
    assert rows() == before
    assert not mail.outbox


def test_two_previews_of_the_same_make_one_request_and_of_another_csr_two(alice: Client) -> None:
    """Going back in the browser previews again."""
    sent = csr("www.example.ac.uk")
    tokens = [token_in(preview(alice, upload)) for upload in (sent, sent, csr("www.example.ac.uk"))]
    assert len({confirm(alice, token)["Location"] for token in tokens}) == 2


def test_changing_brings_back_what_was_filled_in(alice: Client) -> None:
    sent = csr("www.example.ac.uk")
    token = token_in(preview(alice, sent, duration_years="3", server_software="Other", note="For <the> lab."))
    form = alice.post(reverse("requests-new"), {"preview": token}).context["form"]
    assert form["csr_text"].value().split() == sent.decode().split()
    assert (form["duration_years"].value(), form["server_software"].value()) == (3, "Other")
    assert form["note"].value() == "For <the> lab."


def test_a_note_is_previewed_and_reaches_whoever_decides(alice: Client) -> None:
    shown = preview(alice, csr("www.elsewhere.org"), note="For <the> lab.")
    assert "For &lt;the&gt; lab." in shown.content.decode()
    number = int(confirm(alice, token_in(shown))["Location"].rstrip("/").rpartition("/")[2])
    assert Request.objects.get(id=number).note == "For <the> lab."
    page = signed_in("olga").get(reverse("queue-decide", args=[number])).content.decode()
    assert "For &lt;the&gt; lab." in page


def test_what_policy_refuses_can_not_be_confirmed(alice: Client) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=www.example.ac.uk,O=Another University")
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    answer = preview(alice, request.public_bytes(Encoding.PEM))
    text = answer.content.decode()
    assert 'data-decision="refuse"' in text
    assert "Another University" in text
    assert "Confirm request" not in text
    assert 'name="preview"' not in text


@pytest.mark.parametrize(
    "text",
    [
        "C:\\certs\\www.csr",
        "/etc/ssl/www.csr",
        "~/www.csr",
        '"D:\\my files\\a.pem"',
        "www.csr",
        "\\\\nas\\x\\y.req",
    ],
)
def test_a_pasted_path_gets_a_helpful_answer(alice: Client, text: str) -> None:
    answer = preview(alice, text.encode(), pasted=True)
    assert answer.status_code == 422
    assert "choose the file instead" in answer.content.decode()


def test_a_csr_is_never_taken_for_a_path() -> None:
    pem = csr("www.example.ac.uk").decode()
    body = "".join(pem.splitlines()[1:-1])
    for text in (pem, pem.replace("\n", "\r\n"), body, f"/{body}", f"subject=CN = a.csr\n{pem}"):
        assert not looks_like_path(text)


@pytest.mark.parametrize(
    "fields,complaint",
    [
        ({}, "Choose your CSR file, or paste"),
        ({"csr_text": "   "}, "Choose your CSR file, or paste"),
        ({"csr_text": "hello"}, "certificate request"),
        ({"csr_text": "x" * 70_000}, "64 KB"),
        ({"csr_text": "x", "csr": SimpleUploadedFile("a.csr", b"x")}, "not both"),
        ({"csr": SimpleUploadedFile("a.csr", b"")}, "empty"),
        ({"csr": SimpleUploadedFile("a.csr", b"\x00" * 70_000)}, "64"),
    ],
)
def test_a_form_that_can_not_be_used_says_what_to_do(
    alice: Client, fields: dict[str, object], complaint: str
) -> None:
    answer = alice.post(
        reverse("requests-preview"), {"duration_years": "1", "server_software": "Other", **fields}
    )
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "There is a problem" in text
    assert complaint in text
    assert not Request.objects.exists()


def test_more_than_any_form_takes_is_refused_at_the_door(alice: Client) -> None:
    answer = alice.post(reverse("requests-preview"), {"csr_text": "x" * 600_000})
    assert answer.status_code == 413
    assert "64 KB" in answer.content.decode()


def test_choices_must_be_made_and_be_on_offer(alice: Client) -> None:
    answer = alice.post(reverse("requests-preview"), {"csr_text": csr().decode(), "duration_years": "7"})
    assert set(answer.context["form"].errors) == {"duration_years", "server_software"}
    for field in ("duration_years", "server_software"):
        assert f'href="#id_{field}' in answer.content.decode()


@pytest.mark.django_db(transaction=True)  # what is refused is rolled back
def test_withdrawing_asks_first_and_then_ends_it(alice: Client, people: World) -> None:
    made = submit(people.alice, "www.elsewhere.org")
    address = reverse("requests-withdraw", args=[made.number])
    assert alice.get(address).status_code == 200
    assert state_of(made.number) is Status.WAITING_FOR_APPROVAL
    assert alice.post(address).status_code == 302
    assert state_of(made.number) is Status.WITHDRAWN
    late = alice.get(address).content.decode()
    assert "It is too late" in late
    assert "Withdraw request</button>" not in late
    again = alice.post(address)
    assert again.status_code == 409
    assert "<b>Withdrawn</b> by alice" in again.content.decode()


@pytest.mark.parametrize("username", ["bob", "olga"])
def test_who_may_not_withdraw_is_shown_no_button(people: World, username: str) -> None:
    made = submit(people.alice, "www.elsewhere.org")
    address = reverse("requests-withdraw", args=[made.number])
    page = signed_in(username).get(address).content.decode()
    assert "Only alice, who asked, and the managers" in page
    assert "Withdraw request</button>" not in page
    assert signed_in(username).post(address).status_code == 403


def test_a_decided_request_says_by_whom_and_when_and_has_no_buttons(people: World) -> None:
    olga = signed_in("olga")
    yes, no, back = (submit(people.alice, f"www.{name}.org") for name in ("elsewhere", "nowhere", "back"))
    told = {"shown": shown_to(olga, yes.number), "message": "Known.", **RDAP}
    olga.post(reverse("queue-approve", args=[yes.number]), told)
    olga.post(reverse("queue-reject", args=[no.number]), {"version": "0", "details": "Not theirs."})
    signed_in("alice").post(reverse("requests-withdraw", args=[back.number]))
    expected = {yes: ("Approved", "olga", "Known."), no: ("Rejected by JTAG", "olga", "Not theirs.")}
    for made, said in {**expected, back: ("Withdrawn", "alice", "")}.items():
        page = signed_in("otto").get(reverse("queue-decide", args=[made.number])).content.decode()
        title, who, why = said
        assert f"<h2>{title}</h2>" in page
        assert f"By {who}, <time" in page
        assert why in page
        assert "Approve request</button>" not in page
        assert "Why this needs review" not in page


def test_an_officer_approves_the_oldest_first_and_with_evidence(people: World) -> None:
    olga = signed_in("olga")
    yes, _no = submit(people.alice, "www.elsewhere.org"), submit(people.alice, "www.nowhere.org")
    queue = olga.get(reverse("queue-list")).content.decode()
    assert queue.index("www.elsewhere.org") < queue.index("www.nowhere.org")
    approve = reverse("queue-approve", args=[yes.number])
    shown = {"shown": shown_to(olga, yes.number)}
    for incomplete in (shown, RDAP, {"shown": shown["shown"][:-9], **RDAP}):
        assert olga.post(approve, incomplete).status_code == 422
        assert state_of(yes.number) is Status.WAITING_FOR_APPROVAL
    assert olga.post(approve, {**shown, **RDAP}).status_code == 302
    assert state_of(yes.number) is Status.ISSUED


def test_the_message_reaches_the_applicant_and_the_internal_note_does_not(people: World) -> None:
    manager(people)
    actor("rick", ra=RaRole.AUDITOR)
    made, olga = submit(people.alice, "www.elsewhere.org"), signed_in("olga")
    asked = {
        "shown": shown_to(olga, made.number),
        "message": "Welcome back.",
        "note": "Deed on file.",
        **RDAP,
    }
    olga.post(reverse("queue-approve", args=[made.number]), asked)
    for line in RequestEvent.objects.filter(request_id=made.number, event__in=NOTIFIED):
        notify(line.pk)
    mails = "\n".join(str(one.message()) for one in mail.outbox)
    assert "Welcome back." in mails
    assert "Deed on file." not in mails
    page = reverse("requests-show", args=[made.number])
    told = with_token(people.alice).get(f"/requests/{made.number}").content.decode()
    assert ("Welcome back." in told, "Deed on file." in told) == (True, False)
    for who in ("alice", "bob", "meg"):
        client = signed_in(who)
        assert "Welcome back." in client.get(page).content.decode()
        for address in (page, reverse("organisations-show", args=["example-university"]), reverse("home")):
            assert "Deed on file." not in client.get(address).content.decode(), (who, address)
    for who in ("olga", "rick"):
        assert "Deed on file." in signed_in(who).get(page).content.decode()


def test_an_unfinished_page_can_tell_that_it_is_stale(alice: Client, people: World) -> None:
    made = submit(people.alice, "www.elsewhere.org")
    page = alice.get(reverse("requests-show", args=[made.number])).content.decode()
    shown = re.search(r'data-poll="([^"]+)" data-version="(\d+)"', page)
    assert shown
    assert alice.get(shown[1])["X-Request-Changed"] == shown[2]
    alice.post(reverse("requests-withdraw", args=[made.number]))
    assert alice.get(shown[1])["X-Request-Changed"] != shown[2]


def test_the_list_pages_both_ways_and_filters(alice: Client, people: World) -> None:
    made = submit(people.alice, "www.example.ac.uk")
    copies(made.number, count=60)
    first = alice.get(reverse("requests-list"))
    assert len(first.context["rows"]) == 50
    assert first.context["previous_href"] == ""
    second = alice.get(reverse("requests-list") + first.context["next_href"])
    assert len(second.context["rows"]) == 11
    back = alice.get(reverse("requests-list") + second.context["previous_href"])
    assert listed_numbers(back.content) == listed_numbers(first.content)
    none = alice.get(reverse("requests-list"), {"q": "no-such-host"})
    assert "Nothing matches" in none.content.decode()
    assert alice.get(reverse("requests-list"), {"status": "nonsense"}).status_code == 422
    assert alice.get(reverse("requests-list"), {"cursor": "nonsense"}).status_code == 422


def test_the_csv_is_complete_and_harmless(alice: Client, people: World) -> None:
    made = submit(people.alice, "www.example.ac.uk")
    copies(made.number, count=520, common_names="=HYPERLINK(1)")
    answer = alice.get(reverse("requests-csv"))
    assert answer.streaming
    lines = list(csv.DictReader(io.StringIO(b"".join(answer).decode())))
    assert len(lines) == 521
    assert lines[0]["Common names"] == "'=HYPERLINK(1)"
    assert lines[-1]["Common names"] == "www.example.ac.uk"
    assert lines[-1]["Status"] == "Certificate available for download"
