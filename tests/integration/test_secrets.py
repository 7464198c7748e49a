"""What people send by mistake is nowhere afterwards: private keys, and the challenge passwords of CSRs.

Every table is searched, those of sessions, jobs and the cache too, and whatever was logged.
"""

import base64
import re
from collections.abc import Iterator

import pytest
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.urls import reverse

from certdesk.store.models import Certificate, IssuanceAttempt
from tests.integration.acme_support import acme_world
from tests.integration.api_calls import callers
from tests.integration.test_web_access import signed_in
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
        assert IssuanceAttempt.objects.count() == 1
        assert found_in_rows(PASSWORD) == []

    def test_an_officer_decides_on_what_was_sealed(self) -> None:
        people = callers()
        made = people.charlie.upload("/requests", with_password())
        assert made.json["status"] == "waiting_for_approval"
        evidence = {"domain": "example.ac.uk", "how": "registry", "details": "The registry names them."}
        done = people.olga.post(f"/requests/{made.json['id']}/approve", {"evidence": [evidence]})
        assert (done.status, done.json["status"]) == (200, "issued")
