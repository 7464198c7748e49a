"""Another certificate under a decided request, in the portal: form, preview, confirmation, and who may."""

import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.urls import reverse

from certdesk.domain.actors import RaRole
from certdesk.domain.issuing.certificates import Accepted, Refused
from certdesk.store.models import AuditEvent, Certificate, Issuance, Request, RequestEvent
from tests.integration import support
from tests.integration.support import Browser, ScriptedCa, World, actor, csr, signed_in, submit

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("www.example.ac.uk", "mail.example.ac.uk")


@pytest.fixture
def number(people: World) -> int:
    """A request of alice's with a certificate."""
    return submit(people.alice, *NAMES).number


def address(number: int) -> str:
    return reverse("requests-another", args=[number])


def look(client: Browser, number: int, upload: bytes) -> HttpResponse:
    return client.send("requests-another", number, csr_text=upload.decode())


def token_of(answer: HttpResponse) -> str:
    (found,) = re.findall(r'name="preview" value="([^"]+)"', answer.content.decode())
    return str(found)


def confirm(client: Browser, number: int, token: str) -> HttpResponse:
    return client.send("requests-another-confirm", number, preview=token)


def traces() -> list[int]:
    return [model.objects.count() for model in (Request, Issuance, Certificate, AuditEvent)]


def test_from_the_page_to_another_certificate(number: int) -> None:
    bob = signed_in("bob")
    assert address(number) in bob.page("requests-show", number)
    assert all(name in bob.page("requests-another", number) for name in NAMES)
    before = traces()
    seen = look(bob, number, csr(NAMES[0]))
    assert seen.status_code == 200
    text = seen.content.decode()
    assert NAMES[0] in text
    assert "no one has to approve it again" in text
    assert traces() == before, "a preview stores nothing (R16)"

    old = set(Certificate.objects.values_list("id", flat=True))
    assert [confirm(bob, number, token_of(seen)).status_code for _ in range(2)] == [302, 302]
    (made,) = Certificate.objects.exclude(id__in=old)
    assert made.request_id == number
    assert Request.objects.count() == before[0], "no new request"
    page = bob.page("requests-show", number)
    assert "The new certificate is ready" in page
    assert "Earlier certificates of this request" in page


def test_a_file_does_as_well(number: int) -> None:
    upload = SimpleUploadedFile("new.csr", csr(*NAMES))
    answer = signed_in("alice").post(address(number), {"csr": upload})
    assert answer.status_code == 200
    assert b'name="preview"' in answer.content


@pytest.mark.parametrize(
    "upload,told",
    [
        (csr(NAMES[0], "other.example.ac.uk"), "make a new request"),
        (b"not a CSR", "CSR"),
        (b"", "Choose your CSR file, or paste the text"),
        (b"/etc/ssl/www.csr", "looks like the name of a file"),
    ],
)
def test_what_can_not_be_is_said_beside_the_field(number: int, upload: bytes, told: str) -> None:
    before = traces()
    answer = look(signed_in("alice"), number, upload)
    assert answer.status_code == 422
    assert told.lower() in answer.content.decode().lower()
    assert b'name="preview"' not in answer.content
    assert traces() == before


def test_a_pasted_private_key_is_not_shown_again(number: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    answer = look(signed_in("alice"), number, key)
    assert answer.status_code == 422
    assert key.splitlines()[1] not in answer.content


def test_what_is_confirmed_is_what_was_shown_to_the_same_person_for_the_same_request(
    people: World, number: int
) -> None:
    alice, token = signed_in("alice"), token_of(look(signed_in("alice"), number, csr(*NAMES)))
    other = submit(people.alice, *NAMES).number
    before = traces()
    letter = "B" if token[30] == "A" else "A"
    for altered in ("", token[:-1], token[:30] + letter + token[31:]):
        assert confirm(alice, number, altered).status_code == 422
    assert confirm(alice, other, token).status_code == 422
    assert confirm(signed_in("bob"), number, token).status_code == 422
    assert traces() == before


def test_it_is_offered_to_the_organisation_s_people(number: int) -> None:
    """Who may is for `test_route_matrix.py` to say."""
    actor("rick", ra=RaRole.AUDITOR)
    for who in ("olga", "rick"):
        assert address(number) not in signed_in(who).page("requests-show", number), who


def test_nothing_follows_a_request_that_has_no_certificate(people: World) -> None:
    waiting = submit(people.alice, "www.outside.org").number
    alice = signed_in("alice")
    assert address(waiting) not in alice.page("requests-show", waiting)
    assert alice.get(address(waiting)).status_code == 403


def test_a_ca_that_takes_its_time_or_refuses(number: int) -> None:
    alice = signed_in("alice")
    token = token_of(look(alice, number, csr(*NAMES)))
    with support.backend(ScriptedCa(answers=[Accepted(handle="17")])):
        assert "The CA is working on it" in alice.sent("requests-another-confirm", number, preview=token)
    RequestEvent.objects.filter(issuance__certificate=None).delete()
    Issuance.objects.filter(certificate=None).delete()
    token = token_of(look(alice, number, csr(*NAMES)))
    with support.backend(ScriptedCa(answers=[Refused(reason="Not today.")], inline=True)):
        answer = confirm(alice, number, token)
    assert answer.status_code == 502
    assert b"Not today." in answer.content
