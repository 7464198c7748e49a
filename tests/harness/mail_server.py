"""A mail server as organisations run them: STARTTLS, an account, and a mailbox for everybody."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.harness.acme_front import throw_away_tls
from tests.harness.ports import free_port

USERNAME, PASSWORD = "certdesk", "sealed with a kiss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A mail as it came: whom the envelope named, whether by TLS, and the message."""

    to: tuple[str, ...]
    by_tls: bool
    message: EmailMessage

    @property
    def text(self) -> str:
        """The body, with plain line ends."""
        return str(self.message.get_content()).replace("\r\n", "\n")


@dataclass(slots=True, kw_only=True)
class MailServer:
    """It listens on loopback while it runs; without TLS and its account it takes nothing."""

    folder: Path
    port: int = field(default_factory=free_port)
    delivered: list[Delivered] = field(default_factory=list)
    refusing: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """What an operator sets to send mail by it; its CA counts as one of the host's."""
        return {
            "CERTDESK_SMTP_HOST": "127.0.0.1",
            "CERTDESK_SMTP_PORT": str(self.port),
            "CERTDESK_SMTP_SECURITY": "starttls",
            "CERTDESK_SMTP_USERNAME": USERNAME,
            "CERTDESK_SMTP_PASSWORD": PASSWORD,
            "SSL_CERT_FILE": str(self.folder / "front-ca.pem"),
        }

    def to(self, mailbox: str) -> list[Delivered]:
        """What came for a mailbox, oldest first."""
        return [one for one in self.delivered if one.to == (mailbox,)]

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name for it
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep the message, or have a bad day."""
        del server
        if self.refusing:
            return "451 Not now"
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        by_tls = session.ssl is not None
        self.delivered.append(Delivered(to=tuple(envelope.rcpt_tos), by_tls=by_tls, message=message))
        return "250 kept"


@contextmanager
def mail_server(folder: Path) -> Iterator[MailServer]:
    """A running mail server with a throw-away CA in this folder."""
    context, _ca = throw_away_tls(folder)
    server = MailServer(folder=folder)
    running = Controller(
        server,
        hostname="127.0.0.1",
        port=server.port,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=_authenticate,
    )
    running.start()
    try:
        yield server
    finally:
        running.stop()


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, told: object
) -> AuthResult:
    del server, session, envelope, mechanism
    right = (USERNAME.encode(), PASSWORD.encode())
    return AuthResult(success=isinstance(told, LoginPassword) and (told.login, told.password) == right)
