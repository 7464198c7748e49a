"""What people send by mistake is nowhere afterwards: private keys, and the challenge passwords of CSRs.

Every table is searched, those of sessions, jobs and the cache too, and whatever was logged.
"""

import base64
import re
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.urls import reverse

from certdesk.store.models import AuditEvent, BlockedKey, Certificate, Issuance
from tests.harness.acme_client import AcmeClient
from tests.integration import support
from tests.integration.acme_support import acme_world
from tests.integration.api_calls import Caller, callers
from tests.integration.support import signed_in
from tests.vectors import forge

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = b"correct horse battery staple"
NAME = "www.example.ac.uk"


def spellings(secret: bytes) -> Iterator[bytes]:
    """As it is, in hex, and in base64 wherever it may begin."""
    yield from (secret, secret.hex().encode())
    for before in range(3):
        yield base64.b64encode(b"x" * before + secret)[4:-4]


def found_in_rows(secret: bytes) -> list[str]:
    """The columns of any table that hold the secret in any spelling."""
    wanted, found = tuple(spellings(secret)), []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - no input
            columns = [one[0] for one in cursor.description]
            for row in cursor.fetchall():
                for column, value in zip(columns, row, strict=True):
                    content = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    if any(spelling in content for spelling in wanted):
                        found.append(f"{table}.{column}")
    return found


def with_password(key: str = "certdesk vectors") -> bytes:
    """A CSR, DER, with a challenge password."""
    own = forge.ec_key(key)
    secret = forge.sequence(forge.oid("1.2.840.113549.1.9.7"), forge.set_of(forge.utf8(PASSWORD)))
    return forge.request(
        public_key=forge.der_of(own.public_key()),
        sign=forge.ec_signer(own),
        algorithm=forge.ec_algorithm(),
        attributes=[forge.asks_for(forge.san(NAME.encode())), secret],
    )


class TestChallengePassword:
    """RFC 2985 5.4.1."""

    def test_it_is_kept_from_every_table_mail_and_answer(self, capfd: pytest.CaptureFixture[str]) -> None:
        people, der = callers(), with_password()
        made = people.alice.upload("/requests", der)
        number = made.json["id"]
        second = {"csr": forge.pem(with_password("another")).decode()}
        again = people.alice.post(f"/requests/{number}/certificates", second)
        assert (made.status, again.status) == (201, 201), again.content
        assert Certificate.objects.filter(request_id=number).count() == 2
        shown = people.bob.get(f"/requests/{number}")
        assert [c["verdict"] for c in shown.json["checks"] if "password" in c["code"]] == ["warn"]
        page = signed_in("alice").get(reverse("requests-show", args=[number]))
        letters = "".join(str(message.message()) for message in mail.outbox).encode()
        everything = b"".join((made.content, again.content, shown.content, page.content, letters))
        assert not [one for one in spellings(PASSWORD) if one in everything]
        assert found_in_rows(PASSWORD) == []
        assert PASSWORD.decode() not in "".join(capfd.readouterr())

    def test_its_csr_is_for_the_person_who_sent_it_alone(self) -> None:
        people, der = callers(), with_password()
        path = f"/requests/{people.alice.upload('/requests', der).json['id']}/csr"
        assert people.alice.get(path).content == forge.pem(der)
        assert {one.get(path).status for one in (people.bob, people.meg, people.olga, people.rick)} == {404}

    def test_it_is_not_in_the_pages_that_lead_to_a_request(self) -> None:
        callers()
        alice = signed_in("alice")
        upload = SimpleUploadedFile("my.csr", with_password())
        asked = {"csr": upload, "duration_years": "1", "server_software": "nginx"}
        page = alice.post(reverse("requests-preview"), asked).content
        assert b"challenge password" in page
        found = re.search(rb'name="preview" value="([^"]+)"', page)
        assert found
        confirmed = alice.post(reverse("requests-confirm"), {"preview": found[1].decode()})
        assert confirmed.status_code == 302
        assert Certificate.objects.exists()
        assert found_in_rows(PASSWORD) == []

    def test_an_acme_client_that_finalizes_twice_gets_the_same(self) -> None:
        one = acme_world().registered()
        order = one.order(NAME).json
        first, second = (one.finalize(order, with_password()) for _ in range(2))
        assert (first.status, second.status) == (200, 200)
        assert Issuance.objects.count() == 1
        assert found_in_rows(PASSWORD) == []

    def test_an_officer_decides_on_what_was_sealed(self) -> None:
        people = callers()
        made = people.charlie.upload("/requests", with_password())
        assert made.json["status"] == "waiting_for_approval"
        evidence = {"domain": "example.ac.uk", "how": "registry", "details": "The registry names them."}
        path = f"/requests/{made.json['id']}"
        shown = people.olga.get(f"{path}/decision").json["shown"]
        done = people.olga.post(
            f"{path}/approve", {"evidence": [evidence], "shown": shown, "vetting": "Known to us."}
        )
        assert (done.status, done.json["status"]) == (200, "issued")


