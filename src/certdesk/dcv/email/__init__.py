"""E-mail to a constructed address at the authorisation domain name (BR 3.2.2.4.4; R4).

The five local parts are the rule's own; nobody can have a mail sent anywhere else. Ends for public
CAs on 2028-03-15 (`domain.rules`).
"""

from certdesk.dcv.email.challenge import (
    LOCAL_PARTS,
    Secret,
    code_digest,
    mailboxes,
    normalised_code,
    secret_from,
)
from certdesk.dcv.email.message import ChallengeFacts, message_text

__all__ = [
    "LOCAL_PARTS",
    "ChallengeFacts",
    "Secret",
    "code_digest",
    "mailboxes",
    "message_text",
    "normalised_code",
    "secret_from",
]
