"""Domain control by e-mail with a real mail server, from the portal to the certificate.

The mail server wants STARTTLS and an account, as those of organisations do.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.seed_support import AVAILABLE, Portal, Staff, make_csr, new_name
from tests.harness.fixtures import DemoWith
from tests.harness.mail_server import Delivered, MailServer, mail_server
from tests.harness.server import DemoServer, ServerFailed
from tests.harness.waiting import wait_until


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    with mail_server(tmp_path_factory.mktemp("post")) as running:
        yield running


@pytest.fixture(scope="module")
def server(demo_with: DemoWith, post: MailServer) -> Iterator[DemoServer]:
    with demo_with(**post.settings) as running:
        yield running


def asked(staff: Staff, folder: Path) -> tuple[int, str, str]:
    """Alice's request for a name whose domain nobody has proven; its number, the domain, a mailbox."""
    domain = new_name("ac.uk", prefix="posted")
    number = staff("alice").ask(make_csr(folder, f"www.{domain}"))
    return number, domain, f"postmaster@{domain}"


def link_in(one: Delivered, server: DemoServer) -> str:
    """The path of the link in a mail, which stands alone in its line and leads to this service."""
    found = re.findall(rf"^{re.escape(server.base_url)}(/dcv/[A-Z2-7]{{52}}/)$", one.text, re.MULTILINE)
    assert len(found) == 1, one.text
    return str(found[0])


def test_r04_r25_through_a_mail_server_with_tls_and_an_account(
    staff: Staff, server: DemoServer, post: MailServer, tmp_path: Path
) -> None:
    number, domain, mailbox = asked(staff, tmp_path)
    staff("alice").post(f"/requests/{number}/ask/", domain=domain, mailbox=mailbox)
    assert f"Waiting for {mailbox} to confirm" in staff("alice").request(number).status_box
    (mail,) = post.to(mailbox)
    assert mail.by_tls
    assert mail.message["To"] == mailbox
    assert mail.message.get_content_type() == "text/plain"
    assert mail.text.index(link_in(mail, server)) < mail.text.index("Asked by: Alice")
    assert max(map(len, mail.text.splitlines())) <= 78 + len(server.base_url)

    reader = Portal(server)
    link = link_in(mail, server)
    assert domain in reader.get(link).text
    assert staff("alice").request(number).status_box.startswith("Accepted for automatic processing")
    assert "Confirmed" in reader.post(link).text
    reader.close()
    staff("alice").wait_for(number, AVAILABLE)
    about = f"Request {number}: {AVAILABLE}"
    ready = wait_until(
        lambda: [one for one in post.to("alice@example.ac.uk") if about in str(one.message["Subject"])],
        what="the mail that tells alice",
    )
    assert ready[0].by_tls
    assert f"\n{server.base_url}/requests/{number}/\n" in ready[0].text


def test_r04_a_mail_that_the_server_does_not_take_is_told_and_sent_again(
    staff: Staff, server: DemoServer, post: MailServer, tmp_path: Path
) -> None:
    number, domain, mailbox = asked(staff, tmp_path)
    post.refusing = True
    try:
        page = staff("alice").post(f"/requests/{number}/ask/", domain=domain, mailbox=mailbox)
    finally:
        post.refusing = False
    assert "could not be sent" in page.text
    assert post.to(mailbox) == []
    staff("alice").post(f"/requests/{number}/ask/", domain=domain, mailbox=mailbox)
    (mail,) = post.to(mailbox)
    reader = Portal(server)
    reader.get(link_in(mail, server))
    reader.post(link_in(mail, server))
    reader.close()
    staff("alice").wait_for(number, AVAILABLE)


@pytest.mark.parametrize(
    "wrong,told",
    [
        ({"CERTDESK_SMTP_SECURITY": "none"}, "CERTDESK_SMTP_SECURITY=starttls or tls"),
        ({"CERTDESK_SMTP_PASSWORD": ""}, "set both"),
    ],
)
def test_r04_a_mail_password_never_travels_in_clear(
    tmp_path: Path, post: MailServer, wrong: dict[str, str], told: str
) -> None:
    refused = DemoServer(data=tmp_path / "var", extra=post.settings | wrong)
    with pytest.raises(ServerFailed, match=re.escape(told)):
        refused.start()