KEY = forge.ec_key("pasted")
SCALAR = KEY.private_numbers().private_value.to_bytes(32, "big")
PKCS8, SEC1 = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
PEM, DER = (KEY.private_bytes(form, PKCS8, NoEncryption()) for form in (Encoding.PEM, Encoding.DER))
AS_TEXT = {
    "pem": PEM,
    "sec1": KEY.private_bytes(Encoding.PEM, SEC1, NoEncryption()),
    "base64": base64.encodebytes(DER),
    "beside a CSR": PEM + forge.pem(forge.good_der()),
}
AS_FILE = {**AS_TEXT, "der": DER, "sec1 der": KEY.private_bytes(Encoding.DER, SEC1, NoEncryption())}
#: What a page or a log would show of it.
DER_LINES = tuple(base64.b64encode(DER)[at : at + 40] for at in (40, 80))
ASKED = {"duration_years": "1", "server_software": "nginx"}


def _by_portal(alice: Client, number: int) -> Iterator[tuple[str, int, bytes]]:
    places = {"preview": reverse("requests-preview"), "another": reverse("requests-another", args=[number])}
    for place, address in places.items():
        for word, upload in AS_FILE.items():
            answer = alice.post(address, {**ASKED, "csr": SimpleUploadedFile("my.csr", upload)})
            yield f"{place}, file, {word}", answer.status_code, answer.content
        for word, upload in AS_TEXT.items():
            answer = alice.post(address, {**ASKED, "csr_text": upload.decode()})
            yield f"{place}, text, {word}", answer.status_code, answer.content
    half_filled = alice.post(places["preview"], {"csr_text": PEM.decode()})
    yield "a form that lacks the rest", half_filled.status_code, half_filled.content


def _by_rest(alice: Caller, number: int) -> Iterator[tuple[str, int, bytes]]:
    again = f"/requests/{number}/certificates"
    for path in ("/requests/preview", "/requests"):
        for word, upload in AS_FILE.items():
            reply = alice.upload(path, upload)
            yield f"{path}, file, {word}", reply.status, reply.content
    for path in ("/requests/preview", "/requests", again):
        for word, upload in AS_TEXT.items():
            body = {"csr": upload.decode(), **({} if path == again else ASKED)}
            reply = alice.post(path, body)
            yield f"{path}, JSON, {word}", reply.status, reply.content
    note = f"Here it is:\n{PEM.decode()}"
    reply = alice.post("/requests", {"csr": forge.pem(forge.good_der()).decode(), **ASKED, "note": note})
    yield "a note", reply.status, reply.content


def _by_acme(one: AcmeClient) -> Iterator[tuple[str, int, bytes]]:
    order = one.order(NAME).json
    for word, upload in AS_FILE.items():
        reply = one.finalize(order, upload)
        yield f"finalize, {word}", reply.status, reply.body


@pytest.mark.parametrize("channel", ["portal", "rest", "acme"])
def test_a_private_key_is_refused_and_nowhere_afterwards(
    channel: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    if channel == "acme":
        answers = _by_acme(acme_world().registered())
    else:
        people = callers()
        number = people.alice.upload("/requests", support.csr(NAME)).json["id"]
        answers = (
            _by_rest(people.alice, number) if channel == "rest" else _by_portal(signed_in("alice"), number)
        )
    secrets = (*spellings(SCALAR), *DER_LINES)
    for place, status, content in answers:
        assert status == (400 if channel == "acme" else 422), place
        assert not [one for one in secrets if one in content], place
    assert found_in_rows(SCALAR) == []
    assert BlockedKey.objects.get().proof == "possession"
    assert AuditEvent.objects.filter(action="key.block").count() == 1
    logged = ("".join(capfd.readouterr()) + caplog.text).encode()
    assert not [one for one in secrets if one in logged]


def test_a_key_that_meets_a_fault_of_ours_is_in_no_report(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = callers()
    alice = signed_in("alice")
    alice.raise_request_exception = False

    def broken(upload: bytes, **_: object) -> None:
        raise RuntimeError(f"{len(upload)} bytes")

    monkeypatch.setattr("certdesk.services.requests.asking.read_csr", broken)
    page = alice.post(reverse("requests-preview"), {**ASKED, "csr_text": PEM.decode()})
    reply = people.alice.upload("/requests", PEM)
    assert (page.status_code, reply.status) == (500, 500)
    told = (
        ("".join(capfd.readouterr()) + caplog.text).encode()
        + page.content
        + reply.content
        + repr(mail.outbox).encode()
    )
    assert b"RuntimeError" in told
    assert not [one for one in (*spellings(SCALAR), *DER_LINES) if one in told]
    assert found_in_rows(SCALAR) == []


def test_a_leaked_key_that_an_officer_blocks_is_forgotten_as_well() -> None:
    callers()
    olga, address = signed_in("olga"), reverse("keys-list")
    lacking = olga.post(address, {"evidence": PEM.decode()})
    assert lacking.status_code == 422
    assert not [one for one in (*spellings(SCALAR), *DER_LINES) if one in lacking.content]
    assert olga.post(address, {"evidence": PEM.decode(), "reason": PEM.decode()[:150]}).status_code == 422
    assert olga.post(address, {"evidence": PEM.decode(), "reason": "On a web page."}).status_code == 302
    assert b"Proven: the private key was shown" in olga.get(address).content
    assert found_in_rows(SCALAR) == []
